"""HTTP/1.1 as far as the agent speaks it: the request out of the bytes that came, the bytes of the answer.

Why not ``http.server``: its handler stays on the stack of its thread for as long as it answers, and a load is
an answer that takes a while. A patch of ``http.server`` or ``socketserver`` would then wait for the agent
that loads it. It also wants a thread for each client, and brings the whole ``email`` package into the target.
What is here is pure functions over bytes, off the stack again before anything is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_HEAD = 16 * 1024
MAX_BODY = 32 * 1024 * 1024


class BadRequest(Exception):
    """The bytes are no request that the agent takes."""

    def __init__(self, status: HTTPStatus, message: str, advice: str = "", allow: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.advice = advice
        self.allow = allow


@dataclass(slots=True)
class Request:
    """One request. ``path`` is percent-decoded, without its query; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    length: int
    keep_alive: bool
    chunks: bool  # HTTP/1.0 knows no chunked transfer
    body: bytes = field(default=b"")

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object.

        :raises BadRequest: it is none
        """
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise BadRequest(
                HTTPStatus.BAD_REQUEST, f"the body is a JSON {type(value).__name__}, not an object"
            )
        return value


def take_head(data: bytearray) -> Request | None:
    """Take one request's head off the front of ``data``; ``None`` while it is not whole.

    :raises BadRequest: it is not HTTP, too long, or of a body that has no, or too great, a length
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 and len(data) <= MAX_HEAD:
        return None
    if end < 0 or end > MAX_HEAD:
        raise BadRequest(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is longer than {MAX_HEAD} bytes"
        )
    lines = data[:end].decode("latin-1").split("\r\n")
    del data[: end + 4]
    return _parse(lines)


def _parse(lines: list[str]) -> Request:
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[2].startswith("HTTP/"):
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"no HTTP request line: {lines[0][:80]!r}")
    method, target, version = words
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"{version[:20]} is not spoken here, HTTP/1.1 is"
        )
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"no HTTP header: {line[:80]!r}")
        name, value = name.lower(), value.strip()
        if headers.setdefault(name, value) != value and name == "content-length":
            raise BadRequest(HTTPStatus.BAD_REQUEST, "two headers Content-Length that differ")
    connection = headers.get("connection", "").lower()
    try:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"no path of a request: {target[:80]!r} ({error})") from None
    return Request(
        method=method,
        path=path,
        query=query,
        headers=headers,
        length=_length(headers),
        keep_alive=connection != "close" if version == "HTTP/1.1" else connection == "keep-alive",
        chunks=version == "HTTP/1.1",
    )


def _length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(
            HTTPStatus.LENGTH_REQUIRED, "a body needs Content-Length here, it cannot come in chunks"
        )
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"Content-Length is no number: {text[:40]!r}")
    if len(text) > 12 or int(text) > MAX_BODY:
        raise BadRequest(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body is of {text[:20]} bytes, and {MAX_BODY} is the most taken",
        )
    return int(text)


def head(status: HTTPStatus, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer(status: HTTPStatus, value: Any, *, keep_alive: bool, allow: str = "") -> bytes:
    """A whole answer with a JSON body."""
    body = dumps(value)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if allow:
        headers["Allow"] = allow
    headers["Connection"] = "keep-alive" if keep_alive else "close"
    return head(status, headers) + body


def stream_head(*, keep_alive: bool, chunks: bool) -> bytes:
    """The head of an answer that comes line by line."""
    headers = {"Content-Type": "application/x-ndjson"}
    if chunks:
        headers["Transfer-Encoding"] = "chunked"
    headers["Connection"] = "keep-alive" if keep_alive else "close"
    return head(HTTPStatus.OK, headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def dumps(value: Any) -> bytes:
    """JSON and a line end. What JSON has no word for is written as its ``repr``."""
    return json.dumps(value, default=repr).encode() + b"\n"

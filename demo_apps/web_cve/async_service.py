"""The service under repair as an async one: the same answers from one event loop, on uvicorn.

It takes Werkzeug's parser for multipart bodies without its server, and gives it each piece of a body as it comes. It
knows nothing of patches, and ends when its standard input closes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Form:
    """A multipart body that comes in pieces. ``parsing`` is the processor time that they took, in seconds."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1]["boundary"]
        self.parsing = 0.0
        self._decoder = MultipartDecoder(boundary.encode())
        self._parts: list[tuple[Field | File, bytearray]] = []

    def feed(self, piece: bytes | None) -> None:
        """The next piece; ``None`` at the end."""
        begin = time.thread_time()
        self._decoder.receive_data(piece)
        while not isinstance(event := self._decoder.next_event(), Epilogue | NeedData):
            if isinstance(event, Field | File):
                self._parts.append((event, bytearray()))
            elif isinstance(event, Data):
                self._parts[-1][1].extend(event.data)
        self.parsing += time.thread_time() - begin

    def answer(self) -> dict[str, Any]:
        return {
            "files": [
                [part.name, part.filename, len(data), hashlib.sha256(data).hexdigest()]
                for part, data in self._parts
                if isinstance(part, File)
            ],
            "fields": sorted((part.name, data.decode()) for part, data in self._parts if isinstance(part, Field)),
        }


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``GET /digest/<text>`` and ``POST /upload``, as ``service.py`` answers them."""
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    extra: list[tuple[bytes, bytes]] = []
    status = 200
    if scope["method"] == "POST" and scope["path"] == "/upload":
        form = Form(headers["content-type"])
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            if message.get("body"):
                form.feed(message["body"])
        form.feed(None)
        value = form.answer()
        extra.append((b"server-timing", f"parse;dur={form.parsing * 1000:.3f}".encode()))
    elif scope["path"].startswith("/digest/"):
        value = {"sha256": hashlib.sha256(scope["path"].removeprefix("/digest/").encode()).hexdigest()}
    else:
        status, value = 404, {}
    body = json.dumps(value | {"pid": os.getpid()}).encode()
    extra += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": extra})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    uvicorn = importlib.import_module("uvicorn")
    settings = uvicorn.Config(
        application, lifespan="off", log_level="warning", access_log=False, timeout_keep_alive=300, loop="asyncio"
    )
    server = uvicorn.Server(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does it for those whose .proto says TCP
    print(json.dumps({"port": listener.getsockname()[1], "pid": os.getpid()}), flush=True)

    def end_with_parent() -> None:
        for _ in sys.stdin:
            pass
        server.should_exit = True
        server.force_exit = True

    threading.Thread(target=end_with_parent, name="end-with-parent", daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()

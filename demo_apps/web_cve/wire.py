"""What the clients say over the wire: multipart bodies, and the answer that each must get."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

BOUNDARY = b"----pylivepatch-demo-7d93b178"


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart body and the JSON that the service must answer, but for its process id."""

    body: bytes
    answer: dict[str, Any]

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={BOUNDARY.decode()}"


def upload(files: list[tuple[str, str, bytes]], fields: list[tuple[str, str]]) -> Upload:
    """A form of ``(name, filename, content)`` files and ``(name, text)`` fields."""
    parts = [
        part(f'name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream', content)
        for name, filename, content in files
    ]
    parts += [part(f'name="{name}"', text.encode()) for name, text in fields]
    answer = {
        "files": [
            [name, filename, len(content), hashlib.sha256(content).hexdigest()]
            for name, filename, content in files
        ],
        "fields": [list(field) for field in sorted(fields)],
    }
    return Upload(b"".join(parts) + b"--%s--\r\n" % BOUNDARY, answer)


def part(head: str, content: bytes) -> bytes:
    return b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY, head.encode(), content)


def ordinary_upload(rng: random.Random) -> Upload:
    """One to three files of up to 200 kB: binary, text, and what parsers trip over."""
    kinds = (
        lambda size: rng.randbytes(size),
        lambda size: (b"a line of text\r\n" * (size // 16 + 1))[:size],
        lambda size: rng.randbytes(size) + b"\r",
        lambda size: rng.randbytes(size) + b"\r\n--" + BOUNDARY[:9],
        lambda size: b"\n\r" + b"x" * size,
    )
    files = [
        (f"file{number}", f"document-{number}.bin", rng.choice(kinds)(rng.randint(100, 200_000)))
        for number in range(rng.randint(1, 3))
    ]
    return upload(files, [("title", f"upload {rng.randint(0, 9999)}"), ("note", "plain words, and ü")])


def slow_upload(megabytes: int) -> Upload:
    """The body of CVE-2023-46136: a part that begins with a line end, then megabytes without another.

    Werkzeug 3.0.0 keeps all of it in its buffer, because a boundary might begin at that line end, and
    searches and copies the whole of it again for every 64 kB that arrive: the cost grows with the square of
    the size.
    """
    return upload([("file", "slow.bin", b"\r\n" + b"x" * (megabytes << 20))], [])

"""The ordinary users: connections that stay open, small requests and uploads, each answer checked.

    python traffic.py PORT CONNECTIONS RECORDS

Runs until its standard input closes. Prints a line of JSON with its counters five times a second, and writes
what became of each request into the file RECORDS at the end: see ``measure.Traffic``.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from wire import Upload, ordinary_upload

THINK = 0.03  # seconds, the mean pause of a user between two requests
UPLOADS = 0.25  # the part of the requests that carry files
PATIENCE = 60.0  # seconds without an answer that count as a failure


class User(threading.Thread):
    """One connection. ``records`` grows by one entry a request: the fields of ``measure.Request``."""

    def __init__(self, port: int, seed: int, uploads: list[Upload], stop: threading.Event) -> None:
        super().__init__(name=f"user-{seed}", daemon=True)
        self.port = port
        self.rng = random.Random(seed)
        self.uploads = uploads
        self.stopping = stop
        self.records: list[tuple[float, float, str, int, str | None]] = []
        self.connects = 0

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.stopping.wait(self.rng.expovariate(1 / THINK)):
            kind = "upload" if self.rng.random() < UPLOADS else "small"
            pid, error = 0, None
            begin = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
                    connection.connect()
                    self.connects += 1
                pid = self.upload(connection) if kind == "upload" else self.small(connection)
            except (OSError, http.client.HTTPException, ValueError) as failure:
                # Nothing is tried again: whatever a user would have seen is a failed request.
                error = f"{type(failure).__name__}: {failure}"
                if connection is not None:
                    connection.close()
                connection = None
            self.records.append((begin, time.monotonic(), kind, pid, error))

    def small(self, connection: http.client.HTTPConnection) -> int:
        text = f"{self.rng.getrandbits(64):x}"
        connection.request("GET", f"/digest/{text}")
        return check(connection.getresponse(), {"sha256": hashlib.sha256(text.encode()).hexdigest()})

    def upload(self, connection: http.client.HTTPConnection) -> int:
        upload = self.rng.choice(self.uploads)
        connection.request("POST", "/upload", upload.body, {"Content-Type": upload.content_type})
        return check(connection.getresponse(), upload.answer)


def check(response: http.client.HTTPResponse, expected: dict[str, Any]) -> int:
    """The process id that answered. Raises ``ValueError`` for any other answer than the expected one."""
    body = response.read()
    if response.status != 200:
        raise ValueError(f"status {response.status}: {body[:200]!r}")
    answer = json.loads(body)
    pid = answer.pop("pid")
    if answer != expected:
        raise ValueError(f"a wrong answer: {str(answer)[:200]}")
    return int(pid)


def main(port: int, connections: int, path: Path) -> None:
    rng = random.Random(2023_46136)
    uploads = [ordinary_upload(rng) for _ in range(40)]
    stop = threading.Event()
    users = [User(port, seed, uploads, stop) for seed in range(connections)]
    for user in users:
        user.start()

    def tell() -> None:
        while not stop.wait(0.2):
            records = [record for user in users for record in user.records[:]]
            failed = sum(error is not None for *_, error in records)
            print(json.dumps({"served": len(records) - failed, "failed": failed}), flush=True)

    teller = threading.Thread(target=tell, name="teller", daemon=True)
    teller.start()
    for _ in sys.stdin:
        pass
    stop.set()
    for thread in (teller, *users):
        thread.join()
    summary = {
        "connections": connections,
        "connects": sum(user.connects for user in users),
        "records": sorted(record for user in users for record in user.records),
    }
    path.write_text(json.dumps(summary))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

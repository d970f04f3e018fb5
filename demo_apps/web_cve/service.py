"""The service under repair: a threaded HTTP service on Werkzeug that takes file uploads.

It knows nothing of patches. It runs in the demo's own environment, beside Werkzeug 3.0.0, and ends when its
standard input closes, so that it cannot outlive the demo.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

ROUTES = Map(
    [
        Rule("/digest/<text>", endpoint="digest", methods=["GET"]),
        Rule("/upload", endpoint="upload", methods=["POST"]),
    ]
)


def digest(request: Request, text: str) -> Response:
    """A small request: the SHA-256 of a word in the URL."""
    return answer({"sha256": hashlib.sha256(text.encode()).hexdigest()})


def upload(request: Request) -> Response:
    """A form with files: name, size and SHA-256 of each, and the text fields as they came.

    Says in ``Server-Timing`` how many milliseconds of processor time this thread spent on parsing the body.
    """
    begin = time.thread_time()
    files = list(request.files.items(multi=True))
    parsing = time.thread_time() - begin
    response = answer(
        {
            "files": [
                [name, file.filename, len(data), hashlib.sha256(data).hexdigest()]
                for name, file in files
                for data in [file.read()]
            ],
            "fields": sorted(request.form.items(multi=True)),
        }
    )
    response.headers["Server-Timing"] = f"parse;dur={parsing * 1000:.3f}"
    return response


def answer(value: dict[str, Any]) -> Response:
    return Response(json.dumps(value | {"pid": os.getpid()}), mimetype="application/json")


HANDLERS: dict[str, Callable[..., Response]] = {"digest": digest, "upload": upload}


@Request.application
def application(request: Request) -> Response:
    try:
        endpoint, arguments = ROUTES.bind_to_environ(request.environ).match()
        return HANDLERS[endpoint](request, **arguments)
    except NotFound:
        return Response("no such page\n", status=404)
    except HTTPException as error:
        return Response(f"{error}\n", status=error.code)


class Handler(WSGIRequestHandler):
    """Keeps connections open, answers at once, and writes no access log: the demo's screen is the log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> None:
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    print(json.dumps({"port": server.server_port, "pid": os.getpid()}), flush=True)

    def end_with_parent() -> None:
        for _ in sys.stdin:
            pass
        server.shutdown()

    threading.Thread(target=end_with_parent, name="end-with-parent", daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()

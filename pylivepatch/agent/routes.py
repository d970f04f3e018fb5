"""What the agent answers: each path and method, and what it returns.

=========================== ==================================================================
``GET /``                   the process: pid, Python, where it runs, since when
``GET /status``             the transition under way, and how the last one ended
``GET /patches``            the stack of applied patches, oldest first
``POST /patches``           load; ``{"patch": base64, "timeout": 15.0, "deep": false}``
``GET /patches/NAME``       one of them
``DELETE /patches/NAME``    unload; ``?timeout=15&deep=0``
=========================== ==================================================================

A load or unload is answered line by line (``application/x-ndjson``): its events as they happen, and then
``{"result": report}`` or ``{"error": {…}}``. Where it is refused before anything happened, the answer is a
plain one with the error's own status.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
from http import HTTPStatus
from typing import Any

from pylivepatch import errors
from pylivepatch.agent.wire import BadRequest, Request
from pylivepatch.agent.work import Engine, Work, Worker

DEFAULT_TIMEOUT = 15.0
_MAX_TIMEOUT = 86400.0


class Routes:
    """Answers requests with a status and a JSON value, or with :class:`Work` whose outcome is the answer."""

    def __init__(self, engine: Engine, worker: Worker) -> None:
        self._engine = engine
        self._worker = worker
        self._started = time.monotonic()

    def answer(self, request: Request) -> tuple[HTTPStatus, Any] | Work:
        """Answer one request.

        :raises BadRequest: no such path, a method that it does not take, parameters that make no sense
        :raises pylivepatch.errors.LivePatchError: it was refused
        """
        methods: dict[str, Any]
        if request.path == "/":
            methods = {"GET": self._info}
        elif request.path == "/status":
            methods = {"GET": self._status}
        elif request.path == "/patches":
            methods = {"GET": self._patches, "POST": self._load}
        elif request.path.startswith("/patches/") and request.path != "/patches/":
            methods = {"GET": self._patch, "DELETE": self._unload}
        else:
            raise BadRequest(
                HTTPStatus.NOT_FOUND,
                f"there is no {request.path}",
                "there are /, /status, /patches and /patches/NAME",
            )
        if request.method not in methods:
            allow = ", ".join(methods)
            raise BadRequest(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.path} does not take {request.method}",
                f"it takes {allow}",
                allow,
            )
        answer: tuple[HTTPStatus, Any] | Work = methods[request.method](request)
        return answer

    def _info(self, _request: Request) -> tuple[HTTPStatus, Any]:
        return HTTPStatus.OK, {**info(), "uptime": round(time.monotonic() - self._started, 3)}

    def _status(self, _request: Request) -> tuple[HTTPStatus, Any]:
        current = self._worker.current
        work = {"action": current.action, "patch": current.patch} if current else None
        return HTTPStatus.OK, {"transition": self._engine.status(), "work": work, "last": self._worker.last}

    def _patches(self, _request: Request) -> tuple[HTTPStatus, Any]:
        return HTTPStatus.OK, {"patches": [patch.as_dict() for patch in self._engine.patches()]}

    def _patch(self, request: Request) -> tuple[HTTPStatus, Any]:
        name = request.path.removeprefix("/patches/")
        for patch in self._engine.patches():
            if patch.name == name:
                return HTTPStatus.OK, patch.as_dict()
        raise errors.NotApplied(
            f"no patch named {name!r} is applied", advice="GET /patches lists those that are"
        )

    def _load(self, request: Request) -> Work:
        body = request.json()
        unknown = body.keys() - {"patch", "timeout", "deep"}
        if unknown:
            raise BadRequest(
                HTTPStatus.BAD_REQUEST,
                f"the body has {', '.join(sorted(unknown))}",
                "it takes patch, timeout and deep",
            )
        patch, deep = body.get("patch"), body.get("deep", False)
        if not isinstance(patch, str):
            raise BadRequest(
                HTTPStatus.BAD_REQUEST, "the body has no patch", "patch is a compiled patch in base64"
            )
        if not isinstance(deep, bool):
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"deep is true or false, not {deep!r}")
        return self._worker.load(patch, timeout=_timeout(body.get("timeout", DEFAULT_TIMEOUT)), deep=deep)

    def _unload(self, request: Request) -> Work:
        deep = request.query.get("deep", "0").lower()
        if deep not in ("0", "1", "false", "true"):
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"deep is 0 or 1, not {deep[:40]!r}")
        try:
            timeout = float(request.query.get("timeout", DEFAULT_TIMEOUT))
        except ValueError:
            timeout = math.nan
        name = request.path.removeprefix("/patches/")
        return self._worker.unload(name, timeout=_timeout(timeout), deep=deep in ("1", "true"))


def _timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_TIMEOUT:
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"timeout is seconds, above 0 and up to {_MAX_TIMEOUT:.0f}")
    return float(value)


def info() -> dict[str, Any]:
    """What a client must know of this process to make a patch for it, and a person to recognise it."""
    from pylivepatch import agent

    package = os.path.dirname(os.path.dirname(os.path.abspath(agent.__file__)))
    return {
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "optimize": sys.flags.optimize,
        "magic": importlib.util.MAGIC_NUMBER.hex(),
        "pylivepatch": _version(),
        "importable_from": os.path.dirname(package),
        "argv": list(sys.orig_argv),
    }


def _version() -> str:
    import pylivepatch

    return str(getattr(pylivepatch, "__version__", "unknown"))

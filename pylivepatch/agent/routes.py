"""What the agent answers: each path and method, and what it returns.

=========================== ==================================================================
``GET /``                   the process: pid, Python, where it runs, since when
``GET /status``             the transition under way, how the last one ended, the taints; ``?watch=5``: measure how late
                            threads come to run, for so many seconds from now on
``GET /tasks``              each thread, and some hundred asyncio tasks: where it stands; ``?callers=1``;
                            ``?greenlets=1``: those that are switched out too, which takes a look through the heap
``POST /status/reverse``    have the transition under way taken back; ``force``, ``signal`` alike
``GET /patches``            the stack of applied patches, oldest first
``POST /patches``           load; ``{"patch": base64, "timeout": 15.0, "deep": false, …}``
``GET /patches/NAME``       one of them
``DELETE /patches/NAME``    unload; ``?timeout=15&deep=0``
``POST /portrait``          what the process runs; ``{"modules": […], "packages": […]}``
``POST /traces``            trace functions; ``{"patterns": […], "notrace": […], "size": 65536}``
``GET /traces/NAME``        its next records; ``?known=12`` functions that the client has
``DELETE /traces/NAME``     trace no more; what was recorded can still be read
=========================== ==================================================================

A load, unload, portrait or begin of a trace is answered line by line (``application/x-ndjson``): its events as they
happen, and then ``{"result": report}`` or ``{"error": {…}}``. Where it is refused before anything happened, the answer
is a plain one with the error's own status.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from http import HTTPStatus
from typing import Any

from pylivepatch import errors
from pylivepatch.agent import options
from pylivepatch.agent.ticker import Watch
from pylivepatch.agent.traces import LARGEST_TRACE, TRACE_SIZE
from pylivepatch.agent.wire import BadRequest, Request
from pylivepatch.agent.work import Engine, Work, Worker

LONGEST_WATCH = 60.0  # seconds


class Routes:
    """Answers requests with a status and a JSON value, or with :class:`Work` whose outcome is the answer."""

    def __init__(self, engine: Engine, worker: Worker) -> None:
        self._engine = engine
        self._worker = worker
        self._started = time.monotonic()
        self._watch: Watch | None = None  # of all clients that watch

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
        elif request.path in ("/status/reverse", "/status/force", "/status/signal"):
            methods = {"POST": self._ask}
        elif request.path == "/tasks":
            methods = {"GET": self._tasks}
        elif request.path == "/patches":
            methods = {"GET": self._patches, "POST": self._load}
        elif request.path == "/portrait":
            methods = {"POST": self._portrait}
        elif request.path == "/traces":
            methods = {"POST": self._trace}
        elif request.path.startswith("/traces/") and request.path != "/traces/":
            methods = {"GET": self._read_trace, "DELETE": self._stop_trace}
        elif request.path.startswith("/patches/") and request.path != "/patches/":
            methods = {"GET": self._patch, "DELETE": self._unload}
        else:
            raise BadRequest(
                HTTPStatus.NOT_FOUND,
                f"there is no {request.path}",
                "there are /, /status, /status/reverse (and force, signal), /tasks, /patches, /patches/NAME, "
                "/portrait, /traces and /traces/NAME",
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

    def _status(self, request: Request) -> tuple[HTTPStatus, Any]:
        current = self._worker.current
        work = {"action": current.action, "patch": current.patch} if current else None
        taints = [taint.as_dict() for taint in self._engine.taints()]
        state = {"transition": self._engine.status(), "work": work, "last": self._worker.last, "taints": taints}
        if partial := [patch.name for patch in self._engine.patches() if patch.as_dict().get("partial")]:
            state["partial"] = partial
        if "watch" in request.query:
            state["ticker"] = self._watched(request.query["watch"])
        return HTTPStatus.OK, state

    def _watched(self, text: str) -> dict[str, Any]:
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= LONGEST_WATCH:
            raise BadRequest(
                HTTPStatus.BAD_REQUEST, f"watch={text} makes no sense", f"it is seconds, up to {LONGEST_WATCH:g}"
            )
        self._watch = self._worker.ticker.watch(seconds, instead=self._watch)
        return self._watch.as_dict()

    def _tasks(self, request: Request) -> tuple[HTTPStatus, Any]:
        asked = {name: request.query.get(name) == "1" for name in ("callers", "greenlets")}
        answer: dict[str, Any] = {"tasks": self._engine.everyone(**asked)}
        if about := self._engine.about_greenlets():
            answer["greenlets"] = about
        return HTTPStatus.OK, answer

    def _ask(self, request: Request) -> tuple[HTTPStatus, Any]:
        what = request.path.rpartition("/")[2]
        if what == "signal":
            return HTTPStatus.OK, {"asked": what, "woken": self._engine.signal()}
        status = self._engine.reverse() if what == "reverse" else self._engine.force()
        return HTTPStatus.OK, {"asked": what, "transition": status}

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
        chosen = options.from_json(body, but=("patch",), flags=("replace",))
        patch = body.get("patch")
        if not isinstance(patch, str):
            raise BadRequest(
                HTTPStatus.BAD_REQUEST, "the body has no patch", "patch is a compiled patch in base64"
            )
        return self._worker.load(patch, chosen)

    def _unload(self, request: Request) -> Work:
        name = request.path.removeprefix("/patches/")
        return self._worker.unload(name, options.from_query(request.query))

    def _portrait(self, request: Request) -> Work:
        body = request.json()
        modules, packages = body.pop("modules", []), body.pop("packages", None)
        for names in (modules, [] if packages is None else packages):
            if body or not _is_list_of_names(names):
                raise BadRequest(
                    HTTPStatus.BAD_REQUEST,
                    "a portrait is asked for by modules and packages",
                    "both are lists of names; packages may be null, for all",
                )
        return self._worker.portrait(modules, packages)

    def _trace(self, request: Request) -> Work:
        body = request.json()
        patterns, notrace, size = body.pop("patterns", []), body.pop("notrace", []), body.pop("size", TRACE_SIZE)
        right = _is_list_of_names(patterns) and _is_list_of_names(notrace) and type(size) is int
        if body or not right or not patterns or not 1 <= size <= LARGEST_TRACE:
            raise BadRequest(
                HTTPStatus.BAD_REQUEST,
                "a trace is asked for by patterns, notrace and size",
                f"the first two are lists of text, the first not empty; size is from 1 to {LARGEST_TRACE} records",
            )
        return self._worker.trace(patterns, notrace, size)

    def _read_trace(self, request: Request) -> tuple[HTTPStatus, Any]:
        known = request.query.get("known", "0")
        if not known.isdecimal():
            raise BadRequest(HTTPStatus.BAD_REQUEST, f"known={known} makes no sense", "it is a number of functions")
        return HTTPStatus.OK, self._worker.traces.read(request.path.removeprefix("/traces/"), int(known))

    def _stop_trace(self, request: Request) -> tuple[HTTPStatus, Any]:
        return HTTPStatus.OK, self._worker.traces.stop(request.path.removeprefix("/traces/"))


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


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

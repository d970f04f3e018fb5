"""The client of an agent: what the command line uses, and any program may.

It does for the target what would cost the target time: it compiles the patch, with its own Python where that
makes the same bytecode, else in a helper process of the target's interpreter. Errors of the engine come back
as the exceptions that :mod:`pylivepatch.errors` has for them.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pylivepatch import errors
from pylivepatch.agent import discovery
from pylivepatch.errors import AgentError, LivePatchError
from pylivepatch.patch import Patch

if TYPE_CHECKING:
    from pylivepatch.tracing.records import Record
    from pylivepatch.verification import Live

OnEvent = Callable[[Mapping[str, Any]], None]
ANSWER_TIMEOUT = 10.0  # seconds for an answer that takes the agent no time
_PORTRAIT = 60.0  # seconds between two parts of a portrait, in a process that computes with all its threads
_TRACE = 60.0  # seconds until a tracing has begun: each function takes some milliseconds
_GRACE = 30.0  # seconds on top of a transition's time-out: for preparing it and for taking it back


class Client:
    """Talks to one agent. Each call is a connection of its own: nothing needs closing.

    ``pid`` or ``path`` (of the socket) says whose. Every method raises
    :class:`~pylivepatch.errors.AgentNotFound` where there is no agent, and
    :class:`~pylivepatch.errors.AgentError` where it does not answer.
    """

    def __init__(self, pid: int | None = None, *, path: str | os.PathLike[str] | None = None) -> None:
        if (pid is None) == (path is None):
            raise TypeError("name the process by pid, or by the path of its socket")
        self.pid = pid
        self.path = os.path.abspath(path) if path is not None else ""

    def info(self) -> dict[str, Any]:
        """The process: ``pid``, ``python``, ``executable``, ``optimize``, ``magic``, ``argv`` and more."""
        return self._get("/")

    def patches(self) -> list[dict[str, Any]]:
        """The stack of applied patches, oldest first, as ``Applied.as_dict()`` gives them."""
        found: list[dict[str, Any]] = self._get("/patches")["patches"]
        return found

    def status(self, *, watch: float | None = None) -> dict[str, Any]:
        """``transition`` under way or ``None``, ``work`` that the agent is at, how the ``last`` ended, ``taints``.

        With ``watch`` a ticker goes on for so many seconds, and ``ticker`` says what it saw since it began: ``worst``,
        the longest time in seconds by which a thread of the process came to run too late, ``at`` which time, ``ticks``.
        """
        return self._get("/status" if watch is None else f"/status?watch={watch:g}")

    def everyone(self, *, callers: bool = False, greenlets: bool = False) -> dict[str, Any]:
        """As :meth:`tasks` in ``tasks``, and with ``greenlets`` those that are switched out. These are found by a look
        through the heap, which holds every thread meanwhile. Where the process has imported greenlet, ``greenlets``
        says how many are ``asleep``, for how many seconds the last look ``held`` everybody, and whether they are
        ``readable`` in that ``version`` of greenlet.
        """
        return self._get(f"/tasks?callers={callers:d}&greenlets={greenlets:d}")

    def tasks(self, *, callers: bool = False) -> list[dict[str, Any]]:
        """Each thread and some hundred asyncio tasks: ``kind``, ``name``, ``function``, ``file``, ``line``.

        With ``callers`` also the other functions that it is in, innermost first.
        """
        found: list[dict[str, Any]] = self._get("/tasks?callers=1" if callers else "/tasks")["tasks"]
        return found

    def load(
        self,
        patch: Patch | str | os.PathLike[str],
        *,
        timeout: float = 15.0,
        on_event: OnEvent | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Compile a patch for the process and load it there. Returns the engine's report.

        ``options`` are those of :func:`pylivepatch.load`: ``deep``, ``mode``, ``gate``, ``suspended``, ``replace``,
        ``incremental``.

        ``on_event`` gets each event as a dict (``{"event": "drain", …}``) while it happens. Going away in the
        midst of it, by an exception of ``on_event`` or ``KeyboardInterrupt``, does not stop it.

        :raises pylivepatch.errors.PatchFileError: the file is no patch
        :raises pylivepatch.errors.CompileError: the target's Python cannot compile it
        :raises pylivepatch.errors.PrepareError: the process refused it; nothing was touched
        :raises pylivepatch.errors.TransitionTimeout: it did not finish in time and was reversed
        :raises pylivepatch.errors.PartlySwitched: ``incremental``, and neither completed nor taken back
        """
        shipped = self._compile(patch)
        body = {"patch": base64.b64encode(shipped).decode(), "timeout": timeout, **options}
        return self._stream("POST", "/patches", json.dumps(body), timeout, on_event)

    def unload(
        self, name: str, *, timeout: float = 15.0, on_event: OnEvent | None = None, **options: Any
    ) -> dict[str, Any]:
        """Take a patch out again. Returns the engine's report. ``options`` as for :meth:`load`.

        :raises pylivepatch.errors.NotApplied: there is no such patch
        :raises pylivepatch.errors.TransitionTimeout: it did not finish in time; the patch stays applied
        :raises pylivepatch.errors.PartlySwitched: as for :meth:`load`
        """
        query = urlencode({"timeout": timeout, **options})
        return self._stream("DELETE", f"/patches/{quote(name, safe='')}?{query}", None, timeout, on_event)

    def portrait(self, modules: Sequence[str] = (), packages: Sequence[str] | None = None) -> Live:
        """What the process runs: see :func:`pylivepatch.live.portrait`, whose arguments these are.

        :raises pylivepatch.errors.TargetBusy: a transition is under way there
        """
        from pylivepatch.verification import Live

        lines: list[Mapping[str, Any]] = []
        body = json.dumps({"modules": list(modules), "packages": None if packages is None else list(packages)})
        self._stream("POST", "/portrait", body, _PORTRAIT, lines.append)
        return Live.of(lines)

    def trace(self, patterns: Sequence[str], *, notrace: Sequence[str] = (), size: int = 1 << 16) -> Tracing:
        """Begin to trace the functions whose ``module.qualname`` matches: see :func:`pylivepatch.trace`.

        It ends with :meth:`Tracing.stop`, or when nobody has read it for a few seconds.

        :raises pylivepatch.errors.NothingToTrace: no function of an imported module matches
        :raises pylivepatch.errors.TargetBusy: a transition is under way there
        """
        body = json.dumps({"patterns": list(patterns), "notrace": list(notrace), "size": size})
        return Tracing(self, self._stream("POST", "/traces", body, _TRACE, None))

    def reverse(self) -> dict[str, Any]:
        """Have the transition under way taken back. Returns what it was.

        :raises pylivepatch.errors.NoTransition: none is under way
        """
        return self._request_json("POST", "/status/reverse")

    def force(self) -> dict[str, Any]:
        """Have the transition under way switch now: see :func:`pylivepatch.force`. Raises as :meth:`reverse`."""
        return self._request_json("POST", "/status/force")

    def signal(self) -> list[str]:
        """Wake who sleeps and holds the transition; returns whom. Raises as :meth:`reverse`."""
        woken: list[str] = self._request_json("POST", "/status/signal")["woken"]
        return woken

    def _compile(self, patch: Patch | str | os.PathLike[str]) -> bytes:
        from pylivepatch import compiled, patchfile

        if not isinstance(patch, Patch):
            patchfile.read(patch)  # say what is wrong with the file before asking the process anything
        target = self.info()
        optimize = int(target["optimize"])
        if target["magic"] == importlib.util.MAGIC_NUMBER.hex():
            read = patch if isinstance(patch, Patch) else patchfile.read(patch)
            return compiled.compile_patch(read, optimize=optimize, spread=True).to_bytes()
        if not isinstance(patch, Patch):
            return compiled.compile_with(target["executable"], os.fspath(patch), optimize=optimize)
        with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder:
            path = os.path.join(folder, "patch.plp")
            patchfile.write(patch, path)
            return compiled.compile_with(target["executable"], path, optimize=optimize)

    # --- HTTP -----------------------------------------------------------------------------------------------

    @contextmanager
    def _request(
        self, method: str, target: str, body: str | None, timeout: float
    ) -> Iterator[http.client.HTTPResponse]:
        if self.pid is not None:
            sock, self.path = discovery.open_process(self.pid)
        else:
            sock = discovery.open_socket(self.path)
        sock.settimeout(timeout)
        connection = _Connection(sock)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            yield connection.getresponse()
        except _Callers as error:
            raise error.error from None
        except TimeoutError as error:
            raise discovery.hangs(self.path) from error
        except (OSError, http.client.HTTPException) as error:
            raise AgentError(
                f"the connection to the agent broke: {error or type(error).__name__}",
                where=self.path,
                advice="see whether the process still runs",
            ) from error
        finally:
            connection.close()

    def _get(self, target: str) -> dict[str, Any]:
        return self._request_json("GET", target)

    def _request_json(self, method: str, target: str) -> dict[str, Any]:
        with self._request(method, target, "{}" if method == "POST" else None, ANSWER_TIMEOUT) as response:
            value = self._object(response.read())
        if response.status != 200:
            raise error_from(value.get("error"), self.path)
        return value

    def _stream(
        self, method: str, target: str, body: str | None, timeout: float, on_event: OnEvent | None
    ) -> dict[str, Any]:
        with self._request(method, target, body, timeout + _GRACE) as response:
            while line := response.readline():
                value = self._object(line)
                is_event = "event" in value  # which may have an `error` of its own, such as a callback's
                if "error" in value and not is_event:
                    raise error_from(value["error"], self.path)
                if "result" in value and not is_event:
                    report: dict[str, Any] = value["result"]
                    return report
                if on_event is not None:
                    try:
                        on_event(value)
                    except OSError as error:
                        raise _Callers(error) from error
        raise AgentError(
            "the agent's answer ended in the middle",
            where=self.path,
            advice="the process may have ended; if it runs, its status tells how this went",
        )

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AgentError(
                "the answer is none of an agent's",
                where=self.path,
                advice="name the socket of a pylivepatch agent",
                details={"answer": data[:200].decode(errors="replace")},
            )
        return value


class Tracing:
    """A tracing in another process. ``functions``, ``names``, ``refused`` and ``lost`` are those of
    :class:`pylivepatch.tracing.Tracer`; ``ended`` says that there is no more to read.
    """

    def __init__(self, client: Client, begun: Mapping[str, Any]) -> None:
        from pylivepatch.tracing.records import Traced

        self._client, self._path = client, f"/traces/{begun['trace']}"
        self.functions = [Traced(*function) for function in begun["functions"]]
        self.refused: dict[str, str] = dict(begun["refused"])
        self.names: dict[int, tuple[str, int]] = {}
        self.lost = 0
        self.ended = False

    def read(self) -> list[Record]:
        """The next records, none where there are none yet. Raises :class:`~pylivepatch.errors.NoTrace` where it was not
        read for too long.
        """
        from pylivepatch.tracing.records import Record, Traced

        found = self._client._get(f"{self._path}?known={len(self.functions)}")
        self.functions += [Traced(*function) for function in found["functions"]]
        self.names |= {int(ident): (name, native) for ident, (name, native) in found["threads"].items()}
        self.lost, self.ended = found["lost"], found["ended"]
        return [Record(number, at, tuple(who), kind, f) for number, at, who, kind, f in found["records"]]

    def stop(self) -> None:
        """Take the hooks out of the process. What was recorded can still be read."""
        self._client._request_json("DELETE", self._path)


class _Callers(Exception):
    """An error of ``on_event``'s own, which is not the connection's."""

    def __init__(self, error: OSError) -> None:
        self.error = error


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = sock

    def connect(self) -> None:
        raise ConnectionResetError("it was closed")


def agents() -> Iterator[Client]:
    """A client for each agent of this user, by process id. Sockets that dead processes left are removed.

    :raises pylivepatch.errors.AgentError: a runtime folder is there and is not safe
    """
    for path in discovery.sockets():
        yield Client(path=path)


def error_from(value: Any, where: str) -> LivePatchError:
    """The exception that ``LivePatchError.as_dict()`` came from; an unknown one keeps its code."""
    if not isinstance(value, dict) or not isinstance(value.get("message"), str):
        return AgentError(
            "the agent refused without a reason", where=where, details={"answer": repr(value)[:200]}
        )
    kind = getattr(errors, str(value.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, LivePatchError)):
        kind = AgentError if str(value.get("code", "")).startswith("PLP4") else LivePatchError
    details = value.get("details")
    details = details if isinstance(details, dict) else {}
    error: LivePatchError = kind(
        value["message"],
        where=str(value.get("where") or ""),
        advice=str(value.get("advice") or ""),
        code=str(value.get("code") or kind.code),
        details=details,
    )
    if isinstance(error, errors.TransitionTimeout):
        error.holders = tuple(details.get("holders", ()))
    return error

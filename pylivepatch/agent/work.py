"""Loads and unloads on behalf of clients: one at a time, on a thread that lives no longer than the work.

The agent's thread goes on answering meanwhile. What the engine tells (its events) and what came of it go into
a queue that the agent's thread empties. A client that goes away takes nothing with it: the work goes on to
its end, the patch is applied or everything is as it was, and :attr:`Worker.last` keeps which.

An event can come from a thread of the application, between two of its calls: the queue takes no lock, and
turning the event into JSON is left to the agent's thread.
"""

from __future__ import annotations

import binascii
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from pylivepatch import errors, events
from pylivepatch.agent import native
from pylivepatch.agent.ticker import Ticker, Watch
from pylivepatch.agent.traces import Tracer, Traces

log = logging.getLogger("pylivepatch.agent")


class Engine(Protocol):
    """What the agent needs of the engine: :mod:`pylivepatch.core`, and the reading of a shipped patch."""

    def load(self, patch: Any, **options: Any) -> Any: ...
    def unload(self, name: str, **options: Any) -> dict[str, Any]: ...
    def patches(self) -> tuple[Any, ...]: ...
    def status(self) -> dict[str, Any] | None: ...
    def taints(self) -> tuple[Any, ...]: ...
    def reverse(self) -> dict[str, Any]: ...
    def force(self) -> dict[str, Any]: ...
    def signal(self) -> list[str]: ...
    def everyone(self, *, callers: bool, greenlets: bool) -> list[dict[str, Any]]: ...
    def about_greenlets(self) -> dict[str, Any] | None: ...
    def portrait(self, modules: Sequence[str], packages: Sequence[str] | None) -> Iterator[dict[str, Any]]: ...
    def trace(self, patterns: Sequence[str], notrace: Sequence[str], size: int) -> Tracer:
        """Begin a tracing: a :class:`pylivepatch.tracing.Tracer` that was started."""

    def decode(self, data: bytes) -> Any:
        """Read what ``CompiledPatch.to_bytes`` gave. Raises ``WrongPython`` for code that cannot run here."""


class Part:
    """A part of a portrait, on its way to the client."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value

    def as_dict(self) -> dict[str, Any]:
        return self._value


class Work:
    """One load, unload or portrait. ``on_item`` of the agent's thread gets its events and then its outcome."""

    def __init__(self, action: str, patch: str, run: Callable[[Work], Mapping[str, Any]]) -> None:
        self.action = action
        self.patch = patch
        self.run = run
        self.items: deque[events.Event | Part | Outcome] = deque()
        self.abandoned = False  # in a forked child: the thread that did this work is not there

    @property
    def title(self) -> str:
        if self.action in ("portrait", "trace"):
            return f"a {self.action}"
        return f"the {self.action} of {self.patch or 'another patch'}"


class Outcome:
    """How a piece of work ended: the engine's report, or the error."""

    def __init__(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self.status = status
        self.value = value


class Worker:
    """Runs one :class:`Work` at a time. ``wake`` is called from any thread after each item."""

    def __init__(self, engine: Engine, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._wake = wake
        self.traces = Traces()
        self.ticker = Ticker()
        self.current: Work | None = None
        self.last: dict[str, Any] | None = None

    def load(self, data: str, options: Mapping[str, Any]) -> Work:
        """Load a patch in the form that ``CompiledPatch.to_bytes`` gives, as base64. ``options`` of the engine's."""

        def run(work: Work) -> Mapping[str, Any]:
            try:
                shipped = binascii.a2b_base64(data, strict_mode=True)
            except ValueError as error:
                raise errors.AgentError(f"the patch is no base64: {error}") from None
            patch = self._engine.decode(shipped)
            work.patch = str(patch.name)
            report: Mapping[str, Any] = self._engine.load(patch, **options).report
            return report

        return self._start(Work("load", "", run))

    def unload(self, name: str, options: Mapping[str, Any]) -> Work:
        return self._start(Work("unload", name, lambda _work: self._engine.unload(name, **options)))

    def portrait(self, modules: Sequence[str], packages: Sequence[str] | None) -> Work:
        """Have the process portray itself, part by part."""

        def run(work: Work) -> Mapping[str, Any]:
            for part in self._engine.portrait(modules, packages):
                if work.abandoned:
                    break
                work.items.append(Part(part))
                self._wake()
            return {}

        return self._start(Work("portrait", "", run))

    def trace(self, patterns: Sequence[str], notrace: Sequence[str], size: int) -> Work:
        """Begin a tracing: its outcome says under which name :attr:`traces` has it."""
        return self._start(
            Work("trace", "", lambda _work: self.traces.add(self._engine.trace(patterns, notrace, size)))
        )

    def _start(self, work: Work) -> Work:
        if self.current is not None:
            busy = self.current
            raise errors.TargetBusy(
                f"this process is busy: {busy.title} is under way",
                advice="ask for its status, and come back when it is done",
            )
        self.current = work
        try:
            native.start_thread(partial(self._run, work), f"pylivepatch-{work.action}")
        except RuntimeError as error:
            self.current = None
            raise errors.EngineUnsupported(
                f"this process begins no thread any more: {error}",
                advice="nothing can be loaded or unloaded here now. CPython 3.12 refuses threads once the main thread "
                "has ended: let it wait for the others (thread.join()) from the next start on",
            ) from None
        except BaseException:
            self.current = None
            raise
        return work

    def _run(self, work: Work) -> None:
        def on_event(event: events.Event) -> None:
            if not work.abandoned and event.patch == work.patch:
                work.items.append(event)
                self._wake()

        unsubscribe = events.subscribe(on_event)
        watch = self.ticker.watch() if self.ticker.runs else None  # somebody watches: tell what was seen meanwhile
        try:
            report = work.run(work)
            outcome = Outcome(HTTPStatus.OK, {"result": dict(report) | _seen(watch)})
        except BaseException as error:  # also SystemExit of a patch's own code: the client must hear of it
            outcome = Outcome(status_of(error), {"error": error_as_dict(error)})
            outcome.value["error"]["details"] |= _seen(watch)
            if not isinstance(error, errors.LivePatchError):
                log.exception("%s of %s failed", work.action, work.patch)
        finally:
            unsubscribe()
            if watch is not None:
                self.ticker.end(watch)
        if work.action not in ("portrait", "trace"):  # no answer to how the last change of the process ended
            self.last = {"action": work.action, "patch": work.patch, "time": time.time(), **outcome.value}
        work.items.append(outcome)  # the agent's thread clears ``current`` when it takes this up
        self._wake()



def _seen(watch: Watch | None) -> dict[str, Any]:
    return {} if watch is None else {"ticker": watch.as_dict()}


_STATUS: tuple[tuple[type[BaseException], HTTPStatus], ...] = (
    (errors.NotApplied, HTTPStatus.NOT_FOUND),
    (errors.TransitionTimeout, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.PartlySwitched, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.TargetBusy, HTTPStatus.CONFLICT),
    (errors.PatchExists, HTTPStatus.CONFLICT),
    (errors.WrongPython, HTTPStatus.CONFLICT),
    (errors.NotRemovable, HTTPStatus.CONFLICT),
    (errors.NoTransition, HTTPStatus.CONFLICT),
    (errors.NothingToTrace, HTTPStatus.NOT_FOUND),
    (errors.NoTrace, HTTPStatus.NOT_FOUND),
    (errors.TransitionReversed, HTTPStatus.CONFLICT),
    (errors.EngineUnsupported, HTTPStatus.NOT_IMPLEMENTED),
    (errors.PrepareError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.CompileError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.PatchFileError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.AgentError, HTTPStatus.BAD_REQUEST),
)


def status_of(error: BaseException) -> HTTPStatus:
    return next(
        (status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
    )


def error_as_dict(error: BaseException) -> dict[str, Any]:
    """The error for the wire. The holders of a ``TransitionTimeout`` go into details."""
    if not isinstance(error, errors.LivePatchError):
        return errors.LivePatchError(
            f"an error that should not happen: {type(error).__name__}: {error}",
            advice="the traceback is in the target's log; please report it",
        ).as_dict()
    shape = error.as_dict()
    if isinstance(error, errors.TransitionTimeout):
        shape["details"].setdefault("holders", [_holder(holder) for holder in error.holders])
    return shape


def _holder(holder: Any) -> Any:
    return holder.as_dict() if hasattr(holder, "as_dict") else holder

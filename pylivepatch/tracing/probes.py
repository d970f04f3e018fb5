"""Return probes in the manner of the kernel's kretprobes: Python handlers that see single calls, whole.

A tracer keeps for each entry and exit a number and the time. A probe calls a handler when a probed function has ended,
with what it was called with and what came of it; and another one, if there is one, when it begins.

>>> with pylivepatch.probe("myservice.orders.place", handler=look):               # doctest: +SKIP
...     work()

The two ends of a call are brought together by the frame that executes it, which is the same at both, for generators
and coroutines, too. Only its ``id`` is kept: nothing of a probe keeps a frame, or code, alive. That costs nothing in
certainty, as the interpreter keeps the frame object, once it was asked for, for as long as the frame lives.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import time
import traceback
from _thread import get_ident
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

from pylivepatch import journal
from pylivepatch.activeness.functions import unwrap
from pylivepatch.errors import NothingToTrace
from pylivepatch.tracing import attach
from pylivepatch.tracing.functions import find, name_of
from pylivepatch.tracing.records import Who
from pylivepatch.tracing.tracer import who_runs
from pylivepatch.transition.insist import insist

log = logging.getLogger("pylivepatch")

Handler = Callable[["Call"], object]

_PATIENCE = 5.0  # seconds that the start of a probe waits for a transition that is under way
_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_in_handler: set[object] = set()
"""Who executes a handler: what it calls is not probed. Each by :func:`_runner`."""


class Call:
    """One call of a probed function.

    ``function`` is its ``module.qualname``. ``arguments`` are its parameters' values by name, as they were bound at the
    entry. ``who`` called: the thread's ident, then kind and name of the task or greenlet, empty for neither. ``data``
    is the entry handler's, to hand on. Where the call has ended, ``return_value`` is what it returned or ``exception``
    what it raised, and ``duration`` the nanoseconds between entry and exit.
    """

    __slots__ = ("_began", "arguments", "data", "duration", "exception", "function", "return_value", "who")

    def __init__(self, function: str, arguments: dict[str, Any], who: Who) -> None:
        self.function = function
        self.arguments = arguments
        self.who = who
        self.data: Any = None
        self.return_value: Any = None
        self.exception: BaseException | None = None
        self.duration = 0
        self._began = 0

    def __repr__(self) -> str:
        return f"<Call of {self.function} by {self.who[2] or self.who[0]}>"


class _Signature(NamedTuple):
    name: str
    parameters: tuple[str, ...]
    keywords: str  # the name of ``**keywords``
    suspends: bool


class Probe:
    """Calls handlers for the calls of functions, between :meth:`start` and :meth:`stop`.

    ``nmissed`` counts calls that were not told: made by a handler, while ``maxactive`` others were under way, or so
    deep in a recursion that there was no room for a handler. ``errors`` counts what a handler raised, which ends the
    probe. ``aside`` are the functions that are not probed for now, as they are being patched, ``refused`` those that
    cannot be, with the reason.
    """

    values = True

    def __init__(
        self, handler: Handler | None = None, *, entry_handler: Handler | None = None, maxactive: int = 4096
    ) -> None:
        if handler is None and entry_handler is None:
            raise TypeError("a probe needs a handler, an entry_handler, or both")
        for given in (handler, entry_handler):
            if given is not None and not callable(given):
                raise TypeError(f"a handler must be callable, not {type(given).__name__}")
        self.handler, self.entry_handler, self.maxactive = handler, entry_handler, maxactive
        self.functions: list[str] = []
        self.refused: dict[str, str] = {}
        self.aside: set[str] = set()
        self.nmissed = 0
        self.errors = 0
        self._enabled = True
        self._active: dict[int, Call] = {}  # by the id of the frame

    def start(self, functions: Iterable[FunctionType]) -> None:
        """Probe these, too, also after a :meth:`stop`. Those that cannot be are in :attr:`refused`, with the reason.

        Raises :class:`TargetBusy` where a transition is under way for longer than a few seconds.
        """
        self._enabled = not self.errors
        chosen = []
        for function in dict.fromkeys(functions):
            if function.__module__ == "pylivepatch" or str(function.__module__).startswith("pylivepatch."):
                self.refused[name_of(function)] = "a handler may not run in the midst of pylivepatch's own work"
            else:
                chosen.append(function)

        def work(_undertaking: Any) -> None:
            self.refused |= attach.attach(self, chosen)

        journal.perform("the start of a probe", work, patience=_PATIENCE)

    def stop(self) -> None:
        """Probe no more. The functions have their own code again; of calls that are under way nothing is told."""
        insist(lambda: attach.detach(self))
        self.silence()

    # --- what :mod:`pylivepatch.tracing.attach` calls ---

    def hooks(self, function: FunctionType) -> Mapping[str, Callable[..., object]]:
        signature = _signature_of(function)
        if signature.name not in self.functions:
            self.functions.append(signature.name)
        ends: tuple[Callable[..., None], ...] = (self._enter, self._return, self._raise)
        hooks = {slot: partial(self._hit, end, signature) for slot, end in zip(attach.SLOTS, ends, strict=True)}
        return {**hooks, "on_abandon": self._abandon}

    def set_aside(self, functions: Collection[FunctionType]) -> None:
        self.aside.update(map(name_of, functions))

    def resumed(self, functions: Collection[FunctionType]) -> None:
        self.aside.difference_update(map(name_of, functions))

    def silence(self) -> None:
        self._enabled = False
        self._active.clear()

    # --- what the hooks call, between an entry and an exit of the traced code ---

    def _hit(self, end: Callable[..., None], signature: _Signature, value: Any = None) -> None:
        """One end of a call. Nothing that is raised in a handler gets into the call but what is no ``Exception``: that
        may well be the program's own, as an interrupt is."""
        now = time.perf_counter_ns()
        me = _runner()
        if me in _in_handler:
            self._miss(end, signature, me)
            return
        try:
            _in_handler.add(me)  # before all else: what audit hooks call may be probed
            end(id(sys._getframe(2)), signature, now, value)
        except Exception as error:
            if _is_of_the_programs_depth(error):
                self.nmissed += self._enabled
            else:
                self._fail(signature)
        finally:
            _in_handler.discard(me)

    def _enter(self, frame: int, signature: _Signature, _now: int, values: tuple[Any, ...]) -> None:
        self._active.pop(frame, None)  # of one that an interrupt kept from all its exits
        if not self._enabled:
            return
        if len(self._active) >= self.maxactive:
            self.nmissed += 1
            return
        who = who_runs()
        arguments = dict(zip(signature.parameters, values, strict=True))
        if signature.keywords:
            arguments[signature.keywords] = dict(arguments[signature.keywords])  # the body may change its own
        call = Call(signature.name, arguments, who if isinstance(who, tuple) else (who, "", ""))
        if self.entry_handler is not None:
            self.entry_handler(call)
        if self.handler is not None:
            self._active[frame] = call
            call._began = time.perf_counter_ns()

    def _return(self, frame: int, _signature: _Signature, now: int, value: Any) -> None:
        call = self._active.pop(frame, None)
        if call is not None:
            call.return_value = value
            self._tell(call, now)

    def _raise(self, frame: int, _signature: _Signature, now: int, _value: None) -> None:
        call = self._active.pop(frame, None)
        if call is not None:
            call.exception = sys.exception()
            self._tell(call, now)

    def _tell(self, call: Call, now: int) -> None:
        if self._enabled and self.handler is not None:
            call.duration = now - call._began
            self.handler(call)

    def _abandon(self) -> None:
        self._active.pop(id(sys._getframe(2)), None)

    def _miss(self, end: Callable[..., None], signature: _Signature, me: object) -> None:
        """A handler called it; or a handler, or the collector in its midst, closed a generator that began before."""
        if end == self._enter:
            self.nmissed += self._enabled
        elif signature.suspends and (me, "closing") not in _in_handler:
            try:
                _in_handler.add((me, "closing"))  # an audit hook is told of the next line, and may call what is probed
                if self._active.pop(id(sys._getframe(3)), None) is not None:
                    self.nmissed += self._enabled
            finally:
                _in_handler.discard((me, "closing"))

    def _fail(self, signature: _Signature) -> None:
        self.errors += 1
        self._enabled = False
        with suppress(Exception):
            # As text: a log that keeps the exception would keep frames, and the next transition.
            text = traceback.format_exc()
            log.error("a handler raised for %s; its probe tells nothing any more\n%s", signature.name, text)


def _is_of_the_programs_depth(error: Exception) -> bool:
    """Whether the stack was full for what the program has on it, not for what a handler put on top: a program may well
    recurse until it is told to stop, and no handler is to blame for it."""
    if not isinstance(error, RecursionError):
        return False
    ours, at = 0, error.__traceback__
    while at is not None:
        ours, at = ours + 1, at.tb_next
    return ours < sys.getrecursionlimit() // 2


def _runner() -> object:
    """Who runs: a handler may let another greenlet run on this thread, which is in none."""
    current = getattr(sys.modules.get("greenlet"), "getcurrent", None)
    return get_ident() if current is None else (get_ident(), id(current()))


def _signature_of(function: FunctionType) -> _Signature:
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = code.co_varnames[:count]
    keywords = names[-1] if code.co_flags & inspect.CO_VARKEYWORDS else ""
    return _Signature(name_of(function), names, keywords, bool(code.co_flags & _SUSPENDS))


@contextmanager
def probe(
    *functions: str | Callable[..., Any],
    handler: Handler | None = None,
    entry_handler: Handler | None = None,
    notrace: Iterable[str] = (),
    maxactive: int = 4096,
) -> Iterator[Probe]:
    """Call ``handler`` with a :class:`Call` at each exit of these functions, and ``entry_handler`` at each entry.

    ``functions`` are functions, or patterns for their ``module.qualname``; those that match one of ``notrace`` are left
    out. ``maxactive`` is how many calls may be under way at once; others are counted in ``nmissed``. A handler that
    raises ends the probe and is logged; the call goes on. What a handler itself calls is not probed.

    Raises :class:`NothingToTrace` where no function matches, :class:`TypeError` where no handler is given or one cannot
    be called, and what :meth:`Probe.start` raises.
    """
    one = Probe(handler, entry_handler=entry_handler, maxactive=maxactive)
    patterns = [thing for thing in functions if isinstance(thing, str)]
    chosen = find(patterns, notrace) if patterns else []
    for thing in functions:
        if not isinstance(thing, str):
            chosen += unwrap(thing)
    if not chosen:
        raise NothingToTrace(
            "nothing that was named is, or matches, a Python function of an imported module",
            where=", ".join(map(str, functions)),
            advice="name Python functions themselves, or patterns for their module.qualname, such as "
            "'myservice.orders.*'; functions written in C and classes cannot be probed, a class's methods can",
        )
    try:
        one.start(chosen)
        yield one
    finally:
        one.stop()


def _after_fork() -> None:
    _in_handler.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

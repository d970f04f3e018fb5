"""What is under way: one load or unload at a time, and none is left half-way.

An interrupt (Ctrl-C, an exception that another thread sets) may strike between any two instructions, also between
those that should see to the end of what was begun. So each undertaking is noted with the frame that carries it out and
the steps that end it. Where that frame is no longer executing the undertaking was cut off, and whoever looks next takes
the steps that are left. No lock: one that is taken in the instruction before the interrupt would stay taken for good.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import call
from types import FrameType
from typing import Any, Protocol, TypeVar

from pylivepatch.errors import PrepareError, TargetBusy
from pylivepatch.transition.insist import insist

T = TypeVar("T")
PATCHES, ARRIVALS = "patches", "arrivals"
"""Two queues: an arriving module is switched beside a load that is under way, as its importer must not wait."""

_NESTED: Any = [call] * 60  # C functions that call one another
_ROOM = 150  # calls of Python functions, one in the other, that an undertaking may make

_REST_BOUND = 0.1  # seconds that a fork waits, at most

_undertakings: list[Undertaking] = []
"""Oldest first. Of those of one queue the first whose frame executes has its turn."""


class UnderWay(Protocol):
    """What is read and asked of a transition, or of what has several in turn."""

    @property
    def resting(self) -> bool: ...
    def status(self) -> dict[str, Any]: ...
    def ask(self, request: str) -> None: ...
    def wake(self) -> list[str]: ...
    def settle_after_fork(self) -> None: ...


@dataclass(eq=False)
class Undertaking:
    """One load, unload or arrival. ``ending`` are the steps that end it, last first; each may be repeated."""

    what: str
    queue: str
    frame: FrameType | None
    thread: int = field(default_factory=threading.get_ident)
    transition: UnderWay | None = None
    ending: list[Callable[[], None]] = field(default_factory=list)

    def unwind(self, depth: int = 0) -> None:
        """Take the steps that were noted after the first ``depth``, each to its end, whatever interrupts it."""
        insist(lambda: self._unwind(depth))

    def _unwind(self, depth: int) -> None:
        while len(self.ending) > depth:
            try:
                self.ending[-1]()
            except Exception:
                self.ending.pop()
                raise
            self.ending.pop()

    def is_executing(self) -> bool:
        """Whether its frame still is."""
        return self.frame is not None and is_executing(self.frame)


def is_executing(frame: FrameType) -> bool:
    """Whether the function still is, be it on a thread's stack or on a greenlet's that is switched out; not for the
    frames of generators. Where it has ended, its variables are let go.
    """
    executing = False
    try:
        frame.clear()
    except RuntimeError:  # what only an executing frame answers
        executing = True
    return executing


def perform(what: str, work: Callable[[Undertaking], T], *, queue: str = PATCHES, patience: float = 0.0) -> T:
    """Do ``work`` when it is its turn, and see to its end.

    Raises :class:`TargetBusy` where another undertaking of the queue has the turn for longer than ``patience``, in
    seconds. With patience one of this very thread is passed by: waiting for it would never end. Raises
    :class:`PrepareError` where the stack is too deep for it: half-way it could neither go on nor back.
    """
    try:
        _descend(_ROOM)
    except RecursionError:
        raise PrepareError(
            f"the recursion limit is near: fewer than {_ROOM} calls are left",
            where=what,
            advice="nothing was touched; call it from a thread of its own, or with a higher sys.setrecursionlimit()",
        ) from None
    mine = Undertaking(what, queue, sys._getframe())
    _undertakings.append(mine)
    try:
        _take_turn(mine, patience)
        return work(mine)
    except BaseException as error:
        let_go(error)
        raise
    finally:
        try:
            insist(lambda: _end(mine))
        except BaseException as error:
            let_go(error)
            raise


def _descend(calls: int) -> None:
    """Fail where there is no room for so many calls, and for those of C functions in them, whose limit is another."""
    if calls:
        _descend(calls - 1)
    else:
        partial(*_NESTED, int)()


def under_way() -> Undertaking | None:
    """The load or unload that has its turn."""
    return next((u for u in tuple(_undertakings) if u.queue == PATCHES and u.is_executing()), None)


def settle() -> None:
    """End what was cut off, if anything was."""
    if not _cut_off():
        return
    with suppress(TargetBusy):  # whoever has the turn has done it
        perform("settling", lambda mine: None)


def _cut_off() -> list[Undertaking]:
    """Those whose frame has ended before they did."""
    # One that ends by itself at this moment is taken out before its frame ends: it is looked for second.
    return [u for u in tuple(_undertakings) if not u.is_executing() and u in _undertakings]


def _before_fork() -> None:
    """Let a transition's thread come to rest, for a bounded time: in a child its variables would hold code for ever."""
    until = time.monotonic() + _REST_BOUND
    while time.monotonic() < until and any(_is_at_work(u) for u in tuple(_undertakings)):
        time.sleep(0.0005)


def _is_at_work(undertaking: Undertaking) -> bool:
    resting = undertaking.transition is not None and undertaking.transition.resting
    return not resting and undertaking.thread != threading.get_ident() and undertaking.is_executing()


def _after_fork() -> None:
    """In the child: undertakings of other threads were cut off, and their transitions are settled at once.

    What else ends them waits for who looks next: a fork is no moment to run callbacks. One of the thread that forked
    goes on.
    """
    for undertaking in tuple(_undertakings):
        if undertaking.thread == threading.get_ident():
            continue
        undertaking.frame = None
        if undertaking.transition is not None:
            undertaking.transition.settle_after_fork()


def _take_turn(mine: Undertaking, patience: float) -> None:
    until = time.monotonic() + patience
    while (other := _before(mine)) is not None:
        if patience and other.thread == mine.thread:
            break
        if time.monotonic() >= until:
            raise TargetBusy(
                f"another transition is under way: {other.what}",
                where=mine.what,
                advice="wait until `pylivepatch status` shows none, then try again",
            )
        time.sleep(0.001)
    if mine.queue == PATCHES:  # one at a time, as each step is to be taken once
        for undertaking in _cut_off():
            _end(undertaking)


def _before(mine: Undertaking) -> Undertaking | None:
    for other in tuple(_undertakings):
        if other is mine:
            return None
        if other.queue == mine.queue and other.is_executing():
            return other
    return None


def let_go(error: BaseException) -> None:
    """Clear our frames that it keeps: their variables would hold old code, and the next transition, for as long."""
    seen: set[int] = set()
    errors = [error]
    while errors:
        one = errors.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        errors += [other for other in (one.__cause__, one.__context__) if other is not None]
        trace = one.__traceback__
        while trace is not None:
            if str(trace.tb_frame.f_globals.get("__name__")).startswith("pylivepatch."):
                with suppress(RuntimeError):  # it is executing
                    trace.tb_frame.clear()
            trace = trace.tb_next


def _end(undertaking: Undertaking) -> None:
    undertaking.unwind()
    with suppress(ValueError):  # by whoever was faster
        _undertakings.remove(undertaking)
    undertaking.frame = None  # it has a variable for the undertaking: a cycle


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)

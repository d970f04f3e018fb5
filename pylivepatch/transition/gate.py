"""The gate: for functions that are never idle.

A counter that must reach 0 by itself starves. With a mean of L callers inside, the chance that nobody is inside at a
given moment is e^-L: at L = 20 it never comes. So new *outermost* entries are kept waiting, for a bounded time, while
those inside finish.

* Whoever is inside already is never kept: it holds the counter, and would wait for itself. Inside is also the child of
  one who is (:mod:`pylivepatch.transition.inside`).
* Coroutines wait by awaiting, so their event loop runs on. One that no task awaits, as somebody drives it by hand, is
  not kept: what it yielded would reach nobody who knows it. A synchronous function is never kept on a thread that runs
  an event loop, nor in a greenlet whose hub is not known: those inside could not finish.
* Nobody waits longer than ``bound`` seconds in one try, whatever happens; then the gate opens. So a deadlock that the
  gate could make (somebody inside waits for one who is kept) ends with the bound. Later tries back off.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from pylivepatch.activeness.greenlets import name_of
from pylivepatch.transition.inside import Inside, caller_is_inside, loop_is_running, note_entry, task_awaits
from pylivepatch.transition.swap import Question
from pylivepatch.transition.tally import Tally

if TYPE_CHECKING:
    import asyncio

_TOGETHER = 2  # callers who are woken by one
_POLL = 0.001  # seconds between two looks of a waiting greenlet


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A task or greenlet that waits, since when (``time.time()``), and the id of the code that it is to enter.

    The stacks of threads show who waits there; to these it may be that nothing leads.
    """

    kind: str
    who: Any
    since: float
    code: int

    @property
    def name(self) -> str:
        if self.kind == "greenlet":
            return name_of(self.who)
        return self.who.get_name() if self.who is not None else ""


class _Try:
    """One closing of the gate."""

    def __init__(self, bound: float) -> None:
        self.ends = time.monotonic() + bound
        self.is_open = False
        # Under gevent's monkey patching they are gevent's: greenlets wait as they should.
        self.kept: deque[threading.Event] = deque()
        self.waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self.there: set[_Kept] = set()
        self.waits = 0
        self.first = 0.0

    def begin(self) -> None:
        """Somebody begins to wait."""
        self.first = self.first or time.monotonic()
        self.waits += 1

    def let_on(self) -> None:
        """Wake the next few of those who are kept; each of them wakes the next few.

        All at once they would want the GIL together, and keep everybody else from it for milliseconds.
        """
        for _ in range(_TOGETHER):
            try:
                self.kept.popleft().set()
            except IndexError:
                return

    def wait(self) -> None:
        """Until it opens or its time is up."""
        mine = threading.Event()
        self.kept.append(mine)
        try:
            # Noted, then looked at: pairs with open(), which says that it is open and then looks who is noted.
            if not self.is_open:
                mine.wait(max(0.0, self.ends - time.monotonic()))
        finally:
            try:
                self.kept.remove(mine)
            except ValueError:  # it was woken, and is to wake others, whatever becomes of it
                self.let_on()


class Gate:
    """One transition's gate. ``codes`` are its trampolines, ``tally`` counts who asks.

    ``waits``, ``longest`` (seconds) and ``tries`` say what it did.
    """

    def __init__(self, bound: float, codes: Inside, tally: Tally | None = None) -> None:
        self.bound = bound
        self.tries = 0
        self.waits = 0
        self.longest = 0.0
        self._codes = codes
        self._tally = tally
        self._try: _Try | None = None
        self.question = Question([1], self._attend, self._attend_awaiting)

    def close(self) -> None:
        self.tries += 1
        self._try = _Try(self.bound)

    def open(self) -> None:
        """Let everyone go on. Harmless where it is open."""
        current, self._try = self._try, None
        if current is None:
            return
        if current.waits:
            self.waits += current.waits
            self.longest = max(self.longest, min(time.monotonic(), current.ends) - current.first)
        current.is_open = True
        current.let_on()
        for loop, future in tuple(current.waiting):
            try:
                loop.call_soon_threadsafe(_release, future)
            except RuntimeError:  # the loop was closed meanwhile, and with it what waited
                continue

    def stop(self) -> None:
        """Ask no more: the transition has ended."""
        self.question.asking[0] = 0
        self.open()

    def kept(self, code: CodeType) -> list[tuple[str, str, float]]:
        """The tasks and greenlets that wait to enter a trampoline: kind, name, and since when (``time.time()``)."""
        current = self._try
        there = tuple(current.there) if current is not None else ()
        return [(one.kind, one.name, one.since) for one in there if one.code == id(code)]

    def as_dict(self) -> dict[str, float]:
        """JSON-able: what it did in the tries that are over; ``longest_wait`` in seconds."""
        return {"tries": self.tries, "waits": self.waits, "longest_wait": self.longest}

    # --- in the callers -----------------------------------------------------------------------------------

    def _attend(self, enter: Callable[[], Any]) -> Any:
        if not self.question.asking[0]:
            return enter()
        if self._tally is not None:
            self._tally.note()
        current = self._try
        if current is not None and not loop_is_running() and not self._is_inside(sys._getframe(1)):
            current.begin()
            _wait(current, id(sys._getframe(1).f_code))
        note_entry()
        return enter()

    async def _attend_awaiting(self) -> bool:
        if self._tally is not None:
            self._tally.note()
        current = self._try
        if current is not None and task_awaits(sys._getframe(1)) and not self._is_inside(sys._getframe(1)):
            import asyncio  # imported already, as its loop is running; a process without it must not pay

            current.begin()
            loop = asyncio.get_running_loop()
            entry = (loop, loop.create_future())
            kept = _Kept("task", asyncio.current_task(), time.time(), id(sys._getframe(1).f_code))
            current.waiting.add(entry)
            current.there.add(kept)
            try:
                if self._try is current:
                    await asyncio.wait((entry[1],), timeout=max(0.0, current.ends - time.monotonic()))
            finally:
                current.waiting.discard(entry)
                current.there.discard(kept)
        note_entry()
        return False

    def _is_inside(self, frame: FrameType) -> bool:
        return caller_is_inside(frame, self._codes)


def codes_that_keep() -> set[int]:
    """The ids of the code by which the gate is asked: whoever has called it has not entered yet."""
    return {id(function.__code__) for function in (Gate._attend, Gate._attend_awaiting)}


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wait(current: _Try, code: int) -> None:
    """Wait on this thread until the gate opens or the bound is hit, without keeping other greenlets."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None or (greenlet.getcurrent().parent is None and not _is_patched_by_gevent()):
        return current.wait()
    kept = _Kept("greenlet", greenlet.getcurrent(), time.time(), code)
    current.there.add(kept)
    try:
        _wait_in_greenlet(current)
    finally:
        current.there.discard(kept)


def _wait_in_greenlet(current: _Try) -> None:
    if _is_patched_by_gevent():
        return current.wait()
    hub_of = getattr(sys.modules.get("gevent.hub"), "get_hub_if_exists", None) or getattr(
        sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None
    )
    if hub_of is None or hub_of() is None:
        return  # plain greenlets: those inside can only finish if this thread goes on
    gevent = sys.modules["gevent"]
    while not current.is_open and time.monotonic() < current.ends:
        gevent.sleep(_POLL)


def _is_patched_by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))

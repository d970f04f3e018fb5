"""The ticker: how late a thread of this process comes to run, while somebody wants to know.

A thread that asks to run each millisecond, and notes by how much it was late. What it saw, any other thread that had
something to do at that moment would have seen: whatever held the GIL, a switch of the patch, a computation of the
application or a long C call, and the system's own delays. It cannot tell them apart.

It lives while somebody watches, and a transition that begins meanwhile has it to its end; then it ends by itself. At
any other time there is no thread and no cost. What falls between two ticks is seen less the rest of the interval, so by
up to a millisecond less.
"""

from __future__ import annotations

import time
from typing import Any

from pylivepatch.agent import native

INTERVAL = 0.001  # seconds between two ticks


class Watch:
    """What one who watches has seen so far: ``worst`` in seconds, and ``at`` which ``time.time()``; ``ticks``."""

    __slots__ = ("at", "since", "ticks", "until", "worst")

    def __init__(self, until: float) -> None:
        self.since = time.time()
        self.until = until  # time.monotonic()
        self.ticks = 0
        self.worst = 0.0
        self.at = self.since

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "interval": INTERVAL,
            "since": self.since,
            "ticks": self.ticks,
            "worst": self.worst,
            "at": self.at,
        }


class Ticker:
    """The ticker of this process. Each method may be called on any thread."""

    def __init__(self) -> None:
        self._lock = native.new_lock()  # between the last look at who watches and the thread's end
        self._watches: tuple[Watch, ...] = ()
        self.runs = False

    def watch(self, seconds: float = float("inf"), *, instead: Watch | None = None) -> Watch:
        """Tick from now on, for so long or until :meth:`end`. ``instead`` goes on where it has not ended.

        :raises RuntimeError: there is no thread to be had
        """
        until = time.monotonic() + seconds
        with self._lock:
            if instead is not None and instead in self._watches:
                instead.until = until
                return instead
            watch = Watch(until)
            self._watches += (watch,)
            if not self.runs:
                self.runs = True
                try:
                    native.start_thread(self._run, "pylivepatch-ticker")
                except BaseException:
                    self._watches, self.runs = (), False
                    raise
        return watch

    def end(self, watch: Watch) -> None:
        """Tick no more for this one. What it has seen stays in it."""
        with self._lock:
            self._watches = tuple(one for one in self._watches if one is not watch)

    def _run(self) -> None:
        sleep = native.sleep()
        while self._goes_on():
            before = time.perf_counter()
            sleep(INTERVAL)
            late = max(0.0, time.perf_counter() - before - INTERVAL)
            for watch in self._watches:
                watch.ticks += 1
                if late > watch.worst:
                    watch.worst, watch.at = late, time.time()

    def _goes_on(self) -> bool:
        """Whether anybody still watches. If not, the next one begins another thread."""
        with self._lock:
            now = time.monotonic()
            if any(watch.until <= now for watch in self._watches):
                self._watches = tuple(watch for watch in self._watches if watch.until > now)
            self.runs = bool(self._watches)
            return self.runs

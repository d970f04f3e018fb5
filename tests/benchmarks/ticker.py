"""A thread that sleeps 0.5 ms at a time and notes how late it wakes: what everyone in the process has to bear."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 0.0005  # seconds


class Ticker:
    """Runs until :meth:`stop`."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        clock, sleep = time.perf_counter, time.sleep
        before = clock()
        while not self._stop:
            sleep(TICK)
            now = clock()
            self._late.append(now - before - TICK)
            before = now

    def worst(self, action: Callable[[], Any]) -> float:
        """The worst delay while ``action`` runs, in seconds."""
        return self.worst_of(action)[0]

    def worst_of(self, action: Callable[[], T]) -> tuple[float, T]:
        """The same, and what it gives."""
        self._late.clear()
        result = action()
        time.sleep(4 * TICK)  # the tick under way at the end belongs to it
        return max(self._late, default=0.0), result

    def stop(self) -> None:
        self._stop = True
        self._thread.join()

"""Calls that come at random: a Poisson process of arrivals, each of which stays inside for an exponential time.

This is the queue that books call M/M/∞. With a mean of L callers inside, the number of those inside at an instant has
a Poisson distribution, so the chance that there is nobody is e^-L; and how long it takes on the average until there is
nobody for the first time has a closed form, too (:func:`mean_until_empty`).
"""

from __future__ import annotations

import math
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

STAY = 0.01  # seconds inside, on the average


@dataclass(frozen=True, slots=True)
class Call:
    """``began`` to ``ended`` its caller counts; of that ``inside`` is the body's. ``version`` answered."""

    began: float
    ended: float
    inside: tuple[float, float]
    version: int

    @property
    def added(self) -> float:
        """What the call took beside its body."""
        return (self.ended - self.began) - (self.inside[1] - self.inside[0])


class Callers:
    """Threads that call ``functions`` until :meth:`stop`, with a mean of ``concurrency`` inside all of them."""

    def __init__(self, functions: Sequence[Callable[[float], Any]], concurrency: float, *, seed: int) -> None:
        self._functions = functions
        self._rate = concurrency / STAY
        self._random = random.Random(seed)
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: list[tuple[float, float, Any]] = []
        self._stop = False
        # As many as may be inside, and those who pile up before a closed gate.
        count = int(concurrency + 6 * math.sqrt(concurrency) + 10 + 0.05 * self._rate)
        self._threads = [threading.Thread(target=self._work, name=f"caller-{n}", daemon=True) for n in range(count)]
        self._threads.append(threading.Thread(target=self._arrive, name="arrivals", daemon=True))
        for thread in self._threads:
            thread.start()

    def _arrive(self) -> None:
        due = time.perf_counter()
        while not self._stop:
            due += self._random.expovariate(self._rate)
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            self._calls.put((self._random.choice(self._functions), self._random.expovariate(1 / STAY)))
        for _ in self._threads:
            self._calls.put(None)

    def _work(self) -> None:
        clock, done = time.perf_counter, self._done.append
        while (call := self._calls.get()) is not None:
            function, seconds = call
            call = None
            began = clock()
            answer = function(seconds)
            done((began, clock(), answer))
            function = None

    def calls(self, begin: float = -math.inf, end: float = math.inf) -> list[Call]:
        """Those that ended and were under way in that time (``time.perf_counter()``)."""
        finished = [Call(b, e, inside, version) for b, e, (version, *inside) in list(self._done)]
        return [call for call in finished if call.ended > begin and call.began < end]

    def forget(self) -> None:
        self._done.clear()

    def stop(self) -> None:
        self._stop = True
        for thread in self._threads:
            thread.join()


def occupancy(calls: Sequence[Call], begin: float, end: float) -> tuple[float, float]:
    """The mean number inside from ``begin`` to ``end``, and the share of the time with nobody inside."""
    changes = sorted(
        (min(max(at, begin), end), step) for call in calls for at, step in zip(call.inside, (1, -1), strict=True)
    )
    inside, empty, area, before = 0, 0.0, 0.0, begin
    for at, step in (*changes, (end, 0)):
        area += inside * (at - before)
        empty += (at - before) * (not inside)
        inside, before = inside + step, at
    return area / (end - begin), empty / (end - begin)


def mean_until_empty(concurrency: float, stay: float = STAY) -> float:
    """Seconds until nobody is inside for the first time, on the average, from any moment (M/M/∞).

    From n inside to n - 1 it takes m(n) = stay/n + concurrency/n · m(n + 1) on the average.
    """
    most = int(concurrency + 20 * math.sqrt(concurrency) + 50)
    total, steps = 0.0, [0.0] * (most + 2)
    for n in range(most, 0, -1):
        steps[n] = stay / n + concurrency / n * steps[n + 1]
    chance, until = math.exp(-concurrency), 0.0  # of n inside, and the time from there
    for n in range(1, most + 1):
        chance *= concurrency / n
        until += steps[n]
        total += chance * until
    return total

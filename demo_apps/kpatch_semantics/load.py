"""Who calls the service: callers under load, customers that come and go on command, and the two on watch."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Self

import service
import watch

PATIENCE = 60.0  # seconds until the demo says that something does not come about


class Callers:
    """Threads that place orders all the time: each stays ``inside`` for a while, and ``outside`` (seconds)."""

    def __init__(self, count: int, inside: float, outside: float) -> None:
        self._till = partial(time.sleep, inside)
        self._outside = outside
        self._stop = threading.Event()
        self._calls = [0] * count
        self._wrong = [0] * count
        self._threads = [threading.Thread(target=self._run, args=(n,), name=f"caller-{n}") for n in range(count)]

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            charged = service.place(number + 1, self._till)
            self._calls[number] += 1
            self._wrong[number] += charged != service.right(number + 1)
            if self._outside:
                time.sleep(self._outside)

    @property
    def calls(self) -> int:
        return sum(self._calls)

    @property
    def wrong(self) -> int:
        """Calls that were charged a wrong amount: they ran functions of two versions."""
        return sum(self._wrong)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: all(self._calls), "every caller to have placed an order")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Ticker:
    """A thread that wants to run every millisecond, as a controller does. ``worst``: how late it was, in seconds."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker")

    def _run(self) -> None:
        while not self._stop.is_set():
            due = time.perf_counter() + 0.001
            time.sleep(0.001)
            self.worst = max(self.worst, time.perf_counter() - due)
            self._begun.set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait(PATIENCE)
        self.worst = 0.0
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


class Customer:
    """A thread that goes into ``place`` when it is told to, and stands there until it is told to leave.

    It lives until it goes ``home``: the report of a load names only threads that are alive.
    """

    def __init__(self, name: str) -> None:
        self.charged = 0
        self._inside, self._leave = threading.Event(), threading.Event()
        self._out, self._home = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        self.charged = service.place(1, self.pay)
        self._out.set()
        self._home.wait()

    def pay(self) -> None:
        self._inside.set()
        self._leave.wait()

    def enter(self) -> Self:
        self.thread.start()
        if not self._inside.wait(PATIENCE):
            raise TimeoutError(f"{self.thread.name} did not come to the till")
        return self

    def leave(self) -> None:
        self._leave.set()
        if not self._out.wait(PATIENCE):
            raise TimeoutError(f"{self.thread.name} did not get out")

    def go_home(self) -> None:
        self._leave.set()
        self._home.set()
        self.thread.join()


class Post:
    """The two on watch, each in its own thread. ``logs`` counts what they wrote."""

    def __init__(self) -> None:
        self.logs: Counter[tuple[str, str]] = Counter()
        self._stopping = False
        self._called = {name: threading.Semaphore(0) for name in ("day", "night")}
        self._arrived = {name: threading.Semaphore(0) for name in ("day", "night")}
        self._threads = [
            threading.Thread(target=self._run, args=("day", "night", watch.day_watch), name="day watch"),
            threading.Thread(target=self._run, args=("night", "day", watch.night_watch), name="night watch"),
        ]

    def _run(self, mine: str, other: str, function: Callable[[Callable[[], object]], watch.Log]) -> None:
        def relieved() -> None:
            self._arrived[mine].release()
            time.sleep(0.02)
            self._called[other].release()
            self._arrived[other].acquire()

        while True:
            self._called[mine].acquire()
            if self._stopping:
                return
            self.logs[function(relieved)] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._called["day"].release()
        self._arrived["day"].acquire()  # the first one relieves nobody
        wait_until(lambda: self.logs.total() > 2, "the watches to change")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping = True
        for semaphore in (*self._called.values(), *self._arrived.values()):
            semaphore.release(2)
        for thread in self._threads:
            thread.join()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again. Raises :class:`TimeoutError` where it does not come about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.002)

"""A big process: heap objects, suspended coroutines, threads and greenlets, as many as are asked for.

Coroutines are asyncio's tasks, three deep and waiting, on an event loop in a thread of its own. Threads wait in a lock,
ten calls deep; greenlets are switched out in a thread of their own, as deep. None of them has anything to do with the
functions that are patched: they are there to be looked at by those who look at everything.

What was made stays until the process ends; :func:`leave` ends it at once, as taking a million objects apart takes
longer than what was to be measured.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

_DEPTH = 10
_STACK = 256 * 1024  # bytes for each thread: enough, and a thousand of them do not take 8 GiB of address space


_kept: list[Any] = []
_forever = threading.Event()


def populate(*, objects: int = 0, coroutines: int = 0, threads: int = 0, greenlets: int = 0) -> None:
    """Make so many of each."""
    enabled = gc.isenabled()
    gc.disable()  # a collection after each ten thousand of them is what takes the time
    try:
        if coroutines:
            _in_thread("event loop", lambda ready: asyncio.run(_tasks(coroutines, ready)))
        if greenlets:
            if find_spec("greenlet") is None:
                raise SystemExit("greenlet is missing: pip install -e '.[bench]', or do without: --greenlets 0")
            _in_thread("greenlets", lambda ready: _greenlets(greenlets, ready))
        _threads(threads)
        if objects:
            _kept.append([[] for _ in range(objects)])
    finally:
        if enabled:
            gc.enable()
    gc.collect()  # so that all are old, as in a process that has run for a while


def _in_thread(name: str, work: Callable[[threading.Event], Any]) -> None:
    ready = threading.Event()
    threading.Thread(target=work, args=(ready,), name=name, daemon=True).start()
    ready.wait()


def _threads(count: int) -> None:
    before = threading.stack_size(_STACK)
    arrived = threading.Semaphore(0)
    try:
        for number in range(count):
            name = f"waiting-{number}"
            threading.Thread(target=_descend, args=(_DEPTH, _wait, arrived), name=name, daemon=True).start()
    finally:
        threading.stack_size(before)
    for _ in range(count):
        arrived.acquire()


def _wait(arrived: threading.Semaphore) -> None:
    arrived.release()
    _forever.wait()


def _greenlets(count: int, ready: threading.Event) -> None:
    import greenlet

    hub = greenlet.getcurrent()
    for _ in range(count):
        one = greenlet.greenlet(_descend)
        _kept.append(one)
        one.switch(_DEPTH, hub.switch, None)
    ready.set()
    _forever.wait()


def _descend(depth: int, at_the_bottom: Callable[[Any], Any], argument: Any) -> Any:
    if depth:
        return _descend(depth - 1, at_the_bottom, argument)
    return at_the_bottom(argument)


async def _tasks(count: int, ready: threading.Event) -> None:
    loop = asyncio.get_running_loop()

    async def request() -> None:
        await answer()

    async def answer() -> None:
        await row()

    async def row() -> None:
        await loop.create_future()

    tasks = [loop.create_task(request()) for _ in range(count)]
    await asyncio.sleep(0)  # each has run until it waits
    ready.set()
    await asyncio.wait(tasks[:1])


def leave(status: int = 0) -> None:
    """End the process without taking the population apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

"""The same work on many items, on all cores, where that is safe and pays.

Workers are forks: they have what they work on already, so nothing is sent to them and nothing is imported anew. A
process with threads, also with those that Python does not know of, is never forked: there, on systems that cannot tell,
and in multiprocessing's daemons the work is done on one core. So it is where a worker fails, whatever the reason: the
work is then done again from the start, and raises here what it raises.

A worker takes one number after another from a pipe that they all share, and sends what came of those items through a
pipe of its own. It never gets out of this module: it ends when there are no more numbers, with its first error, at an
interrupt, and, by the kernel's doing, with the process that it is a fork of.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import selectors
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
_Other = TypeVar("_Other")

_MOST = 256  # portions: a byte tells one from the other
_HEAD = 8  # bytes: the length of what follows; 0 for the end
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def usable() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_fork() -> bool:
    """Whether this process certainly has one thread, and may have children."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        return False
    return threads == 1 and sys.platform == "linux" and not multiprocessing.current_process().daemon


def on_all(work: Callable[[_T], _R], items: Sequence[_T], meanwhile: Callable[[], _Other]) -> tuple[list[_R], _Other]:
    """``work`` on each item, on all usable cores, and what ``meanwhile`` gives, which runs here.

    What ``work`` gives must be picklable, and ``work`` without effects: it may be done twice. Raises what one of them
    raises.
    """
    done = _by_workers(work, items, meanwhile) if len(items) > 1 else None
    return done if done is not None else ([work(item) for item in items], meanwhile())


def by_workers(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R] | None:
    """``work`` on each item, but ``None`` where it is for one core, or raised something: nothing is done here again."""
    done = _by_workers(work, items, lambda: None) if len(items) > 1 else None
    return done[0] if done is not None else None


def aside(work: Callable[[], _R]) -> tuple[_R] | None:
    """What ``work`` gives in a fork, of which nothing else is left: not its memory either, which takes time to free.
    ``None`` as with :func:`by_workers`.
    """
    done = _by_workers(lambda _: work(), (None,), lambda: None)
    return (done[0][0],) if done is not None else None


def _by_workers(
    work: Callable[[_T], _R], items: Sequence[_T], meanwhile: Callable[[], _Other]
) -> tuple[list[_R], _Other] | None:
    if usable() < 2 or not can_fork():
        return None
    workers = _Workers(work, items)
    try:
        workers.start(min(usable(), len(items)))
        other = meanwhile()
        return workers.results(), other
    except Exception:  # what is wrong with the work itself is raised where it is done again
        return None
    finally:
        workers.end()


class _Workers:
    """The forks for one piece of work."""

    def __init__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> None:
        import ctypes  # not in processes that only have this module

        self._work, self._items = work, items
        self._portions = min(_MOST, len(items))
        self._prctl = ctypes.CDLL(None).prctl
        self._pipes: dict[int, int] = {}  # of each process that has not ended: where its results come from

    def start(self, count: int) -> None:
        numbers, give = os.pipe()
        os.write(give, bytes(range(self._portions)))
        os.close(give)
        try:
            for _ in range(count):
                self._fork(numbers, os.getpid())
        finally:
            os.close(numbers)

    def _fork(self, numbers: int, here: int) -> None:
        read, write = os.pipe()
        # An interrupt in a fork, before it has come to where it ends, would unwind the callers' frames there too.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pid = os.fork()
            if not pid:
                self._be_one(numbers, write, mask, here)
            self._pipes[pid] = read
        except OSError:
            os.close(read)
            raise
        finally:
            os.close(write)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _be_one(self, numbers: int, write: int, mask: set[int], parent: int) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            with open(write, "wb") as pipe:
                while os.getppid() == parent and (number := os.read(numbers, 1)):
                    results = [self._work(item) for item in self._items[number[0] :: self._portions]]
                    data = pickle.dumps((number[0], results), pickle.HIGHEST_PROTOCOL)
                    pipe.write(len(data).to_bytes(_HEAD, "big") + data)
                    pipe.flush()
                pipe.write(bytes(_HEAD))
        finally:
            os._exit(0)  # whatever was raised: what it has not said says enough

    def results(self) -> list[Any]:
        """What came of each item. Raises ``EOFError`` where a worker ended before it was to."""
        found: list[Any] = [None] * len(self._items)
        with selectors.DefaultSelector() as ready:
            for pid, pipe in self._pipes.items():
                ready.register(pipe, selectors.EVENT_READ, pid)
            while self._pipes:
                for key, _ in ready.select():
                    data = _exactly(key.fd, int.from_bytes(_exactly(key.fd, _HEAD), "big"))
                    if data:
                        number, results = pickle.loads(data)  # from a fork of this process
                        found[number :: self._portions] = results
                    else:
                        ready.unregister(key.fd)
                        self._end(key.data)
        return found

    def end(self) -> None:
        """End those that work still."""
        for pid in list(self._pipes):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._end(pid)

    def _end(self, pid: int) -> None:
        os.close(self._pipes.pop(pid))
        with suppress(ChildProcessError):  # this process may have its children reaped by somebody else
            os.waitpid(pid, 0)


def _exactly(pipe: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = os.read(pipe, size - len(data))
        if not more:
            raise EOFError("a worker ended before its work did")
        data += more
    return bytes(data)

"""The same work on many items, on all cores, where that is safe and pays.

Workers are forks: they have what they work on already, so nothing is sent to them and nothing is imported anew. A
process with threads, also with those that Python does not know of, is never forked: there, on systems that cannot tell,
and in multiprocessing's daemons the work is done on one core. So it is where a worker fails, whatever the reason: the
work is then done again from the start, and raises here what it raises.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")
_Other = TypeVar("_Other")

_job: tuple[Callable[[Any], Any], Sequence[Any]] | None = None  # what the workers find when they are forked


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


def on_all(
    work: Callable[[_T], _R], items: Sequence[_T], meanwhile: Callable[[], _Other]
) -> tuple[list[_R], _Other]:
    """``work`` on each item, on all usable cores, and what ``meanwhile`` gives, which runs here.

    What ``work`` gives must be picklable, and ``work`` without effects: it may be done twice. Raises what one of them
    raises.
    """
    global _job
    if usable() > 1 and len(items) > 1 and can_fork():
        from concurrent.futures import ProcessPoolExecutor

        _job = work, items
        try:
            fork = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(min(usable(), len(items)), mp_context=fork) as pool:
                found = pool.map(_one, range(len(items)))
                other = meanwhile()
                return list(found), other
        except Exception:  # what is wrong with the work itself is raised below
            pass
        finally:
            _job = None
    return [work(item) for item in items], meanwhile()


def _one(index: int) -> Any:
    assert _job is not None
    work, items = _job
    return work(items[index])

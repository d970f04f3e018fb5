"""Every frame that could execute, at one instant: an iterator that runs no Python code.

Exhausted in one C call it sees threads, and everything suspended that the heap's objects lead to, as they are between
two instructions of anybody. That is what ``stop_machine()`` gives the kernel; it takes as long as there are frames and
objects.

What it cannot show: a frame that has not come to its first instruction, which the interpreter hides (while its cells or
its generator are made a garbage collection may come, up to 3.11, in whose finalizers threads change hands); and what
``gc.freeze`` has taken off the collector's lists. Reference counts include both; ``stop_machine.py`` says how it does
without.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import accumulate, chain, compress, repeat, starmap, takewhile
from operator import attrgetter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

_SUSPENDED = ((GeneratorType, "gi_frame"), (CoroutineType, "cr_frame"), (AsyncGeneratorType, "ag_frame"))


def every_frame(objects: list[Any]) -> Iterator[Any]:
    """All frames of threads, and all that ``objects`` (the heap's, filled in by then) suspend.

    The frame of a generator that runs comes twice: as its own and on the stack.
    """
    threads = chain.from_iterable(map(dict.values, starmap(sys._current_frames, [()])))
    found: list[Any] = []  # the few among the many: the heap is gone through once
    wanted = of_types([*greenlet_types(), *(kind for kind, _ in _SUSPENDED)], objects)
    greenlets = map(attrgetter("gr_frame"), of_types(greenlet_types(), found))
    suspended = [filter(None, map(attrgetter(name), of_types([kind], found))) for kind, name in _SUSPENDED]
    search: Iterator[Any] = filter(None, map(found.extend, (wanted,)))  # gives nothing
    return chain(_stacks(threads), search, _stacks(filter(None, greenlets)), *suspended)


def of_types(types: list[type], objects: list[Any]) -> Iterator[Any]:
    """Told by the types' ids: a metaclass may have a ``__hash__`` in Python, or none."""
    return compress(objects, map(set(map(id, types)).__contains__, map(id, map(type, objects))))


def _stacks(tops: Iterator[Any]) -> Iterator[Any]:
    """Each frame and those that called it: ``f_back`` of ``f_back`` until there is none."""
    starts = map(chain, zip(tops), repeat(repeat("f_back")))
    return chain.from_iterable(map(takewhile, repeat(bool), map(accumulate, starts, repeat(getattr))))


def greenlet_types() -> list[type]:
    """The type of greenlets and those derived from it; none where there is no greenlet."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return []
    types: list[type] = [greenlet.greenlet]
    for kind in types:
        types += type.__subclasses__(kind)
    return types

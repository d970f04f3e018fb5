"""Every frame that could execute, at one instant: an iterator that runs no Python code.

Exhausted in one C call it sees threads, and everything suspended that the heap's objects lead to, as they are between
two instructions of anybody. That is what ``stop_machine()`` gives the kernel; it takes as long as there are frames and
objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from itertools import accumulate, chain, compress, repeat, starmap, takewhile
from operator import attrgetter, contains
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

_SUSPENDED = ((GeneratorType, "gi_frame"), (CoroutineType, "cr_frame"), (AsyncGeneratorType, "ag_frame"))


def every_frame(objects: list[Any]) -> Iterator[Any]:
    """All frames of threads, and all that ``objects`` (the heap's, filled in by then) suspend.

    The frame of a generator that runs comes twice: as its own and on the stack.
    """
    threads = chain.from_iterable(map(dict.values, starmap(sys._current_frames, [()])))
    greenlet_types = _greenlet_types()
    greenlets = compress(objects, map(partial(contains, greenlet_types), map(type, objects)))
    sleeping = filter(None, map(attrgetter("gr_frame"), greenlets)) if greenlet_types else iter(())
    suspended = [
        filter(None, map(attrgetter(name), compress(objects, map(partial(contains, {kind}), map(type, objects)))))
        for kind, name in _SUSPENDED
    ]
    return chain(_stacks(threads), _stacks(sleeping), *suspended)


def _stacks(tops: Iterator[Any]) -> Iterator[Any]:
    """Each frame and those that called it: ``f_back`` of ``f_back`` until there is none."""
    starts = map(chain, zip(tops), repeat(repeat("f_back")))
    return chain.from_iterable(map(takewhile, repeat(bool), map(accumulate, starts, repeat(getattr))))


def _greenlet_types() -> set[type]:
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return set()
    types = [greenlet.greenlet]
    for kind in types:
        types += type.__subclasses__(kind)
    return set(types)

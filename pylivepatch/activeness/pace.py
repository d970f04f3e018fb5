"""Giving up the GIL on the way.

A thread that wants the GIL must wait the switch interval, 5 ms, before it may ask for it: whatever walks over things
that there are many of holds everybody for as long, again and again. So it gives the GIL up by itself, well within each
millisecond. But not much oftener: with threads that compute it gets it back only after each of them had its interval.
What is walked over changes meanwhile: only what need not be of one instant may be walked like this.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_PARTS = 64
_AT_ONCE = 2_000  # objects let go of between two offers of the GIL


def give_way() -> None:
    """Let the other threads run."""
    time.sleep(0)


def paced(items: Iterable[T], every: int) -> Iterator[T]:
    """The same items, with the GIL given up after each ``every`` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            del item  # it may be a code object, or a frame: a reference too many
            time.sleep(0)


class Met:
    """Which objects were met before, told by identity. They stay alive meanwhile, so that no id is used again.

    In many small dicts: one that grows to 100,000 entries holds everybody for milliseconds as it is resized, and again
    as it goes.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[dict[int, Any]] = [{} for _ in range(_PARTS)]

    def is_new(self, thing: Any) -> bool:
        """Whether ``thing`` was not met before; from now on it was."""
        address = id(thing)
        part = self._parts[(address >> 6) % _PARTS]
        if address in part:
            return False
        part[address] = thing
        return True

    def forget(self) -> None:
        """Let go of them all, and give up the GIL on the way."""
        gone = 0
        for part in self._parts:
            gone += len(part)
            part.clear()
            if gone >= _AT_ONCE:
                gone = 0
                give_way()


def let_go(things: deque[Any]) -> None:
    """Empty it, and give up the GIL on the way."""
    while len(things) > _AT_ONCE:
        for _ in range(_AT_ONCE):
            things.pop()
        give_way()
    things.clear()

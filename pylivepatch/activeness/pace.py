"""Giving up the GIL on the way.

A thread that wants the GIL must wait the switch interval, 5 ms, before it may ask for it: whatever walks over things
that there are many of holds everybody for as long, again and again. So it gives the GIL up by itself, well within each
millisecond. What is walked over changes meanwhile: only what need not be of one instant may be walked like this.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def give_way() -> None:
    """Let the other threads run."""
    time.sleep(0)


def paced(items: Iterable[T], every: int) -> Iterator[T]:
    """The same items, with the GIL given up after each ``every`` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            time.sleep(0)

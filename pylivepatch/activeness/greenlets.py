"""Greenlets that are switched out, and the frames that they sleep in: for people who watch, never for a decision.

Nothing leads to a greenlet but who has it, so they are found by a look through the heap: one C call, which holds
everybody for as long as there are objects. That is done only where whoever watches allows it, and rarely: a fiftieth of
the time at most. In between those that were found are looked at again, which holds nobody.

One that runs is on its thread's stack, and is seen there. One that was made since the last look is not seen.
"""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Iterator
from itertools import accumulate, chain, repeat, starmap, takewhile
from types import FrameType
from typing import Any

from pylivepatch.activeness.pace import paced
from pylivepatch.activeness.stacks import greenlet_types, of_types
from pylivepatch.commit import at_once, calls, note, read

_SLICE = 500  # greenlets counted between two offers of the GIL
_SHARE = 50  # the look takes no more than this part of the time
_SOONEST = 0.1  # seconds between two looks at least
_OLDEST = (3, 5)  # of older greenlets the frames of one that sleeps cannot be read safely on every Python


class Greenlets:
    """Those that were found. ``held`` is how long the last look held everybody, in seconds."""

    def __init__(self) -> None:
        self.held = 0.0
        self._found: list[weakref.ref[Any]] = []
        self._again = 0.0  # time.monotonic()

    def look(self) -> None:
        """Look through the heap for them, unless that was done just now."""
        if time.monotonic() < self._again or not can_be_read():
            return
        objects: list[Any] = []
        found: list[weakref.ref[Any]] = []
        times: list[float] = []
        wanted = of_types(greenlet_types(), objects)
        # One call: objects that were kept beyond it would outlive their owners, and be released on this thread.
        at_once(
            note(times),
            map(objects.extend, starmap(gc.get_objects, [()])),
            map(found.append, map(weakref.ref, wanted)),
            calls((objects.clear,)),
            note(times),
        )
        self.held = times[1] - times[0]
        self._found = found
        self._again = time.monotonic() + max(_SOONEST, _SHARE * self.held)

    def asleep(self) -> Iterator[Any]:
        """Those that are switched out. Whoever iterates lets go of each before asking for the next, and gives way."""
        for reference in paced(self._found, _SLICE):
            greenlet = reference()
            if greenlet is not None and greenlet.gr_frame is not None:
                yield greenlet
            del greenlet


known = Greenlets()
"""Of this process, as far as somebody who watches has asked for them."""


def version() -> str:
    """That of the library, if this process has imported it."""
    return str(getattr(sys.modules.get("greenlet"), "__version__", ""))


def can_be_read() -> bool:
    """Whether greenlets are there, and of a version whose sleeping frames can be read."""
    return tuple(int(part) for part in version().split(".")[:2] if part.isdecimal()) >= _OLDEST


def stack_of(greenlet: Any) -> list[FrameType]:
    """The frames that it sleeps in, innermost first, all of one instant; none where it runs, or is not alive."""
    top = greenlet.gr_frame
    return read(takewhile(bool, accumulate(chain((top,), repeat("f_back")), getattr))) if top is not None else []


def name_of(greenlet: Any) -> str:
    """The name that somebody gave it, as gevent does, or its address."""
    try:
        return str(getattr(greenlet, "name", "") or f"{id(greenlet):#x}")
    except Exception:  # gevent's are worked out, by code that fails where its parent is no hub any more
        return f"{id(greenlet):#x}"

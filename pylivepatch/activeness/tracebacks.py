"""Frames of calls that are over, which the traceback of a kept exception still has.

Such a frame refers to its code like one that executes, and it never executes again. CPython itself tells them apart: a
frame object is given to the garbage collector in the moment in which it outlives its call (``take_ownership`` in
``Python/frame.c``), and not before. So ``gc.is_tracked(frame)`` is false for every frame that executes, is suspended
or sleeps in a greenlet, and true for every one that is over. That is tried out on the running interpreter; where it
does not hold, no frame is taken to be over.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, ModuleType, TracebackType
from typing import Any

_DEPTH = 2_000  # frames and exceptions looked at from one root


def is_over(frame: FrameType) -> bool:
    """Whether the call that the frame belonged to has ended."""
    return _RELIABLE and gc.is_tracked(frame)


def being_handled() -> list[Any]:
    """The exceptions that threads handle now, and the one that the interactive interpreter keeps."""
    found: list[Any] = []
    for current in sys._current_exceptions().values():
        found.append(current[1] if isinstance(current, tuple) else current)  # an exc_info before 3.12
    return [*found, getattr(sys, "last_exc", None), getattr(sys, "last_value", None)]


def kept_by_modules() -> Iterator[Any]:
    """The exceptions and tracebacks that any module of the process keeps under a name: an import error, most often.

    Its frames are those of all modules that were being imported, and the code of a module's frame leads to that of all
    its functions.
    """
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            for value in list(vars(module).values()):
                if issubclass(type(value), BaseException | TracebackType):
                    yield value


def finished_frames(roots: Iterable[Any]) -> list[FrameType]:
    """The frames of calls that are over, which ``roots`` (exceptions, tracebacks, frames) lead to."""
    seen: set[int] = set()
    return [frame for root in roots for frame in _frames(root, seen) if is_over(frame)]


def _frames(root: Any, seen: set[int]) -> Iterator[FrameType]:
    left = [root]
    for _ in range(_DEPTH):
        if not left:
            return
        thing = left.pop()
        if thing is None or id(thing) in seen:
            continue
        seen.add(id(thing))  # whatever is seen is kept by its root
        if isinstance(thing, BaseException):
            left += [thing.__cause__, thing.__context__, thing.__traceback__]
            if isinstance(thing, BaseExceptionGroup):
                left += thing.exceptions
        elif isinstance(thing, TracebackType):
            left += [thing.tb_next, thing.tb_frame]
        elif isinstance(thing, FrameType) and gc.is_tracked(thing):  # else it executes, and so do those that called it
            left.append(thing.f_back)
            yield thing


def _calibrate() -> tuple[bool, int]:
    """Whether the rule holds here, and how many references to its code such a frame has."""

    def probe() -> FrameType:
        frame = sys._getframe()
        executing.append(gc.is_tracked(frame))
        return frame

    executing: list[bool] = []
    before = sys.getrefcount(probe.__code__)
    over = probe()
    return gc.is_tracked(over) and executing == [False], sys.getrefcount(probe.__code__) - before


_RELIABLE, REFERENCES = _calibrate()

"""The stacks of threads, in slices.

``sys._current_frames()`` gives the top frames of all threads, in time proportional to the threads. Once for each thread
would make that the square, so one answer serves for as many stacks as a slice has frames. No longer: over a slice the
GIL is kept, and at its end the frames are let go. One that was kept while its thread goes on outlives its function: it
keeps a reference to the code, which the check would take for somebody who executes it, and the variables of its
function, which would then be released on our thread.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from pylivepatch.activeness.pace import give_way, paced

_SLICE = 1_000  # frames between two offers of the GIL: less than half a millisecond


def stack_frames() -> Iterator[tuple[int, FrameType]]:
    """Each frame on the stack of a thread that runs, with the thread's ident. Gives up the GIL as it goes.

    Each stack is whole, and read at one instant; two of them may be of different slices. Whoever iterates lets go of
    each frame (``del``) before asking for the next, and goes on to the end.
    """
    tops = sys._current_frames()
    left = list(tops)
    walked = 0
    frame: FrameType | None = None
    try:
        while left:
            ident = left.pop()
            if walked >= _SLICE:
                tops.clear()
                walked = 0
                give_way()
                tops = sys._current_frames()
            frame = tops.pop(ident, None)  # of a thread that has ended: nothing
            while frame is not None:
                walked += 1
                yield ident, frame
                frame = frame.f_back
    finally:
        tops.clear()  # our own frame is in it, which would keep it in turn
        frame = None


def running_code() -> list[CodeType]:
    """The code of every frame on the stack of a thread, each once."""
    found: dict[int, CodeType] = {}
    for _, frame in stack_frames():
        code = frame.f_code
        if id(code) not in found and not is_ours(frame):
            found[id(code)] = code
        del frame, code
    return list(found.values())


def is_ours(frame: FrameType) -> bool:
    """Whether it is a frame of this package."""
    return str(frame.f_globals.get("__name__", "")).startswith("pylivepatch.")


def thread_names() -> dict[int | None, str]:
    """The names of the threads, by ident."""
    return {thread.ident: thread.name for thread in paced(threading.enumerate(), _SLICE)}


def event_loops() -> list[tuple[str, Any]]:
    """The name of the thread and the event loop, for each thread that runs one: the ``self`` of its ``run_forever``."""
    found: dict[int, tuple[int, Any]] = {}
    for ident, frame in stack_frames():
        if frame.f_code.co_name == "run_forever":
            loop = frame.f_locals.get("self")
            if hasattr(loop, "call_soon_threadsafe"):
                found[id(loop)] = ident, loop
        del frame
    names = thread_names() if found else {}
    return [(names.get(ident, f"thread {ident}"), loop) for ident, loop in found.values()]

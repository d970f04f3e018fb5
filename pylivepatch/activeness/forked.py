"""Threads that a fork left behind in the parent.

In a forked child only the thread that forked goes on. The frames of the others are never finished there, and the
references that these own are never given back: a function that another thread executed at the fork would look active in
the child for ever.

What they held is noted before each fork, from their stacks. The note alone proves nothing, as the other threads may
still run between it and the fork. So it is believed only where a look in the child, in one C call, comes to the same
number: references that no known holder, no live frame and nothing suspended explains. Otherwise the function goes on
counting as active. So does one that a generator of such a thread executes: somebody may still have that generator.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import starmap
from operator import attrgetter
from types import CodeType, FrameType
from typing import Any

from pylivepatch.activeness.references import Version, references_of_a_frame
from pylivepatch.activeness.stacks import every_frame
from pylivepatch.commit import at_once

_Notes = dict[int, tuple[weakref.ref[CodeType], int]]
"""By the id of a code object: the code, and how many frames of it."""

_noted: _Notes = {}
_left: _Notes = {}  # in a child: what was noted
_known: _Notes = {}  # what the child has found to be so


def frames_left_behind(codes: Iterable[CodeType]) -> dict[int, int]:
    """How many references to each code, by its id, frames of threads hold that are not there any more."""
    return {id(code): n for code in codes if (n := _number(_known, code))}


def work_out(versions: list[Version], excess: Callable[[list[int]], list[int]], probe: Iterable[int]) -> None:
    """Believe the note of each version for which it is what ``excess`` makes of ``probe`` less the live frames."""
    codes = {id(version.code) for version in versions if _number(_left, version.code)}
    if not codes:
        return
    objects: list[Any] = []
    seen: list[int] = []
    live: list[int] = []
    at_once(
        map(objects.extend, starmap(gc.get_objects, [()])),
        map(seen.append, probe),
        map(live.append, map(id, map(attrgetter("f_code"), every_frame(objects)))),
    )
    objects.clear()
    frames = Counter(live)
    for version, n in zip(versions, excess(seen), strict=True):
        code = version.code
        if id(code) in codes:
            unexplained = n - frames[id(code)] * references_of_a_frame(code)
            if unexplained == _number(_left, code):
                del _left[id(code)]
                _known[id(code)] = weakref.ref(code), unexplained + _number(_known, code)


def _number(notes: _Notes, code: CodeType) -> int:
    reference, n = notes.get(id(code), (None, 0))
    return n if reference is not None and reference() is code else 0


def _before_fork() -> None:
    _noted.clear()
    tops = sys._current_frames()
    tops.pop(threading.get_ident(), None)
    for top in tops.values():
        frame: FrameType | None = top
        while frame is not None:
            code = frame.f_code
            _noted[id(code)] = weakref.ref(code), _number(_noted, code) + references_of_a_frame(code)
            frame = frame.f_back


def _in_child() -> None:
    for key, (reference, n) in _noted.items():
        code = reference()
        if code is not None:
            _left[key] = reference, n + _number(_left, code)
    _noted.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_noted.clear, after_in_child=_in_child)

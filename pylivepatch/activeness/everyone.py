"""Who is there, and where each one stands: for people who watch, never for a decision."""

from __future__ import annotations

from types import FrameType
from typing import Any

from pylivepatch.activeness.tasks import frame_of, where_tasks_stand
from pylivepatch.activeness.threads import is_ours, stack_frames, thread_names


def everyone(most: int = 500) -> list[dict[str, Any]]:
    """Each thread, and at most so many asyncio tasks: ``kind``, ``name``, and ``function``, ``file``, ``line`` of where
    it stands, the innermost frame that is not of this package. JSON-able.

    Gives up the GIL as it goes: not of one instant.
    """
    names = thread_names()
    found: dict[int, dict[str, Any]] = {}
    for ident, frame in stack_frames():
        if ident not in found and not is_ours(frame):
            found[ident] = _one("thread", names.get(ident, f"thread {ident}"), frame)
        del frame
    result = list(found.values())
    for name, thing in where_tasks_stand(most):
        frame = frame_of(thing)
        if frame is not None:  # it has not finished
            result.append(_one("task", name, frame))
        del frame, thing
    return result


def _one(kind: str, name: str, frame: FrameType) -> dict[str, Any]:
    code = frame.f_code
    function = f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}"
    line = frame.f_lineno or code.co_firstlineno
    return {"kind": kind, "name": name, "function": function, "file": code.co_filename, "line": line}

"""Who is there, and where each one stands: for people who watch, never for a decision."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import FrameType
from typing import Any

from pylivepatch.activeness.greenlets import can_be_read, known, name_of, stack_of, version
from pylivepatch.activeness.pace import give_way
from pylivepatch.activeness.tasks import frame_of, where_tasks_stand
from pylivepatch.activeness.threads import is_ours, stack_frames, thread_names

_CALLERS = 100  # functions of one stack that are told
_GREENLETS = 20  # greenlets looked at between two offers of the GIL: a few hundred frames


def everyone(most: int = 500, *, callers: bool = False, greenlets: bool = False) -> list[dict[str, Any]]:
    """Each thread, at most so many asyncio tasks, and at most so many greenlets that are switched out, where these are
    asked for: ``kind``, ``name``, and ``function``, ``file``, ``line`` of where it stands, the innermost frame that is
    not of this package. JSON-able.

    With ``callers`` also a list of the other functions that it is in, innermost first, those of this package as well.
    Gives up the GIL as it goes: not of one instant. But looking for greenlets may hold everybody for as long as a look
    through the heap takes: see ``greenlets.py``.
    """
    names = thread_names()
    found: dict[int, dict[str, Any]] = {}
    others: dict[int, list[str]] = {}
    for ident, frame in stack_frames():
        if ident not in found and not is_ours(frame):
            found[ident] = _one("thread", names.get(ident, f"thread {ident}"), frame)
        elif callers and len(others.setdefault(ident, [])) < _CALLERS:
            others[ident].append(_function(frame))
        del frame
    result = [one | ({"callers": others.get(ident, [])} if callers else {}) for ident, one in found.items()]
    for name, chain in where_tasks_stand(most):
        frame = frame_of(chain[0])
        if frame is not None:  # it has not finished
            one = _one("task", name, frame)
            if callers:
                frames = map(frame_of, chain[1:_CALLERS])
                one["callers"] = [_function(frame) for frame in frames if frame is not None]
            result.append(one)
        del frame, chain
    if greenlets:
        known.look()
        result += _asleep(most, callers)
    return result


def about_greenlets() -> dict[str, Any] | None:
    """Where this process has imported greenlet: its ``version``, whether sleeping ones are ``readable``, how many that
    were looked for are ``asleep``, and for how many seconds the last look ``held`` everybody.
    """
    if not version():
        return None
    return {
        "version": version(),
        "readable": can_be_read(),
        "asleep": sum(1 for _ in known.asleep()),
        "held": known.held,
    }


def _asleep(most: int, callers: bool) -> Iterator[dict[str, Any]]:
    for number, greenlet in enumerate(islice(known.asleep(), most), 1):
        stack = stack_of(greenlet)
        frame = next((frame for frame in stack if not is_ours(frame)), None)
        if frame is not None:
            one = _one("greenlet", name_of(greenlet), frame)
            if callers:
                one["callers"] = [_function(other) for other in stack[:_CALLERS] if other is not frame]
            yield one
        stack.clear()
        del greenlet, frame
        if number % _GREENLETS == 0:
            give_way()


def _one(kind: str, name: str, frame: FrameType) -> dict[str, Any]:
    code = frame.f_code
    line = frame.f_lineno or code.co_firstlineno
    return {"kind": kind, "name": name, "function": _function(frame), "file": code.co_filename, "line": line}


def _function(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}"

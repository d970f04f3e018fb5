"""Who the holders are: naming the frames that execute a code object.

This decides nothing. Whether a function is active is decided by :mod:`pylivepatch.activeness.references`; here the
users of a code object get names for people: on the stacks of threads, and in the chains of asyncio's tasks. Walking
costs time, so it is done only for reports, it gives up the GIL as it goes, and it makes nothing for a frame that
executes something else: objects by the hundred thousand would provoke a full garbage collection, which holds everybody.
Only what can be suspended is looked for among the tasks: a plain function that a task calls is on a thread's stack.

No frame object is kept: one that outlives its function keeps a reference to the code, which the check would have to
take for somebody who executes it. What is needed is read off at once.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from pylivepatch.activeness.greenlets import name_of
from pylivepatch.activeness.pace import paced
from pylivepatch.activeness.references import can_be_suspended
from pylivepatch.activeness.tasks import awaits, frame_of, in_tasks
from pylivepatch.activeness.threads import event_loops as event_loops
from pylivepatch.activeness.threads import is_ours, stack_frames, thread_names

_SLICE = 200  # holders made between two offers of the GIL
_GREENLETS = 20  # greenlets looked at between two offers of the GIL: a few hundred frames


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who keeps a transition from finishing.

    ``kind`` is ``thread``, ``task``, ``greenlet``, ``generator``, ``coroutine``, ``async_generator`` or ``reference``
    (one that nothing explains, treated as a frame). ``name`` is the thread's or task's; ``function`` is
    ``module:qualname``; ``file`` and ``line`` where it stands; ``since`` the ``time.time()`` at which it was first
    seen. With ``at_gate`` it holds nothing: its frame is there, but it waits to enter.
    """

    kind: str
    name: str
    function: str
    file: str
    line: int
    since: float
    at_gate: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "since": self.since,
        }

    def __str__(self) -> str:
        held = f", for {time.time() - self.since:.1f} s" if self.since else ""
        return f"{self.kind} {self.name} in {self.function} ({self.file}:{self.line}){held}"


def find(codes: Iterable[CodeType], since: dict[Any, float], gate: Container[int] = ()) -> list[Holder]:
    """The frames that execute one of ``codes``, as far as threads and tasks lead to them.

    ``since`` remembers, from one call to the next, when each frame was first seen. ``gate`` are the ids of the code
    that keeps callers waiting: who has called it is ``at_gate``.
    """
    wanted: set[int] = set()
    in_a_task: set[int] = set()
    code: CodeType | None = None
    for code in codes:
        wanted.add(id(code))
        if can_be_suspended(code):
            in_a_task.add(id(code))
    del code, codes  # references that a check on another thread would have to take for executions
    now = time.time()
    found: dict[tuple[int, int], Holder] = {}
    names = thread_names()
    kept: int | None = None  # the thread whose next frame has called the gate: the innermost comes first
    for ident, frame in stack_frames():
        if id(frame.f_code) in wanted and not is_ours(frame):
            _note(found, "thread", names.get(ident, f"thread {ident}"), frame, since, now, at_gate=kept == ident)
        kept = ident if id(frame.f_code) in gate else None
        del frame
    for name, kind, thing in paced(in_tasks(in_a_task), _SLICE) if in_a_task else ():
        kind = "task" if kind == "coroutine" else kind
        _note(found, kind, name, frame_of(thing), since, now, at_gate=awaits(thing, gate))
    for key in paced(list(since), _SLICE):  # a copy: another thread may be asking for a status
        if not isinstance(key, str) and key[1] in wanted and key not in found:
            since.pop(key, None)
    return list(found.values())


def _note(
    found: dict[tuple[int, int], Holder],
    kind: str,
    name: str,
    frame: FrameType | None,
    since: dict[Any, float],
    now: float,
    *,
    at_gate: bool,
) -> None:
    if frame is None:  # it has finished
        return
    key = (id(frame), id(frame.f_code))
    if key not in found:
        found[key] = _holder(kind, name, frame, since.setdefault(key, now), at_gate=at_gate)


def _holder(kind: str, name: str, frame: FrameType, started: float, *, at_gate: bool) -> Holder:
    code = frame.f_code
    function = f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}"
    return Holder(kind, name, function, code.co_filename, frame.f_lineno or code.co_firstlineno, started, at_gate)


def in_greenlets(
    code: CodeType, greenlets: Iterable[Any], since: dict[Any, float], gate: Container[int] = ()
) -> list[Holder]:
    """The frames of greenlets that are switched out and execute ``code``, with ``gate`` as in :func:`find`.

    Gives up the GIL between two of them.
    """
    found = []
    for greenlet in paced(greenlets, _GREENLETS):
        frame, depth, at_gate = greenlet.gr_frame, 0, False
        while frame is not None:
            if frame.f_code is code:
                started = since.setdefault(f"greenlet {id(greenlet)} {depth}", time.time())
                found.append(_holder("greenlet", name_of(greenlet), frame, started, at_gate=at_gate))
            at_gate = id(frame.f_code) in gate
            frame, depth = frame.f_back, depth + 1
    return found


def unexplained(code: CodeType, module: str, count: int, since: dict[Any, float]) -> Holder:
    """The holder that stands for ``count`` references to ``code`` which no stack and no task explains."""
    text = f"{count} reference{'s' if count != 1 else ''}"
    started = since.setdefault(f"reference {code.co_qualname} {id(code)}", time.time())
    return Holder("reference", text, f"{module}:{code.co_qualname}", code.co_filename, code.co_firstlineno, started)

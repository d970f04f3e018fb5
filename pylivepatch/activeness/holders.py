"""Who the holders are: naming the frames that execute a code object.

This decides nothing. Whether a function is active is decided by :mod:`pylivepatch.activeness.references`; here the
users of a code object get names for people: on the stacks of threads, and in the chains of asyncio's tasks. Walking
costs time, so it is done only for reports, and it gives up the GIL as it goes.

No frame object is kept: one that outlives its function keeps a reference to the code, which the check would have to
take for somebody who executes it. What is needed is read off at once, and our own frames are passed over, as a list
of frames that held its maker's frame would be a cycle.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from types import CodeType, FrameType
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who keeps a transition from finishing.

    ``kind`` is ``thread``, ``task``, ``greenlet``, ``generator``, ``coroutine``, ``async_generator`` or ``reference``
    (one that nothing explains, treated as a frame). ``name`` is the thread's or task's; ``function`` is
    ``module:qualname``; ``file`` and ``line`` where it stands; ``since`` the ``time.time()`` at which it was first
    seen.
    """

    kind: str
    name: str
    function: str
    file: str
    line: int
    since: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        held = f", for {time.time() - self.since:.1f} s" if self.since else ""
        return f"{self.kind} {self.name} in {self.function} ({self.file}:{self.line}){held}"


class Seen(NamedTuple):
    """What is read off one frame."""

    kind: str
    name: str
    code: CodeType
    line: int
    module: str
    key: int


def _read(kind: str, name: str, frame: FrameType) -> Seen:
    code = frame.f_code
    line = frame.f_lineno or code.co_firstlineno
    return Seen(kind, name, code, line, str(frame.f_globals.get("__name__", "?")), id(frame))


def find(codes: Iterable[CodeType], since: dict[Any, float]) -> list[Holder]:
    """The frames that execute one of ``codes``, as far as threads and tasks lead to them.

    ``since`` remembers, from one call to the next, when each frame was first seen.
    """
    wanted = {id(code) for code in codes}
    now = time.time()
    found: dict[Any, Holder] = {}
    for seen in (*_thread_frames(), *_task_frames()):
        key = (seen.key, id(seen.code))
        if id(seen.code) in wanted and key not in found:
            function = f"{seen.module}:{seen.code.co_qualname}"
            started = since.setdefault(key, now)
            found[key] = Holder(seen.kind, seen.name, function, seen.code.co_filename, seen.line, started)
    for key in list(since):  # a copy: another thread may be asking for a status
        if not isinstance(key, str) and key[1] in wanted and key not in found:
            since.pop(key, None)
    return list(found.values())


def in_greenlets(code: CodeType, greenlets: Iterable[Any], since: dict[Any, float]) -> list[Holder]:
    """The frames of greenlets that are switched out and execute ``code``."""
    found = []
    for greenlet in greenlets:
        frame, depth = greenlet.gr_frame, 0
        while frame is not None:
            if frame.f_code is code:
                seen = _read("greenlet", getattr(greenlet, "name", "") or f"{id(greenlet):#x}", frame)
                started = since.setdefault(f"greenlet {id(greenlet)} {depth}", time.time())
                function = f"{seen.module}:{code.co_qualname}"
                found.append(Holder(seen.kind, seen.name, function, code.co_filename, seen.line, started))
            frame, depth = frame.f_back, depth + 1
    return found


def unexplained(code: CodeType, module: str, count: int, since: dict[Any, float]) -> Holder:
    """The holder that stands for ``count`` references to ``code`` which no stack and no task explains."""
    text = f"{count} reference{'s' if count != 1 else ''}"
    started = since.setdefault(f"reference {code.co_qualname} {id(code)}", time.time())
    return Holder("reference", text, f"{module}:{code.co_qualname}", code.co_filename, code.co_firstlineno, started)


def running_code() -> list[CodeType]:
    """The code of every frame on the stack of a thread."""
    return [seen.code for seen in _thread_frames()]


def _thread_frames() -> list[Seen]:
    names = {t.ident: t.name for t in threading.enumerate()}
    result: list[Seen] = []
    for ident in list(sys._current_frames()):
        frame = sys._current_frames().get(ident)  # afresh: the others have run since
        while frame is not None:
            if not str(frame.f_globals.get("__name__", "")).startswith("pylivepatch."):
                result.append(_read("thread", names.get(ident, f"thread {ident}"), frame))
            frame = frame.f_back
        time.sleep(0)  # give up the GIL: nobody stands for longer than one stack's walk
    return result


def _task_frames() -> list[Seen]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return []
    result: list[Seen] = []
    for _, loop in event_loops():
        try:
            tasks = asyncio.all_tasks(loop)
        except RuntimeError:  # the set of tasks changed while it was read; the next report sees them
            continue
        for number, task in enumerate(tasks):
            result.extend(_chain(task.get_name(), task.get_coro()))
            if number % 100 == 0:
                time.sleep(0)
    return result


def event_loops() -> list[tuple[str, Any]]:
    """The name of the thread and the event loop, for each thread that runs one: the ``self`` of its ``run_forever``."""
    names = {t.ident: t.name for t in threading.enumerate()}
    loops: dict[int, tuple[str, Any]] = {}
    for ident in list(sys._current_frames()):
        frame = sys._current_frames().get(ident)
        while frame is not None:
            if frame.f_code.co_name == "run_forever":
                loop = frame.f_locals.get("self")
                if hasattr(loop, "call_soon_threadsafe"):
                    loops[id(loop)] = names.get(ident, f"thread {ident}"), loop
            frame = frame.f_back
    return list(loops.values())


def _chain(name: str, awaited: Any) -> Iterator[Seen]:
    """A task's coroutine and what it awaits, down to where it is suspended."""
    for prefix, kind, thing in _delegates(awaited):
        frame = getattr(thing, prefix + "_frame", None)
        if frame is not None:
            yield _read("task" if kind == "coroutine" else kind, name, frame)


def in_tasks() -> list[tuple[str, Any]]:
    """The name of the task, and each coroutine, generator or async generator that it is suspended in."""
    asyncio = sys.modules.get("asyncio")
    found: list[tuple[str, Any]] = []
    for _, loop in event_loops() if asyncio is not None else ():
        try:
            tasks = asyncio.all_tasks(loop)  # type: ignore[union-attr]
        except RuntimeError:  # the set of tasks changed while it was read
            continue
        for task in tasks:
            found += [(task.get_name(), thing) for _, _, thing in _delegates(task.get_coro())]
    return found


def _delegates(awaited: Any) -> Iterator[tuple[str, str, Any]]:
    """``awaited`` and what it awaits or delegates to, with its attributes' prefix and its kind."""
    for _ in range(10_000):  # a bound: the chain may change while it is read
        for prefix, kind in (("cr", "coroutine"), ("gi", "generator"), ("ag", "async_generator")):
            if hasattr(awaited, prefix + "_frame"):
                yield prefix, kind, awaited
                following = getattr(awaited, prefix + ("_await" if prefix != "gi" else "_yieldfrom"), None)
                break
        else:
            return
        if following is None:
            return
        awaited = following

"""Who the holders are: naming the frames that execute a code object.

This decides nothing. Whether a function is active is decided by :mod:`pylivepatch.activeness.references`; here the
users of a code object get names for people: on the stacks of threads, and in the chains of asyncio's tasks. Walking
costs time, so it is done only for reports, and it gives up the GIL as it goes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from types import CodeType, FrameType
from typing import Any


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who keeps a transition from finishing.

    ``kind`` is ``thread``, ``task``, ``generator``, ``coroutine``, ``async_generator`` or ``reference`` (a reference that
    nothing explains, treated as a frame). ``name`` is the thread's or task's; ``function`` is ``module:qualname``;
    ``file`` and ``line`` where it stands; ``since`` the ``time.time()`` at which it was first seen.
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


Seen = tuple[str, str, FrameType]  # kind, name, the frame


def find(codes: Iterable[CodeType], since: dict[Any, float]) -> list[Holder]:
    """The frames that execute one of ``codes``, as far as threads and tasks lead to them.

    ``since`` remembers, from one call to the next, when each frame was first seen.
    """
    wanted = {id(code) for code in codes}
    now = time.time()
    found: list[Holder] = []
    keys: set[Any] = set()
    for kind, name, frame in _frames():
        code = frame.f_code
        if id(code) not in wanted:
            continue
        key = (id(frame), id(code))
        keys.add(key)
        module = frame.f_globals.get("__name__", "?")
        found.append(
            Holder(
                kind,
                name,
                f"{module}:{code.co_qualname}",
                code.co_filename,
                frame.f_lineno or code.co_firstlineno,
                since.setdefault(key, now),
            )
        )
    for key in [key for key in since if key not in keys and not isinstance(key, str)]:
        del since[key]
    return found


def unexplained(code: CodeType, module: str, count: int, since: dict[Any, float]) -> Holder:
    """The holder that stands for ``count`` references to ``code`` which no stack and no task explains."""
    text = f"{count} reference{'s' if count != 1 else ''}"
    started = since.setdefault(f"reference {code.co_qualname} {id(code)}", time.time())
    return Holder("reference", text, f"{module}:{code.co_qualname}", code.co_filename, code.co_firstlineno, started)


def running_code() -> list[CodeType]:
    """The code of every frame on the stack of a thread."""
    return [frame.f_code for _, _, frame in _thread_frames()]


def _frames() -> Iterator[Seen]:
    seen: set[int] = set()
    for item in (*_thread_frames(), *_task_frames()):
        if id(item[2]) not in seen:
            seen.add(id(item[2]))
            yield item


def _thread_frames() -> list[Seen]:
    names = {t.ident: t.name for t in threading.enumerate()}
    result: list[Seen] = []
    for ident, top in sys._current_frames().items():
        frame: FrameType | None = top
        while frame is not None:
            result.append(("thread", names.get(ident, f"thread {ident}"), frame))
            frame = frame.f_back
        time.sleep(0)  # give up the GIL: nobody stands for longer than one stack's walk
    return result


def _task_frames() -> list[Seen]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return []
    result: list[Seen] = []
    for loop in _loops():
        try:
            tasks = asyncio.all_tasks(loop)
        except RuntimeError:  # the set of tasks changed while it was read; the next report sees them
            continue
        for task in tasks:
            result.extend(_chain(task.get_name(), task.get_coro()))
        time.sleep(0)
    return result


def _loops() -> Iterator[Any]:
    """Every event loop that runs on some thread: found as the ``self`` of its ``run_forever``."""
    seen: set[int] = set()
    for _, _, frame in _thread_frames():
        if frame.f_code.co_name in ("run_forever", "_run_once"):
            loop = frame.f_locals.get("self")
            if hasattr(loop, "call_soon_threadsafe") and id(loop) not in seen:
                seen.add(id(loop))
                yield loop


def _chain(name: str, awaited: Any) -> Iterator[Seen]:
    """A task's coroutine and what it awaits, down to where it is suspended."""
    for _ in range(10_000):  # a bound: the chain may change while it is read
        for prefix, kind in (("cr", "coroutine"), ("gi", "generator"), ("ag", "async_generator")):
            frame = getattr(awaited, prefix + "_frame", None)
            if frame is not None:
                yield ("task" if kind == "coroutine" else kind, name, frame)
            following = getattr(awaited, prefix + ("_await" if prefix != "gi" else "_yieldfrom"), None)
            if following is not None:
                awaited = following
                break
        else:
            return

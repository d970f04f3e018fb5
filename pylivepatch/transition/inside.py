"""Whether the one who asks is inside: on its own stack, or as the child of a task or thread that is.

Both the gate and per-task transitions must tell a call from outside from one that somebody makes who is already in
an old function. The stack of the caller tells most; a child task of somebody inside is found by its *lineage*, a
context variable that each entry sets while it is asked, and that new tasks (and threads that copy their context)
inherit. It names who entered; whether that one is still inside is looked up when it matters, so nothing has to be
undone at the exit.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dis import opmap
from types import FrameType
from typing import Any

Inside = Mapping[int, tuple[int, int]]
"""The ids of the code objects whose frames are inside, and between which ``f_lasti`` they are."""

EVERYWHERE = (-1, 1 << 62)
"""The range for code that is not a trampoline."""

_SEND = opmap["SEND"]  # what an ``await``, or a ``yield from``, goes on by
_CACHE = opmap["CACHE"]
_lineage: ContextVar[Callable[[Inside], bool] | None] = ContextVar("pylivepatch_lineage", default=None)


def is_inside(frame: FrameType, codes: Inside) -> bool:
    """Whether ``frame`` executes the body of one of the codes."""
    body = codes.get(id(frame.f_code))
    return body is not None and body[0] <= frame.f_lasti < body[1]


def on_stack(frame: FrameType | None, codes: Inside) -> bool:
    """Whether ``frame`` or one that called it is inside."""
    while frame is not None:
        if is_inside(frame, codes):
            return True
        frame = frame.f_back
    return False


def caller_is_inside(frame: FrameType | None, codes: Inside) -> bool:
    """Whether the caller of ``frame`` (a trampoline that is asking) executes one of the codes, or descends from one
    who does.
    """
    if frame is not None and on_stack(frame.f_back, codes):
        return True
    ancestor = _lineage.get()
    return ancestor is not None and ancestor(codes)


def note_entry() -> None:
    """Remember in the current context who enters: its children will ask."""
    task = current_task()
    if task is not None:
        reference = weakref.ref(task)
        _lineage.set(lambda codes: _task_is_inside(reference(), codes))
    else:
        ident = threading.get_ident()
        _lineage.set(lambda codes: ident != threading.get_ident() and on_stack(sys._current_frames().get(ident), codes))


def current_task() -> Any:
    """The asyncio task that runs on this thread, if any."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return None
    return asyncio.current_task()


def task_awaits(frame: FrameType) -> bool:
    """Whether the task that runs on this thread awaits ``frame``, itself or by way of others: then what that yields
    reaches the event loop.

    Who drives a coroutine by hand (``coroutine.send(None)``), or by another framework's loop within asyncio's, would be
    given what it cannot know.
    """
    task = current_task()
    coroutine = task.get_coro() if task is not None else None
    top = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    if top is None:
        return False
    while frame is not top:
        caller = frame.f_back
        if caller is None or not _sends(caller):
            return False
        frame = caller
    return True


def _sends(frame: FrameType) -> bool:
    code, at = frame.f_code.co_code, frame.f_lasti
    while at > 0 and code[at] == _CACHE:  # 3.12 may be at the instruction's cache
        at -= 2
    return code[at] == _SEND


def loop_is_running() -> bool:
    """Whether this thread runs an asyncio event loop: it must not be kept waiting."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def tasks_and_threads() -> list[tuple[str, str, Any, list[FrameType]]]:
    """Each thread and each asyncio task: kind, name, ident or task, and the frames of its stack."""
    names = {t.ident: t.name for t in threading.enumerate()}
    result: list[tuple[str, str, Any, list[FrameType]]] = []
    asyncio = sys.modules.get("asyncio")
    loops: list[Any] = []
    tops = sys._current_frames()
    tops.pop(threading.get_ident(), None)  # this frame: a variable with it would keep it, and all that it refers to
    for ident, top in tops.items():
        stack: list[FrameType] = []
        frame: FrameType | None = top
        while frame is not None:
            stack.append(frame)
            if frame.f_code.co_name == "run_forever" and hasattr(frame.f_locals.get("self"), "call_soon_threadsafe"):
                loops.append(frame.f_locals["self"])
            frame = frame.f_back
        result.append(("thread", names.get(ident, f"thread {ident}"), ident, stack))
    for loop in loops:
        for task in asyncio.all_tasks(loop) if asyncio is not None else ():
            result.append(("task", task.get_name(), task, awaited_frames(task.get_coro())))
    return result


def _task_is_inside(task: Any, codes: Inside) -> bool:
    if task is None or task.done() or task is current_task():
        return False
    return any(is_inside(frame, codes) for frame in awaited_frames(task.get_coro()))


def awaited_frames(awaited: Any) -> list[FrameType]:
    """The frame of a suspended coroutine and of what it awaits, outermost first."""
    frames = []
    for _ in range(10_000):  # a bound: the chain may change while it is read
        for frame_name, next_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            frame = getattr(awaited, frame_name, None)
            if frame is not None:
                frames.append(frame)
                awaited = getattr(awaited, next_name, None)
                break
        else:
            return frames
    return frames

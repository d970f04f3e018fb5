"""The transition of mode ``per-task``: Linux livepatch's hybrid consistency model.

Each thread, greenlet and asyncio task moves to the new functions on its own: when it calls a patched function from
outside while it executes no old one. From then on all its calls run new code, while another task that is still inside
an old function goes on calling old ones. So a transition with functions that are always busy ends as soon as each call
that was under way has: nobody is counted in any more but those who were inside.

The weaker promise, by choice: *no single thread, greenlet or task sees a mixture while it is inside; two of them may
run different versions at the same time.* Values (module and class attributes) switch for all at the end, when the last
one has moved. Where tasks share state that both versions touch, use another mode.

``patch_state`` says for each where it is, as ``/proc/PID/patch_state`` does: -1 no transition, 0 not moved, 1 moved.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from typing import Any

from pylivepatch.transition.base import State, Transition
from pylivepatch.transition.inside import (
    EVERYWHERE,
    caller_is_inside,
    current_task,
    is_inside,
    note_entry,
    tasks_and_threads,
)
from pylivepatch.transition.swap import Cell, Question

_POLL = 0.005  # seconds between two looks for the last one
_EXPLAIN_EVERY = 0.25


class PerTask(Transition):
    """Everyone moves when they are clear of old functions; the last one's move is the commit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._moved: weakref.WeakSet[Any] = weakref.WeakSet()
        self._moved_threads: set[int] = set()

    def carry_out(self, deadline: float) -> None:
        if self.commit_if_idle():
            return
        self._inside |= {id(version.code): EVERYWHERE for version in self._accounts.versions}
        self.enable(Question(Cell([1]), self._choose, self._choose_awaiting))
        self._stage("move")
        explained = time.monotonic()
        while not self._switch_if_idle():
            if self.go_on(deadline):
                break
            if time.monotonic() - explained > _EXPLAIN_EVERY:
                self._explain()
                explained = time.monotonic()
            self.rest(_POLL)
        self._committed()

    def _choose(self) -> bool:
        """Asked at each entry: true for the new function."""
        return self._choose_for(sys._getframe(1))

    async def _choose_awaiting(self) -> bool:
        return self._choose_for(sys._getframe(1))

    def _choose_for(self, frame: Any) -> bool:
        if self.state is State.REVERSED or caller_is_inside(frame, self._inside):
            note_entry()
            return False
        task = _current()
        if task is None:
            self._moved_threads.add(threading.get_ident())
        else:
            self._moved.add(task)
        return True

    def status(self) -> dict[str, Any]:
        return super().status() | {"patch_state": self.patch_state()}

    def patch_state(self) -> list[dict[str, Any]]:
        """Each thread and each asyncio task, with 1 where it has moved and 0 where it is inside an old function."""
        result = []
        for kind, name, key, stack in tasks_and_threads():
            inside = any(is_inside(frame, self._inside) for frame in stack)
            moved = key in self._moved_threads if isinstance(key, int) else key in self._moved
            result.append({"kind": kind, "name": name, "patch_state": int(moved or not inside)})
        return result


def _current() -> Any:
    """The asyncio task or greenlet that runs, or ``None`` for a plain thread."""
    task = current_task()
    if task is not None:
        return task
    greenlet = sys.modules.get("greenlet")
    if greenlet is not None:
        current = greenlet.getcurrent()
        if current.parent is not None:
            return current
    return None

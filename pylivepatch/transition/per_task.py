"""The transition of mode ``per-task``: Linux livepatch's hybrid consistency model.

Each thread, greenlet and asyncio task moves to the new functions on its own: when it calls a patched function from
outside while it executes no old one. From then on all its calls run new code, while another task that is still inside
an old function goes on calling old ones. So a transition with functions that are always busy ends as soon as each call
that was under way has: nobody is counted in any more but those who were inside.

The weaker promise, by choice: *no single thread, greenlet or task sees a mixture while it is inside; two of them may
run different versions at the same time.* Values (module and class attributes) switch for all at the end, when the last
one has moved. Where tasks share state that both versions touch, use another mode.

Taken back (``reverse``, a time-out) it is the same the other way round: who moved and is inside a new function goes on
with new ones until it is out, while all others go to the old ones. That is waited for as long as the transition was
given, a second at least. Who is inside a new function even then meets old ones there: the error's ``details["mixed"]``
names them.

``patch_state`` says for each where it is, as ``/proc/PID/patch_state`` does: -1 no transition, 0 not moved, 1 moved.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from pylivepatch.activeness.greenlets import known, name_of, stack_of
from pylivepatch.activeness.references import counts, nested_code
from pylivepatch.errors import LivePatchError
from pylivepatch.transition.base import Transition
from pylivepatch.transition.inside import (
    EVERYWHERE,
    caller_is_inside,
    current_task,
    is_inside,
    note_entry,
    tasks_and_threads,
)
from pylivepatch.transition.stages import State
from pylivepatch.transition.swap import Question

_POLL = 0.005  # seconds between two looks for the last one
_EXPLAIN_EVERY = 0.25
_LEAST_TO_MOVE_BACK = 1.0  # seconds


class PerTask(Transition):
    """Everyone moves when they are clear of old functions; the last one's move is the commit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._moved: weakref.WeakSet[Any] = weakref.WeakSet()
        self._moved_threads: set[int] = set()
        self._at_rest: list[int] = []  # references to the new code while nobody executes it
        self._new: dict[int, tuple[int, int]] = {}  # what the moved ones execute, once they are to move back

    def carry_out(self, deadline: float) -> None:
        if self.commit_if_idle():
            return
        given = max(_LEAST_TO_MOVE_BACK, deadline - time.monotonic())
        self._at_rest = counts(swap.new for swap in self._all_swaps())
        try:
            self._move(deadline)
        except LivePatchError as error:
            error.details["mixed"] = self._move_back(given)
            raise

    def _move(self, deadline: float) -> None:
        self._inside |= {id(version.code): EVERYWHERE for version in self._accounts.versions}
        self.enable(Question([1], self._choose, self._choose_awaiting))
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

    def _move_back(self, seconds: float) -> list[str]:
        """Wait until those who moved are out of new functions, at most so long. Returns who is not."""
        new = (code for swap in self._all_swaps() for code in nested_code(swap.new.code))
        self._new = {id(code): EVERYWHERE for code in new}
        self._stage("move back")
        until = time.monotonic() + seconds
        while True:
            # Nobody but those who moved has a reference to the new code: it is free when these are gone.
            if counts(swap.new for swap in self._all_swaps()) == self._at_rest:
                return []
            inside = self._inside_new()
            # A stack that is switched out is not seen; but what is left may also be an exception that somebody keeps.
            if (not inside and "greenlet" not in sys.modules) or time.monotonic() > until:
                return inside
            self.rest(_POLL)

    def _inside_new(self) -> list[str]:
        everyone = tasks_and_threads()
        return [name for _, name, _, stack in everyone if any(is_inside(frame, self._new) for frame in stack)]

    def _choose(self, enter: Callable[[], Any]) -> Any:
        """At each entry: ``None`` for the new function."""
        return None if self._choose_for(sys._getframe(1)) else enter()

    async def _choose_awaiting(self) -> bool:
        return self._choose_for(sys._getframe(1))

    def _choose_for(self, frame: Any) -> bool:
        if self._tally is not None:
            self._tally.note()
        if self._new:
            return self.state is not State.REVERSED and caller_is_inside(frame, self._new)
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
        for greenlet in known.asleep():  # those that somebody who watches has asked for
            inside = any(is_inside(frame, self._inside) for frame in stack_of(greenlet))
            state = int(not inside or greenlet in self._moved)
            result.append({"kind": "greenlet", "name": name_of(greenlet), "patch_state": state})
            del greenlet
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

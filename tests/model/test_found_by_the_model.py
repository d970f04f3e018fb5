"""Interleavings that the model found, one step after the other in the real engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pylivepatch

PATIENCE = 20.0

SOURCE = """
MARK = "one"

def f(inside, leave):
    own = "one"
    check(own, MARK)
    inside.set()
    leave.wait(20)
    check(own, MARK)

def numbers(inside, leave):
    own = "one"
    check(own, MARK)
    inside.set()
    leave.wait(20)
    check(own, MARK)
    yield own

def work(job):
    own = "one"
    job()
    check(own, MARK)
"""


class Sitter:
    """A thread inside a function, until it is let go."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._inside, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=function, args=(self._inside, self._leave))
        self._thread.start()
        assert self._inside.wait(PATIENCE)

    def go(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)


class Action:
    """A load or unload on a thread of its own; the stages that it reaches can be waited for."""

    def __init__(self, action: Callable[[], Any], stage: str) -> None:
        reached = threading.Event()
        unsubscribe = pylivepatch.subscribe(lambda event: reached.set() if event.kind == stage else None)
        self.thread = threading.Thread(target=action)
        self.thread.start()
        assert reached.wait(PATIENCE)
        unsubscribe()

    def finish(self) -> None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def reached(stage: str) -> threading.Event:
    event = threading.Event()
    pylivepatch.subscribe(lambda e: event.set() if e.kind == stage else None)
    return event


@pytest.mark.usefixtures("counted")
def test_a_late_entry_into_a_loads_trampoline_is_counted_by_the_unload(sources: Any) -> None:
    module = sources.load(SOURCE)
    mixed: list[tuple[str, str]] = []
    module.check = lambda own, other: mixed.append((own, other)) if own != other else None
    patch = sources.patch(module, SOURCE.replace('"one"', '"two"'), "p")

    old = Sitter(module.f)
    load = Action(lambda: pylivepatch.load(patch, timeout=PATIENCE), "drain")
    inside, leave = threading.Event(), threading.Event()
    generator = module.numbers(inside, leave)  # runs the load's trampoline, and is not started
    old.go()
    load.finish()

    new = Sitter(module.f)
    unload = Action(lambda: pylivepatch.unload("p", timeout=PATIENCE, gate=None), "drain")
    counted = Sitter(module.f)
    waiting = reached("waiting")
    new.go()
    assert waiting.wait(PATIENCE)  # released: only the counted call is still inside
    late = threading.Thread(target=lambda: list(generator))
    late.start()
    assert inside.wait(PATIENCE)
    counted.go()
    leave.set()
    late.join(PATIENCE)
    unload.finish()
    assert mixed == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("counted")
def test_a_child_forked_inside_a_trampoline_waits_for_its_own_old_body(sources: Any) -> None:
    module = sources.load(SOURCE)
    module.check = lambda own, other: None
    patch = sources.patch(module, SOURCE.replace('"one"', '"two"'), "p")
    again = sources.patch(module, SOURCE.replace('(job):\n    own = "one"', '(job):\n    own = "two"'), "again")
    code: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            outcome = 3
            try:
                pylivepatch.load(again, timeout=0.5)
                outcome = 1  # switched, and the old body of work() still executes
            except pylivepatch.TransitionTimeout:
                outcome = 0
            finally:
                os._exit(outcome)
        code.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    old = Sitter(module.f)
    load = Action(lambda: pylivepatch.load(patch, timeout=PATIENCE), "drain")
    module.work(fork)
    old.go()
    load.finish()
    assert code == [0]

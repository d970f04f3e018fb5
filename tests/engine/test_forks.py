"""A forked child has one thread. What the others executed at the fork must not keep its patches from loading."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from tests.conftest import PATIENCE

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class Sitter:
    """A thread inside ``wait``."""

    def __init__(self, target: Callable[..., Any]) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=target, args=(self.inside, self.leave), daemon=True)
        self.thread.start()
        assert self.inside.wait(PATIENCE)

    def end(self) -> None:
        self.leave.set()
        self.thread.join(PATIENCE)


def wait(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    leave.wait(PATIENCE)
    return "old"


def wait_anew(inside: threading.Event, leave: threading.Event) -> str:
    return "new"


def recursive(inside: threading.Event, leave: threading.Event, n: int = 3) -> str:
    return recursive(inside, leave, n - 1) if n else wait(inside, leave)


def recursive_anew(inside: threading.Event, leave: threading.Event, n: int = 3) -> str:
    return "new"


def in_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked child; its assertions fail here."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed: its traceback is above"


def no_events() -> tuple[threading.Event, threading.Event]:
    return threading.Event(), threading.Event()


def test_a_function_that_another_thread_executed_at_the_fork_can_be_patched_in_the_child() -> None:
    sitters = [Sitter(wait), Sitter(wait), Sitter(recursive)]

    def child() -> None:
        for _ in range(2):
            patch = Patch("p").replace(wait, wait_anew).replace(recursive, recursive_anew)
            applied = pylivepatch.load(patch, timeout=2)
            assert (wait(*no_events()), recursive(*no_events())) == ("new", "new")
            applied.unload(timeout=2)

    try:
        in_child(child)
        in_child(lambda: in_child(child))
        with pytest.raises(TransitionTimeout):  # here they still execute it
            pylivepatch.load(Patch("p").replace(wait, wait_anew), timeout=0.1)
    finally:
        for sitter in sitters:
            sitter.end()


def test_the_childs_own_threads_hold_all_the_same() -> None:
    sitter = Sitter(wait)

    def child() -> None:
        own = Sitter(wait)
        for _ in range(2):
            with pytest.raises(TransitionTimeout) as caught:
                pylivepatch.load(Patch("p").replace(wait, wait_anew), timeout=0.4)
            assert "thread" in {holder.kind for holder in caught.value.holders}
        own.end()
        pylivepatch.load(Patch("p").replace(wait, wait_anew), timeout=2)
        assert wait(*no_events()) == "new"
        pylivepatch.unload("p", timeout=2)

    try:
        in_child(child)
    finally:
        sitter.end()


def test_a_child_that_was_forked_while_patched_can_unload() -> None:
    applied = pylivepatch.load(Patch("p").replace(wait_anew, wait))  # the other way round: the new version waits
    sitter = Sitter(wait_anew)

    def child() -> None:
        pylivepatch.unload("p", timeout=2)
        assert wait_anew(*no_events()) == "new"

    try:
        in_child(child)
    finally:
        sitter.end()
    applied.unload()


def test_a_child_forked_in_mid_transition_has_the_old_version_and_can_load(hold: Any) -> None:
    held = hold(Patch("p").replace(recursive, recursive_anew))
    sitter = Sitter(recursive)  # inside a trampoline

    def child() -> None:
        assert pylivepatch.status() is None
        assert pylivepatch.patches() == ()
        applied = pylivepatch.load(Patch("q").replace(recursive, recursive_anew), timeout=2)
        assert recursive(*no_events()) == "new"
        applied.unload(timeout=2)

    try:
        in_child(child)
    finally:
        sitter.end()
    held.finish().unload()


def test_a_suspended_generator_of_a_lost_thread_still_holds() -> None:
    """Somebody else may have it."""

    def numbers() -> Any:
        yield 1
        yield 2

    def numbers_anew() -> Any:
        yield 3

    mine = numbers()
    next(mine)

    def child() -> None:
        with pytest.raises(TransitionTimeout):
            pylivepatch.load(Patch("p").replace(numbers, numbers_anew), timeout=0.2)
        assert list(mine) == [2]
        pylivepatch.load(Patch("p").replace(numbers, numbers_anew), timeout=2)

    in_child(child)

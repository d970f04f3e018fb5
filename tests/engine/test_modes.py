"""The modes, one after the other on the same functions."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.errors import TransitionReversed
from pylivepatch.way import MODES


def old() -> str:
    return "old"


def new() -> str:
    return "new"


ORIGINAL = old.__code__


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What only a cycle keeps stays, as in a process whose next collection is far away."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(MODES, repeat=2)))
def test_a_mode_leaves_nothing_that_holds_the_next_one(no_collection: None, first: str, second: str) -> None:
    references = sys.getrefcount(ORIGINAL)
    for _ in range(2):
        there_and_back(first, second)
        assert sys.getrefcount(ORIGINAL) == references


def there_and_back(first: str, second: str) -> None:
    applied = pylivepatch.load(Patch("fix").replace(old, new), mode=first, timeout=5)
    assert old() == "new"
    applied.unload(mode=second, timeout=5)
    restored = old.__code__ is ORIGINAL
    assert restored


FOUND_SOMEBODY = """
import gc, threading
import pylivepatch

gc.disable()  # what only a cycle keeps stays

def slow(inside, leave):
    inside.set()
    leave.wait()

def quick(inside, leave):
    pass

inside, leave = threading.Event(), threading.Event()
thread = threading.Thread(target=slow, args=(inside, leave))
thread.start()
inside.wait()
patch = pylivepatch.Patch("quick").replace(slow, quick)
try:
    pylivepatch.load(patch, mode="stop-machine", timeout=0.1)
except pylivepatch.TransitionTimeout:
    leave.set()
    thread.join()
    pylivepatch.load(patch, timeout=5).unload(timeout=5)
    print("there and back")
leave.set()
"""


def test_a_look_of_stop_machine_that_finds_somebody_holds_nobody_afterwards() -> None:
    """In a process of its own, where nothing else frees what is left over."""
    command = [sys.executable, "-c", FOUND_SOMEBODY]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "there and back\n", result.stderr


def test_who_has_moved_to_new_functions_finishes_on_them_when_a_per_task_transition_is_taken_back(hold: Any) -> None:
    moved, go_on, results = threading.Event(), threading.Event(), []

    def helper() -> str:
        return "old"

    def helper_anew() -> str:
        return "new"

    def outer() -> tuple[str, str]:
        return "old", helper()

    def outer_anew() -> tuple[str, str]:
        moved.set()
        assert go_on.wait(20)
        return "new", helper()

    patch = Patch("fix").replace(outer, type(outer)(outer_anew.__code__, globals(), closure=outer_anew.__closure__))
    # Where greenlet is there, the way back waits for as long as was given: a greenlet might hold what is left.
    held = hold(patch.replace(helper, helper_anew), mode="per-task", timeout=5)
    mover = threading.Thread(target=lambda: results.append(outer()))
    mover.start()
    assert moved.wait(20)
    moving_back = threading.Event()
    unsubscribe = pylivepatch.subscribe(lambda event: moving_back.set() if event.kind == "move back" else None)
    pylivepatch.reverse()
    assert moving_back.wait(20)
    unsubscribe()
    assert helper() == "old"  # whoever is not inside has moved back
    go_on.set()
    mover.join(20)
    assert results == [("new", "new")]
    with pytest.raises(TransitionReversed) as caught:
        held.finish()
    assert caught.value.details["mixed"] == []

"""What others change while a transition waits: seen and refused, or at least not lost."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.errors import CodeMismatch, DataMismatch

ROOT = Path(__file__).resolve().parents[2]

SOURCE = """\
LIMIT = 1
def f(): return 'old', LIMIT
class C:
    limit = 1
"""
NEW = """\
LIMIT = 2
ADDED = 5
def f(): return 'new', LIMIT, ADDED
class C:
    limit = 2
    added = 5
"""


def f() -> str:
    return "old"


ORIGINAL = f.__code__


def new() -> str:
    return "new"


def foreign() -> str:
    return "foreign"


def test_code_that_another_tool_assigns_is_seen_and_stays(hold: Any) -> None:
    held = hold(Patch("fix").replace(f, new))
    f.__code__ = foreign.__code__
    try:
        with pytest.raises(CodeMismatch, match="given other code while"):
            held.finish()
        assert f() == "foreign"
        assert pylivepatch.patches() == ()
    finally:
        f.__code__ = ORIGINAL


@pytest.mark.parametrize("owner", ["module", "class"])
def test_a_value_that_the_program_changes_is_seen(sources: Any, hold: Any, owner: str) -> None:
    module = sources.load(SOURCE)
    held = hold(sources.patch(module, NEW))
    if owner == "module":
        module.LIMIT = 99
    else:
        module.C.limit = 99
    with pytest.raises(DataMismatch):
        held.finish()
    assert module.f()[0] == "old"
    assert 99 in (module.LIMIT, module.C.limit)


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the change came after the last look."""
    monkeypatch.setattr("pylivepatch.transition.base.Transition.check_unchanged", lambda self: None)


def test_a_value_that_is_changed_in_the_last_moment_is_not_lost(
    sources: Any, hold: Any, unwatched: None
) -> None:
    module = sources.load(SOURCE)
    held = hold(sources.patch(module, NEW))
    module.LIMIT = 99
    applied = held.finish()
    assert module.f() == ("new", 2, 5)
    assert applied.report["overwritten"] == [f"{module.__name__}:LIMIT"]
    applied.unload()
    assert module.f() == ("old", 99)


def test_a_name_that_is_taken_away_in_the_last_moment_stops_no_commit(
    sources: Any, hold: Any, unwatched: None
) -> None:
    module = sources.load(SOURCE)
    held = hold(sources.patch(module, NEW))
    held.finish()
    held.unloading()
    del module.ADDED
    del module.C.added
    held.finish()
    assert module.f() == ("old", 1)
    assert not hasattr(module, "ADDED")
    assert not hasattr(module.C, "added")


DENYING = """
import sys
import pylivepatch
from pylivepatch import Patch
from pylivepatch.transition.base import Transition

def f(): return "old"
def g(): return "old"
def new(): return "new"

def deny(event, arguments):
    if event == "object.__setattr__" and arguments[1] == "__code__" and arguments[0] is g:
        raise RuntimeError("denied")

Transition.fast_path = sys.argv[1] == "fast"
sys.addaudithook(deny)
try:
    pylivepatch.load(Patch("fix").replace(f, new).replace(g, new))
except pylivepatch.PrepareError as error:
    print("audit hook" in str(error), f(), g(), pylivepatch.patches())
"""


@pytest.mark.parametrize("path", ["fast", "counted"])
def test_an_audit_hook_that_forbids_it_is_asked_before_anything_is_touched(path: str) -> None:
    """In a process of its own: a hook stays for good, and each one that is written in Python runs in every switch."""
    done = subprocess.run([sys.executable, "-c", DENYING, path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True old old ()\n"


CHANGES_ITS_MIND = """
import sys
import pylivepatch
from pylivepatch import Patch
from pylivepatch.transition.base import Transition

def f(): return "old"
def g(): return "old"
def h(): return "old"
def new(): return "new"

asked = 0
def deny(event, arguments):
    global asked
    if event == "object.__setattr__" and arguments[1] == "__code__" and arguments[0] is g:
        asked += 1
        if asked == (2 if Transition.fast_path else 3):  # before it, when the trampolines are put in, in the commit
            raise RuntimeError("denied")

Transition.fast_path = sys.argv[1] == "fast"
sys.addaudithook(deny)
try:
    pylivepatch.load(Patch("fix").replace(f, new).replace(g, new).replace(h, new))
except RuntimeError as error:
    assert str(error) == "denied"
print(f(), g(), h(), [patch.name for patch in pylivepatch.patches()])
pylivepatch.unload("fix", timeout=5)
print(f(), g(), h())
"""


@pytest.mark.parametrize("path", ["fast", "counted"])
def test_a_function_whose_assignment_fails_in_the_commit_is_switched_after_it(path: str) -> None:
    """Left behind, it would be old beside new ones for good, and the patch could not be taken out."""
    command = [sys.executable, "-c", CHANGES_ITS_MIND, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "new new new ['fix']\nold old old\n"


async def numbers() -> AsyncIterator[int]:
    yield 1


async def others() -> AsyncIterator[int]:
    try:
        yield 2
    except KeyError:
        yield 3


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_late_async_generator_leaves_no_cycle_behind(hold: Any, no_collection: None) -> None:
    held = hold(Patch("fix").replace(numbers, others))
    late = numbers()
    applied = held.finish()
    assert [drive(late.__anext__()), drive(late.athrow(KeyError()))] == [2, 3]  # type: ignore[attr-defined]
    assert drive(late.aclose()) is None  # type: ignore[attr-defined]
    del late
    applied.unload(timeout=2)


def drive(step: Any) -> Any:
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def test_tools_may_keep_a_dict_by_the_code_that_runs(hold: Any) -> None:
    held = hold(Patch("fix").replace(f, new).replace(numbers, others))
    assert {f.__code__: 1, numbers.__code__: 2}[f.__code__] == 1
    held.finish()

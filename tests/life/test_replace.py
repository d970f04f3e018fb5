"""A cumulative patch takes the place of all others, in one switch."""

from __future__ import annotations

from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.callbacks import Callbacks
from pylivepatch.errors import DataMismatch, IncompatibleState, NotApplied, NotRemovable
from pylivepatch.state import State

ORIGINAL = """\
LIMIT = 1
LEVEL = 'a'
def both(x=1):
    'doc 0'
    def inner(): return 'inner 0', x
    return 'both 0', LIMIT, x, inner
def only_first(): return 'first 0'
def only_second(): return 'second 0'
def untouched(): return 'untouched 0'
class C:
    def method(self): return 'method 0'
"""
FIRST = (
    ORIGINAL.replace("both 0", "both 1").replace("inner 0", "inner 1").replace("LIMIT = 1", "LIMIT = 10\nADDED = 1")
    .replace("first 0", "first 1").replace("method 0", "method 1").replace("x=1", "x=2").replace("doc 0", "doc 1")
)
SECOND = FIRST.replace("both 1", "both 2").replace("second 0", "second 2") + "def helper(): return 'helper 2'\n"
CUMULATIVE = (
    ORIGINAL.replace("both 0", "both 3").replace("inner 0", "inner 3").replace("LEVEL = 'a'", "LEVEL = 'b'")
    .replace("second 0", "second 3").replace("untouched 0", "untouched 3").replace("x=1", "x=3")
)


def answers(module: Any) -> dict[str, Any]:
    both = module.both()
    values = {"both": both[:3], "inner": both[3](), "doc": module.both.__doc__, "method": module.C().method()}
    values |= {name: getattr(module, name)() for name in ("only_first", "only_second", "untouched")}
    values |= {name: getattr(module, name, None) for name in ("LIMIT", "LEVEL", "ADDED")}
    return values | {"helper": hasattr(module, "helper")}


def codes(module: Any) -> list[Any]:
    functions = (module.both, module.only_first, module.only_second, module.untouched, module.C.method)
    return [function.__code__ for function in functions]


@pytest.fixture
def stacked(sources: Any) -> Any:
    """A module with two patches on it; and a function that builds a patch from its original source."""
    module = sources.load(ORIGINAL)
    file = sources.folder / f"{module.__name__}.py"
    module.original = codes(module)
    module.expected = sources.load(CUMULATIVE)
    module.before = answers(module)
    cumulative = sources.patch(module, CUMULATIVE, "cumulative")
    module.cumulative = cumulative
    pylivepatch.load(sources.patch(module, FIRST, "first"))
    file.write_text(FIRST)
    pylivepatch.load(sources.patch(module, SECOND, "second"))
    file.write_text(ORIGINAL)
    assert answers(module)["both"] == ("both 2", 10, 2)
    return module


def test_all_others_are_gone_and_what_it_does_not_bring_is_the_original(stacked: Any, each_path: str) -> None:
    kept = stacked.both()[3]
    stacked.kept = [kept]
    applied = pylivepatch.load(stacked.cumulative, replace=True)
    assert [patch.name for patch in pylivepatch.patches()] == ["cumulative"]
    assert applied.report["replaced"] == ["first", "second"]
    assert answers(stacked) == answers(stacked.expected)
    assert kept() == ("inner 3", 2)
    assert codes(stacked)[1] is stacked.original[1]
    assert applied.overridden == ()
    applied.unload()
    assert answers(stacked) == stacked.before
    restored = [now is then for now, then in zip(codes(stacked), stacked.original, strict=True)]
    assert all(restored)
    assert kept()[0] == "inner 0"


def test_one_that_cannot_come_leaves_the_others(stacked: Any) -> None:
    before = answers(stacked)

    def generator() -> Any:
        yield 1

    def other() -> Any:
        yield 2

    held = generator()
    next(held)
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(stacked.cumulative.replace(generator, other), replace=True, timeout=0.1)
    assert [patch.name for patch in pylivepatch.patches()] == ["first", "second"]
    assert answers(stacked) == before
    held.close()


def test_all_of_it_switches_at_once_while_calls_go_on(stacked: Any, hold: Any) -> None:
    held = hold(stacked.cumulative, replace=True)
    assert answers(stacked)["both"] == ("both 2", 10, 2)
    held.finish()
    assert answers(stacked) == answers(stacked.expected)


def test_a_replaced_patch_cannot_be_taken_out_any_more(stacked: Any) -> None:
    first = pylivepatch.patches()[0]
    pylivepatch.load(stacked.cumulative, replace=True)
    with pytest.raises(NotApplied):
        first.unload()


def test_what_somebody_changed_since_is_not_lost(stacked: Any) -> None:
    stacked.LIMIT = 99
    with pytest.raises(DataMismatch):
        pylivepatch.load(stacked.cumulative, replace=True)
    stacked.LIMIT = 10
    new = stacked.both.__code__
    stacked.both.__code__ = new.replace()
    with pytest.raises(NotRemovable):
        pylivepatch.load(stacked.cumulative, replace=True)
    stacked.both.__code__ = new
    assert [patch.name for patch in pylivepatch.patches()] == ["first", "second"]


def old() -> str:
    return "old"


def new() -> str:
    return "new"


def newer() -> str:
    return "newer"


def test_patches_made_by_hand_are_replaced_too(each_path: str) -> None:
    code = old.__code__
    pylivepatch.load(Patch("one").replace(old, new))
    applied = pylivepatch.load(Patch("all").replace(old, newer), replace=True)
    assert old() == "newer"
    applied.unload()
    restored = old.__code__ is code
    assert restored


def test_callbacks_of_both_sides_run_around_the_switch() -> None:
    seen: list[str] = []

    def noting(name: str) -> Callbacks:
        def note(step: str) -> Any:
            return lambda context: seen.append(f"{name}.{step} {old()}")

        return Callbacks(*map(note, ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")))

    pylivepatch.load(Patch("one", callbacks=noting("one")).replace(old, new))
    seen.clear()
    pylivepatch.load(Patch("all", callbacks=noting("all")).replace(old, newer), replace=True)
    assert seen == ["all.pre_patch new", "one.pre_unpatch new", "one.post_unpatch newer", "all.post_patch newer"]


def test_it_must_know_the_states_of_those_it_replaces() -> None:
    pylivepatch.load(Patch("one", states=(State("cache", 2),)).replace(old, new))
    with pytest.raises(IncompatibleState):
        pylivepatch.load(Patch("all").replace(old, newer), replace=True)
    pylivepatch.load(Patch("all", states=(State("cache", 2),)).replace(old, newer), replace=True)
    assert [patch.name for patch in pylivepatch.patches()] == ["all"]

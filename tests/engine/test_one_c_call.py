"""No Python code runs inside the C calls that check and switch, whenever the garbage collector would come.

Up to 3.11 a collection starts inside an allocation, and so in the middle of a C call; from 3.12 on it waits for the
eval loop, and there is nothing to be kept out.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.commit import at_once, exhaust, once, read, switch_if_idle
from pylivepatch.counter import Counter
from pylivepatch.errors import TransitionTimeout
from pylivepatch.transition.stop_machine import stop_look_and_switch

COLLECTS_ANYWHERE = sys.version_info < (3, 12)


class Garbage:
    """A cycle, whose finalizer calls ``told``."""

    def __init__(self, told: Callable[[], object]) -> None:
        self.me, self.told = self, told

    def __del__(self) -> None:
        self.told()


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()  # collections shall be quick
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    gc.enable()


def at_each_allocation(told: Callable[[], object], action: Callable[[], object], allocations: int) -> None:
    """Repeat ``action``; a collection that calls ``told`` comes at its first allocation, its second, and so on."""
    for n in range(1, allocations):
        gc.collect()
        gc.disable()
        Garbage(told)
        gc.set_threshold(gc.get_count()[0] + n, 1000, 1000)
        gc.enable()
        action()
        gc.disable()


class Steps:
    """Of a C call: the first, some that allocate what the collector counts, and the last."""

    def __init__(self) -> None:
        self.at = "before"
        self.seen: set[str] = set()

    def __iter__(self) -> Iterator[Any]:
        self.at = "before"
        at, kept = partial(setattr, self, "at"), list[Any]()
        return chain(map(at, ("inside",)), map(kept.append, map(list, map(zip, repeat((), 5)))), map(at, ("after",)))

    def see(self) -> None:
        self.seen.add(self.at)


def failed_once(steps: Steps) -> None:
    commit = once(map(int, ("no number",)), iter(steps), times=[])
    with pytest.raises(ValueError, match="no number"):
        commit()
    commit()


CALLS: dict[str, Callable[[Steps], object]] = {
    "at_once": at_once,
    "read": read,
    "once": lambda steps: once(iter(steps), times=[])(),
    "once, the second call after a step that failed": failed_once,
    "the probe of switch_if_idle": lambda steps: switch_if_idle(Counter(), [None] * 7, iter(steps), list),  # type: ignore
    "the switch of switch_if_idle": lambda steps: switch_if_idle(Counter(), [], (), partial(exhaust, iter(steps))),
    "the probe of stop_look_and_switch": lambda steps: stop_look_and_switch(
        set(), iter(steps), [], list, Counter(), []
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_collection_comes_inside(name: str) -> None:
    steps = Steps()
    at_each_allocation(steps.see, lambda: CALLS[name](steps), 60)
    assert steps.at == "after"
    assert "inside" not in steps.seen


@pytest.mark.skipif(not COLLECTS_ANYWHERE, reason="from 3.12 on no collection comes inside any C call")
def test_without_care_a_collection_comes_inside() -> None:
    """The control."""
    steps = Steps()
    at_each_allocation(steps.see, lambda: exhaust(iter(steps)), 60)
    assert "inside" in steps.seen


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    for call in CALLS.values():
        call(Steps())
        assert gc.isenabled() is enabled
    with pytest.raises(ValueError, match="no number"):
        at_once(map(int, ("no number",)))
    assert gc.isenabled() is enabled


def numbers() -> Iterator[str]:
    yield "old"


def numbers_anew() -> Iterator[str]:
    yield "new"


def test_stop_machine_sees_a_generator_that_is_being_made() -> None:
    """A frame that has not begun is on no stack, and a collection that comes meanwhile lets others run."""
    patch, outcomes = Patch("fix").replace(numbers, numbers_anew), []

    def load() -> None:
        try:
            pylivepatch.load(patch, mode="stop-machine", timeout=0.01)
            outcomes.append("new")
        except TransitionTimeout:
            outcomes.append("old")

    def call() -> None:
        generator = numbers()
        gc.disable()  # what has not come by now is not to come later
        assert list(generator) == (outcomes or ["old"])
        if pylivepatch.patches():
            del generator
            pylivepatch.unload("fix")
        outcomes.clear()

    at_each_allocation(load, call, 20)


def test_stop_machine_sees_a_suspended_generator_that_was_frozen() -> None:
    """``gc.freeze`` takes what there is off the lists that a search of the heap goes through."""
    suspended = [numbers()]
    next(suspended[0])
    gc.freeze()
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(Patch("fix").replace(numbers, numbers_anew), mode="stop-machine", timeout=0.01)
    suspended.clear()


def test_stop_machine_asks_no_metaclass_for_a_hash() -> None:
    asked = []

    class Meta(type):
        def __hash__(cls) -> int:
            asked.append(cls)
            return 0

    kept = Meta("Kept", (), {})()
    asked.clear()
    assert stop_look_and_switch(set(), (), [], list, Counter(), [])
    assert asked == []
    del kept

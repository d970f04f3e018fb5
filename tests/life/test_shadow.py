"""Shadow variables: found by identity, gone with their object, made once, and never a deadlock."""

from __future__ import annotations

import copy
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pylivepatch import shadow
from pylivepatch.errors import ShadowBusy, ShadowExists

PATIENCE = 20.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


class Thing:
    """Can be weakly referenced."""


class Slotted:
    """Cannot be."""

    __slots__ = ()
    ended: list[str] = []  # noqa: RUF012

    def __del__(self) -> None:
        Slotted.ended.append("ended")


class Awkward:
    """Equal to everything, and not hashable."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the object's own comparison was used")

    def __hash__(self) -> int:
        raise AssertionError("the object's own hash was used")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    Slotted.ended.clear()
    yield
    for id in list(shadow._variables):
        shadow.free_all(id)
    assert not shadow._making


def run(*functions: Callable[[], Any]) -> None:
    """Run these at once. What one raises is raised; one that does not end is a failure."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    if errors:
        raise errors[0]


def in_child(function: Callable[[], bool]) -> bool:
    """What ``function`` returns in a child of this process, which ends in any case."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PATIENCE))
        status = 1
        try:
            status = 0 if function() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- finding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", [Thing(), Slotted(), 12345, ("a", 1), None, Thing, len, "text"], ids=repr)
def test_a_variable_is_found_on_any_object(obj: object) -> None:
    assert shadow.get(obj, "fix") is None
    assert shadow.alloc(obj, "fix", 1) == 1
    assert shadow.get(obj, "fix") == 1
    assert shadow.free(obj, "fix")
    assert shadow.get(obj, "fix", "none") == "none"
    assert not shadow.free(obj, "fix")


def test_variables_of_one_object_are_kept_apart_by_id() -> None:
    thing = Thing()
    shadow.alloc(thing, ("fix-1", "lock"), "a")
    shadow.alloc(thing, ("fix-2", "lock"), "b")
    shadow.free(thing, ("fix-1", "lock"))
    assert shadow.get(thing, ("fix-1", "lock")) is None
    assert shadow.get(thing, ("fix-2", "lock")) == "b"


def test_only_identity_counts() -> None:
    one, other = Awkward(), Awkward()
    shadow.alloc(one, "fix", 1)
    assert shadow.get(one, "fix") == 1
    assert shadow.get(other, "fix") is None
    assert shadow.free_all("fix") == 1


def test_a_copy_has_no_variables() -> None:
    thing = Thing()
    shadow.alloc(thing, "fix", 1)
    assert shadow.get(copy.deepcopy(thing), "fix") is None


def test_none_is_a_value() -> None:
    thing = Thing()
    shadow.alloc(thing, "fix", None)
    assert shadow.get(thing, "fix", "default") is None
    with pytest.raises(ShadowExists):
        shadow.alloc(thing, "fix", 2)


def test_an_id_that_is_not_hashable_is_refused() -> None:
    with pytest.raises(TypeError):
        shadow.alloc(Thing(), ["fix"], 1)  # type: ignore[arg-type]


def test_alloc_takes_a_value_or_a_constructor() -> None:
    with pytest.raises(TypeError):
        shadow.alloc(Thing(), "fix")
    with pytest.raises(TypeError):
        shadow.alloc(Thing(), "fix", 1, constructor=list)


# --- lifetime ----------------------------------------------------------------------------------------------


def test_an_object_is_not_kept_alive_and_takes_its_variables_along() -> None:
    thing, value = Thing(), Thing()
    gone = weakref.ref(thing), weakref.ref(value)
    shadow.alloc(thing, "fix", value)
    del thing, value
    assert [reference() for reference in gone] == [None, None]
    assert not shadow._variables["fix"]


def test_variables_go_with_an_object_in_a_cycle() -> None:
    thing: Any = Thing()
    thing.me = thing
    shadow.alloc(thing, "fix", 1)
    del thing
    gc.collect()
    assert not shadow._variables["fix"]


def test_an_object_that_cannot_be_weakly_referenced_is_kept_until_it_is_freed() -> None:
    slotted = Slotted()
    shadow.alloc(slotted, "fix", 1)
    del slotted
    gc.collect()
    assert Slotted.ended == []
    assert shadow.free_all("fix") == 1
    assert Slotted.ended == ["ended"]


def test_a_new_object_never_has_a_former_ones_variable() -> None:
    addresses = set()
    reused = 0
    for number in range(2_000):
        thing = Thing()
        reused += id(thing) in addresses
        addresses.add(id(thing))
        assert shadow.get(thing, "fix") is None
        shadow.alloc(thing, "fix", number)
    assert reused, "no address came again, so this shows nothing"


def test_a_finalizer_sees_the_variables_of_its_object() -> None:
    seen = []

    class Ending(Thing):
        def __del__(self) -> None:
            seen.append(shadow.get(self, "fix"))

    ending = Ending()
    shadow.alloc(ending, "fix", 1)
    del ending
    assert seen == [1]
    assert not shadow._variables["fix"]


def test_an_object_that_its_finalizer_brings_back_keeps_its_variables() -> None:
    saved = []

    class Phoenix(Thing):
        def __del__(self) -> None:
            saved.append(self)

    phoenix = Phoenix()
    shadow.alloc(phoenix, "fix", 1)
    del phoenix
    assert shadow.get(saved[0], "fix") == 1
    saved.clear()
    assert not shadow._variables["fix"]


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_variable_attached_by_the_objects_own_finalizer_is_never_anothers(cyclic: bool) -> None:
    addresses = set()

    class Late(Thing):
        def __del__(self) -> None:
            addresses.add(id(self))
            shadow.get_or_alloc(self, "fix", lambda: "late")

    for _ in range(50):
        late: Any = Late()
        late.me = late if cyclic else None
    del late
    gc.collect()
    kept = [Thing() for _ in range(2_000)]
    assert any(id(thing) in addresses for thing in kept), "no address came again, so this shows nothing"
    assert all(shadow.get(thing, "fix") is None for thing in kept)
    assert all(shadow.get_or_alloc(thing, "fix", lambda: "new") == "new" for thing in kept)
    assert shadow.free_all("fix") == len(kept)


# --- making ------------------------------------------------------------------------------------------------


def test_alloc_refuses_a_second_one_without_calling_its_constructor() -> None:
    thing = Thing()
    shadow.alloc(thing, "fix", constructor=lambda: "first")
    with pytest.raises(ShadowExists, match=r"PLP130.*'fix'(.|\n)*Thing(.|\n)*get_or_alloc"):
        shadow.alloc(thing, "fix", constructor=lambda: pytest.fail("called"))
    assert shadow.get(thing, "fix") == "first"


def test_however_many_threads_ask_one_constructor_runs() -> None:
    for _ in range(50):
        thing, made, got = Thing(), [], []
        together = threading.Barrier(8)

        def ask(thing: Thing = thing, made: list[object] = made, got: list[object] = got) -> None:
            together.wait(PATIENCE)  # noqa: B023
            got.append(shadow.get_or_alloc(thing, "fix", lambda: made.append(object()) or made[-1]))

        run(*[ask] * 8)
        assert len(made) == 1
        assert all(value is made[0] for value in got)
        assert len(got) == 8


def test_a_constructor_that_fails_leaves_nothing_and_the_next_one_tries_again() -> None:
    thing = Thing()
    with pytest.raises(ZeroDivisionError):
        shadow.get_or_alloc(thing, "fix", lambda: 1 // 0)
    assert shadow.get(thing, "fix") is None
    assert shadow.get_or_alloc(thing, "fix", lambda: 2) == 2


def test_a_constructor_may_use_other_variables() -> None:
    thing = Thing()

    def build() -> str:
        return "outer " + shadow.get_or_alloc(thing, "inner", lambda: "inner")

    assert shadow.get_or_alloc(thing, "outer", build) == "outer inner"


def test_a_constructor_that_asks_for_its_own_variable_is_told() -> None:
    thing = Thing()

    def build() -> object:
        assert shadow.get(thing, "fix") is None
        return shadow.get_or_alloc(thing, "fix", lambda: pytest.fail("called"))

    with pytest.raises(ShadowBusy, match=r"PLP131(.|\n)*must not ask"):
        shadow.get_or_alloc(thing, "fix", build)
    assert shadow.get_or_alloc(thing, "fix", lambda: 1) == 1


def test_a_constructor_that_switches_greenlets_still_runs_once() -> None:
    greenlet = pytest.importorskip("greenlet")
    thing, main = Thing(), greenlet.getcurrent()

    def build() -> str:
        main.switch()
        return "first"

    first = greenlet.greenlet(lambda: shadow.get_or_alloc(thing, "fix", build))
    first.switch()
    with pytest.raises(ShadowBusy):
        shadow.get_or_alloc(thing, "fix", lambda: pytest.fail("called"))
    first.switch()
    assert shadow.get(thing, "fix") == "first"


def test_nobody_but_those_who_make_waits_for_a_constructor() -> None:
    thing, dying, bystander = Thing(), Thing(), Thing()
    inside, leave = threading.Event(), threading.Event()
    for obj in (dying, bystander):
        shadow.alloc(obj, "other", 1)

    def build() -> str:
        inside.set()
        assert leave.wait(PATIENCE)
        return "made"

    def meanwhile() -> None:
        nonlocal dying
        try:
            assert inside.wait(PATIENCE)
            assert shadow.get(thing, "fix") is None
            assert not shadow.free(thing, "fix")
            assert shadow.get_or_alloc(bystander, "other", list) == 1
            del dying
            assert len(shadow._variables["other"]) == 1
            assert shadow.free_all("other") == 1
        finally:
            leave.set()

    run(lambda: shadow.get_or_alloc(thing, "fix", build), meanwhile)
    assert shadow.get(thing, "fix") == "made"


# --- finalizers that come in between -----------------------------------------------------------------------


def test_a_finalizer_in_the_middle_of_a_constructor_may_use_shadow_variables() -> None:
    thing, other = Thing(), Thing()
    seen: list[object] = []

    class Trash(Thing):
        def __del__(self) -> None:
            seen.append(shadow.get(thing, "fix"))
            seen.append(shadow.get_or_alloc(other, "fix", lambda: "by a finalizer"))
            seen.append(shadow.free(other, "fix"))
            seen.append(shadow.free_all("old"))
            try:
                shadow.get_or_alloc(thing, "fix", lambda: pytest.fail("called"))
            except ShadowBusy as error:
                seen.append(error.code)

    shadow.alloc(other, "old", 1)

    def build() -> str:
        trash: Any = Trash()
        trash.me = trash
        shadow.alloc(trash, "fix", 1)  # whose entry is taken away while the lock is held
        del trash
        gc.collect()
        return "made"

    run(lambda: shadow.get_or_alloc(thing, "fix", build))
    assert seen == [None, "by a finalizer", True, 1, "PLP131"]
    assert shadow.get(thing, "fix") == "made"
    assert len(shadow._variables["fix"]) == 1


def test_a_storm_of_everything_with_collections_in_between() -> None:
    """Invariants: a value belongs to its object, each is destroyed at most once, and nothing is left."""
    kept = [Thing() for _ in range(20)]
    destroyed: list[tuple[int, object]] = []
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    class Value:
        def __init__(self, owner: int) -> None:
            self.owner = owner
            self.me = self  # left for the collector

        def __del__(self) -> None:
            shadow.get_or_alloc(kept[0], "by finalizers", list)
            shadow.free(kept[0], "by finalizers")

    def destroy(obj: object, value: Any) -> None:
        destroyed.append((id(obj), id(value)))
        assert value.owner == id(obj)
        alive.append(value)  # so that no two have one address

    alive: list[object] = []

    def work() -> None:
        for turn in range(300):
            passing = Thing()
            for obj in (kept[turn % 20], passing):
                value = shadow.get_or_alloc(obj, "fix", lambda obj=obj: Value(id(obj)))
                assert value.owner == id(obj)
            if turn % 3 == 0:
                shadow.free(kept[turn * 7 % 20], "fix", destroy)
            if turn % 50 == 0:
                shadow.free_all("fix", destroy)

    sys.setswitchinterval(1e-5)
    gc.set_threshold(50)
    try:
        run(*[work] * 4)
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert len(destroyed) == len(set(destroyed)) > 0
    shadow.free_all("fix")
    gc.collect()
    assert not shadow._variables["fix"]


def test_an_object_may_go_while_another_thread_frees_them_all() -> None:
    class FreedMeanwhile(dict[int, Any]):
        def get(self, *arguments: Any) -> Any:
            found = super().get(*arguments)
            self.clear()
            return found

    thing, home = Thing(), FreedMeanwhile()
    variable = shadow._Weak(thing, home, "value")
    home[variable.address] = variable
    shadow._gone(variable)
    assert not home


# --- freeing -----------------------------------------------------------------------------------------------


def test_a_destructor_gets_object_and_value_after_the_variable_is_gone() -> None:
    thing = Thing()
    shadow.alloc(thing, "fix", "value")
    calls = []
    assert shadow.free(thing, "fix", lambda obj, value: calls.append((obj, value, shadow.get(obj, "fix"))))
    assert calls == [(thing, "value", None)]


def test_free_all_takes_every_variable_of_this_id_newest_first() -> None:
    things = [Thing(), Slotted(), Thing()]
    for number, thing in enumerate(things):
        shadow.alloc(thing, "fix", number)
        shadow.alloc(thing, "other", number)
    order: list[int] = []
    assert shadow.free_all("fix", lambda obj, value: order.append(value)) == 3
    assert order == [2, 1, 0]
    assert [shadow.get(thing, "other") for thing in things] == [0, 1, 2]
    assert shadow.free_all("never used") == 0


def test_a_destructor_that_fails_does_not_spare_the_others() -> None:
    things = [Thing() for _ in range(3)]
    for number, thing in enumerate(things):
        shadow.alloc(thing, "fix", number)
    with pytest.raises(ExceptionGroup, match="all 3 are freed") as caught:
        shadow.free_all("fix", lambda obj, value: 1 // (value - 1))
    assert len(caught.value.exceptions) == 1
    assert [shadow.get(thing, "fix") for thing in things] == [None] * 3


def test_many_threads_that_free_call_each_destructor_once() -> None:
    things = [Thing() for _ in range(2_000)]
    for number, thing in enumerate(things):
        shadow.alloc(thing, "fix", number)
    destroyed: list[int] = []
    together = threading.Barrier(4)

    def everything() -> None:
        together.wait(PATIENCE)
        shadow.free_all("fix", lambda obj, value: destroyed.append(value))

    def each() -> None:
        together.wait(PATIENCE)
        for thing in things:
            shadow.free(thing, "fix", lambda obj, value: destroyed.append(value))

    run(everything, everything, each, each)
    assert sorted(destroyed) == list(range(2_000))


# --- fork --------------------------------------------------------------------------------------------------


@needs_fork
def test_a_child_has_the_variables_and_changes_only_its_own() -> None:
    thing = Thing()
    shadow.alloc(thing, "fix", 1)
    assert in_child(lambda: shadow.get(thing, "fix") == 1 and shadow.free(thing, "fix"))
    assert shadow.get(thing, "fix") == 1


@needs_fork
def test_a_child_made_while_another_thread_constructs_can_make_the_variable() -> None:
    thing = Thing()
    inside, leave = threading.Event(), threading.Event()

    def build() -> str:
        inside.set()
        assert leave.wait(PATIENCE)
        return "parent"

    def fork() -> None:
        try:
            assert inside.wait(PATIENCE)
            assert in_child(lambda: shadow.get_or_alloc(thing, "fix", lambda: "child") == "child")
        finally:
            leave.set()

    run(lambda: shadow.get_or_alloc(thing, "fix", build), fork)
    assert shadow.get(thing, "fix") == "parent"


@needs_fork
def test_a_constructor_that_forks_makes_the_variable_in_both() -> None:
    thing = Thing()
    read, write = os.pipe()
    forked = []

    def build() -> str:
        forked.append(os.fork())
        if forked[0] == 0:
            signal.alarm(int(PATIENCE))
        return "made"

    try:
        made = shadow.get_or_alloc(thing, "fix", build)
        fresh = shadow.get_or_alloc(Thing(), "fix", lambda: "fresh")
        if forked[0] == 0:
            os.write(write, f"{made} {fresh} {len(shadow._making)}".encode())
    finally:
        if forked == [0]:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 0
    assert os.read(read, 100) == b"made fresh 0"
    assert made == "made"
    os.close(read)
    os.close(write)

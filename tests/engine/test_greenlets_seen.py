"""What is told of greenlets to people who watch: where those that are switched out sleep, and their patch_state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pylivepatch import Patch
from pylivepatch.activeness import greenlets as seen
from pylivepatch.activeness.everyone import about_greenlets, everyone
from tests.conftest import PATIENCE

greenlet = pytest.importorskip("greenlet")


def leaf() -> str:
    greenlet.getcurrent().parent.switch("out")
    return "old"


def leaf_anew() -> str:
    greenlet.getcurrent().parent.switch("out")
    return "new"


def caller() -> str:
    return leaf()


def outside() -> None:
    greenlet.getcurrent().parent.switch("out")


@pytest.fixture(autouse=True)
def looked_through_at_any_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each look goes through the heap, and none of an earlier test is known."""
    monkeypatch.setattr(seen, "_SOONEST", 0.0)
    monkeypatch.setattr(seen, "_SHARE", 0)
    seen.known.__init__()  # type: ignore[misc]
    yield
    seen.known.__init__()  # type: ignore[misc]


def sleeping(*functions: Any) -> list[Any]:
    workers = [greenlet.greenlet(function) for function in functions]
    for worker in workers:
        assert worker.switch() == "out"
    return workers


def told(workers: list[Any], *, callers: bool = False, most: int = 500) -> list[dict[str, Any]]:
    names = {f"{id(worker):#x}" for worker in workers}
    return [one for one in everyone(most, callers=callers, greenlets=True) if one["name"] in names]


def test_one_that_sleeps_is_told_with_the_functions_that_it_is_in() -> None:
    workers = sleeping(caller, outside)
    inside, away = sorted(told(workers, callers=True), key=lambda one: str(one["function"]))
    assert (inside["kind"], inside["function"], inside["line"]) == (
        "greenlet",
        f"{__name__}:leaf",
        leaf.__code__.co_firstlineno + 1,
    )
    assert inside["callers"] == [f"{__name__}:caller"]
    assert (away["function"], away["callers"]) == (f"{__name__}:outside", [])
    for worker in workers:
        worker.switch()


def test_those_of_another_thread_are_told_and_the_dead_and_unstarted_are_not() -> None:
    ready, leave = threading.Event(), threading.Event()
    workers: list[Any] = []

    def work() -> None:
        workers.extend(sleeping(caller, caller))
        workers[1].switch()  # to its end
        workers.append(greenlet.greenlet(caller))
        ready.set()
        assert leave.wait(PATIENCE)
        workers[0].switch()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        assert [one["name"] for one in told(workers)] == [f"{id(workers[0]):#x}"]
    finally:
        leave.set()
        thread.join(PATIENCE)


def test_no_more_than_so_many_are_told_and_all_are_counted() -> None:
    workers = sleeping(*[outside] * 30)
    assert len([one for one in everyone(7, greenlets=True) if one["kind"] == "greenlet"]) == 7
    about = about_greenlets()
    assert about is not None
    assert about["asleep"] >= 30
    assert about["held"] > 0
    assert about["readable"]
    for worker in workers:
        worker.switch()


def test_without_being_asked_for_the_heap_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = sleeping(outside)
    monkeypatch.setattr(seen, "at_once", lambda *_: pytest.fail("it was looked through"))
    assert [one for one in everyone() if one["kind"] == "greenlet"] == []
    about = about_greenlets()
    assert about is not None
    assert (about["asleep"], about["held"]) == (0, 0.0)
    workers[0].switch()


def test_the_heap_is_looked_through_for_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sleeping(outside)
    assert told(first)
    monkeypatch.setattr(seen, "_SOONEST", 3600.0)
    seen.known.look()  # this one is made, and the next is an hour off
    second = sleeping(outside)
    assert told(first)
    assert not told(second)
    for worker in (*first, *second):
        worker.switch()
    assert not told(first)


def test_one_that_was_forgotten_is_not_kept_alive() -> None:
    workers = sleeping(outside)
    assert told(workers)
    workers.pop()  # its last reference: it is killed
    about = about_greenlets()
    assert about is not None
    assert about["asleep"] == 0


def test_looking_is_no_reason_to_hold_a_transition() -> None:
    worker = sleeping(caller)[0]
    assert told([worker])
    assert worker.switch() == "old"
    applied = Patch("p").replace(leaf, leaf_anew)
    import pylivepatch

    pylivepatch.load(applied, timeout=PATIENCE).unload(timeout=PATIENCE)


def test_in_mode_per_task_each_has_a_patch_state_of_its_own(hold: Any) -> None:
    workers = sleeping(caller, outside)
    held = hold(Patch("p").replace(leaf, leaf_anew), mode="per-task")
    workers += sleeping(caller)  # it enters from outside: it has moved
    told(workers)
    states = {one["name"]: one["patch_state"] for one in held.transition.status()["patch_state"]}
    assert [states[f"{id(worker):#x}"] for worker in workers] == [0, 1, 1]
    assert workers[0].switch() == "old"
    workers[1].switch()
    assert workers[2].switch() == "new"
    held.finish().unload(timeout=PATIENCE)


def test_a_version_whose_frames_cannot_be_read_safely_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = sleeping(outside)
    monkeypatch.setattr(greenlet, "__version__", "3.4.9")
    assert not told(workers)
    about = about_greenlets()
    assert about is not None
    assert (about["version"], about["readable"]) == ("3.4.9", False)
    workers[0].switch()

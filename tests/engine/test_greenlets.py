"""Greenlets: running, switched out, not started, dead, and those of other threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from tests.conftest import PATIENCE

greenlet = pytest.importorskip("greenlet")


def leaf() -> str:
    greenlet.getcurrent().parent.switch("out")
    return "old"


def leaf_anew() -> str:
    return "new"


def caller() -> str:
    return leaf()


PATCH = Patch("p").replace(leaf, leaf_anew)


def test_one_that_is_switched_out_inside_holds_and_lets_go() -> None:
    worker = greenlet.greenlet(caller)
    assert worker.switch() == "out"
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(PATCH, timeout=0.1)
    assert worker.switch() == "old"
    applied = pylivepatch.load(PATCH, timeout=2)
    assert caller() == "new"
    applied.unload()


def test_one_that_is_switched_out_is_named_where_the_heap_may_be_searched() -> None:
    workers = [greenlet.greenlet(caller) for _ in range(2)]
    for worker in workers:
        assert worker.switch() == "out"
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(PATCH, timeout=0.1, deep=True)
    assert [holder.kind for holder in caught.value.holders] == ["greenlet", "greenlet"]
    assert {holder.function for holder in caught.value.holders} == {f"{__name__}:leaf"}
    assert {holder.line for holder in caught.value.holders} == {leaf.__code__.co_firstlineno + 1}
    assert [worker.switch() for worker in workers] == ["old", "old"]


def test_one_that_has_not_started_runs_the_new_version() -> None:
    worker = greenlet.greenlet(leaf)
    applied = pylivepatch.load(PATCH, timeout=2)
    assert worker.switch() == "new"
    applied.unload()


def test_one_that_is_dead_or_was_killed_holds_nothing() -> None:
    killed, finished = greenlet.greenlet(caller), greenlet.greenlet(caller)
    for worker in (killed, finished):
        assert worker.switch() == "out"
    killed.throw()
    assert finished.switch() == "old"
    assert killed.dead
    assert finished.dead
    pylivepatch.load(PATCH, timeout=2).unload(timeout=2)


def test_one_that_enters_in_mid_transition_is_counted_until_it_leaves(hold: Any) -> None:
    held = hold(PATCH)
    before = held.counted
    worker = greenlet.greenlet(caller)
    assert worker.switch() == "out"
    assert held.counted == before + 1
    held.released()
    assert pylivepatch.status() is not None
    assert caller_in_new_greenlet() == "out"  # the old version still: nothing has switched
    assert worker.switch() == "old"
    for other in _waiting:
        assert other.switch() == "old"
    _waiting.clear()
    applied = held.finish()
    assert caller() == "new"
    applied.unload()


_waiting: list[Any] = []


def caller_in_new_greenlet() -> Any:
    _waiting.append(greenlet.greenlet(caller))
    return _waiting[-1].switch()


def test_one_of_another_thread_holds_while_that_thread_does_something_else() -> None:
    out, go_on = threading.Event(), threading.Event()
    answers: list[str] = []

    def work() -> None:
        worker = greenlet.greenlet(caller)
        worker.switch()
        out.set()
        go_on.wait(PATIENCE)  # outside of the functions; the greenlet is inside
        answers.append(worker.switch())

    thread = threading.Thread(target=work)
    thread.start()
    assert out.wait(PATIENCE)
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(PATCH, timeout=0.1, deep=True)
    assert [holder.kind for holder in caught.value.holders] == ["greenlet"]
    go_on.set()
    thread.join()
    assert answers == ["old"]
    pylivepatch.load(PATCH, timeout=2).unload()


@pytest.mark.parametrize("mode", ["stop-machine", "per-task"])
def test_the_other_modes_see_it_too(mode: str) -> None:
    worker = greenlet.greenlet(caller)
    assert worker.switch() == "out"
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(PATCH, timeout=0.1, mode=mode)
    assert worker.switch() == "old"
    pylivepatch.load(PATCH, timeout=2, mode=mode).unload(mode=mode)

"""What a transition tells of itself: the calls through its trampolines, and who carried out the commit."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from tests.conftest import PATIENCE


def price(quantity: int) -> int:
    return quantity * 90


def right_price(quantity: int) -> int:
    return quantity * 100


def numbers() -> Any:
    yield 1


def other_numbers() -> Any:
    yield 2


async def answer() -> str:
    return "old"


async def other_answer() -> str:
    return "new"


def stay(inside: threading.Event, leave: threading.Event) -> None:
    inside.set()
    assert leave.wait(PATIENCE)


def stay_anew(inside: threading.Event, leave: threading.Event) -> None:
    raise AssertionError("nobody calls it after the switch")


PATCH = Patch("p").replace(price, right_price).replace(numbers, other_numbers).replace(answer, other_answer)


def test_calls_through_trampolines_are_counted_where_it_was_asked_for(hold: Any) -> None:
    held = hold(PATCH, count_calls=True)
    assert [price(n) for n in range(5)] == [0, 90, 180, 270, 360]
    assert list(numbers()) == [1]
    assert asyncio.run(answer()) == "old"
    begun = numbers()  # not entered: it goes on after the switch, in the new function
    report = held.finish().report
    assert report["calls"] == {"entered": 7, "redirected": 0}
    assert list(begun) == [2]


def test_a_call_that_began_before_the_switch_and_enters_after_it_is_redirected(hold: Any) -> None:
    held = hold(PATCH, count_calls=True)
    begun = numbers()
    tally = held.transition._tally
    applied = held.finish()
    assert list(begun) == [2]
    assert tally.as_dict()["redirected"] == 1
    assert tally.as_dict() == tally.as_dict()  # looking changes nothing
    applied.unload()


@pytest.mark.parametrize("mode", ["per-task", "stop-machine"])
def test_the_other_modes_count_too(hold: Any, mode: str) -> None:
    held = hold(PATCH, count_calls=True, mode=mode)
    here = {price(1), price(1), price(1)}
    assert here == ({100} if mode == "per-task" else {90})  # this thread is outside: it has moved
    calls = held.finish().report["calls"]
    assert calls == ({"entered": 3, "redirected": 3} if mode == "per-task" else {"entered": 0, "redirected": 0})


def test_calls_are_counted_also_while_the_gate_asks(hold: Any) -> None:
    held = hold(PATCH, count_calls=True, gate=0.01)
    inside, leave = threading.Event(), threading.Event()
    gates = threading.Event()
    unsubscribe = pylivepatch.subscribe(lambda event: gates.set() if event.kind == "gate" else None)
    extra = threading.Thread(target=_enter_generator, args=(inside, leave))
    extra.start()
    try:
        assert inside.wait(PATIENCE)
        held.let_go()
        assert gates.wait(PATIENCE)
        while not (gate := held.transition.gate).tries:  # its trampolines are in by then
            pass
        before = held.transition._tally.as_dict()["entered"]
        price(1)
        assert held.transition._tally.as_dict()["entered"] == before + 1
        assert gate.question is held.transition._question
        assert 1 <= held.transition.status()["gate"]["tries"] <= gate.tries
    finally:
        leave.set()
        extra.join(PATIENCE)
        unsubscribe()
    held.finish()


def test_a_load_that_is_reversed_tells_its_calls_in_the_error(hold: Any) -> None:
    held = hold(PATCH, count_calls=True)
    assert price(1) == 90
    pylivepatch.reverse()
    held._loader.join(PATIENCE)
    with pytest.raises(pylivepatch.LivePatchError) as raised:
        held.finish()
    assert raised.value.code == "PLP125"
    assert raised.value.details["calls"] == {"entered": 1, "redirected": 0}


def test_nothing_is_told_of_calls_in_an_error_where_nobody_counted(hold: Any) -> None:
    held = hold(PATCH)
    pylivepatch.reverse()
    held._loader.join(PATIENCE)
    with pytest.raises(pylivepatch.LivePatchError) as raised:
        held.finish()
    assert "calls" not in raised.value.details


def _enter_generator(inside: threading.Event, leave: threading.Event) -> None:
    suspended = numbers()
    next(suspended)
    inside.set()
    assert leave.wait(PATIENCE)
    suspended.close()


def test_without_being_asked_for_nothing_is_counted(hold: Any) -> None:
    held = hold(PATCH)
    price(1)
    assert held.transition._question.asking == [0]
    assert "calls" not in held.finish().report


def test_the_thread_that_committed_is_named_also_after_its_end(hold: Any) -> None:
    held = hold(Patch("p").replace(stay, stay_anew))
    inside, leave = threading.Event(), threading.Event()
    leaver = threading.Thread(target=stay, args=(inside, leave), name="leaver")
    leaver.start()
    assert inside.wait(PATIENCE)
    held.released()
    unsubscribe = pylivepatch.subscribe(lambda event: leaver.join(PATIENCE) if event.kind == "commit" else None)
    try:
        leave.set()
        assert held.finish().report["committed_by"] == "leaver"
    finally:
        unsubscribe()
    assert not leaver.is_alive()

"""Who calls the engine has variables that it looks through. It leaves them, and what they hold, as they are."""

from __future__ import annotations

import sys
import threading
import weakref
from types import FrameType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout

COPIES = sys.version_info < (3, 13)  # reading a frame's f_locals leaves a copy of its variables there


def counting() -> Any:
    yield 1


def counting_anew() -> Any:
    yield 2


def load_in_vain() -> None:
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(Patch("in-vain").replace(counting, counting_anew), timeout=0.01)


@pytest.mark.parametrize("saves", [False, True])
def test_what_a_caller_lets_go_of_after_a_load_is_gone(saves: bool) -> None:
    """Also where the load found code that it keeps in a variable."""
    saved = counting.__code__ if saves else None
    holder = counting()
    next(holder)
    load_in_vain()
    gone = weakref.ref(holder)
    holder.close()
    del holder
    assert gone() is None
    assert saved is (counting.__code__ if saves else None)


def test_a_caller_of_status_does_not_hold_the_transition_by_what_it_let_go_of() -> None:
    """Its variables are looked through for names of what is suspended."""
    holder = counting()
    next(holder)
    outcome: list[Any] = []

    def load() -> None:
        try:
            outcome.append(pylivepatch.load(Patch("p").replace(counting, counting_anew), timeout=5))
        except TransitionTimeout as error:
            outcome.append(str(error))

    thread = threading.Thread(target=load)
    thread.start()
    while not (seen := pylivepatch.status()) or not seen["holders"]:
        pass
    del seen
    gone = weakref.ref(holder)
    holder.close()
    del holder
    left = gone() is not None
    thread.join()
    assert (left, [str(each) for each in outcome]) == (False, [str(each) for each in pylivepatch.patches()])
    pylivepatch.unload("p")


def test_a_traced_caller_keeps_its_variables() -> None:
    """After a tracer's function, CPython deletes variables that are not in the copy."""

    def traced() -> tuple[int, int]:
        first = 1
        second = first + 1
        return first, second

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is traced.__code__ and event == "line":
            load_in_vain()
        return trace

    holder = counting()
    next(holder)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert traced() == (1, 2)
    finally:
        sys.settrace(before)
    holder.close()


def test_a_callers_copy_that_somebody_has_stays() -> None:
    holder = counting()
    next(holder)
    mine = locals()
    load_in_vain()
    assert mine["holder"] is holder
    holder.close()


@pytest.mark.skipif(not COPIES, reason="since 3.13 nothing of what exec sets in a function is left there")
def test_what_exec_has_set_in_a_caller_stays() -> None:
    exec("extra = 1")
    holder = counting()
    next(holder)
    load_in_vain()
    assert eval("extra") == 1
    holder.close()


def test_the_variables_of_a_class_body_that_loads_stay() -> None:
    holder = counting()
    next(holder)

    class Made:
        attribute = 1
        load_in_vain()

    assert Made.attribute == 1
    holder.close()

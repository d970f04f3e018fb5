"""Breakpoints, steps and jumps of a debugger in a trampoline are those in the function."""

from __future__ import annotations

import bdb
import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from .life import stages
from .versions import in_each_stage, same_by_version, total, total_anew, use_all

SEEN = total.__globals__
FILE = total.__code__.co_filename


class Breaker(bdb.Bdb):
    """Notes its stops and the variables there."""

    def __init__(self) -> None:
        super().__init__()
        self.stops: list[tuple[str, int, str]] = []

    def user_line(self, frame: FrameType) -> None:
        if self.break_here(frame):
            stop = (frame.f_code.co_name, frame.f_lineno, repr(dict(frame.f_locals)))
            if self.stops[-1:] != [stop]:  # see test_a_line_is_reported_once
                self.stops.append(stop)
        self.set_continue()


@pytest.mark.parametrize("offset", [1, 2, 3, 4, 6, 7])
def test_a_debuggers_breakpoint_stops_at_the_same_lines(offset: int, hold: Any) -> None:
    lines = total.__code__.co_firstlineno + offset, total_anew.__code__.co_firstlineno + 3

    def observe() -> Any:
        debugger = Breaker()
        for line in lines:
            assert debugger.set_break(FILE, line) is None
        try:
            got = debugger.runcall(use_all)
        finally:
            debugger.clear_all_breaks()
        assert debugger.stops
        stops = debugger.stops
        del debugger
        gc.collect()  # a debugger is a cycle, and keeps the frame at which it stopped last
        return stops, got

    same_by_version(in_each_stage(hold, observe))


def test_a_debugger_that_steps_sees_the_same_lines(hold: Any) -> None:
    class Stepper(bdb.Bdb):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[tuple[str, str, int]] = []

        def note(self, what: str, frame: FrameType) -> None:
            told = (what, frame.f_code.co_name, frame.f_lineno)
            if frame.f_globals is SEEN and self.lines[-1:] != [told]:  # see test_a_line_is_reported_once
                self.lines.append(told)
            self.set_step()

        def user_call(self, frame: FrameType, argument: Any) -> None:
            self.note("call", frame)

        def user_line(self, frame: FrameType) -> None:
            self.note("line", frame)

        def user_return(self, frame: FrameType, value: Any) -> None:
            self.note("return", frame)

        def user_exception(self, frame: FrameType, info: Any) -> None:
            self.note("exception", frame)

    def observe() -> Any:
        debugger = Stepper()
        try:
            got = debugger.runcall(use_all)
        finally:
            sys.settrace(None)
        assert len(debugger.lines) > 20
        lines = debugger.lines
        del debugger
        gc.collect()
        return lines, got

    same_by_version(in_each_stage(hold, observe))


# --- jumps: a debugger sets f_lineno -------------------------------------------------------------------------


def jumpy(n: int) -> tuple[str, list[int]]:
    passed = []
    for i in range(n):
        passed.append(i)
        try:
            passed.append(10 + i)
        finally:
            passed.append(20 + i)
    else:
        passed.append(30)
    if n > 5:
        return "old and many", passed
    passed.append(40)
    return "old", passed


def jumpy_anew(n: int) -> tuple[str, list[int]]:
    passed = [50]
    with_more = [51]
    passed += with_more
    return "new", passed


def jumpy_numbers(n: int) -> Iterator[int]:
    yield 1
    for i in range(n):
        yield 10 + i
        n = 0
    yield 2


def jumpy_numbers_anew(n: int) -> Iterator[int]:
    yield 3
    yield 4


def jump(function: Callable[[int], Any], start: int, end: int) -> Any:
    """Call it, and set ``f_lineno`` to line ``end`` when ``start`` is reached first: the outcome, or the refusal."""
    jumped: list[str] = []

    def tracer(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_name.removesuffix("_anew") != function.__name__:
            return None
        if event == "line" and frame.f_lineno == frame.f_code.co_firstlineno + start and not jumped:
            jumped.append("jumped")
            try:
                frame.f_lineno = frame.f_code.co_firstlineno + end
            except ValueError as error:
                jumped.append(str(error))
        return tracer

    sys.settrace(tracer)
    try:
        got = function(2)
        return (got if isinstance(got, tuple) else list(got)), jumped
    except Exception as error:
        return repr(error), jumped
    finally:
        sys.settrace(None)


LINES = {jumpy: range(1, 14), jumpy_numbers: range(1, 6)}


@pytest.mark.filterwarnings("ignore:assigning None to:RuntimeWarning")
@pytest.mark.parametrize(("function", "anew"), [(jumpy, jumpy_anew), (jumpy_numbers, jumpy_numbers_anew)])
def test_a_jump_between_any_two_lines_does_the_same(function: Any, anew: Any, hold: Any) -> None:
    """All pairs of lines: what CPython allows it does, what it refuses it refuses, and every call is counted out."""
    seen: dict[str, Any] = {}
    for stage in stages(hold, (function, anew)):
        outcomes = {}
        before = stage.held and stage.counted
        for start in LINES[function]:
            for end in LINES[function]:
                outcomes[start, end] = jump(function, start, end)
                if stage.held:
                    assert stage.counted == before, f"after a jump from line {start} to {end}"
        seen[stage.name] = outcomes
    assert sum("jumped" in jumped for _, jumped in seen["before"].values()) > len(LINES[function])
    same_by_version(seen)


@pytest.mark.filterwarnings("ignore:assigning None to:RuntimeWarning")
def test_a_jump_to_the_def_line_is_one_call(hold: Any) -> None:
    """It runs the entry hook again, and takes what that had left on the stack off it."""
    for stage in stages(hold, (jumpy, jumpy_anew)):
        assert jump(jumpy, 1, 0)[0][0] == stage.version

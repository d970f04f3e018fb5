"""Trace functions, profile functions and coverage see the body of a trampoline, and nothing else of it."""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from tests.conftest import PATIENCE

from .life import stages
from .versions import PAIRS, in_each_stage, numbers, numbers_anew, same_by_version, total, use_all

SEEN = total.__globals__
FILE = total.__code__.co_filename


class Recorder:
    """Writes down what a trace or profile function is told of the functions of this file."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Recorder:
        if frame.f_globals is SEEN and frame.f_code.co_name.removesuffix("_anew") in ("total", "numbers", "failing"):
            shown = argument if isinstance(argument, str) else type(argument).__name__  # none is kept: they hold frames
            self.events.append((event, frame.f_code.co_name, frame.f_lineno, shown))
        return self


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile], ids=["settrace", "setprofile"])
def test_a_trace_or_profile_function_is_told_the_same(install: Any, hold: Any) -> None:
    def observe() -> Any:
        recorder = Recorder()
        install(recorder)
        try:
            got = use_all()
        finally:
            install(None)
        assert len(recorder.events) > 10
        return recorder.events, got

    same_by_version(in_each_stage(hold, observe))


def test_a_line_is_reported_once(hold: Any) -> None:
    def observe() -> list[int]:
        lines = []

        def tracer(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line" and frame.f_code.co_name.startswith("total"):
                lines.append(frame.f_lineno)
            return tracer

        sys.settrace(tracer)
        use_all()
        sys.settrace(None)
        return lines

    same_by_version(in_each_stage(hold, observe))


@pytest.mark.parametrize("install", [threading.settrace, threading.setprofile], ids=["settrace", "setprofile"])
def test_threads_that_are_watched_from_their_start_are_told_the_same(install: Any, hold: Any) -> None:
    def observe() -> Any:
        recorder = Recorder()
        got: list[Any] = []
        install(recorder)
        try:
            thread = threading.Thread(target=lambda: got.extend(use_all()))
            thread.start()
            thread.join(PATIENCE)
        finally:
            install(None)
        assert len(recorder.events) > 10
        return recorder.events, got

    same_by_version(in_each_stage(hold, observe))


class Stop(Exception):
    pass


@pytest.mark.parametrize("event", ["call", "line", "return", "exception"])
@pytest.mark.parametrize("name", ["total", "numbers", "failing"])
def test_a_trace_function_that_raises_leaves_the_count_balanced(name: str, event: str, hold: Any) -> None:
    """Its exception strikes at RESUME, in the body, or between the exit hook and the return."""

    def tracer(frame: FrameType, happened: str, argument: Any) -> Any:
        if frame.f_globals is SEEN and frame.f_code.co_name.removesuffix("_anew") == name and happened == event:
            raise Stop
        return tracer

    if (name, event) == ("numbers", "return") and sys.version_info < (3, 12):
        pytest.skip("see test_an_exit_that_no_hook_can_see_is_counted")
    for stage in stages(hold, *PAIRS):
        outcomes = []
        for _ in range(3):
            sys.settrace(tracer)
            try:
                outcomes.append(use_all()[0])
            except Stop:
                outcomes.append("stopped")
            finally:
                sys.settrace(None)
        stopped = event != "exception" or name != "total"  # the generator that is closed sees GeneratorExit
        assert outcomes == ["stopped" if stopped else f"{stage.version} 2"] * 3


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="what a trace function raises at a yield can be caught")
def test_an_exit_that_no_hook_can_see_is_counted(hold: Any) -> None:
    """On 3.11 what a trace function raises at a ``yield`` ends the frame at once, past each ``finally`` of its body."""

    def tracer(frame: FrameType, happened: str, argument: Any) -> Any:
        if frame.f_globals is SEEN and frame.f_code.co_name == "numbers" and happened == "return":
            raise Stop
        return tracer

    original = weakref.ref(numbers.__code__)
    held = hold(Patch("interplay").replace(numbers, numbers_anew), gate=None)
    sys.settrace(tracer)
    try:
        with pytest.raises(Stop):
            next(numbers(2))
    finally:
        sys.settrace(None)
    held.finish()
    pylivepatch.unload("interplay", timeout=PATIENCE)
    assert numbers.__code__ is original()


@pytest.mark.parametrize("event", ["call", "return"])
def test_a_profile_function_that_raises_leaves_the_count_balanced(event: str, hold: Any) -> None:
    def profiler(frame: FrameType, happened: str, argument: Any) -> None:
        if frame.f_globals is SEEN and frame.f_code.co_name.startswith("total") and happened == event:
            raise Stop

    for _ in stages(hold, *PAIRS):
        for _ in range(3):
            sys.setprofile(profiler)
            try:
                with pytest.raises(Stop):
                    use_all()
            finally:
                sys.setprofile(None)


def test_coverage_by_a_trace_function_finds_the_same_lines(hold: Any) -> None:
    def observe() -> Any:
        lines: set[tuple[str, int]] = set()
        arcs: set[tuple[int, int]] = set()
        last: dict[FrameType, int] = {}

        def tracer(frame: FrameType, event: str, argument: Any) -> Any:
            if frame.f_globals is not SEEN:
                return None
            if event == "line":
                lines.add((frame.f_code.co_filename, frame.f_lineno))
            arcs.add((last.get(frame, -1), frame.f_lineno))
            last[frame] = frame.f_lineno
            return tracer

        sys.settrace(tracer)
        try:
            use_all()
        finally:
            sys.settrace(None)
            last.clear()  # frames keep their code
        return lines, arcs

    same_by_version(in_each_stage(hold, observe))


@pytest.mark.parametrize("core", ["ctrace", "pytrace"])
def test_coverage_itself_finds_the_same_lines(hold: Any, core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its tracers. Its third way, by sys.monitoring, keeps the code of all that it has seen for good, which holds a
    transition as any other reference does that nothing explains."""
    coverage = pytest.importorskip("coverage")
    monkeypatch.setenv("COVERAGE_CORE", core)

    def observe() -> Any:
        measured = coverage.Coverage(data_file=None, include=[FILE])
        measured.start()
        try:
            use_all()
        finally:
            measured.stop()
        return sorted(measured.get_data().lines(FILE))

    same_by_version(in_each_stage(hold, observe))


def test_cprofile_counts_the_same_calls(hold: Any) -> None:
    """Its table keeps the code of what it saw, so it is let go of before the next stage."""

    def observe() -> Any:
        profile = cProfile.Profile()
        profile.enable()
        try:
            use_all()
        finally:
            profile.disable()
        found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        return {name: row[:2] for (file, _, name), row in found.items() if file == FILE and name != "use_all"}

    seen = in_each_stage(hold, observe)
    same_by_version(seen)
    assert seen["before"]["total"] == (1, 1)
    assert seen["before"]["failing"] == (2, 2)


def test_a_process_that_is_profiled_from_its_start_can_be_patched(tmp_path: Path) -> None:
    """The profiler's table keeps the code, too, by which the engine learns how references to code are counted."""
    (tmp_path / "service.py").write_text(
        "import pylivepatch\n"
        "def old(): return 'old'\n"
        "def new(): return 'new'\n"
        "applied = pylivepatch.load(pylivepatch.Patch('fix').replace(old, new))\n"
        "print(old())\n"
    )
    command = [sys.executable, "-m", "cProfile", "-o", "profile", "service.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("new\n", 0), done.stderr

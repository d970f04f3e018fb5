"""``sys.monitoring`` (3.12 and later): tools see the same events; those of one code object stay with that object."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

from .life import stages
from .versions import PAIRS, in_each_stage, same_by_version, total, use_all

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is of 3.12")
TOOL = 4
FILE = total.__code__.co_filename


@contextlib.contextmanager
def watching(callbacks: dict[str, Any], function: Any = None) -> Iterator[None]:
    """A tool's callbacks by the event's name; for the code that ``function`` has at the beginning, or for all."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    monitoring.use_tool_id(TOOL, "interplay")
    chosen = 0
    try:
        for name, callback in callbacks.items():
            event = getattr(monitoring.events, name)
            monitoring.register_callback(TOOL, event, callback)
            chosen |= event
        if function is None:
            monitoring.set_events(TOOL, chosen)
        else:
            monitoring.set_local_events(TOOL, function.__code__, chosen)
        yield
    finally:
        if function is None:
            monitoring.set_events(TOOL, 0)
        else:  # the same code again
            monitoring.set_local_events(TOOL, function.__code__, 0)
        for name in callbacks:
            monitoring.register_callback(TOOL, getattr(monitoring.events, name), None)
        monitoring.free_tool_id(TOOL)


def test_starts_and_ends_are_counted_alike(hold: Any) -> None:
    names = ("PY_START", "PY_RETURN", "PY_UNWIND", "PY_YIELD", "PY_RESUME", "PY_THROW")

    def observe() -> Any:
        seen: Counter[tuple[str, str]] = Counter()

        def callback_for(name: str) -> Any:
            def callback(code: CodeType, *_: Any) -> None:
                if code.co_filename == FILE:
                    seen[name, code.co_name] += 1

            return callback

        with watching({name: callback_for(name) for name in names}):
            got = use_all()
        assert {name for name, _ in seen} == set(names)
        return seen, got

    same_by_version(in_each_stage(hold, observe))


def test_coverage_that_disables_each_line_when_it_was_seen_finds_the_same_lines(hold: Any) -> None:
    """What a tool disables it disables in one code object, so a trampoline's lines are reported anew."""

    def observe() -> Any:
        lines: list[tuple[str, int]] = []

        def line(code: CodeType, number: int) -> Any:
            if code.co_filename == FILE:
                lines.append((code.co_name, number))
            return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]

        sys.monitoring.restart_events()  # type: ignore[attr-defined,unused-ignore]
        with watching({"LINE": line}):
            use_all()
        assert len(lines) > 5
        return set(lines)

    same_by_version(in_each_stage(hold, observe))


def test_a_table_by_code_object_can_be_kept(hold: Any) -> None:
    """A profiler's: it needs a hash of what it is told of, inside the call."""

    def observe() -> Any:
        starts: dict[CodeType, int] = {}

        def start(code: CodeType, offset: int) -> None:
            if code.co_filename == FILE:
                starts[code] = starts.get(code, 0) + 1

        with watching({"PY_START": start}):
            got = use_all()
        found = sorted((code.co_name, n) for code, n in starts.items())
        starts.clear()  # it holds code
        return found, got

    same_by_version(in_each_stage(hold, observe))


def test_a_table_by_what_is_called_can_be_kept(hold: Any) -> None:
    """The hooks call something, too, and an error in a callback of a tool would be one of the call."""

    def observe() -> Any:
        called: dict[Any, int] = {}

        def call(code: CodeType, offset: int, what: Any, first: Any) -> None:
            if code.co_filename == FILE:
                called[what] = called.get(what, 0) + 1

        with watching({"CALL": call}):
            got = use_all()
        assert called
        called.clear()  # it holds functions
        return got

    same_by_version(in_each_stage(hold, observe))


def test_what_watches_one_code_object_watches_it_again_after_the_patch(hold: Any) -> None:
    calls: list[str] = []
    with watching({"PY_START": lambda code, offset: calls.append(code.co_name)}, total):
        for stage in stages(hold, *PAIRS):
            calls.clear()
            assert total([1]) == f"{stage.version} 1"
            assert calls == (["total"] if stage.name in ("before", "unloaded") else [])


@pytest.mark.parametrize("event", ["PY_START", "PY_RETURN", "PY_UNWIND", "PY_YIELD", "PY_RESUME", "PY_THROW", "LINE"])
def test_a_callback_that_raises_leaves_the_count_balanced(event: str, hold: Any) -> None:
    class Stop(Exception):
        pass

    def callback(code: CodeType, *_: Any) -> None:
        if code.co_filename == FILE and code.co_name.removesuffix("_anew") in ("total", "numbers", "failing"):
            raise Stop

    for _ in stages(hold, *PAIRS):
        for _ in range(3):
            with watching({event: callback}), pytest.raises(Stop):
                use_all()

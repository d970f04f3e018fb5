"""What it costs to be watched: a traced function beside the interpreter's own ways.

    python -m tests.benchmarks.tracing [--rounds N] [--json FILE] [--plots DIR]

One function is called in blocks, round after round in a changing order, each time under another watcher. ``traced`` are
the hooks of :func:`pylivepatch.trace` on this function; ``traced, with tasks`` the same where asyncio or greenlet are
loaded, so that tasks are told apart; ``probed`` is a handler of :func:`pylivepatch.probe` that does nothing;
``another traced`` says what a function pays that is *not* traced while another one is, and ``not watched any more``
what is left after one. ``sys.setprofile`` and ``sys.monitoring`` (3.12+) call a Python function that does nothing; a
profiler that keeps what it is told costs more. They watch all functions.
"""

from __future__ import annotations

import cProfile
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest import mock

from rich.table import Table

import pylivepatch
from pylivepatch.tracing import Tracer
from pylivepatch.tracing import tracer as tracer_module
from tests.benchmarks.calls import block, define
from tests.benchmarks.report import COLOURS, Benchmark, Row, make_table

_SOURCE = "def f(a, b):\n    for i in range(20):\n        a += i\n    return a\n"
_TOOL = 4  # an id of sys.monitoring's that nobody has by default


@contextmanager
def nobody() -> Iterator[None]:
    yield


@contextmanager
def traced(function: Any, *, tasks: bool = False) -> Iterator[None]:
    with mock.patch.object(tracer_module, "_has_tasks", return_value=tasks):
        tracer = Tracer()
    tracer.start([function])
    try:
        yield
    finally:
        tracer.stop()


@contextmanager
def set_profile() -> Iterator[None]:
    sys.setprofile(lambda frame, event, arg: None)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextmanager
def monitored() -> Iterator[None]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    events = monitoring.events.PY_START | monitoring.events.PY_RETURN
    monitoring.use_tool_id(_TOOL, "benchmark")
    for event in (monitoring.events.PY_START, monitoring.events.PY_RETURN):
        monitoring.register_callback(_TOOL, event, lambda *_: None)
    monitoring.set_events(_TOOL, events)
    try:
        yield
    finally:
        monitoring.set_events(_TOOL, 0)
        monitoring.free_tool_id(_TOOL)


def watchers(function: Any, other: Any) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "not watched": nobody,
        "traced": lambda: traced(function),
        "traced, with tasks": lambda: traced(function, tasks=True),
        "probed": lambda: pylivepatch.probe(function, handler=lambda call: None),
        "another traced": lambda: traced(other),
        "not watched any more": nobody,
        "sys.setprofile": set_profile,
        "cProfile": cProfile.Profile,
    }
    if hasattr(sys, "monitoring"):
        found["sys.monitoring"] = monitored
    return found


def run(rounds: int) -> list[Row]:
    fresh, function, other = define(_SOURCE), define(_SOURCE), define(_SOURCE)
    ways = watchers(function, other)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for name in ways:  # let the interpreter specialise under each
        with ways[name]():
            block(function)
    names = list(ways)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            with ways[name]():
                block(fresh if name == "not watched" else function)  # again specialised, now that it is watched
                took[name].append(block(fresh if name == "not watched" else function) / 200 * 1e9)
    base = median(took["not watched"])
    return [
        {
            "watcher": name,
            "ns": median(values),
            "adds_ns": median(values) - base,
            "ratio": median(a / b for a, b in zip(values, took["not watched"], strict=True)),
        }
        for name, values in took.items()
    ]


def tables(rows: list[Row]) -> list[Table]:
    headings = ("watched by", "a call", "adds", "ratio")
    lines = [
        (row["watcher"], f"{row['ns']:.0f} ns", f"{row['adds_ns']:+.0f} ns", f"×{row['ratio']:.2f}") for row in rows
    ]
    return [make_table("What it costs to be watched: a call of a loop of 20, medians", headings, lines)]


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(7.6, 3.0)
    axes = figure.subplots()
    names = [row["watcher"] for row in rows]
    bars = axes.barh(names, [row["adds_ns"] for row in rows], color=COLOURS["refcount"])
    axes.bar_label(bars, fmt="%+.0f", padding=3)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    axes.set(xlabel="nanoseconds added to a call", title="What it costs to be watched")


BENCHMARK = Benchmark(
    name="tracing",
    what="What a traced function costs, beside the interpreter's own ways to watch.",
    options={"rounds": 300},
    quick={"rounds": 3},
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

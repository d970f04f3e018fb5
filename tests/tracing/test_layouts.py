"""The text of a trace is ftrace's, read by a reader of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

import pylivepatch
from pylivepatch.tracing.formats import json_line, perfetto, trace_events
from pylivepatch.tracing.text import duration
from tests import trace_events as format

from .layouts import DURATION, LIMITS, read_entries, read_graph


def test_calls_nest_as_they_were_made(traced: Any) -> None:
    name = traced.__name__
    with pylivepatch.trace(f"{name}.*") as tracer:
        traced.outer()
    (calls,) = read_graph(tracer.text()).values()

    def of(n: int) -> object:
        inner = [f"{name}.leaf", *([of(n - 1)] if n else []), f"{name}.pause", f"{name}.bad"]
        return (f"{name}.outer", [f"{name}.leaf", (f"{name}.inner", inner)])

    assert [call.shape() for call in calls] == [of(1)]
    inner = calls[0].calls[1]
    assert [call.note for call in inner.calls] == ["", "", "", "raised"]
    assert inner.calls[2].duration is not None
    assert inner.calls[2].duration > 2_000
    assert inner.calls[2].mark in "#*@$"


def test_durations_contain_those_of_the_calls_within(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        traced.outer(3)
    (calls,) = read_graph(tracer.text()).values()

    def check(call: Any) -> None:
        assert call.duration is not None
        assert call.duration >= sum(inner.duration for inner in call.calls) * 0.999
        assert call.duration >= LIMITS[call.mark]
        assert all(call.duration <= other for other in LIMITS.values() if other > LIMITS[call.mark])
        for inner in call.calls:
            check(inner)

    check(calls[0])


@pytest.mark.parametrize(
    ("nanoseconds", "column"),
    [
        (0, "  0.000 us    "),
        (1_234, "  1.234 us    "),
        (10_000, "  10.000 us   "),
        (10_001, "+ 10.001 us   "),
        (123_456, "! 123.456 us  "),
        (1_234_567, "# 1234.567 us "),
        (12_345_678, "* 12345.67 us "),
        (123_456_789, "@ 123456.7 us "),
        (1_234_567_890, "$ 1234567 us  "),
        (12_345_678_901, "$ 12345678 us "),
    ],
)
def test_a_duration_is_written_as_ftrace_writes_it(nanoseconds: int, column: str) -> None:
    assert duration(nanoseconds) == column
    assert DURATION.match(column)


def test_threads_are_told_apart(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        barrier = threading.Barrier(3)

        def work() -> None:
            traced.outer()
            barrier.wait(20)
            barrier.wait(20)

        threads = [threading.Thread(target=work, name=name) for name in ("first", "other")]
        for thread in threads:
            thread.start()
        barrier.wait(20)
        tracer.read(0)  # the names of the threads while they are there
        barrier.wait(20)
        for thread in threads:
            thread.join(20)
    graph = read_graph(tracer.text())
    assert sorted(task.partition("-")[0] for task in graph) == ["first", "other"]
    one, other = graph.values()
    assert [call.shape() for call in one] == [call.shape() for call in other]


def test_tasks_are_told_apart_and_a_coroutine_nests_in_its_task(traced: Any) -> None:
    name = traced.__name__
    with pylivepatch.trace(f"{name}.*") as tracer:
        asyncio.run(traced.tasks())
    graph = {task.partition("-")[0]: calls for task, calls in read_graph(tracer.text()).items()}
    awaited = (f"{name}.awaited", [f"{name}.leaf"])
    for task in ("t0", "t1", "t2"):
        assert [call.shape() for call in graph[task]] == [(f"{name}.task", [f"{name}.leaf", awaited, awaited])]


def test_greenlets_are_told_apart(traced: Any) -> None:
    greenlet = pytest.importorskip("greenlet")
    main = greenlet.getcurrent()
    traced.sleep = lambda _: main.switch()
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        both = [greenlet.greenlet(traced.outer) for _ in range(2)]
        for _ in range(3):
            for one in both:
                one.switch(0)
    shapes = [[call.shape() for call in calls] for calls in read_graph(tracer.text()).values()]
    assert len(shapes) == 2
    assert shapes[0] == shapes[1]


def test_a_generator_is_told_of_and_does_not_nest(traced: Any) -> None:
    name = traced.__name__
    with pylivepatch.trace(f"{name}.*") as tracer:
        traced.use()
    (calls,) = read_graph(tracer.text()).values()
    assert calls[0].name == f"{name}.use"
    within = [(call.name.rpartition(".")[2], call.note) for call in calls[0].calls]
    assert within == [("numbers", "begins"), ("leaf", ""), ("leaf", ""), ("leaf", ""), ("numbers", "ends")]


def test_a_depth_limit_hides_what_lies_deeper(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        traced.outer()
    (calls,) = read_graph(tracer.text(depth=1)).values()
    assert [call.shape() for call in calls] == [f"{traced.__name__}.outer"]


def test_tracer_function_has_a_line_for_each_entry(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        traced.outer(0)
    entries = read_entries(tracer.text("function"))
    called = [(function.rpartition(".")[2], caller.rpartition(".")[2]) for _, _, _, function, caller in entries]
    callers = {"outer": "?", "inner": "outer", "pause": "inner", "bad": "inner"}
    assert [name for name, _ in called] == ["outer", "leaf", "inner", "leaf", "pause", "bad"]
    assert all(callers.get(name, caller) == caller for name, caller in called)
    times = [at for _, _, at, _, _ in entries]
    assert times == sorted(times)
    assert {(comm, pid) for comm, pid, _, _, _ in entries} == {("MainThread", threading.main_thread().native_id)}


def test_for_programs_there_are_json_lines_and_trace_events(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        traced.outer()
        traced.use()
    records = tracer.read()
    lines = [json.loads(json_line(record, tracer.functions, tracer.names)) for record in records]
    assert [line["sequence"] for line in lines] == list(range(len(records)))
    assert (lines[0]["event"], lines[0]["function"]) == ("entry", f"{traced.__name__}.outer")
    assert {line["thread"] for line in lines} == {"MainThread"}
    events = json.loads(perfetto(trace_events(records, tracer.functions, tracer.names)))["traceEvents"]
    phases = [event["ph"] for event in events]
    entries = [line["event"] for line in lines].count("entry")
    assert (phases.count("B") + phases.count("b"), phases.count("b")) == (entries, 1)
    open_calls: list[str] = []
    for event in events:
        if event["ph"] == "B":
            open_calls.append(event["name"])
        elif event["ph"] == "E":
            assert open_calls.pop() == event["name"]
    assert open_calls == []


def test_the_trace_events_are_read_by_the_rules_of_their_format(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        called, leave = threading.Barrier(4), threading.Event()

        def call() -> None:
            traced.outer()
            called.wait(30)
            leave.wait(30)  # the name of one that has ended would not be known

        threads = [threading.Thread(target=call, name=f"caller-{n}") for n in range(3)]
        for thread in threads:
            thread.start()
        traced.use()
        called.wait(30)
    records, names = tracer.read(), tracer.names
    leave.set()
    for thread in threads:
        thread.join()
    trace = format.read(perfetto(trace_events(records, tracer.functions, names)))
    lines = [json.loads(json_line(record, tracer.functions, names)) for record in records]
    ends: list[tuple[str, str, float]] = []
    for line in lines:
        if line["event"] in ("return", "raise"):
            ends.append((line["thread"], line["function"], line["time"] / 1000))
    found = [(track, name, end) for track, name, _, end in trace.slices + trace.asynchronous]
    assert sorted(found) == sorted(ends)
    assert {track for track, *_ in found} == {"MainThread", "caller-0", "caller-1", "caller-2"}
    assert len(trace.asynchronous) == 1
    assert (trace.open, trace.instants) == ([], [])


def test_records_that_were_lost_are_an_instant_in_the_trace_events(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.leaf", size=10) as tracer:
        for _ in range(100):
            traced.leaf()
    records = tracer.read()
    trace = format.read(perfetto(trace_events(records, tracer.functions, tracer.names, lost=tracer.lost)))
    assert trace.instants == [("190 records lost", records[-1].time / 1000)]
    assert len(trace.slices) == 5


def test_what_was_dropped_is_counted(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.leaf", size=10) as tracer:
        for _ in range(100):
            traced.leaf()
    assert len(tracer.read()) == 10
    assert tracer.lost == 190
    assert "190 records were lost" in tracer.text()

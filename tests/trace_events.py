"""A strict reader of the Trace Event Format, written from its description: what breaks a rule is an AssertionError.

It knows the phases that are used here: complete (``X``), duration (``B``, ``E``), nestable asynchronous (``b``, ``e``),
instant (``i``), counter (``C``) and metadata (``M``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_METADATA = {"process_name": str, "thread_name": str, "process_sort_index": int, "thread_sort_index": int}
_ARGUMENT = {"process_name": "name", "thread_name": "name"}  # the others' is sort_index

Slice = tuple[str, str, float, float]


@dataclass
class Trace:
    """``slices`` are track, name, begin and end in microseconds, in the order of their ends; ``open`` have none."""

    slices: list[Slice] = field(default_factory=list)
    asynchronous: list[Slice] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    instants: list[tuple[str, float]] = field(default_factory=list)
    counters: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    order: dict[str, int] = field(default_factory=dict)


def read(text: str) -> Trace:
    """The trace that a file's text is."""
    file = json.loads(text)
    assert file["displayTimeUnit"] in ("ms", "ns")
    events: list[dict[str, Any]] = file["traceEvents"]
    tracks: dict[tuple[int, int], str] = {}
    for event in events:
        _check(event)
        if (event["ph"], event.get("name")) == ("M", "thread_name"):
            assert tracks.setdefault((event["pid"], event["tid"]), event["args"]["name"]) == event["args"]["name"]
    trace, begun, last = Trace(), dict[tuple[int, int], list[Any]](), dict[tuple[int, int], float]()
    pairs: dict[tuple[str, Any], Any] = {}
    for event in events:
        track, phase = (event["pid"], event["tid"]), event["ph"]
        name = tracks.get(track, "")
        if phase == "M" and event["name"] == "thread_sort_index":
            trace.order[name] = event["args"]["sort_index"]
        elif phase == "X":
            trace.slices.append((name, event["name"], event["ts"], event["ts"] + event["dur"]))
        elif phase in "BE":
            assert event["ts"] >= last.get(track, 0.0), "the events of a track are in the order of their times"
            last[track] = event["ts"]
            if phase == "B":
                begun.setdefault(track, []).append(event)
            else:
                beginning = begun[track].pop()
                assert event.get("name", beginning["name"]) == beginning["name"]
                trace.slices.append((name, beginning["name"], beginning["ts"], event["ts"]))
        elif phase == "b":
            assert pairs.setdefault((event["cat"], event["id"]), event) is event, "the id of an open one is taken"
        elif phase == "e":
            beginning = pairs.pop((event["cat"], event["id"]))
            assert event["name"] == beginning["name"]
            trace.asynchronous.append((name, event["name"], beginning["ts"], event["ts"]))
        elif phase == "i":
            trace.instants.append((event["name"], event["ts"]))
        elif phase == "C":
            trace.counters.append((event["ts"], event["args"]))
    trace.open = [event["name"] for some in begun.values() for event in some] + [one["name"] for one in pairs.values()]
    return trace


def _check(event: dict[str, Any]) -> None:
    """The fields that an event of its phase has, and of which type."""
    phase = event["ph"]
    assert phase in ("X", "B", "E", "b", "e", "i", "C", "M"), event
    assert type(event["pid"]) is int
    assert type(event["tid"]) is int
    if phase == "M":
        name, arguments = event["name"], event["args"]
        assert type(arguments[_ARGUMENT.get(name, "sort_index")]) is _METADATA[name], event
        return
    assert isinstance(event["ts"], int | float)
    assert phase == "E" or isinstance(event["name"], str)
    assert phase in "EC" or isinstance(event["cat"], str), event
    if phase == "X":
        assert event["dur"] >= 0
    elif phase in "be":
        assert isinstance(event["id"], int | str)
    elif phase == "i":
        assert event["s"] in ("g", "p", "t")
    elif phase == "C":
        assert event["args"]
        assert all(isinstance(value, int | float) for value in event["args"].values())
    assert all(isinstance(key, str) for key in event.get("args", {}))

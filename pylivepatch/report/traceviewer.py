"""A report in the Trace Event Format, which Chrome's and Perfetto's viewers open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def trace_events(shown: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A :func:`~pylivepatch.report.picture.picture` as events: a track for the stages and one for each lane, the
    counter, the switches and marks. Times are microseconds since the log begins.
    """
    pid = shown["pid"] or 0
    yield {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": f"process {pid}"}}
    yield _track(pid, 0, f"{shown['action']} of {shown['patch']}")
    for name, begun, ended in shown["stages"]:
        yield _span(pid, 0, name, "stage", begun, ended)
    for at, counter in shown["curve"]:
        yield {"name": "counter", "ph": "C", "ts": at * 1e6, "pid": pid, "tid": 0, "args": {"inside": counter}}
    for at, kind in [*((at, "commit") for at in shown["commits"]), *shown["marks"]]:
        yield {"name": kind, "cat": "event", "ph": "i", "s": "p", "ts": at * 1e6, "pid": pid, "tid": 0}
    for number, lane in enumerate(shown["lanes"], 1):
        yield _track(pid, number, f"{lane['kind']} {lane['name']}")
        for begun, ended, state, place in lane["spans"]:
            yield _span(pid, number, state, "sample", begun, ended) | {"args": {"stands in": place}}


def _track(pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _span(pid: int, tid: int, name: str, kind: str, begun: float, ended: float) -> dict[str, Any]:
    times = {"ts": begun * 1e6, "dur": (ended - begun) * 1e6}
    return {"name": name, "cat": kind, "ph": "X", "pid": pid, "tid": tid, **times}

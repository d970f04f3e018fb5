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
    yield from _track(pid, 0, f"{shown['action']} of {shown['patch']}")
    for name, begun, ended in shown["stages"]:
        yield _span(pid, 0, name, "stage", begun, ended)
    for at, counter in shown["curve"]:
        yield {"name": "counter", "ph": "C", "ts": at * 1e6, "pid": pid, "tid": 0, "args": {"inside": counter}}
    commits = [(at, "commit" if action == shown["action"] else "switched back") for at, action in shown["commits"]]
    for at, kind in [*commits, *shown["marks"]]:
        yield {"name": kind, "cat": "event", "ph": "i", "s": "p", "ts": at * 1e6, "pid": pid, "tid": 0}
    for number, lane in enumerate(shown["lanes"], 1):
        yield from _track(pid, number, f"{lane['kind']} {lane['name']}")
        for begun, ended, state, place in lane["spans"]:
            yield _span(pid, number, state, "sample", begun, ended) | {"args": {"stands in": place}}


def _track(pid: int, tid: int, name: str) -> Iterator[dict[str, Any]]:
    """Its name, and its place: viewers would put it where its name or its first event is."""
    of = {"ph": "M", "pid": pid, "tid": tid}
    yield {"name": "thread_name", **of, "args": {"name": name}}
    yield {"name": "thread_sort_index", **of, "args": {"sort_index": tid}}


def _span(pid: int, tid: int, name: str, kind: str, begun: float, ended: float) -> dict[str, Any]:
    times = {"ts": begun * 1e6, "dur": (ended - begun) * 1e6}
    return {"name": name, "cat": kind, "ph": "X", "pid": pid, "tid": tid, **times}

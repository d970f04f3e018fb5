"""A trace for programs: JSON lines, and the Trace Event Format that Chrome's and Perfetto's viewers open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pylivepatch.tracing.records import ASIDE, ENTRY, KINDS, RAISE, RESUMED, Record, Traced, Who
from pylivepatch.tracing.text import Names


def json_line(record: Record, functions: Sequence[Traced], names: Names) -> str:
    """One record: ``time`` in nanoseconds, ``event`` one of entry, return, raise, aside, resumed."""
    ident, kind, name = record.who
    thread, native = names.get(ident, ("", 0))
    value: dict[str, Any] = {
        "sequence": record.sequence,
        "time": record.time,
        "event": KINDS[record.kind],
        "function": functions[record.function].name,
        "thread": thread,
        "tid": native,
    }
    if kind:
        value[kind] = name
    return json.dumps(value)


def trace_events(
    records: Iterable[Record], functions: Sequence[Traced], names: Names, *, pid: int | None = None, lost: int = 0
) -> Iterator[dict[str, Any]]:
    """The records as events of the Trace Event Format: a track for each thread, task and greenlet.

    Calls nest (``B``, ``E``); generators, which do not, are asynchronous events (``b``, ``e``). A call whose entry was
    not seen has no end either.
    """
    pid = os.getpid() if pid is None else pid
    tracks: dict[Who, int] = {}
    open_calls: dict[Who, list[int]] = {}
    generators: dict[tuple[Who, int], list[int]] = {}
    last = 0.0
    for record in records:
        track = tracks.get(record.who)
        if track is None:
            track, label = _track(record.who, names, len(tracks))
            tracks[record.who] = track
            yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": track, "args": {"name": label}}
        traced, last = functions[record.function], record.time / 1000
        event = {"name": traced.name, "cat": "function", "ts": record.time / 1000, "pid": pid, "tid": track}
        if record.kind in (ASIDE, RESUMED):
            yield event | {"ph": "i", "s": "p", "name": f"{traced.name}: {KINDS[record.kind]}"}
        elif traced.suspends:
            begun = generators.setdefault((record.who, record.function), [])
            if record.kind == ENTRY:
                begun.append(record.sequence)
                yield event | {"ph": "b", "id": record.sequence}
            elif begun:
                yield event | {"ph": "e", "id": begun.pop()}
        elif record.kind == ENTRY:
            open_calls.setdefault(record.who, []).append(record.function)
            yield event | {"ph": "B"}
        else:
            calls = open_calls.get(record.who, [])
            if record.function in calls:
                while calls.pop() != record.function:
                    yield {"ph": "E", "ts": record.time / 1000, "pid": pid, "tid": track}
                yield event | {"ph": "E"} | ({"args": {"raised": True}} if record.kind == RAISE else {})
    if lost:
        # An instant across the whole picture: a viewer shows no metadata that it does not know.
        told = {"name": f"{lost} records lost", "cat": "lost", "ph": "i", "s": "g", "ts": last}
        yield {**told, "pid": pid, "tid": 0, "args": {"lost": lost}}


def perfetto(events: Iterable[dict[str, Any]]) -> str:
    """A file that the viewers open."""
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": list(events)})


def _track(who: Who, names: Names, number: int) -> tuple[int, str]:
    ident, kind, name = who
    thread, native = names.get(ident, (f"thread {ident}", 0))
    if not kind:
        return native or ident & 0x7FFFFFFF, thread
    return 1_000_000_000 + number, f"{kind} {name} ({thread})"

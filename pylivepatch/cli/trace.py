"""``pylivepatch trace``: function tracing in another process, followed live."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

from pylivepatch.agent.client import Client, Tracing
from pylivepatch.cli.output import Output
from pylivepatch.errors import LivePatchError
from pylivepatch.tracing.formats import json_line, perfetto, trace_events
from pylivepatch.tracing.records import Record
from pylivepatch.tracing.text import TRACERS, lost_line

FORMATS = ("text", "jsonl", "perfetto")
_POLL = 0.1  # seconds between two looks while there is nothing new


@dataclass(frozen=True)
class Options:
    """What is traced, for how long, and how it is shown."""

    patterns: tuple[str, ...]
    notrace: tuple[str, ...]
    tracer: str
    format: str
    duration: float | None
    depth: int
    size: int
    output: str | None


def trace(out: Output, client: Client, options: Options) -> None:
    """Trace until the duration is over, or Ctrl-C. The trace goes to standard output, all else to standard error."""
    with ExitStack() as stack:
        file = _opened(options.output, stack)
        interrupted = stack.enter_context(_until_interrupted())
        tracing = client.trace(options.patterns, notrace=options.notrace, size=options.size)
        for name, why in tracing.refused.items():
            out.hint(f"not traced: {name}: {why}")
        count = len(tracing.functions)
        how_long = "" if options.duration is None else f" for {options.duration:g} s"
        out.hint(f"tracing {count} function{'s' if count != 1 else ''}{how_long}; Ctrl-C ends it")
        records = _follow(tracing, options.duration, interrupted)
        if options.format == "perfetto":
            everything: list[Record] = []
            try:
                for record in records:
                    everything.append(record)
            finally:  # of a process that ends meanwhile the last calls are worth the most
                events = trace_events(everything, tracing.functions, tracing.names, pid=client.pid, lost=tracing.lost)
                file.write(perfetto(events) + "\n")
        else:
            for line in _lines(tracing, options, records):
                file.write(line + "\n")
                file.flush()
    if tracing.lost:
        out.hint(lost_line(tracing.lost))
    if options.output is not None:
        out.hint(f"the trace is in {options.output}")
    out.object({"functions": [f.name for f in tracing.functions], "refused": tracing.refused, "lost": tracing.lost})


def _lines(tracing: Tracing, options: Options, records: Iterator[Record]) -> Iterator[str]:
    if options.format == "jsonl":
        for record in records:
            yield json_line(record, tracing.functions, tracing.names)
        return
    header, kind = TRACERS[options.tracer]
    yield header.rstrip("\n")
    made = kind(tracing.functions, tracing.names, depth=options.depth)
    for record in records:
        yield from made.lines([record])
    yield from made.rest()
    if tracing.lost:
        yield lost_line(tracing.lost)


def _follow(tracing: Tracing, duration: float | None, interrupted: threading.Event) -> Iterator[Record]:
    """The records as they come, until the time is up or Ctrl-C, and then those that are left."""
    until = time.monotonic() + (float("inf") if duration is None else duration)
    while time.monotonic() < until and not interrupted.is_set():
        found = tracing.read()
        yield from found
        if not found:
            interrupted.wait(max(0.0, min(_POLL, until - time.monotonic())))
    tracing.stop()
    while not tracing.ended:
        yield from tracing.read()


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, and does nothing else: an exception might strike while a record is being written."""
    event = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _opened(path: str | None, stack: ExitStack) -> TextIO:
    if path is None:
        return sys.stdout
    try:
        return stack.enter_context(open(path, "w", encoding="utf-8"))
    except OSError as error:
        raise LivePatchError(
            f"the file cannot be written: {error.strerror}", where=path, advice="name another with -o", code="PLP410"
        ) from error


def options_of(values: dict[str, Any]) -> Options:
    """The command's parameters. Raises ``click.UsageError`` for what does not go together."""
    options = Options(**values)
    if options.format != "text" and options.depth:
        raise click.UsageError("--depth is of the text layouts")
    return options

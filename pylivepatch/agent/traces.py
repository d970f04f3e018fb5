"""Tracings on behalf of clients: begun by one request, read by others, ended by one more, or where nobody reads.

A client that dies must not leave hooks behind, so a tracing that is not read for a few seconds ends by itself. The
agent's thread sees to that: it has no other clock than its next look.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, Protocol

from pylivepatch import errors

TRACE_PATIENCE = 10.0  # seconds without a reader after which a tracing ends
TRACE_SIZE, LARGEST_TRACE = 1 << 16, 1 << 22  # records that a buffer holds
TRACE_RECORDS = 500  # in one answer: turning more into JSON would hold every thread for longer than a millisecond


class Tracer(Protocol):
    """What is needed of :class:`pylivepatch.tracing.Tracer`."""

    functions: Sequence[Any]
    refused: dict[str, str]
    names: dict[int, tuple[str, int]]
    lost: int

    def read(self, most: int | None = None) -> Sequence[Any]: ...
    def stop(self) -> None: ...


class Traces:
    """The tracings of this process that clients asked for."""

    def __init__(self) -> None:
        self._tracers: dict[str, Tracer] = {}
        self._deadlines: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._numbers = itertools.count(1)

    def add(self, tracer: Tracer) -> dict[str, Any]:
        """Keep a tracing that has begun. Returns what its client is told."""
        name = str(next(self._numbers))
        self._tracers[name] = tracer
        self._touch(name)
        return {"trace": name, "functions": [list(f) for f in tracer.functions], "refused": tracer.refused}

    def read(self, name: str, known: int) -> dict[str, Any]:
        """The next records, a bounded number; functions that came after the first ``known``; and whether that is all.

        :raises errors.NoTrace: there is none of that name, or nobody read it for too long
        """
        tracer = self._get(name)
        self._touch(name)
        records = tracer.read(TRACE_RECORDS)
        ended = name in self._stopped and len(records) < TRACE_RECORDS
        if ended:
            self._forget(name)
        return {
            "records": records,
            "functions": [list(f) for f in tracer.functions[known:]],
            "threads": {str(ident): list(pair) for ident, pair in tracer.names.items()},
            "lost": tracer.lost,
            "ended": ended,
        }

    def stop(self, name: str) -> dict[str, Any]:
        """Take the hooks out. What was recorded can still be read. Raises as :meth:`read` does."""
        self._get(name).stop()
        self._stopped.add(name)
        self._touch(name)
        return {"trace": name}

    @property
    def deadline(self) -> float | None:
        """When one of them is to be ended if nobody reads it (``time.monotonic()``)."""
        return min(self._deadlines.values(), default=None)

    def expire(self) -> None:
        """End those that nobody has read."""
        now = time.monotonic()
        for name in [name for name, at in self._deadlines.items() if at <= now]:
            self._tracers[name].stop()
            self._forget(name)

    def end(self) -> None:
        """End all."""
        for name in list(self._tracers):
            self._tracers[name].stop()
            self._forget(name)

    def _get(self, name: str) -> Tracer:
        if name not in self._tracers:
            raise errors.NoTrace(
                f"there is no trace {name!r}: it has ended, or nobody read it for {TRACE_PATIENCE:g} s",
                advice="begin another one",
            )
        return self._tracers[name]

    def _touch(self, name: str) -> None:
        self._deadlines[name] = time.monotonic() + TRACE_PATIENCE

    def _forget(self, name: str) -> None:
        del self._tracers[name], self._deadlines[name]
        self._stopped.discard(name)

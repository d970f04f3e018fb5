"""What a tracer records: pure data, between the hooks that make it and the layouts that show it."""

from __future__ import annotations

from typing import NamedTuple

ENTRY, RETURN, RAISE, ASIDE, RESUMED = range(5)
KINDS = ("entry", "return", "raise", "aside", "resumed")

Who = tuple[int, str, str]
"""The thread's ident, and kind and name of the task or greenlet that runs on it; empty for neither."""

class Record(NamedTuple):
    """One thing that a tracer saw. ``time`` in nanoseconds, of :func:`time.perf_counter_ns`.

    ``kind`` is one of :data:`KINDS`; ``function`` an index into :attr:`Tracer.functions`. ``aside`` and ``resumed`` say
    that a function was not traced between the two, as a patch's transition was under way.
    """

    sequence: int
    time: int
    who: Who
    kind: int
    function: int


class Traced(NamedTuple):
    """A function as a trace names it. One that ``suspends`` (a generator) does not nest with those that call it."""

    name: str
    suspends: bool

"""The tracer: a ring buffer, and the hooks that fill it.

A hook must be quick, run no Python code, and be right when threads change hands in its midst. So it is one ``next()``
of a chain of C iterators: ``zip`` draws who runs, a sequence number and the time, ``deque.append`` puts them into the
buffer, which drops its oldest record when it is full (ftrace's *overwrite* mode). What was dropped shows as a gap in
the sequence numbers, and is counted.

Who runs is the thread. Where asyncio or greenlet are loaded when the tracing begins, a Python function adds the task or
the greenlet, which costs more (``python -m tests.benchmarks.tracing``).
"""

from __future__ import annotations

import inspect
import itertools
import sys
import threading
import time
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

from pylivepatch import journal
from pylivepatch.errors import NothingToTrace
from pylivepatch.tracing import attach, text
from pylivepatch.tracing.functions import find, name_of
from pylivepatch.tracing.records import ASIDE, KINDS, RESUMED, Record, Traced, Who
from pylivepatch.transition.inside import current_task
from pylivepatch.transition.insist import insist

_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_PATIENCE = 5.0  # seconds that the start of a tracing waits for a transition that is under way


class Tracer:
    """Traces functions between :meth:`start` and :meth:`stop`; both may be called from any thread.

    ``size`` is how many records the buffer holds. Read with :meth:`read`, which takes them out.
    """

    values = False

    def __init__(self, size: int = 1 << 16) -> None:
        self.functions: list[Traced] = []
        self.refused: dict[str, str] = {}
        self.lost = 0  # records that were dropped unread
        self.names: dict[int, tuple[str, int]] = {}  # of threads by their ident: name, native id
        self._buffer: deque[tuple[Any, ...]] = deque(maxlen=size)
        self._sequence = itertools.count()
        self._read = 0  # the sequence number that is to come next
        self._index: dict[int, int] = {}
        self._switch = [True]  # emptied at the end: what still executes traced code then tells nobody
        self._who: Callable[[], Who | int] = who_runs if _has_tasks() else get_ident

    def start(self, functions: Iterable[FunctionType]) -> None:
        """Trace these, too. Those that cannot be traced are in :attr:`refused`, with the reason.

        Raises :class:`TargetBusy` where a transition is under way for longer than a few seconds.
        """
        chosen = list(functions)

        def work(_undertaking: Any) -> None:
            self.refused |= attach.attach(self, chosen)

        journal.perform("the start of a tracing", work, patience=_PATIENCE)

    def stop(self) -> None:
        """Trace no more. The functions have their own code again; what was recorded can still be read."""
        insist(lambda: attach.detach(self))
        self.silence()
        self.names |= _thread_names()

    def read(self, most: int | None = None) -> list[Record]:
        """Take the oldest records out of the buffer, at most so many; and count those that were dropped."""
        self.names |= _thread_names()
        taken: list[Record] = []
        while most is None or len(taken) < most:
            try:
                who, _, sequence, at, what = self._buffer.popleft()
            except IndexError:
                break
            self.lost += max(0, sequence - self._read)
            self._read = max(self._read, sequence + 1)
            function, kind = divmod(what, len(KINDS))
            taken.append(Record(sequence, at, who if type(who) is tuple else (who, "", ""), kind, function))
        return taken

    def text(self, tracer: str = "function_graph", *, depth: int = 0) -> str:
        """Take all records out, in ftrace's layout ``function_graph`` or ``function``. ``depth`` limits the
        nesting that is shown; 0 for no limit.
        """
        records = self.read()
        return text.text(tracer, self.functions, self.names, records, depth=depth, lost=self.lost)

    # --- what :mod:`pylivepatch.tracing.attach` calls ---

    def hooks(self, function: FunctionType) -> Mapping[str, Callable[[], object]]:
        index = self._index_of(function)
        return {slot: self._note(index, kind) for kind, slot in enumerate(attach.SLOTS)}

    def set_aside(self, functions: Collection[FunctionType]) -> None:
        for function in functions:
            self._note(self._index_of(function), ASIDE)()

    def resumed(self, functions: Collection[FunctionType]) -> None:
        for function in functions:
            self._note(self._index_of(function), RESUMED)()

    def silence(self) -> None:
        self._switch.clear()

    def _index_of(self, function: FunctionType) -> int:
        index = self._index.setdefault(id(function), len(self.functions))
        if index == len(self.functions):
            self.functions.append(Traced(name_of(function), bool(function.__code__.co_flags & _SUSPENDS)))
        return index

    def _note(self, index: int, kind: int) -> Callable[[], object]:
        """A C callable that puts one record into the buffer, and does nothing once the switch is off."""
        nothing: itertools.repeat[tuple[()]] = itertools.repeat(())
        record = zip(
            itertools.starmap(self._who, nothing),  # first: from here to the append no other thread comes between
            iter(self._switch.__len__, 0),
            self._sequence,
            itertools.starmap(time.perf_counter_ns, nothing),
            itertools.repeat(index * len(KINDS) + kind),
            strict=False,
        )
        return partial(next, map(self._buffer.append, record), None)


@contextmanager
def trace(*patterns: str, notrace: Iterable[str] = (), size: int = 1 << 16) -> Iterator[Tracer]:
    """Trace the functions whose ``module.qualname`` matches one of ``patterns`` and none of ``notrace``, meanwhile.

    ``size`` is how many records the buffer holds. Raises :class:`NothingToTrace` where no function matches, and what
    :meth:`Tracer.start` raises.
    """
    tracer = start(patterns, notrace, size)
    try:
        yield tracer
    finally:
        tracer.stop()


def start(patterns: Iterable[str], notrace: Iterable[str] = (), size: int = 1 << 16) -> Tracer:
    """As :func:`trace`, until the tracer that is returned is stopped."""
    patterns = tuple(patterns)
    functions = find(patterns, notrace)
    if not functions:
        raise NothingToTrace(
            "no function of an imported module matches",
            where=", ".join(patterns),
            advice="patterns match module.qualname, such as 'myservice.orders.*'; the module must be imported already",
        )
    tracer = Tracer(size)
    try:
        tracer.start(functions)
    except BaseException:
        tracer.stop()
        raise
    return tracer


def _thread_names() -> dict[int, tuple[str, int]]:
    """Name and native id of each thread that ``threading`` knows, by ident."""
    return {t.ident: (t.name, t.native_id or 0) for t in threading.enumerate() if t.ident is not None}


def _has_tasks() -> bool:
    return "asyncio" in sys.modules or "greenlet" in sys.modules


def who_runs() -> Who | int:
    """The task or greenlet that runs; the thread's ident where there is neither."""
    task = current_task()
    if task is not None:
        return (get_ident(), "task", str(task.get_name()))
    greenlet = sys.modules.get("greenlet")
    if greenlet is not None:
        current = greenlet.getcurrent()
        if current.parent is not None:
            return (get_ident(), "greenlet", f"g-{id(current) >> 4 & 0xFFFFF:05x}")
    return get_ident()

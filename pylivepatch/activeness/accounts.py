"""The books: which references to a code object are known not to execute it.

:mod:`pylivepatch.activeness.references` counts; this module explains. Known holders are

* ``co_consts`` tuples of other code: immutable, and kept alive here once they were counted;
* functions whose ``__code__`` it is, variables and containers that somebody keeps it in (``saved = f.__code__``), and
  the tables of profilers: these can change at any time, so each look reads them *in the same C call as the reference
  counts*. What was there at that instant is subtracted, nothing else. A holder that went away can therefore never hide
  a frame.

Cheap places first: code that this package keeps anyway. Only when a count does not come out are the stacks' code, the
functions that the modules' namespaces lead to and the caller's variables looked at, and only when the user allows
it, the heap.
"""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from operator import attrgetter, getitem
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

from pylivepatch.activeness import forked, holders, profiles
from pylivepatch.activeness.functions import walk
from pylivepatch.activeness.holders import Holder
from pylivepatch.activeness.pace import paced
from pylivepatch.activeness.profiles import code_kept, profilers_in
from pylivepatch.activeness.references import (
    Version,
    base,
    can_be_suspended,
    live_versions,
    raw_counts,
    references_of_a_finished_one,
    tuples_that_hold,
)
from pylivepatch.activeness.tasks import awaits, in_tasks
from pylivepatch.activeness.threads import running_code
from pylivepatch.activeness.tracebacks import REFERENCES, being_handled, finished_frames, is_over, kept_by_modules
from pylivepatch.activeness.variables import (
    SUSPENDED,
    Slot,
    code_of_suspended,
    exceptions_in,
    finished_in,
    slots_of,
    suspended_in,
    take_back,
)
from pylivepatch.commit import read

_code_of = attrgetter("__code__")
_SLICE = 500  # known holders, or objects of the heap, between two offers of the GIL


@dataclass(frozen=True, slots=True)
class Probe:
    """The reference counts of some versions, then what their changeable holders hold.

    Its iterator runs no Python code: read it in one C call (``commit.read``), and all that it gives was true at one
    instant.
    """

    versions: Sequence[Version]
    tuples: tuple[tuple[Any, ...], ...]
    functions: tuple[FunctionType, ...]
    slots: tuple[Slot, ...]
    finished: tuple[Any, ...] = ()
    left_behind: Mapping[int, int] = field(default_factory=dict)  # by a fork: references, by the code's id
    profilers: tuple[Any, ...] = ()

    def __iter__(self) -> Iterator[int]:
        containers, keys = [s.container for s in self.slots], [s.key for s in self.slots]
        return chain(
            raw_counts(self.versions),
            map(id, map(_code_of, self.functions)),
            map(id, map(getitem, containers, keys)),
            code_kept(self.profilers, {id(version.code) for version in self.versions}),
        )

    def excess(self, seen: list[int]) -> list[int]:
        """For each version, how many references ``seen`` has beyond those that are explained.

        Gives up the GIL as it goes: what ``seen`` is compared with does not change.
        """
        known: dict[int, int] = {id(version.code): 0 for version in self.versions}
        for const in paced(map(id, chain.from_iterable(self.tuples)), _SLICE):
            if const in known:
                known[const] += 1
        for thing in paced(self.finished, _SLICE):  # it never runs again, and is kept alive here
            prefix = SUSPENDED.get(type(thing))
            code = getattr(thing, prefix + "_code") if prefix else thing.f_code
            if id(code) in known:
                known[id(code)] += references_of_a_finished_one() if prefix else REFERENCES
        for code_id, n in self.left_behind.items():
            known[code_id] += n
        weights = chain(repeat(1, len(self.functions)), (slot.weight for slot in self.slots), repeat(1))
        for holder, weight in paced(zip(seen[len(self.versions) :], weights, strict=False), _SLICE):
            if holder in known:
                known[holder] += weight
        return [n - base() - known[id(v.code)] for v, n in zip(self.versions, seen, strict=False)]


class Accounts:
    """The known holders of ``versions``. ``modules`` are those whose namespaces lead to their functions."""

    def __init__(
        self,
        versions: Iterable[Version],
        modules: Iterable[ModuleType],
        extra_code: Callable[[], Iterable[CodeType]],
    ) -> None:
        self.versions = list(versions)
        self.deep_seconds = 0.0
        self._modules = list(modules)
        self._extra_code = extra_code  # the transition's own trampolines: their constants hold nested code
        self._tuples: dict[int, tuple[Any, ...]] = {}
        self._functions: dict[int, FunctionType] = {}
        self._slots: list[Slot] = []
        self._heap_slots: list[Slot] = []  # found by the deep search
        self._finished: dict[int, Any] = {}  # generator-like objects whose frame is gone, frames whose call is over
        self._greenlets: list[weakref.ref[Any]] = []  # found by the deep search
        self._profilers: dict[int, Any] = {}
        self.refresh(thorough=False)

    def let_go_of_variables(self) -> None:
        """Forget what the variables of the callers hold, and leave no copies of these behind."""
        old, self._slots = self._slots, list(self._heap_slots)
        take_back(old)

    # --- looking ------------------------------------------------------------------------------------------

    def probe(self) -> Probe:
        """What is to be read in one C call, as things stand. Another thread may refresh the books meanwhile."""
        # However often, and in whatever way, a place was found: it is one holder. Two would hide a frame.
        slots = tuple(_each_once(slot for slot in self._slots if id(slot.container) not in self._tuples))
        finished = tuple(self._finished.values())
        tuples, functions = tuple(self._tuples.values()), tuple(self._functions.values())
        left = forked.frames_left_behind(version.code for version in self.versions)
        return Probe(self.versions, tuples, functions, slots, finished, left, tuple(self._profilers.values()))

    def look(self) -> tuple[Probe, list[int]]:
        """Read a probe. What vanished from its container is struck off first."""
        while True:
            probe = self.probe()
            try:
                return probe, read(probe)
            except LookupError:
                self._slots = [slot for slot in self._slots if slot.present()]

    def active(self) -> dict[Version, int]:
        """The versions that more references lead to than are known, and how many more."""
        probe, seen = self.look()
        return {version: n for version, n in zip(self.versions, probe.excess(seen), strict=True) if n != 0}

    def when_idle(self) -> tuple[Probe, list[int]] | None:
        """A probe, and what it gives while nothing changes, if nobody executes a version now; else ``None``."""
        probe, seen = self.look()
        return None if any(probe.excess(seen)) else (probe, seen)

    def once_idle(self) -> tuple[Probe, list[int]]:
        """A probe, and what it will give at a moment at which nobody executes a version, if its holders stay."""
        probe, seen = self.look()
        counts = [n - more for n, more in zip(seen, probe.excess(seen), strict=False)]
        return probe, counts + seen[len(counts) :]

    # --- finding holders ----------------------------------------------------------------------------------

    def refresh(self, *, thorough: bool) -> list[FunctionType]:
        """Look for known holders anew. Returns the functions that run a version's code.

        Thorough looks at every stack's code, walks the modules, and reads the variables of whoever called us.
        """
        wanted = {id(version.code) for version in self.versions}
        for consts in tuples_that_hold(self._code_around(wanted, thorough=thorough), wanted):
            self._tuples[id(consts)] = consts
        self._functions = {i: f for i, f in self._functions.items() if id(f.__code__) in wanted}
        if thorough:
            self.let_go_of_variables()
            if self.active():
                self._slots = [*slots_of(self._modules, wanted), *self._heap_slots]
            if self.active():
                self._finished |= {id(thing): thing for thing in finished_in(self._modules, wanted)}
            if self.active():
                self._profilers |= {id(profiler): profiler for profiler in profilers_in(self._modules)}
            if self.active():
                # Those on the books keep the frames that called them, which may have come to their end since.
                roots = [*being_handled(), *exceptions_in(self._modules), *self._finished.values()]
                kept = finished_frames(chain(roots, paced(kept_by_modules(), _SLICE)))
                self._finished |= {id(frame): frame for frame in kept if id(frame.f_code) in wanted}
                for consts in tuples_that_hold([frame.f_code for frame in kept], wanted):
                    self._tuples[id(consts)] = consts
                del kept
            if self.active():
                probe = self.probe()
                with suppress(LookupError):  # a holder went away meanwhile: the next look tells
                    forked.work_out(self.versions, probe.excess, probe)
        return list(self._functions.values())

    def _code_around(self, wanted: set[int], *, thorough: bool) -> Iterator[CodeType]:
        """Code whose constants may hold a version's. A function that runs one is put on the books on the way.

        One by one: the GIL is given up meanwhile, and what a list held would look executed to whoever asks then.
        """
        for version in live_versions():
            yield version.code
        yield from self._extra_code()
        if thorough:
            yield from running_code()
            for function in walk(self._modules):
                if id(function.__code__) in wanted:
                    self._functions[id(function)] = function
                yield function.__code__

    def _scan(self, wanted: set[int]) -> None:
        """Generator-like objects that ended (from 3.12 on the collector does not know that they refer to their code),
        greenlets and profilers, whose frames and tables it does not know of at all.
        """
        greenlet, profiler = sys.modules.get("greenlet"), profiles.kind()
        started = time.perf_counter()
        objects = gc.get_objects()
        self.deep_seconds += time.perf_counter() - started
        self._greenlets.clear()
        for thing in paced(objects, _SLICE):
            prefix = SUSPENDED.get(type(thing))
            if prefix and id(getattr(thing, prefix + "_code")) in wanted and code_of_suspended(thing) is None:
                self._finished[id(thing)] = thing
            elif greenlet is not None and isinstance(thing, greenlet.greenlet):
                self._greenlets.append(weakref.ref(thing))
            elif profiler is not None and isinstance(thing, profiler):
                self._profilers[id(thing)] = thing
        objects.clear()

    def suspended_in(self, version: Version, *, tasks: bool) -> list[tuple[str, Any]]:
        """Generator-like objects that are suspended in ``version``, or did not start, each with a name.

        As far as variables, the deep search, and asyncio's ``tasks`` lead to them.
        """
        code = version.code
        if not can_be_suspended(code):
            return []
        places: list[Iterable[tuple[str, Any]]] = [suspended_in(self._modules, {id(code)})]
        if tasks:
            places.append((name, thing) for name, _, thing in in_tasks({id(code)}))
        if self.deep_seconds:
            places.append(("", referrer) for referrer in gc.get_referrers(code))
        found: dict[int, tuple[str, Any]] = {}
        for name, thing in paced(chain.from_iterable(places), _SLICE):
            if code_of_suspended(thing) is code and not getattr(thing, SUSPENDED[type(thing)] + "_running"):
                found.setdefault(id(thing), (name, thing))
        return list(found.values())

    def suspended(self, version: Version, since: dict[Any, float], gate: Container[int] = ()) -> list[Holder]:
        """What is suspended in ``version``, as far as it can be found, with ``gate`` as in ``holders.find``.

        Tasks are not: that has those.
        """
        greenlets = (greenlet for reference in self._greenlets if (greenlet := reference()) is not None)
        result = holders.in_greenlets(version.code, greenlets, since, gate)
        found = self.suspended_in(version, tasks=False)
        # A task, or its coroutine, may be kept in a variable too.
        in_a_task = {id(thing) for _, _, thing in in_tasks({id(version.code)})} if found else set()
        for name, thing in paced(found, _SLICE):
            holder = describe_suspended(name, thing, since) if id(thing) not in in_a_task else None
            if holder is not None:
                result.append(replace(holder, at_gate=awaits(thing, gate)))
        return result

    def know(self, functions: Iterable[FunctionType]) -> None:
        """Put functions on the books."""
        self._functions |= {id(function): function for function in functions}

    def deep(self) -> list[FunctionType]:
        """Search the heap for holders of what is active. Returns functions; plain containers become known.

        Holds every thread for the length of one ``gc.get_referrers`` (tens of milliseconds for millions of
        objects); ``deep_seconds`` says how long. Anything that is neither a function nor a plain container is not
        understood, and goes on counting as active.
        """
        active = [version.code for version in self.active()]
        if not active:
            return []
        started = time.perf_counter()
        referrers = gc.get_referrers(*active)
        self.deep_seconds += time.perf_counter() - started
        wanted = {id(code) for code in active}
        functions = [r for r in referrers if isinstance(r, FunctionType)]
        self._finished |= {id(r): r for r in referrers if isinstance(r, FrameType) and is_over(r)}
        for referrer in referrers:
            if referrer is active or id(referrer) in self._tuples or type(referrer) not in (dict, list, tuple):
                continue
            items = referrer.items() if isinstance(referrer, dict) else enumerate(referrer)
            for key, value in list(items):
                if id(value) in wanted:
                    self._heap_slots.append(Slot(referrer, key))
        del referrers
        self._scan(wanted)
        self._slots = [*self._slots, *self._heap_slots]
        self.know(functions)
        return functions


_KINDS = {GeneratorType: "generator", CoroutineType: "coroutine", AsyncGeneratorType: "async_generator"}


def describe_suspended(name: str, thing: Any, since: dict[Any, float]) -> Holder | None:
    """A generator-like object as a holder; ``None`` where it has finished meanwhile."""
    frame = getattr(thing, SUSPENDED[type(thing)] + "_frame")
    if frame is None:
        return None
    code = frame.f_code
    function = f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}"
    started = since.setdefault(f"suspended {id(thing)}", time.time())
    return Holder(_KINDS[type(thing)], name, function, code.co_filename, frame.f_lineno or code.co_firstlineno, started)


def _each_once(slots: Iterable[Slot]) -> list[Slot]:
    """One slot for each place; the first, which knows a local variable's weight, counts."""
    places: dict[tuple[int, Any], Slot] = {}
    for slot in slots:
        places.setdefault((id(slot.container), slot.key), slot)
    return list(places.values())

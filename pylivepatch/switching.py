"""One transition of a patch: what it is to switch, and the record of what came of it.

The record follows the transition, whatever interrupts: the step that brings both in line is noted before the transition
begins (``journal.py``), and may be repeated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Protocol

from pylivepatch import cumulative, events
from pylivepatch.activeness.references import version_of
from pylivepatch.below import Below
from pylivepatch.errors import LivePatchError, TargetBusy
from pylivepatch.journal import Undertaking
from pylivepatch.part import Part
from pylivepatch.stack import Entry, Portion, mark, note_portion, put_on, show_sources, take_off
from pylivepatch.transition.base import Transition
from pylivepatch.transition.per_task import PerTask
from pylivepatch.transition.refcount import Refcount
from pylivepatch.transition.stages import State
from pylivepatch.transition.stop_machine import StopMachine
from pylivepatch.transition.swap import Attribute, Guard, Swap
from pylivepatch.transition.tally import Tally
from pylivepatch.transition.twins import merge, twins
from pylivepatch.way import Way


def check_each_once(parts: list[Part]) -> None:
    """One redirector a function, as ftrace's IPMODIFY: two changes of one function have no order."""
    seen: set[int] = set()
    for switch in (s for part in parts for s in part.switches):
        for function in switch.live():
            if id(function) in seen:
                raise TargetBusy(
                    f"the patch changes {switch.name} twice",
                    where=switch.name,
                    advice="give each function one new version; an alias is the same function",
                )
            seen.add(id(function))


class Place(Protocol):
    """Where it is noted which transition is under way."""

    transition: Any


@dataclass
class Change:
    """What a transition is to switch, and what is to be recorded when it has."""

    action: str
    parts: list[Part]
    swaps: list[Swap]
    attributes: list[Attribute]
    guards: list[Guard]
    modules: list[ModuleType]
    replaces: tuple[Entry, ...] = ()
    portion: Portion | None = None  # where it is one group of a patch


def to_load(parts: list[Part]) -> Change:
    return Change(
        "load",
        parts,
        [switch.swap(forward=True) for part in parts for switch in part.switches],
        [a for part in parts for a in part.attributes],
        [g for part in parts for g in part.guards_old],
        [m for part in parts for m in part.modules],
    )


def to_unload(parts: list[Part]) -> Change:
    swaps = [switch.swap(forward=False) for part in parts for switch in part.switches]
    swaps += [_leaving(switch.swap(forward=True)) for part in parts for switch in part.added]
    return Change(
        "unload",
        parts,
        swaps,
        [a.inverted() for part in parts for a in part.attributes][::-1],
        [g for part in parts for g in part.guards_new],
        [m for part in parts for m in part.modules],
    )


def to_replace(entry: Entry, layers: list[Part]) -> Change:
    swaps, guards = cumulative.swaps(entry._parts, layers, Below(layers))
    swaps += [_leaving(switch.swap(forward=True)) for switch in cumulative.leaving(layers)]
    modules = [m for part in (*entry._parts, *layers) for m in part.modules]
    attributes = cumulative.attributes(entry._parts, layers)
    return Change("load", entry._parts, swaps, attributes, guards, modules, entry._replaced)


def run(
    undertaking: Undertaking, entry: Entry, change: Change, way: Way, place: Place | None = None
) -> dict[str, Any]:
    """Run the transition of a change, and record its outcome, whatever else happens.

    ``place`` is where those look who ask what is under way, if that is not the undertaking itself.
    """
    place = place or undertaking
    pairs, more = twins(change.swaps, change.guards)
    change.swaps += [twin for _, twin in pairs]
    change.guards += more
    transition = _transition(
        way, entry.name, change.action, change.swaps, change.attributes, change.guards, change.modules
    )
    begun = len(undertaking.ending)
    undertaking.ending.append(partial(_settle, entry, transition, pairs, change))
    place.transition = transition
    try:
        if entry._restart:  # before there was a transition to be asked
            transition.ask("restart")
        return transition.run(way.timeout)
    except BaseException as error:
        if transition.state is State.COMMITTED:
            error.add_note(f"pylivepatch: the {transition.action} of {entry.name!r} was complete before this")
        if isinstance(error, LivePatchError) and "calls" in transition.report:  # where they were counted
            error.details["calls"] = transition.report["calls"]
        raise
    finally:
        undertaking.unwind(begun)
        place.transition = None


def _transition(way: Way, *args: Any) -> Transition:
    tally = Tally() if way.count_calls else None
    if way.mode == "refcount":
        allow = way.suspended == "allow"
        return Refcount(*args, deep=way.deep, tally=tally, gate=way.gate, allow_suspended=allow)
    return (StopMachine if way.mode == "stop-machine" else PerTask)(*args, deep=way.deep, tally=tally)


def _settle(entry: Entry, transition: Transition, pairs: list[tuple[Swap, Swap]], change: Change) -> None:
    """Bring it to its end, and the record into line with that."""
    transition.end()
    if transition.state is State.COMMITTED:
        merge(pairs)
        _record(entry, transition, change)
        if transition.allowed:
            mark(entry, transition.action, "suspended", transition.allowed)
        if transition.forced is not None:
            mark(entry, transition.action, "forced", transition.forced)
            entry.forced = True


def _leaving(swap: Swap) -> Swap:
    """A function that only the patch has: it is counted on the way out, and whoever still has it may call it after.

    It gets a copy of its code, so that references to the code that must be idle are not our own.
    """
    swap.new = version_of(swap.old.code.replace())
    return swap


def _record(entry: Entry, transition: Transition, change: Change) -> None:
    """Put it on the stack, or take it off. May be repeated."""
    parts = change.parts
    if change.replaces:
        cumulative.remember(parts, change.swaps)
    else:
        for switch, swap in zip((s for part in parts for s in part.switches), change.swaps, strict=False):
            switch.remember(swap)
    for attribute, found in transition.overwritten():
        events.log.warning("%s: %s was changed in the last moment: %r", entry.name, attribute.label, found)
        for part in parts:  # the way back gives it what it had, not what it had when the patch was prepared
            part.attributes = [dataclasses.replace(a, old=found) if a is attribute else a for a in part.attributes]
    for gone in change.replaces:
        take_off(gone)
    if change.portion is not None:
        note_portion(entry, change.portion, in_force=change.action == "load")
        return
    if change.action == "unload":
        take_off(entry)
        return
    show_sources(parts)
    put_on(entry)

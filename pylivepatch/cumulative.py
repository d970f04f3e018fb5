"""A cumulative patch: it takes the place of all that are applied, in one switch (``klp_patch.replace``).

It is built against the program as it was before any patch. Functions and values that it does not bring go back to what
they were, those that it brings go from what an older patch made of them to its own, and all at one instant. What runs
now is the code of the patches that go: that is the old code of this transition, with trampolines of its own. Taking
the cumulative patch out again leads to the original program.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from pylivepatch.activeness.references import Version, version_of
from pylivepatch.below import Below
from pylivepatch.errors import DataMismatch, NotRemovable
from pylivepatch.pairs import checked_trampoline, equal_nested, make_pair
from pylivepatch.part import Part
from pylivepatch.switches import pair_switch
from pylivepatch.transition.swap import MISSING, Attribute, Guard, Swap, Switch, alike
from pylivepatch.transition.twins import relate


@dataclass(eq=False, slots=True)
class _Change:
    """One function: what it ran before all patches, and what it is to run."""

    function: FunctionType
    name: str
    target: Version
    everywhere: bool


def check_replaceable(name: str, layers: Sequence[Part]) -> None:
    """Make sure that what the patches made is still what is there. Raises as :func:`removable.check_removable`.

    ``name`` is the new patch; ``layers`` are all parts of those that it is to replace, oldest first.
    """
    newest = {id(f): (f, switch) for part in layers for switch in part.switches for f in switch.live()}
    for function, switch in newest.values():
        if function.__code__ is not switch.new.code:
            raise NotRemovable(
                f"{switch.name} no longer runs the code of its patch: something else changed it",
                where=switch.name,
                advice=f"take that tool's change out first, then load {name!r}",
            )
    for top in _newest_attributes(layers).values():
        now = top.current()
        if top.old is MISSING:
            continue  # as for an unload: what only the patches have goes as it is by now
        if not top.is_cache and not any(now is value or alike(now, value) for value in (top.new, top.old)):
            raise DataMismatch(
                f"{top.label} was changed after its patch had bound it",
                where=top.label,
                advice="set it back to the patch's value first; replacing it would lose the change",
            )


def swaps(parts: Sequence[Part], layers: Sequence[Part], below: Below) -> tuple[list[Swap], list[Guard]]:
    """The swaps to ``parts``, those of the new patch, from whatever runs now; and what must be idle beside."""
    found = [switch.swap(forward=True) for part in parts for switch in part.switches]
    found = [swap for swap in found if swap.functions]  # those that run the original
    guards = [guard for part in parts for guard in part.guards_old]
    changes: dict[int, _Change] = {}
    added = {id(function) for part in layers for switch in part.added for function in switch.live()}
    for switch in (s for part in layers for s in part.switches):
        for function in switch.live():
            if id(function) in added:  # one of those patches brought it, another changed it: it leaves
                continue
            changes[id(function)] = _Change(function, switch.name, version_of(below.code(function)), switch.everywhere)
    for switch in (s for part in parts for s in part.switches):
        for function in switch.live():
            if id(function) in changes:
                changes[id(function)].target = switch.new
                changes[id(function)].everywhere |= switch.everywhere
    groups: dict[tuple[int, int], list[_Change]] = {}
    for change in changes.values():
        if change.function.__code__ is not change.target.code:
            groups.setdefault((id(change.function.__code__), id(change.target)), []).append(change)
    known = {id(s.new): s.live() for part in layers for top in part.switches for s in top if s.is_nested}
    for group in groups.values():
        swap, more = _between(group)
        for inner in swap:
            inner.functions += known.get(id(inner.old), [])
        found.append(swap)
        guards += more
    return found, guards


def _between(group: list[_Change]) -> tuple[Swap, list[Guard]]:
    """The swap of functions that run one code object now and are to run another."""
    first = group[0]
    pair = make_pair(first.function.__code__, first.target.code)
    for one, other in equal_nested(pair.old, pair.new):  # as prepare does: such closures stay, and must be found again
        relate(one, other)
    part = Part(first.name.partition(":")[0], [])
    switch = pair_switch(part, pair, [change.function for change in group], first.name)
    switch.everywhere = all(change.everywhere for change in group)
    return switch.swap(forward=True), part.guards_old


def leaving(layers: Sequence[Part]) -> list[Switch]:
    """Functions that only the patches that go have, as the newest of them has made them."""
    return [_as_it_runs(switch) for part in layers for switch in part.added]


def _as_it_runs(switch: Switch) -> Switch:
    """The switch of a new function for the code that it runs now, if a later patch has changed it."""
    codes = {id(function.__code__): function.__code__ for function in switch.live()}
    if len(codes) != 1 or switch.new.code in codes.values():
        return switch
    (code,) = codes.values()
    version, template = version_of(code), checked_trampoline(code, [])
    return Switch(switch.name, version, version, template, template, switch.functions)


def attributes(parts: Sequence[Part], layers: Sequence[Part]) -> list[Attribute]:
    """What is to be bound: the new patch's values, and for what it does not bring the original ones."""
    brought = [a for part in parts for a in part.attributes]
    kept = {a.key for a in brought}
    tops = _newest_attributes(layers)
    result = []
    for a in brought:
        top = tops.get(a.key)
        result.append(a if top is None else Attribute(a.owner, a.name, top.current(), a.new, a.label, a.settled))
    originals: dict[tuple[int, str], Any] = {}
    for a in (a for part in layers for a in part.attributes):
        originals.setdefault(a.key, a.old)
    for key, top in reversed(tops.items()):
        if key not in kept:
            result.append(Attribute(top.owner, top.name, top.current(), originals[key], top.label))
    return result


def _newest_attributes(layers: Sequence[Part]) -> dict[tuple[int, str], Attribute]:
    return {a.key: a for part in layers for a in part.attributes}


def remember(parts: Sequence[Part], done: Sequence[Swap]) -> None:
    """Take over which functions run the new patch's code, for the way back."""
    reached: dict[int, list[weakref.ref[FunctionType]]] = {}
    for swap in (s for top in done for s in top):
        reached.setdefault(id(swap.new), []).extend([*map(weakref.ref, swap.functions), *swap.born])
    for switch in (s for part in parts for top in part.switches for s in top):
        switch.functions = reached.get(id(switch.new), switch.functions)

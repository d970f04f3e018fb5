"""Equal code of nested functions, of which each version of the outer function has its own.

A patch that changes an outer function leaves a nested one alone that it does not change: instances that exist run
the old version's code object, those that are made from now on the new version's equal one. A later patch that does
change the nested function must switch both kinds, and so must one that is loaded when the first is out again. So
which code objects are equal in this way is remembered for as long as they live.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from types import CodeType

from pylivepatch.activeness.references import version_of
from pylivepatch.transition.swap import Guard, Swap

_families: list[list[weakref.ref[CodeType]]] = []


def relate(one: CodeType, other: CodeType) -> None:
    """``one`` and ``other`` are equal, and instances of both may be alive."""
    joined = [weakref.ref(one), weakref.ref(other)]
    apart = []
    for family in _families:
        living = [r for r in family if r() is not None]
        if any(r() is one or r() is other for r in living):
            joined += [r for r in living if r() is not one and r() is not other]
        elif len(living) > 1:
            apart.append(living)
    _families[:] = [*apart, joined]


def equals_of(code: CodeType) -> list[CodeType]:
    """The other living code objects that are equal to ``code``."""
    for family in _families:
        living = [c for r in family if (c := r()) is not None]
        if any(c is code for c in living):
            return [c for c in living if c is not code]
    return []


def twins(swaps: Iterable[Swap], guards: Iterable[Guard]) -> tuple[list[tuple[Swap, Swap]], list[Guard]]:
    """What must be switched, and be idle, beside ``swaps`` and ``guards``: each swap with its twin for equal code."""
    every = [swap for top in swaps for swap in top]
    seen = {id(swap.old.code) for swap in every}
    pairs: list[tuple[Swap, Swap]] = []
    for swap in every:  # outer ones first: a twin brings its own inner ones
        for code in equals_of(swap.old.code) if swap.is_nested else ():
            if id(code) not in seen:
                twin = _twin(swap, code)
                pairs.append((swap, twin))
                seen.update(id(one.old.code) for one in twin)
    return pairs, [Guard(g.name, version_of(code)) for g in guards for code in equals_of(g.version.code)]


def _twin(swap: Swap, code: CodeType) -> Swap:
    nested = []
    for path, inner in swap.nested:
        inside = code
        for index in path:
            inside = inside.co_consts[index]
        nested.append((path, _twin(inner, inside)))
    return Swap(swap.name, version_of(code), swap.new, swap.template, [], nested, is_nested=True)


def merge(pairs: Iterable[tuple[Swap, Swap]]) -> None:
    """After the switch the functions of a twin are the swap's own."""
    for swap, twin in pairs:
        for one, other in zip(swap, twin, strict=True):
            one.functions += [f for f in other.functions if all(f is not g for g in one.functions)]
            one.born += other.born
            other.functions, other.born = [], []

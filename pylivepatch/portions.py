"""The groups of a patch as they are in this process: each with the parts that it switches.

The groups come with the compiled patch, or, for pairs made by hand, from the files of the functions
(``groups.py``). What they cannot know is seen here: which modules outside the patch lead back into it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import FunctionType, ModuleType
from typing import TypeVar

from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.pace import give_way, paced
from pylivepatch.activeness.references import nested_code
from pylivepatch.groups import Described, Group, Key, find, find_with, root, with_pairs
from pylivepatch.part import Part
from pylivepatch.patch import Patch
from pylivepatch.stack import Entry, Portion
from pylivepatch.transition.swap import Attribute, Guard, Switch

T = TypeVar("T")
_FIELDS = ("switches", "attributes", "added", "guards_old", "guards_new")
_BATCH = 200  # names looked at between two offers of the GIL


def finder(patch: Patch) -> Callable[[], tuple[Group, ...]]:
    """How to find the groups of a patch with pairs made by hand, now or later: by what the functions are now."""
    pairs = []
    for replacement in patch.replacements:
        for old, new in zip(unwrap(replacement.old), unwrap(replacement.new), strict=False):
            pairs.append((_described(old), _described(new)))
        give_way()
    return partial(_find, Patch(patch.name, modules=patch.modules), pairs)


def _find(patch: Patch, pairs: Sequence[tuple[Described, Described]]) -> tuple[Group, ...]:
    sources, units = with_pairs(patch, pairs)
    return find_with(sys.executable, sources, units) if sys.executable else find(sources, units)


def _described(function: FunctionType) -> Described:
    code = function.__code__
    mentions = {name for one in (code, *nested_code(code)) for name in one.co_names}
    key = function.__module__ or "?", function.__qualname__
    return Described(*key, code.co_qualname, code.co_filename, tuple(sorted(mentions)))


def portions(entry: Entry, parts: Sequence[Part]) -> list[Portion]:
    """The groups of a patch that have anything in ``parts``, in the order of these."""
    found = _joined_outside(entry._find_groups())
    of = {key: n for n, group in enumerate(found) for key in group.units}
    if entry._hooks is not None and entry._hooks.transformers:  # of what these read and call nothing is known
        return [Portion(frozenset(of), list(parts))]
    result: dict[int, Portion] = {}
    for part in parts:
        for n, piece in divide(part, of.get).items():
            if n is None:  # the groups are not those of this patch: in doubt it is one
                return [Portion(frozenset(of), list(parts))]
            result.setdefault(n, Portion(frozenset(found[n].units), [])).parts.append(piece)
        give_way()
    return list(result.values()) or [Portion(frozenset(of), list(parts))]


def divide(part: Part, owner: Callable[[Key], T]) -> dict[T, Part]:
    """The pieces of ``part``, by what ``owner`` says of each unit."""
    if part.unit:
        return {owner((part.name, part.unit)): part}
    pieces: dict[T, Part] = {}
    for name in _FIELDS:
        for one in paced(getattr(part, name), _BATCH):
            whose = owner((part.name, _unit_of(one)))
            if whose not in pieces:
                pieces[whose] = replace(part, switches=[], attributes=[], added=[], guards_old=[], guards_new=[])
            getattr(pieces[whose], name).append(one)
    return pieces


def _unit_of(one: Switch | Attribute | Guard) -> str:
    label = one.label if isinstance(one, Attribute) else one.name
    return root(label.partition(":")[2])


# --- what lies between --------------------------------------------------------------------------------------


def _joined_outside(found: Sequence[Group]) -> list[Group]:
    """Join the groups that may reach each other through modules that are not part of the patch."""
    modules = {module for group in found for module, _ in group.units}
    joined: list[tuple[Group, set[str]]] = []
    for group in found:
        back = leads_to(group.sees, modules)
        together = [(group, back)]
        apart: list[tuple[Group, set[str]]] = []
        for other, others_back in joined:
            meet = back & {m for m, _ in other.units} or others_back & {m for m, _ in group.units}
            (together if meet else apart).append((other, others_back))
        units = tuple(key for one, _ in together for key in one.units)
        joined = [*apart, (Group(units), {m for _, those in together for m in those})]
    return [group for group, _ in joined]


def leads_to(sees: Collection[str], modules: Collection[str]) -> set[str]:
    """Which of ``modules`` are in the namespace of a module in ``sees``, or of one that is in such a namespace."""
    found: set[str] = set()
    met: set[str] = set()
    queue = list(sees)
    while queue:
        name = queue.pop()
        if name in modules:
            found.add(name)
        elif name not in met and root(name) not in sys.stdlib_module_names:
            met.add(name)
            module = sys.modules.get(name)
            if isinstance(module, ModuleType):
                queue += set(_modules_in(module))
                give_way()
    return found


def _modules_in(module: ModuleType) -> Iterator[str]:
    """The modules that a module has, or has something of. Not those of a package that no code of it mentions."""
    space = list(vars(module).items())
    functions = [value for _, value in space if type(value) is FunctionType]
    mentioned = {name for f in paced(functions, _BATCH) for name in f.__code__.co_names}
    for name, value in paced(space, _BATCH):
        if type(value) is ModuleType:
            if value.__name__ != f"{module.__name__}.{name}" or name in mentioned:
                yield value.__name__
        else:
            thing = value if isinstance(value, type | FunctionType) else type(value)
            if isinstance(thing.__module__, str):
                yield thing.__module__



"""The groups of a patch: sets of its changes that do not reach each other, which an incremental load switches apart.

A *unit* is what is never divided: a function, a class with all its methods and attributes, a module's variable or
import; named by its module and its outermost name. Two units are in one group where

* one may reach the other, in the old or the new version (``callgraph.py``), directly or through what does not change;
* one begins or ceases to set an attribute or key that the other mentions;
* one of them may reach anything: names that are computed, code whose source is not to be had;
* what operators may call (``__eq__``, ``__getattr__``, ``__enter__`` …) leads to one of them: nobody mentions it, so it
  counts as called by every unit.

What leads through modules that are not part of the patch only the process can tell: a group says which modules it calls
(``sees``), and the process joins those that such a module leads to (``incremental.py``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pylivepatch.callgraph import ANYTHING, CallGraph, definition_node
from pylivepatch.patch import FunctionChange, NewClass, NewFunction, Patch

Key = tuple[str, str]
"""A unit: its module, and the outermost name in it."""

_NOT_OPERATORS = {"__init__", "__new__", "__post_init__", "__all__", "__slots__", "__match_args__", "__main__"}
_NOT_OPERATORS |= {"__name__", "__file__", "__path__", "__doc__", "__module__", "__qualname__", "__annotations__"}
_NOT_OPERATORS |= {"__version__", "__author__", "__debug__", "__spec__", "__loader__", "__package__", "__future__"}


class Source(NamedTuple):
    """One version of a module: its text, or the file to read it from.

    ``package``: it is an ``__init__.py``. ``new``: it is the version after the switch.
    """

    module: str
    package: bool = False
    new: bool = False
    text: str | None = None
    file: str = ""

    def read(self) -> str:
        """:raises OSError, ValueError: the file cannot be read"""
        return self.text if self.text is not None else Path(self.file).read_bytes().decode()


class Unit(NamedTuple):
    """``starts``: the definitions that are its own, old and new. ``names``: whoever mentions one of these reaches it.

    ``mentions``: names that it is known to mention beside what its definitions do.
    """

    key: Key
    starts: tuple[str, ...]
    names: tuple[str, ...]
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Units that switch together. ``sees``: the modules outside the patch that they may call into."""

    units: tuple[Key, ...]
    sees: tuple[str, ...] = ()


def unit_name(qualname: str) -> str:
    """The unit of a function of a pair made by hand. One that a function has made is by itself."""
    return qualname if "<locals>" in qualname else root(qualname)


def root(target: str) -> str:
    """The outermost name of a dotted one: the unit that it belongs to."""
    return target.partition(".")[0]


def of_patch(patch: Patch) -> tuple[Group, ...]:
    """The groups of a patch that was built from sources."""
    return find(_sources(patch), _units(patch))


def find(sources: Iterable[Source], units: Sequence[Unit]) -> tuple[Group, ...]:
    """The groups of ``units``: each unit is in one of them. Where a source cannot be read there is one group."""
    graph, modules, readable = CallGraph(), set(), True
    for source in sources:
        modules.add(source.module)
        try:
            graph.read(source.module, source.read(), package=source.package, new=source.new)
        except (OSError, SyntaxError, ValueError, RecursionError):
            readable = False
    differ = {unit.key: {name for start in unit.starts for name in graph.differs(start)} for unit in units}
    starts = _starts(graph, units, readable)
    return _groups(graph.edges, units, starts, differ, modules)


def _starts(graph: CallGraph, units: Sequence[Unit], readable: bool) -> dict[Key, list[str]]:
    """Where each unit begins: its definitions, what is called without being mentioned, what it is known to mention."""
    graph.lead(ANYTHING, [name for unit in units for name in unit.names])
    operators = [n for n in graph.edges if n[:2] == "__" == n[-2:] and n.isidentifier() and n not in _NOT_OPERATORS]
    found = {}
    for unit in units:
        known = readable and all(start in graph.edges for start in unit.starts)
        found[unit.key] = [*unit.starts, *unit.mentions, *operators, *([] if known else [ANYTHING])]
    return found


def _groups(
    edges: Mapping[str, Collection[str]],
    units: Sequence[Unit],
    starts: Mapping[Key, Sequence[str]],
    differ: Mapping[Key, Collection[str]],
    modules: Collection[str],
) -> tuple[Group, ...]:
    """The units, joined along every path that leads from one of them to another.

    In one pass, not unit by unit: an edge lies on such a path where its beginning is reached from a unit, and its end
    leads to one. All units that come by there reach what it leads to, so both its ends belong to their group.
    """
    reached = _closure(edges, [name for those in starts.values() for name in those])
    back: dict[str, list[str]] = {}
    for name in reached:
        for other in edges.get(name, ()):
            back.setdefault(other, []).append(name)
    called = {unit.key: reached.intersection([*unit.names, *differ[unit.key]]) for unit in units}
    leading = _closure(back, [name for names in called.values() for name in names])
    joined = _Joined()
    for unit in units:
        for name in (*called[unit.key], *leading.intersection(starts[unit.key])):
            joined.join(unit.key, name)
    for name in leading:
        for other in leading.intersection(edges.get(name, ())):
            joined.join(name, other)
    groups: dict[Any, list[Key]] = {}
    for unit in units:
        groups.setdefault(joined.find(unit.key), []).append(unit.key)
    sees: dict[Any, list[str]] = {}
    for node in sorted(name for name in reached if name.startswith("import ")):
        module = node.removeprefix("import ")
        if module not in modules and root(module) not in sys.stdlib_module_names:
            seeing = _closure(back, [node])
            for first, keys in groups.items():
                if any(not seeing.isdisjoint(starts[key]) for key in keys):
                    sees.setdefault(first, []).append(module)
    return tuple(Group(tuple(keys), tuple(sees.get(first, ()))) for first, keys in groups.items())


def _closure(edges: Mapping[str, Iterable[str]], names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += edges.get(name, ())
    return found


class _Joined:
    """Disjoint sets of units and names that are joined one by one."""

    def __init__(self) -> None:
        self._above: dict[Key | str, Key | str] = {}

    def find(self, one: Key | str) -> Key | str:
        """The one that stands for the set."""
        while (above := self._above.get(one, one)) != one:
            self._above[one] = self._above.get(above, above)
            one = above
        return one

    def join(self, one: Key | str, other: Key | str) -> None:
        self._above[self.find(one)] = self.find(other)


def _sources(patch: Patch) -> list[Source]:
    found = []
    for module in patch.modules:
        package = module.path.endswith("__init__.py")
        found.append(Source(module.name, package, False, module.old_source))
        found.append(Source(module.name, package, True, module.new_source))
    return found


def _units(patch: Patch) -> list[Unit]:
    units: dict[Key, Unit] = {}
    for module, change in patch.changes():
        key = module.name, root(change.target)
        starts = [definition_node(module.name, key[1])]
        if not isinstance(change, FunctionChange | NewFunction | NewClass) and "." not in change.target:
            starts = [key[1]]  # a variable or an import
        names = [*starts, *_called(module.name, change.target)]
        units[key] = _merged(units.get(key), Unit(key, tuple(starts), tuple(names)))
    return list(units.values())


def _called(module: str, target: str) -> list[str]:
    """By what names ``target`` is reached."""
    parts = target.split(".")
    return [*parts, *(definition_node(module, ".".join(parts[: n + 1])) for n in range(len(parts)))]


def _merged(one: Unit | None, other: Unit) -> Unit:
    if one is None:
        return other
    return Unit(one.key, *((*a, *b) for a, b in zip(one[1:], other[1:], strict=True)))


# --- pairs of live functions --------------------------------------------------------------------------------


class Described(NamedTuple):
    """One function of a pair: its name, the name that its source gives it, where it stands, what its code mentions."""

    module: str
    qualname: str
    written: str
    file: str
    mentions: tuple[str, ...]


def _unit_of_pair(old: Described, new: Described) -> Unit:
    """The unit of a pair made by hand."""
    written = old.written if "<locals>" in old.written else root(old.written)
    starts = (definition_node(old.module, written), definition_node(new.module, new.written))
    called = [part for name in (old.qualname, old.written) for part in name.split(".")]
    names = (*starts, *called, definition_node(old.module, old.written))
    return Unit((old.module, unit_name(old.qualname)), starts, names, (*old.mentions, *new.mentions))


def with_pairs(
    patch: Patch, pairs: Iterable[tuple[Described, Described]]
) -> tuple[list[Source], list[Unit]]:
    """The sources and units of a patch and of pairs made by hand: what :func:`find` wants."""
    sources = {(source.module, source.new): source for source in _sources(patch)}
    units = {unit.key: unit for unit in _units(patch)}
    for old, new in pairs:
        time.sleep(0)  # this runs in the process that is patched
        unit = _unit_of_pair(old, new)
        units[unit.key] = _merged(units.get(unit.key), unit)
        for one in (old, new):
            package = one.file.endswith("__init__.py")
            sources.setdefault((one.module, False), Source(one.module, package, file=one.file))
    return list(sources.values()), list(units.values())


def find_with(executable: str, sources: Sequence[Source], units: Sequence[Unit]) -> tuple[Group, ...]:
    """:func:`find` in a helper process: reading source text takes longer than a patched process may stand.

    Where the helper fails there is one group.
    """
    home = str(Path(__file__).resolve().parent.parent)
    code = f"import sys; sys.path.insert(0, {home!r}); from pylivepatch.groups import main; main()"
    command = [executable, "-I", "-X", "utf8", "-c", code]
    asked = json.dumps([sources, units]).encode()
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=60, check=True)
        return from_json(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return (Group(tuple(unit.key for unit in units)),)


def main() -> None:
    """The helper: sources and units from standard input, the groups to standard output."""
    sources, units = json.load(sys.stdin)
    units = [Unit((key[0], key[1]), *map(tuple, names)) for key, *names in units]
    json.dump(to_json(find([Source(*one) for one in sources], units)), sys.stdout)


def to_json(groups: Iterable[Group]) -> list[Any]:
    return [[group.units, group.sees] for group in groups]


def from_json(data: Iterable[Any]) -> tuple[Group, ...]:
    """Read back what :func:`to_json` gave."""
    return tuple(Group(tuple((str(m), str(n)) for m, n in units), tuple(map(str, sees))) for units, sees in data)

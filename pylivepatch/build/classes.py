"""The classes of one version of the tree: who derives from whom, and who defines what."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import Item

if TYPE_CHECKING:
    from pylivepatch.build.world import Version

Symbol = tuple[str, str]
"""A module's import name, and a dotted name in it."""


@dataclass(frozen=True, eq=False)
class Class:
    """A class statement at module level or in another class's body. ``bases`` outside the tree have ``""`` for a
    module.
    """

    symbol: Symbol
    node: ast.ClassDef
    items: tuple[Item, ...]
    bases: tuple[Symbol, ...]

    @cached_property
    def defines(self) -> dict[str, Item]:
        """The name of each thing that the body binds at run time → its last definition."""
        return {item.name: item for item in self.items if item.name and not item.typing_only}

    @cached_property
    def computed_lookups(self) -> tuple[ast.Call, ...]:
        """Where a method looks one of the object's attributes up by a text that is no literal."""
        found = []
        for node in walk(self.node):
            match node:
                case ast.Call(
                    func=ast.Name("getattr"),
                    args=[ast.Name("self" | "cls") | ast.Call(func=ast.Name("type")), text, *_],
                ) if not isinstance(text, ast.Constant):
                    found.append(node)
        return tuple(found)

    @property
    def metaclass(self) -> ast.expr | None:
        return next((keyword.value for keyword in self.node.keywords if keyword.arg == "metaclass"), None)


class Classes:
    """Every class of a version, by module and qualified name."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self.all: dict[Symbol, Class] = {}
        for module, uses in version.modules.items():
            self._collect(module, "", uses.items)
        self._children: dict[Symbol, list[Class]] = {}
        for cls in self.all.values():
            for base in cls.bases:
                self._children.setdefault(base, []).append(cls)

    def _collect(self, module: str, outer: str, items: Iterable[Item]) -> None:
        uses = self._version.modules[module]
        for item in items:
            if item.kind != "class" or item.typing_only:
                continue
            qualname = f"{outer}.{item.name}" if outer else item.name
            body = uses.body(item.class_node)
            bases = []
            for base in item.class_node.bases:
                dotted = uses.names.dotted(base.value if isinstance(base, ast.Subscript) else base)
                bases.append(self._version.resolve(module, dotted) if dotted else ("", ""))
            self.all[module, qualname] = Class((module, qualname), item.class_node, body, tuple(bases))
            self._collect(module, qualname, body)

    def ancestors(self, cls: Class) -> Iterator[Class]:
        """The tree's classes that ``cls`` derives from, nearest first."""
        queue, seen = list(cls.bases), {cls.symbol}
        while queue:
            symbol = queue.pop(0)
            base = self.all.get(symbol)
            if base is not None and symbol not in seen:
                seen.add(symbol)
                yield base
                queue += base.bases

    def outside(self, cls: Class) -> Iterator[str]:
        """The dotted names of the bases from elsewhere, those of its ancestors included."""
        for one in (cls, *self.ancestors(cls)):
            yield from (name for module, name in one.bases if not module and name)

    def descendants(self, cls: Class) -> Iterator[Class]:
        """The tree's classes that derive from ``cls``."""
        queue, seen = [cls], {cls.symbol}
        while queue:
            for child in self._children.get(queue.pop().symbol, ()):
                if child.symbol not in seen:
                    seen.add(child.symbol)
                    yield child
                    queue.append(child)

    def heirs(self, cls: Class, name: str) -> Iterator[Class]:
        """The descendants that get ``name`` from ``cls``: neither they nor what lies between define it."""
        queue, seen = [cls], {cls.symbol}
        while queue:
            for child in self._children.get(queue.pop().symbol, ()):
                if child.symbol not in seen and name not in child.defines:
                    seen.add(child.symbol)
                    yield child
                    queue.append(child)

"""What every comparison of one module shares: both versions, the report and the changes so far."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from types import CodeType

from pylivepatch.build.findings import Report
from pylivepatch.build.pure import Purity, qualified
from pylivepatch.build.scope import FunctionNode, Item, first_line
from pylivepatch.build.source import Source
from pylivepatch.build.uses import Uses
from pylivepatch.build.world import World
from pylivepatch.patch import Change, CodeRef, ValueChange


class Ambiguous(Exception):
    """A definition has no code object of its own in the compiled module, or several."""


@dataclass(frozen=True)
class Root:
    """A value that changed by itself: what was computed from it at import has to follow (``follow``).

    ``old_expr`` and ``new_expr`` are its expressions for the module's namespace.
    """

    context: Context
    old: Item
    new: Item
    change: ValueChange
    old_expr: ast.expr
    new_expr: ast.expr
    difference: str


@dataclass(frozen=True)
class Context:
    """One module's comparison, in one of its scopes.

    ``owner`` is the qualified name of the class whose body is compared (``""`` for the module);
    ``old_hidden`` and ``new_hidden`` are the names that its body binds, and ``shape`` is what the class
    makes of it. ``peers`` are the contexts of all modules, by import name.
    """

    world: World
    old: Uses
    new: Uses
    report: Report
    changes: list[Change] = field(default_factory=list)
    peers: dict[str, Context] = field(default_factory=dict)
    roots: list[Root] = field(default_factory=list)
    owner: str = ""
    old_hidden: frozenset[str] = frozenset()
    new_hidden: frozenset[str] = frozenset()
    shape: str = "plain"
    has_bases: bool = False

    @property
    def module(self) -> str:
        return self.new.source.name

    @property
    def class_name(self) -> str:
        """The innermost class's own name, for the mangling of private names."""
        return self.owner.rpartition(".")[2]

    def symbol(self, name: str) -> str:
        return f"{self.owner}.{name}" if self.owner else name

    def code(self, source: Source, node: FunctionNode) -> CodeType:
        """The code object of an outermost function. Raises :class:`Ambiguous`."""
        found = source.codes.get((self.symbol(node.name), first_line(node)), [])
        if len(found) != 1:
            raise Ambiguous(
                "it is compiled away"
                if not found
                else f"{len(found)} functions of that name start in its line"
            )
        return found[0]

    def ref(self, node: FunctionNode) -> CodeRef:
        return CodeRef(self.symbol(node.name), first_line(node))

    def purity(self, *, old: bool = False) -> Purity:
        """What may be evaluated again in the module."""
        return Purity(self.world.old if old else self.world.new, self.module)

    def expression(self, node: ast.expr, line: int, *, old: bool = False) -> ast.expr:
        """``node``, from this scope's line ``line``, for the module's namespace. Raises :class:`names.Unsafe`."""
        version = self.world.old if old else self.world.new
        cls = version.classes.all.get((self.module, self.owner))
        bound = {item.name for item in cls.items} if cls else ()
        return qualified(version, self.module, self.owner, node, line, bound)

    def inside(self, name: str, old: list[Item], new: list[Item], shape: str, has_bases: bool) -> Context:
        """The context of the body of the class ``name``."""
        return replace(
            self,
            owner=self.symbol(name),
            old_hidden=self.old_hidden | bound_in(old),
            new_hidden=self.new_hidden | bound_in(new),
            shape=shape,
            has_bases=has_bases,
        )


def bound_in(items: list[Item]) -> frozenset[str]:
    """The names that a class body binds at run time."""
    return frozenset(item.name for item in items if item.name and not item.typing_only)

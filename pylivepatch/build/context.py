"""What every comparison of one module shares: both versions, the report and the changes so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import CodeType

from pylivepatch.build.findings import Report
from pylivepatch.build.scope import FunctionNode, Item, first_line
from pylivepatch.build.source import Source
from pylivepatch.build.uses import Uses
from pylivepatch.build.world import World
from pylivepatch.patch import Change, CodeRef


class Ambiguous(Exception):
    """A definition has no code object of its own in the compiled module, or several."""


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

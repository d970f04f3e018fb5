"""Both versions of all modules at once: what a difference in one module means for the others."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pylivepatch.build.classes import Classes
from pylivepatch.build.names import Names, Unsafe
from pylivepatch.build.pure import Purity, once, qualified
from pylivepatch.build.reach import Reach
from pylivepatch.build.source import Source
from pylivepatch.build.stdlib import subclassing
from pylivepatch.build.uses import Copy, Evaluated, Uses, executed_nodes

ClassShape = Literal["plain", "fields", "enum", "unknown"]

_FIELD_MAKERS = (
    "typing.NamedTuple",
    "typing.TypedDict",
    "typing_extensions.NamedTuple",
    "typing_extensions.TypedDict",
    "dataclasses.",
    "attr.",
    "attrs.",
    "pydantic.",
    "msgspec.",
    "ctypes.Structure",
    "ctypes.Union",
    "sqlalchemy.",
    "django.db.models.",
    "django.forms.",
    "marshmallow.",
)
_PLAIN_BASES = (
    "typing.",
    "typing_extensions.",
    "collections.abc.",
    "abc.ABC",
    "contextlib.",
    "threading.",
    "io.",
)
_PLAIN_DECORATORS = frozenset(
    {"typing.final", "typing.runtime_checkable", "functools.total_ordering", "typing_extensions.final"}
    | {"typing_extensions.runtime_checkable", "warnings.deprecated", "typing_extensions.deprecated"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a module, for a message."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.what})"


class Version:
    """One version of the tree: import name → the module's :class:`Uses`."""

    def __init__(self, sources: Mapping[str, Source], other: Version | None = None) -> None:
        known = {id(uses.source): uses for uses in other.modules.values()} if other else {}
        self.modules: dict[str, Uses] = {
            name: known.get(id(source)) or Uses(source) for name, source in sources.items()
        }
        self._resolved: dict[tuple[str, str], tuple[str, str]] = {}
        self._data: dict[tuple[str, str], bool] = {}
        self._pure: dict[tuple[str, str], bool] = {}

    @cached_property
    def copies(self) -> dict[str, list[Copy]]:
        """Module → who copies names out of it at import."""
        found: dict[str, list[Copy]] = {}
        for uses in self.modules.values():
            for copy in uses.copies:
                found.setdefault(copy.module, []).append(copy)
        return found

    def prepare(self) -> None:
        """Make at once what all searches use."""
        for name in ("copies", "classes", "values", "aliases"):
            getattr(self, name)

    def resolve(self, module: str, dotted: str) -> tuple[str, str]:
        """Where a dotted name, seen in ``module``, is defined: ``(module, name in it)``; ``("", dotted)``
        for elsewhere.

        Follows re-exports of the tree's own modules.
        """
        found = self._resolved.get((module, dotted))
        if found is None:
            found = self._resolved[module, dotted] = self._resolve(module, dotted)
        return found

    def _resolve(self, module: str, dotted: str) -> tuple[str, str]:
        for _ in range(20):  # a chain of re-exports longer than this is a circle
            if dotted.startswith("<module>."):
                return module, dotted.removeprefix("<module>.")
            parts = dotted.split(".")
            for cut in range(len(parts) - 1, 0, -1):
                candidate = ".".join(parts[:cut])
                if candidate in self.modules:
                    break
            else:
                return "", dotted
            module, name, rest = candidate, parts[cut], parts[cut + 1 :]
            imported = self.modules[module].names.imports.get(name)
            if imported is None:
                return module, ".".join((name, *rest))
            dotted = ".".join((imported, *rest))
        return "", dotted

    @cached_property
    def classes(self) -> Classes:
        return Classes(self)

    @cached_property
    def values(self) -> dict[tuple[str, str], ast.expr]:
        """Module and name of each value that is assigned once and without a condition → its expression."""
        found: dict[tuple[str, str], ast.expr] = {}
        for module, uses in self.modules.items():
            counts = Counter(item.name for item in uses.items)
            for item in uses.items:
                if item.kind == "value" and counts[item.name] == 1 and not item.guard:
                    found[module, item.name] = item.value
        return found

    @cached_property
    def aliases(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Module and name of each thing of the tree → the values that :meth:`canonical` follows to it."""
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for (module, name), value in self.values.items():
            while isinstance(value, ast.Call):
                value = value.func
            dotted = self.modules[module].names.dotted(value)
            home, symbol = self.resolve(module, dotted) if dotted else ("", "")
            if home:
                found.setdefault((home, symbol), []).append((module, name))
        return found

    @cached_property
    def class_values(self) -> dict[tuple[str, str], ast.expr]:
        """Module and qualified name of each class attribute that its class body sets once → its expression, spelled
        for the module's namespace. None of classes that make something else of their attributes.
        """
        found: dict[tuple[str, str], ast.expr] = {}
        for (module, owner), cls in self.classes.all.items():
            if self.class_shape(module, cls.node) in ("enum", "fields"):
                continue
            bound = {item.name for item in cls.items}
            for name, item in once(list(cls.items)).items():
                try:
                    found[module, f"{owner}.{name}"] = qualified(self, module, owner, item.value, item.line, bound)
                except Unsafe:
                    continue
        return found

    @cached_property
    def class_lines(self) -> dict[tuple[str, str], int]:
        """The line of each class attribute that its class body sets once."""
        return {
            (module, f"{owner}.{name}"): item.line
            for (module, owner), cls in self.classes.all.items()
            for name, item in once(list(cls.items)).items()
        }

    def is_data(self, symbol: tuple[str, str]) -> bool:
        """Whether the value of the tree is set once, and to data: see ``pure``."""
        return self._known(symbol, self._data, lambda purity, value: purity.is_data(value))

    def is_pure(self, symbol: tuple[str, str]) -> bool:
        """Whether the value of the tree is set once, and to what is pure."""
        return self._known(symbol, self._pure, _is_pure)

    def _known(
        self, symbol: tuple[str, str], known: dict[tuple[str, str], bool], ask: Callable[[Purity, ast.expr], bool]
    ) -> bool:
        if symbol not in known:
            known[symbol] = False  # what is made of itself is neither
            value = self.values.get(symbol)
            if value is None and "." in symbol[1]:
                value = self.class_values.get(symbol)
            elif symbol[1] in self.modules[symbol[0]].rebound:
                value = None
            known[symbol] = value is not None and ask(Purity(self, symbol[0]), value)
        return known[symbol]

    def canonical(self, symbol: tuple[str, str]) -> tuple[str, str]:
        """What is called by the name ``symbol``, values that are other names or results of calls followed.

        With ``k = K()``, ``k.method`` is ``K.method``; with ``x = make()``, ``x`` is ``make()``.
        """
        for _ in range(5):
            module, name = symbol
            head = re.match(r"[\w]+", name)
            value = self.values.get((module, head[0])) if head else None
            if head is None or value is None:
                break
            rest = name[head.end() :]
            suffix = ""
            while isinstance(value, ast.Call):
                value, suffix = value.func, suffix + "()"
            home, found = self.resolve(module, self.modules[module].names.dotted(value))
            if not home or not found:
                break
            symbol = home, found + (suffix.removesuffix("()") if rest.startswith(".") else suffix) + rest
        return symbol

    @staticmethod
    def is_known_decorator(dotted: str) -> bool:
        """Whether it is known what a class decorator from elsewhere makes of a class."""
        return dotted.startswith(_FIELD_MAKERS) or dotted in _PLAIN_DECORATORS or dotted.startswith("enum.")

    def class_shape(self, module: str, node: ast.ClassDef, depth: int = 0) -> ClassShape:
        """How a class treats its body: ``fields`` and ``enum`` make something of it when the class is
        created.
        """
        names = self.modules[module].names
        shapes: set[ClassShape] = set()
        for decorator in node.decorator_list:
            target = names.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if target.startswith(_FIELD_MAKERS):
                shapes.add("fields")
            elif target not in _PLAIN_DECORATORS:
                shapes.add("unknown")
        for keyword in node.keywords:
            target = names.dotted(keyword.value)
            if target.startswith("enum."):
                shapes.add("enum")
            elif target != "abc.ABCMeta":
                shapes.add("unknown")
        for base in node.bases:
            shapes.add(self._base_shape(module, base, names, depth))
        for shape in ("enum", "fields", "unknown"):
            if shape in shapes:
                return shape
        return "plain"

    def _base_shape(self, module: str, base: ast.expr, names: Names, depth: int) -> ClassShape:
        dotted = names.dotted(base.value if isinstance(base, ast.Subscript) else base)
        if not dotted or depth > 20:
            return "unknown"
        if dotted.startswith("enum."):
            return "enum"
        if dotted.startswith(_FIELD_MAKERS):
            return "fields"
        if dotted.startswith(_PLAIN_BASES) or subclassing(dotted) == "plain":
            return "plain"
        home, name = self.resolve(module, dotted)
        if home:
            for item in self.modules[home].items:
                if item.kind == "class" and item.name == name:
                    return self.class_shape(home, item.class_node, depth + 1)
        return "enum" if dotted.endswith(("Enum", "Flag", "Choices")) else "unknown"


def _is_pure(purity: Purity, value: ast.expr) -> bool:
    try:
        purity.check(value)
    except Unsafe:
        return False
    return True


class World:
    """The old and the new version."""

    def __init__(self, old: Mapping[str, Source], new: Mapping[str, Source]) -> None:
        self.old = Version(old)
        self.new = Version(new, self.old)
        self._unchanged: dict[str, list[Evaluated]] = {}
        self.reach = Reach(self.new, self.unchanged_pieces)

    def forget(self) -> None:
        """Let go of the trees. Nothing can be asked any more.

        All of them hang together in circles, and the collector, which has not run in the build, takes longer for
        millions of objects that it has to find than it takes to free them one by one.
        """
        for part in (self.old, self.new, self.reach, self):
            vars(part).clear()

    def unchanged_pieces(self, module: str) -> list[Evaluated]:
        """The import-time pieces of ``module`` that both versions have: what they computed stays as it is."""
        found = self._unchanged.get(module)
        if found is None:
            old, new = self.old.modules.get(module), self.new.modules.get(module)
            both = old is not None and new is not None
            keys = old.evaluated_keys if old is not None and old is not new else frozenset()
            found = [piece for piece in new.evaluated if old is new or piece.key in keys] if both and new else []
            self._unchanged[module] = found
        return found

    def readers(self, module: str, name: str, *, owner: str = "") -> list[Place]:
        """The unchanged import-time code that reads ``module``'s ``name`` (or the class attribute
        ``owner.name``).
        """
        return [
            Place(self.new.modules[other].source.path, line, piece.what)
            for other, piece, line in self.readings(module, name, owner=owner)
        ]

    def readings(self, module: str, name: str, *, owner: str = "") -> Iterator[tuple[str, Evaluated, int]]:
        """The same as the module that reads, the piece of its code, and the line."""
        for other, piece in self._by_name.get(name, ()):
            if other == module and piece.owner == (f"{owner}.{name}" if owner else name):
                continue
            line = self._reads(other, piece, module, name, owner)
            if line:
                yield other, piece, line

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[str, Evaluated]]]:
        """Each name and attribute → the unchanged pieces that mention it: one walk for all the values that change."""
        found: dict[str, list[tuple[str, Evaluated]]] = {}
        for module in self.new.modules:
            for piece in self.unchanged_pieces(module):
                names = {
                    node.id if isinstance(node, ast.Name) else node.attr
                    for node in executed_nodes(piece.node)
                    if isinstance(node, ast.Name | ast.Attribute)
                }
                for name in names:
                    found.setdefault(name, []).append((module, piece))
        return found

    def _reads(self, other: str, piece: Evaluated, module: str, name: str, owner: str) -> int:
        version = self.new
        names = version.modules[other].names
        for node in executed_nodes(piece.node):
            match node:
                case ast.Name(id=found, ctx=ast.Load()) if found == name and other == module:
                    if not owner or piece.scope == owner:
                        return node.lineno
                case ast.Attribute(attr=found, ctx=ast.Load()) if found == name:
                    home, symbol = version.resolve(other, names.dotted(node))
                    if (home, symbol) == (module, f"{owner}.{name}" if owner else name):
                        return node.lineno
        return 0

    def with_subclasses(self, module: str, name: str) -> list[tuple[str, str]]:
        """The class ``name`` of ``module`` and all of the tree's module-level classes below it."""
        found = [(module, name)]
        for base in found:  # grows as it goes
            for other, uses in self.new.modules.items():
                for item in uses.items:
                    if item.kind != "class" or (other, item.name) in found:
                        continue
                    bases = [self.new.resolve(other, uses.names.dotted(one)) for one in item.class_node.bases]
                    if base in bases:
                        found.append((other, item.name))
        return found

    def with_bases(self, module: str, name: str) -> list[tuple[str, str]]:
        """The class ``name`` of ``module`` and all of the tree's module-level classes above it."""
        found = [(module, name)]
        for home, known in found:  # grows as it goes
            uses = self.new.modules.get(home)
            for item in uses.items if uses else ():
                if item.kind == "class" and item.name == known and uses is not None:
                    bases = [self.new.resolve(home, uses.names.dotted(one)) for one in item.class_node.bases]
                    found += [base for base in bases if base[0] and base not in found]
        return found

    def still_refers(self, module: str, name: str) -> Place | None:
        """Where the new version still means something by ``name`` of ``module``, so that its absence could
        matter.
        """
        uses = self.new.modules[module]
        if name in uses.mentioned:
            return Place(uses.source.path, uses.mentioned[name], "named here")
        for item in uses.items:
            if item.kind == "function" and item.name == "__getattr__":
                return Place(uses.source.path, item.line, "the module's __getattr__ would answer")
        for other in self.new.modules.values():
            line = other.imported_anywhere.get((module, name))
            if line:
                return Place(other.source.path, line, "imported here")
        return None

    def attribute_needed(self, name: str) -> Place | None:
        """Where the new version could tell whether its objects have an attribute ``name``.

        A string that may be part of the name; ``self.name``; any ``x.name`` where its absence would be caught, or
        where some class answers for what is missing. A plain ``x.name`` elsewhere can only mean other objects: on this
        class's it would fail.
        """
        answered = any(
            name in ("__getattr__", "__getattribute__") for uses in self.new.modules.values() for name in uses.defined
        )
        for uses in self.new.modules.values():
            if name in uses.attributes_that_matter or (answered and name in uses.attributes):
                line = uses.attributes_that_matter.get(name) or uses.attributes[name]
                return Place(uses.source.path, line, repr(name))
            for text, line in uses.texts.items():
                if text == name or (len(text) >= 3 and (name.startswith(text) or name.endswith(text))):
                    return Place(uses.source.path, line, repr(text))
        return None

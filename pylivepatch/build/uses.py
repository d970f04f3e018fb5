"""What a module does while it is imported, and which names it mentions at all.

A live patch changes a name; what was computed from it while the module was imported stays as it was. So a
changed value is safe only where no import-time code read it, and a changed function only where no
import-time value came from it. Function and lambda bodies are not import-time code; decorators, defaults,
annotations and class bodies are.
"""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pylivepatch.build.names import Names, absolute_module, names_of
from pylivepatch.build.nodes import children, walk
from pylivepatch.build.scope import Item, items_of
from pylivepatch.build.source import Source

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


@dataclass(frozen=True)
class Evaluated:
    """An expression that runs while the module is imported. ``role`` says for what, ``owner`` for which
    definition.
    """

    owner: str
    role: str
    node: ast.AST
    line: int
    scope: str = ""

    @cached_property
    def key(self) -> tuple[str, str, str]:
        return self.owner, self.role, ast.dump(self.node)

    @property
    def what(self) -> str:
        """For a message: ``default of f``."""
        return f"{self.role} of {self.owner}" if self.owner else self.role


@dataclass(frozen=True, slots=True)
class Copy:
    """``from module import name as bound``, run while ``importer`` is imported. ``name`` may be ``*``."""

    importer: str
    module: str
    name: str
    bound: str
    line: int
    conditional: bool


class Uses:
    """The import-time view of one module."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.items: list[Item] = items_of(source.tree.body)
        self.names: Names = names_of(source, self.items)
        self._bodies: dict[int, tuple[Item, ...]] = {}

    def body(self, node: ast.ClassDef) -> tuple[Item, ...]:
        """The items of a class of the module: both versions ask for those of a module that they share."""
        found = self._bodies.get(id(node))
        if found is None:
            found = self._bodies[id(node)] = tuple(items_of(node.body))
        return found

    @cached_property
    def future_annotations(self) -> bool:
        """Whether annotations are strings (``from __future__ import annotations``)."""
        return any(
            item.kind == "future" and item.alias is not None and item.alias.name == "annotations"
            for item in self.items
        )

    @cached_property
    def evaluated(self) -> list[Evaluated]:
        """Everything that runs at import, piece by piece."""
        return list(_evaluated(self.items, "", self.future_annotations))

    @cached_property
    def evaluated_keys(self) -> frozenset[tuple[str, str, str]]:
        return frozenset(piece.key for piece in self.evaluated)

    @cached_property
    def copies(self) -> list[Copy]:
        found = []
        for item in self.items:
            if (
                item.kind in ("import", "star")
                and not item.typing_only
                and isinstance(item.node, ast.ImportFrom)
            ):
                assert item.alias is not None
                module = absolute_module(item.node, self.source.package)
                bound = item.alias.asname or item.alias.name
                found.append(
                    Copy(self.source.name, module, item.alias.name, bound, item.line, bool(item.guard))
                )
        return found

    @cached_property
    def rebound(self) -> dict[str, int]:
        """Names that some function declares ``global``, or that other code than a plain assignment binds →
        line.
        """
        found = self.source.declared_global
        return found | {name: line for name, line in self.bound_by_code.items() if name not in found}

    @cached_property
    def bound_by_code(self) -> dict[str, int]:
        """Names that import-time code binds otherwise than by a plain assignment → line."""
        found: dict[str, int] = {}
        for item in self.items:
            if item.kind == "code" and not item.skeleton:
                for inner in walk(item.node):
                    if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
                        found.setdefault(inner.id, inner.lineno)
        return found

    @cached_property
    def mentioned(self) -> dict[str, int]:
        """Every global name that the module's code reads, and every string constant → a line of it."""
        found: dict[str, int] = {}
        for codes in self.source.codes.values():
            for code in codes:
                line = code.co_firstlineno
                for instruction in dis.get_instructions(code):
                    if instruction.positions is not None and instruction.positions.lineno:
                        line = instruction.positions.lineno
                    if instruction.opname in _GLOBAL_LOADS:
                        found.setdefault(str(instruction.argval), line)
        for node in walk(self.source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.setdefault(node.value, node.lineno)
        return found

    @cached_property
    def attributes(self) -> dict[str, int]:
        """Every attribute name and string constant in the module → its first line."""
        found: dict[str, int] = {}
        for node in walk(self.source.tree):
            match node:
                case ast.Attribute(attr=text) | ast.Constant(value=str(text)):
                    found.setdefault(text, node.lineno)
        return found

    def has_attribute(self, name: str) -> bool:
        """Whether the module names the attribute, or has it as a text: most are told by a look at the source."""
        spelled = name in self.source.text or not self.source.text.isascii()  # letters may be other forms of these
        return spelled and name in self.attributes

    @cached_property
    def stored(self) -> frozenset[str]:
        """The names of all attributes that the module's code sets or deletes."""
        return frozenset(
            node.attr
            for node in walk(self.source.tree)
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        )

    @cached_property
    def mentions(self) -> dict[str, list[ast.AST]]:
        """Every attribute's name → the nodes that read or bind it; every text given to a call → the call."""
        found: dict[str, list[ast.AST]] = {}
        for node in walk(self.source.tree):
            match node:
                case ast.Attribute(attr=name) | ast.AugAssign(target=ast.Attribute(attr=name)):
                    found.setdefault(name, []).append(node)
                case ast.Call(args=arguments):
                    for argument in arguments:
                        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                            found.setdefault(argument.value, []).append(node)
        return found

    @cached_property
    def texts(self) -> dict[str, int]:
        """Every string constant in the module → its first line."""
        found: dict[str, int] = {}
        for node in walk(self.source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.setdefault(node.value, node.lineno)
        return found

    @cached_property
    def attributes_that_matter(self) -> dict[str, int]:
        """Attribute names of ``self``, ``cls`` and ``super()``, and those inside a ``try`` that would catch the lack
        of one → their first line.
        """
        found: dict[str, int] = {}
        for node in walk(self.source.tree):
            if isinstance(node, ast.Attribute) and _is_own(node.value):
                found.setdefault(node.attr, node.lineno)
            elif isinstance(node, ast.Try | ast.TryStar) and any(map(_catches_attribute_error, node.handlers)):
                for inner in (inner for part in node.body for inner in walk(part)):
                    if isinstance(inner, ast.Attribute):
                        found.setdefault(inner.attr, inner.lineno)
            elif isinstance(node, ast.With | ast.AsyncWith):  # contextlib.suppress
                for inner in walk(node):
                    if isinstance(inner, ast.Attribute):
                        found.setdefault(inner.attr, inner.lineno)
        return found

    @cached_property
    def defined(self) -> frozenset[str]:
        """The name of every function in the module, however deep."""
        return frozenset(
            node.name for node in walk(self.source.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )

    @cached_property
    def imported_anywhere(self) -> dict[tuple[str, str], int]:
        """``(module, name)`` of every ``from`` import, in functions too → its line."""
        found: dict[tuple[str, str], int] = {}
        for node in walk(self.source.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found.setdefault((absolute_module(node, self.source.package), alias.name), node.lineno)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    found.setdefault((alias.name, ""), node.lineno)
        return found


def evaluated_of(item: Item, scope: str, future: bool) -> list[Evaluated]:
    """What of one item runs at import, in a body whose qualified name is ``scope``."""
    return list(_evaluated([item], scope, future))


def _is_own(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
    return False


def _catches_attribute_error(handler: ast.ExceptHandler) -> bool:
    """Not for certain: what is no plain builtin exception may be a name for it."""
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    for one in caught:
        error = getattr(builtins, one.id, None) if isinstance(one, ast.Name) else None
        if not isinstance(error, type) or issubclass(AttributeError, error):
            return True
    return False


def _evaluated(items: list[Item], scope: str, future: bool) -> Iterator[Evaluated]:
    for item in items:
        if item.typing_only or item.main_only:
            continue
        owner = f"{scope}.{item.name}" if scope and item.name else item.name or scope
        node = item.node
        if item.kind == "function":
            function = item.function
            for decorator in function.decorator_list:
                yield Evaluated(owner, "decorator", decorator, decorator.lineno, scope)
            arguments = function.args
            for default in (*arguments.defaults, *arguments.kw_defaults):
                if default is not None:
                    yield Evaluated(owner, "default", default, default.lineno, scope)
            if not future:
                for annotation in annotations_of(function).values():
                    yield Evaluated(owner, "annotation", annotation, annotation.lineno, scope)
        elif item.kind == "class":
            statement = item.class_node
            for decorator in statement.decorator_list:
                yield Evaluated(owner, "decorator", decorator, decorator.lineno, scope)
            for base in (*statement.bases, *(keyword.value for keyword in statement.keywords)):
                yield Evaluated(owner, "base", base, base.lineno, scope)
            yield from _evaluated(items_of(statement.body), owner, future)
        elif item.kind in ("value", "annotation"):
            if isinstance(node, ast.AnnAssign) and not future:
                yield Evaluated(owner, "annotation", node.annotation, node.lineno, scope)
            if item.kind == "value":
                yield Evaluated(owner, "value", item.value, node.lineno, scope)
        elif item.kind == "import" and scope:
            yield Evaluated(owner, "import", node, node.lineno, scope)
        elif item.kind == "code":
            for part in _code_parts(item):
                yield Evaluated(owner, "code", part, getattr(part, "lineno", node.lineno), scope)


def _code_parts(item: Item) -> list[ast.AST]:
    node = item.node
    if not item.skeleton:
        return [node]
    if isinstance(node, ast.If):
        return [node.test]
    if isinstance(node, ast.With):
        return [entry.context_expr for entry in node.items]
    if isinstance(node, ast.Try | ast.TryStar):
        return [handler.type for handler in node.handlers if handler.type]
    return []


def annotations_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.expr]:
    """Parameter name (and ``return``) → annotation, in the order of ``__annotations__``."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args]
    every += [arguments.vararg] if arguments.vararg else []
    every += arguments.kwonlyargs
    every += [arguments.kwarg] if arguments.kwarg else []
    found = {argument.arg: argument.annotation for argument in every if argument.annotation is not None}
    if function.returns is not None:
        found["return"] = function.returns
    return found


def executed_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """The nodes of an import-time piece that run at import: not the bodies of functions and lambdas in it."""
    stack: list[ast.AST] = [root]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.Lambda):
            stack.extend(default for default in (*node.args.defaults, *node.args.kw_defaults) if default)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack.extend(node.decorator_list)
            stack.extend(default for default in (*node.args.defaults, *node.args.kw_defaults) if default)
        else:
            stack.extend(children(node))

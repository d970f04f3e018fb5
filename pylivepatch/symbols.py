"""Expressions that read what their own patch changes elsewhere: compiled to ask for the value that is meant.

``consts.SIZE * 2`` in one module, where the same patch changes ``SIZE`` of the module ``consts``: while the patch is
prepared the live attribute still has the old value. So the compiler puts a name of its own in the place of
``consts.SIZE``, and the engine binds that to the value which it has made. The same for ``Class.ATTRIBUTE``. On the
old side the name stands for the value before the patch, which matters for a module that is imported after the load.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType

from pylivepatch.patch import ModulePatch


@dataclass(frozen=True, slots=True)
class Symbols:
    """What the names of one module lead to. ``brought`` is what the patch binds: module and qualified name."""

    module: str
    imports: Mapping[str, str]
    brought: Collection[tuple[str, str]]

    def replaced(self, tree: ast.Expression, *, old: bool) -> ast.Expression:
        """``tree`` with the patch's own names in it, changed in place."""
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        result = _Replacer(self, stored, "old" if old else "new").visit(tree)
        assert isinstance(result, ast.Expression)
        return ast.fix_missing_locations(result)

    def find(self, node: ast.expr) -> tuple[str, str] | None:
        """The symbol of the patch that the dotted name ``node`` leads to."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        if node.id not in self.imports:
            symbol = self.module, ".".join((node.id, *parts))
            return symbol if parts and symbol in self.brought else None
        dotted = [*self.imports[node.id].split("."), *parts]
        candidates = ((".".join(dotted[:cut]), ".".join(dotted[cut:])) for cut in range(len(dotted) - 1, 0, -1))
        return next((symbol for symbol in candidates if symbol in self.brought), None)


class _Replacer(ast.NodeTransformer):
    def __init__(self, symbols: Symbols, stored: set[str], side: str) -> None:
        self._symbols, self._stored, self._side = symbols, stored, side

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return self._name_for(node) or self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._name_for(node) or node

    def _name_for(self, node: ast.Attribute | ast.Name) -> ast.Name | None:
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name) or root.id in self._stored:
            return None
        symbol = self._symbols.find(node)
        if symbol is None or (self._side == "old" and symbol[0] == self._symbols.module):
            return None
        return ast.copy_location(ast.Name(f"<{self._side} {symbol[0]}:{symbol[1]}>", ast.Load()), node)


def asked_for(code: CodeType) -> Iterator[tuple[str, bool, str, str]]:
    """The names of this kind in ``code``: each with whether the new value is meant, the module and the symbol."""
    for name in code.co_names:
        if name.startswith(("<new ", "<old ")):
            module, _, symbol = name[5:-1].partition(":")
            yield name, name.startswith("<new "), module, symbol
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from asked_for(const)


def imported_names(module: ModulePatch) -> dict[str, str]:
    """Name → what it stands for, of every import statement of the new source that is in no function or class."""
    found: dict[str, str] = {}
    stack: list[ast.AST] = [ast.parse(module.new_source)]
    while stack:
        node = stack.pop()
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                found.setdefault(alias.asname or alias.name, f"{source_of(node, module)}.{alias.name}")
            else:
                top = alias.name.partition(".")[0]
                found.setdefault(alias.asname or top, alias.name if alias.asname else top)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))
    return found


def source_of(node: ast.ImportFrom, module: ModulePatch) -> str:
    """The module that a ``from`` import names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])

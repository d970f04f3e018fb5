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

from pylivepatch.patch import ModulePatch, NewModule

ASIDE = "<patch module>"
"""In a new module that is executed aside: the name of a function that gives another new module."""


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


def imported_names(module: ModulePatch | NewModule) -> dict[str, str]:
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


def source_of(node: ast.ImportFrom, module: ModulePatch | NewModule) -> str:
    """The module that a ``from`` import names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def aside_tree(
    tree: ast.Module, symbols: Symbols, module: ModulePatch | NewModule, new: Collection[str]
) -> ast.Module:
    """``tree``, changed so that what runs while the module is imported gets the modules ``new``, and what the patch
    changes elsewhere, from the patch. The bodies of its functions stay as they are.
    """
    outside = list(_outside_functions(tree))
    stored = {node.id for node in outside if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    result = _Aside(symbols, stored, module, new).visit(tree)
    assert isinstance(result, ast.Module)
    return ast.fix_missing_locations(result)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))


class _Aside(_Replacer):
    def __init__(
        self, symbols: Symbols, stored: set[str], module: ModulePatch | NewModule, new: Collection[str]
    ) -> None:
        super().__init__(symbols, stored, "new")
        self._module, self._new = module, new

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.args = self.visit(node.args)
        node.returns = self.visit(node.returns) if node.returns else None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args = self.visit(node.args)
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if alias.name not in self._new:
                found.append(ast.Import([alias]))
            elif alias.asname or alias.name == top:
                found.append(_assign(alias.asname or top, self._get(alias.name)))
            else:
                found.append(ast.Expr(self._get(alias.name)))
                found.append(_assign(top, self._get(top)) if top in self._new else ast.Import([ast.alias(top)]))
        return [ast.copy_location(one, node) for one in found]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        home = source_of(node, self._module)
        found: list[ast.stmt] = []
        for alias in node.names:
            bound = alias.asname or alias.name
            if f"{home}.{alias.name}" in self._new:
                found.append(_assign(bound, self._get(f"{home}.{alias.name}")))
            elif home in self._new:
                found.append(_assign(bound, ast.Attribute(self._get(home), alias.name, ast.Load())))
            elif (home, alias.name) in self._symbols.brought:
                found.append(_assign(bound, ast.Name(f"<new {home}:{alias.name}>", ast.Load())))
            else:
                found.append(ast.ImportFrom(node.module, [alias], node.level))
        return [ast.copy_location(one, node) for one in found]

    @staticmethod
    def _get(name: str) -> ast.expr:
        return ast.Call(ast.Name(ASIDE, ast.Load()), [ast.Constant(name)], [])


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def new_modules_in(statement: str, module: ModulePatch, new: Collection[str]) -> bool:
    """Whether the import statement gets anything from one of the modules ``new``."""
    for node in ast.walk(ast.parse(statement)):
        match node:
            case ast.Import(names=names) if any(alias.name in new for alias in names):
                return True
            case ast.ImportFrom(names=names):
                home = source_of(node, module)
                if home in new or any(f"{home}.{alias.name}" in new for alias in names):
                    return True
    return False

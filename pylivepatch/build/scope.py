"""What a module's or a class's body defines: its statements taken apart into items that can be paired by
name.

``if``, ``try`` and ``with`` at this level are opened: what they hold becomes items that know their
conditions (``guard``), and the statement's own skeleton becomes an item of code. Loops and ``match`` stay
whole: what they define exists any number of times.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["function", "class", "value", "annotation", "import", "docstring", "code", "future", "star"]
_ANY = "…"
_TYPING = ("typing", "typing_extensions")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Item:
    """One definition or one piece of code of a scope.

    ``typing_only``: under ``if TYPE_CHECKING``; ``main_only``: under ``if __name__ == "__main__"``.
    ``skeleton``: for code that is the head of an opened statement.
    """

    kind: Kind
    name: str
    node: ast.stmt
    guard: tuple[str, ...] = ()
    typing_only: bool = False
    main_only: bool = False
    skeleton: str = ""
    alias: ast.alias | None = None

    @property
    def line(self) -> int:
        return first_line(self.node)

    @property
    def function(self) -> FunctionNode:
        assert isinstance(self.node, FunctionNode)
        return self.node

    @property
    def class_node(self) -> ast.ClassDef:
        assert isinstance(self.node, ast.ClassDef)
        return self.node

    @property
    def value(self) -> ast.expr:
        assert isinstance(self.node, ast.Assign | ast.AnnAssign)
        assert self.node.value is not None
        return self.node.value


def first_line(node: ast.stmt) -> int:
    """The line that ``co_firstlineno`` has: the first decorator's, if there is one."""
    decorators = getattr(node, "decorator_list", [])
    return int(decorators[0].lineno if decorators else node.lineno)


def items_of(body: Sequence[ast.stmt]) -> list[Item]:
    """The items of a module's or class's body, in order of the source."""
    return list(_scan(body, (), False, False, top=True))


def _scan(
    body: Sequence[ast.stmt], guard: tuple[str, ...], typing_only: bool, main_only: bool, *, top: bool = False
) -> Iterator[Item]:
    for position, node in enumerate(body):

        def item(
            kind: Kind, name: str, node: ast.stmt = node, alias: ast.alias | None = None, skeleton: str = ""
        ) -> Item:
            return Item(kind, name, node, guard, typing_only, main_only, skeleton, alias)

        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield item("function", node.name)
            case ast.ClassDef():
                yield item("class", node.name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield item("value", name)
            case ast.AnnAssign(target=ast.Name(id=name), value=None):
                yield item("annotation", name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield item("value", name)
            case ast.Import() | ast.ImportFrom():
                yield from _imports(node, item)
            case ast.Expr(value=ast.Constant(value=value)):
                if top and position == 0 and isinstance(value, str):
                    yield item("docstring", "__doc__")
            case ast.Pass():
                pass
            case ast.If():
                typing = typing_only or is_type_checking(node.test)
                main = main_only or is_main(node.test)
                test = f"if {ast.unparse(node.test)}"
                if not typing and not main:
                    yield item("code", "", skeleton=test)
                yield from _scan(node.body, (*guard, test), typing, main)
                yield from _scan(node.orelse, (*guard, f"else of {test}"), typing_only, main_only)
            case ast.Try() | ast.TryStar():
                handlers = [ast.unparse(handler.type) if handler.type else "" for handler in node.handlers]
                yield item("code", "", skeleton=try_head(handlers))
                if len(handlers) == 1:
                    # Which branch ran does not follow from what it catches: names stay paired where that changes.
                    handlers = [_ANY]
                head = try_head(handlers)
                yield from _scan(node.body, (*guard, head), typing_only, main_only)
                for kind, handler in zip(handlers, node.handlers, strict=True):
                    yield from _scan(handler.body, (*guard, head, f"except {kind}"), typing_only, main_only)
                yield from _scan(node.orelse, (*guard, head, "else"), typing_only, main_only)
                yield from _scan(node.finalbody, (*guard, head, "finally"), typing_only, main_only)
            case ast.With():
                head = "with " + ", ".join(ast.unparse(entry) for entry in node.items)
                yield item("code", "", skeleton=head)
                yield from _scan(node.body, (*guard, head), typing_only, main_only)
            case _:
                yield item("code", "")


def try_head(handlers: Sequence[str]) -> str:
    """The skeleton of a ``try`` statement that catches these."""
    return "try" + "".join(f" except {handler}".rstrip() for handler in handlers)


def _imports(node: ast.Import | ast.ImportFrom, item: object) -> Iterator[Item]:
    assert callable(item)
    if isinstance(node, ast.ImportFrom) and node.module == "__future__" and not node.level:
        yield from (item("future", alias.name, alias=alias) for alias in node.names)
        return
    for alias in node.names:
        if alias.name == "*":
            yield item("star", "*", alias=alias)
        else:
            yield item("import", bound_name(node, alias), alias=alias)


def bound_name(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """The name that an import binds: ``a`` for ``import a.b``."""
    if alias.asname:
        return alias.asname
    return alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name


def import_text(item: Item) -> str:
    """The import as a statement that binds this one name."""
    assert item.alias is not None
    alias = ast.alias(item.alias.name, item.alias.asname)
    if isinstance(item.node, ast.ImportFrom):
        return ast.unparse(ast.ImportFrom(item.node.module, [alias], item.node.level))
    return ast.unparse(ast.Import([alias]))


def is_type_checking(test: ast.expr) -> bool:
    """``if TYPE_CHECKING``, however it is spelled, of which it is known that it is false when the module runs."""
    if getattr(test, _OWN, False):
        return False
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


_OWN = "is_a_flag_of_its_own"
"""Set on the tests that :func:`mark_own_flags` finds: they stand in the tree, which all look at by parts."""


def mark_own_flags(tree: ast.Module) -> None:
    """Find each ``if TYPE_CHECKING`` whose flag may be true when the module runs: it is not the one of ``typing``, nor
    set to ``False``.
    """
    own: set[str] = set()
    stars: set[str | None] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = {one.asname or one.name.partition(".")[0]: one.name for one in names}
                bound |= modules.keys()
                own |= {name for name, module in modules.items() if module not in _TYPING}
            case ast.ImportFrom(module=module, level=level, names=names):
                stars |= {None if level else module for one in names if one.name == "*"}
                for one in names:
                    bound.add(one.asname or one.name)
                    if level or module not in _TYPING or one.name != "TYPE_CHECKING":
                        own.add(one.asname or one.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=False)):
                bound.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=None | ast.Constant(value=False)):
                bound.add(name)
            case ast.Assign(targets=targets):
                own |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
                own.add(name)
            case ast.NamedExpr(target=ast.Name(id=name)):
                own.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                own.add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and is_type_checking(node.test):
            root: ast.expr = node.test
            while isinstance(root, ast.Attribute):
                root = root.value
            known = isinstance(root, ast.Name) and root.id not in own
            if not known or (isinstance(root, ast.Name) and root.id not in bound and stars - {*_TYPING}):
                setattr(node.test, _OWN, True)


def is_main(test: ast.expr) -> bool:
    """``if __name__ == "__main__"``."""
    match test:
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]
        ):
            return True
    return False

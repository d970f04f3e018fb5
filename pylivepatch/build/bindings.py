"""A name that is assigned more than once, or in the branches of an ``if``: the one expression that it ends up as.

The last assignment wins; one that reads the name itself gets what the name was before it. Branches become a
conditional expression, which the target evaluates: the test has the same answer there as when the module was imported,
as far as it is known to be pure.
"""

from __future__ import annotations

import ast
import copy

from pylivepatch.build.context import Context
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import Item, is_main, is_type_checking


class _Unclear(Exception):
    """Which value is live does not follow from the source."""


def final_value(context: Context, name: str, items: list[Item], *, old: bool) -> Item | None:
    """An item that stands for all assignments of ``name`` in the scope; ``None`` where the live one is not known."""
    source = (context.old if old else context.new).source
    version = context.world.old if old else context.world.new
    cls = version.classes.all.get((context.module, context.owner))
    body = cls.node.body if cls else source.tree.body
    try:
        value = _final(body, name, None)
    except _Unclear:
        return None
    if value is None:
        return None
    line = max(item.line for item in items)
    node = ast.Assign([ast.Name(name, ast.Store())], value, lineno=line, col_offset=0)
    return Item("value", name, ast.fix_missing_locations(node))


def _final(body: list[ast.stmt], name: str, value: ast.expr | None) -> ast.expr | None:
    """What ``name`` is after ``body``, if it is ``value`` before it. Raises :class:`_Unclear`."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=new) if found == name:
                value = _put(new, name, value)
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as new) if found == name:
                value = _put(new, name, value)
            case ast.AnnAssign(target=ast.Name(id=found), value=None) if found == name:
                pass
            case ast.If(test=test, body=inner, orelse=orelse):
                if is_type_checking(test) or is_main(test):
                    value = _final(orelse, name, value)
                    continue
                first, second = _final(inner, name, value), _final(orelse, name, value)
                if first is second:
                    continue
                if first is None or second is None or _reads(test, name):
                    raise _Unclear
                value = ast.IfExp(test, first, second)
            case _ if _binds(node, name):
                raise _Unclear
    return value


def _put(new: ast.expr, name: str, value: ast.expr | None) -> ast.expr:
    if not _reads(new, name):
        return new
    if value is None or any(isinstance(part, ast.Name) and part.id == name and _stores(part) for part in walk(new)):
        raise _Unclear
    result = _Put(name, value).visit(copy.deepcopy(new))
    assert isinstance(result, ast.expr)
    return result


class _Put(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr) -> None:
        self._name, self._value = name, value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self._value) if node.id == self._name else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """``{"a": x}["a"]`` is ``x``."""
        self.generic_visit(node)
        match node.value, node.slice:
            case ast.Dict(keys=[ast.Constant(value=one)], values=[value]), ast.Constant(value=two):
                return value if type(one) is type(two) and one == two else node
        return node


def _reads(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in walk(node))


def _stores(node: ast.Name) -> bool:
    return not isinstance(node.ctx, ast.Load)


def _binds(node: ast.stmt, name: str) -> bool:
    """Whether the statement, of any kind, binds the name; too often rather than too seldom."""
    for part in walk(node):
        match part:
            case ast.Name(id=found) if found == name and _stores(part):
                return True
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                if found == name:
                    return True
            case ast.alias(name=found, asname=asname):
                if name in (asname or found.partition(".")[0], "*") or found == "*":
                    return True
            case ast.ExceptHandler(name=found) if found == name:
                return True
            case ast.MatchAs(name=found) | ast.MatchStar(name=found) | ast.MatchMapping(rest=found) if found == name:
                return True
    return False

"""What import-time code made by a call of a changed function: made again where the function only gives a pure value."""

from __future__ import annotations

import ast
import copy

from pylivepatch.build import codes
from pylivepatch.build.context import Context, Root
from pylivepatch.build.names import Unsafe
from pylivepatch.build.pure import once
from pylivepatch.build.reach import Hit
from pylivepatch.build.same import describe_difference
from pylivepatch.build.scope import Item
from pylivepatch.build.uses import Uses
from pylivepatch.patch import ValueChange

_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


def make_again(context: Context, name: str, hit: Hit) -> bool:
    """Carry ``value = … f() …`` of the same module as if what ``f`` returns stood there; false where that cannot be."""
    piece, owner = hit.piece, hit.piece.owner
    if hit.via or hit.module != context.module or context.owner or piece.role != "value" or piece.scope:
        return False
    if any(owner in uses.rebound or owner in uses.bound_by_code for uses in (context.old, context.new)):
        return False
    old, new = (once(uses.items).get(owner) for uses in (context.old, context.new))
    if old is None or new is None:
        return False
    try:
        old_expr, new_expr = _inlined(context.old, name, old), _inlined(context.new, name, new)
        context.purity(old=True).check(old_expr)
        context.purity().check(new_expr)
    except Unsafe:
        return False
    change = ValueChange("", owner, new.line, ast.unparse(old_expr), ast.unparse(new_expr))
    difference = describe_difference(old_expr, new_expr)
    context.changes.append(change)
    context.roots.append(Root(context, old, new, change, old_expr, new_expr, difference))
    context.report.applied(
        codes.VALUE_CHANGED,
        owner,
        f"made at import by {name}, which changed: made again",
        difference=difference,
        old_line=old.line,
        new_line=new.line,
    )
    return True


def _inlined(uses: Uses, name: str, value: Item) -> ast.expr:
    """The value's expression, with what the function returns in the place of its calls. Raises :class:`Unsafe`."""
    found = [item for item in uses.items if item.name == name]
    if len(found) != 1 or found[0].kind != "function" or found[0].guard or name in uses.rebound:
        raise Unsafe(name)
    match found[0].node:
        case ast.FunctionDef(decorator_list=[], args=args, body=body) if not any(
            isinstance(part, ast.arg) for part in ast.walk(args)
        ):
            match body:
                case [ast.Return(value=ast.expr() as result)]:
                    pass
                case [ast.Expr(value=ast.Constant(value=str())), ast.Return(value=ast.expr() as result)]:
                    pass
                case _:
                    raise Unsafe(name)
        case _:
            raise Unsafe(name)
    if any(isinstance(part, _SCOPES) for part in ast.walk(value.value)):  # whose names would hide the function's
        raise Unsafe(name)
    made = _Inline(name, result).visit(copy.deepcopy(value.value))
    if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(made)):
        raise Unsafe(name)
    assert isinstance(made, ast.expr)
    return made


class _Inline(ast.NodeTransformer):
    def __init__(self, name: str, result: ast.expr) -> None:
        self._name, self._result = name, result

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name == self._name:
                return copy.deepcopy(self._result)
        return self.generic_visit(node)

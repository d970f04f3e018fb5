"""What a changed function gave while modules were imported: results and instances stay as the old one made them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import CodeType

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.instances import only_adds_defaults
from pylivepatch.build.same import same_constant
from pylivepatch.build.scope import FunctionNode, Item
from pylivepatch.build.uses import Evaluated
from pylivepatch.build.world import Place

_MAKERS = frozenset({"__init__", "__new__", "__post_init__"})


def reaches_everything(context: Context, old: Item, new: Item, old_code: CodeType, new_code: CodeType) -> bool:
    """Whether the function's change reaches everything that it gave; reports what it does not."""
    symbol, whole = context.symbol(new.name), True
    if context.owner and new.name in _MAKERS and only_adds_defaults(context, old.function, new.function):
        return True
    for piece, place in _callers(context, new):
        if _same_outside_nested(old_code, new_code) and (piece.role == "decorator" or _gives_functions(new.function)):
            continue  # the functions that it made are live instances, which follow
        if _is_kept(piece):
            whole = False
            context.report.refused(
                codes.MADE_AT_IMPORT,
                symbol,
                "the changed function was called while modules were imported, and what it gave stays as the old one "
                f"made it: {place}",
                "change the place that uses the result, so that it calls a new function",
                new_line=new.line,
            )
        else:
            context.report.note(
                codes.RAN_AT_IMPORT,
                symbol,
                f"the function also ran while modules were imported; that is not done again: {place}",
                new_line=new.line,
            )
    return whole


def _callers(context: Context, new: Item) -> Iterator[tuple[Evaluated, Place]]:
    """The import-time code that calls the function, or makes an instance by it."""
    if not context.owner or new.name not in _MAKERS:
        yield from context.world.callers(context.module, context.symbol(new.name))
        return
    for module, name in context.world.with_subclasses(context.module, context.owner):
        yield from context.world.callers(module, name)


def _is_kept(piece: Evaluated) -> bool:
    """Whether somebody has what the piece gave: a call that is a statement by itself drops it."""
    if piece.role in ("value", "decorator", "default", "base"):
        return True
    return isinstance(piece.node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With)


def _same_outside_nested(old: CodeType, new: CodeType) -> bool:
    def flat(code: CodeType) -> tuple[object, ...]:
        return tuple(const.co_qualname if isinstance(const, CodeType) else const for const in code.co_consts)

    return old.co_code == new.co_code and old.co_names == new.co_names and same_constant(flat(old), flat(new))


def _gives_functions(outer: FunctionNode) -> bool:
    """Whether ``outer`` only hands out the functions that it makes: it calls none, and passes none on."""
    own = {n.name for n in ast.walk(outer) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)} - {outer.name}
    handed = {id(n.value) for n in ast.walk(outer) if isinstance(n, ast.Return)}
    handed |= {id(n.value) for n in ast.walk(outer) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    used = [n for n in ast.walk(outer) if (isinstance(n, ast.Name) and n.id in own) or isinstance(n, ast.Lambda)]
    return all(id(node) in handed for node in used)

"""Lambdas that a module or class keeps in a value: one whose body changed is a function that changed.

Only where the value keeps the lambda itself (a plain one, or one in a display): what a call made of it at import is
not made again. A lambda with the same text that CPython compiles otherwise now has changed, too.
"""

from __future__ import annotations

import ast
from types import CodeType

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import Item
from pylivepatch.build.uses import executed_nodes
from pylivepatch.patch import CodeRef, FunctionChange

_KEEPERS = frozenset({"staticmethod", "classmethod", "property", "functools.partial", "types.MappingProxyType"})


def compare_lambdas(context: Context, old: Item, new: Item) -> bool:
    """Report and carry the change of a value that differs in the bodies of its lambdas only; false for any other."""
    pairs: list[tuple[ast.Lambda, ast.Lambda]] = []
    if not _pair(context, old.value, new.value, pairs):
        return False
    changed = [
        (was, now) for was, now in pairs if not same_tree(was, now) or is_compiled_otherwise(context, now)
    ]
    found = []
    for was, now in changed:
        before, after = (_code(context, side, node) for side, node in (("old", was), ("new", now)))
        if before is None or after is None or before.co_flags != after.co_flags:
            return False
        found.append((was, now))
    if not found:
        return False
    same_text = same_tree(old.value, new.value)
    places = [] if same_text else context.world.readers(context.module, new.name, owner=context.owner)
    if places and context.report.refused(
        codes.MADE_AT_IMPORT,
        context.symbol(new.name),
        "a lambda in it changed, and code that ran at import used it; what that made stays: "
        + ", ".join(map(str, places[:5])),
        "change the places named, or the functions that use what they made",
        old_line=old.line,
        new_line=new.line,
        difference=describe_difference(old.node, new.node),
    ):
        return True
    for was, now in found:
        context.changes.append(
            FunctionChange(CodeRef(_qualname(context), was.lineno), CodeRef(_qualname(context), now.lineno))
        )
    what = "the body of its lambda" if len(found) == 1 else f"the bodies of {len(found)} lambdas"
    if same_text:
        what = f"how CPython compiles {what}"
    context.report.applied(
        codes.FUNCTION_CHANGED,
        context.symbol(new.name),
        f"changed: {what}",
        difference=describe_difference(old.node, new.node),
        nested=tuple(_qualname(context) for _ in found),
        old_line=old.line,
        new_line=new.line,
    )
    return True


def tell_lambdas(context: Context) -> None:
    """Note the module's lambdas that CPython compiles otherwise now and that the patch does not reach."""
    if context.old.names.imports.keys() == context.new.names.imports.keys():
        return
    reached = {change.new for change in context.changes if isinstance(change, FunctionChange)}
    for piece in context.world.unchanged_pieces(context.module):
        qualname = f"{piece.scope}.<lambda>" if piece.scope else "<lambda>"
        for node in executed_nodes(piece.node):
            if not isinstance(node, ast.Lambda) or CodeRef(qualname, node.lineno) in reached:
                continue
            if is_compiled_otherwise(context, node):
                context.report.note(
                    codes.MAY_BE_STALE,
                    piece.owner,
                    f"CPython compiles the lambda in line {node.lineno} otherwise, as an import came or went; the live "
                    "one keeps its code, which means the same",
                    new_line=node.lineno,
                )


def is_compiled_otherwise(context: Context, node: ast.AST) -> bool:
    """Whether ``node`` calls ``name.function()`` where one version alone imports the name at module level: CPython
    compiles such a call in another way (with one meaning), and a fresh process has that code.
    """
    names = context.old.names.imports.keys() ^ context.new.names.imports.keys()
    if not names:
        return False
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in names:
                return True
    return False


def _pair(context: Context, old: ast.expr, new: ast.expr, pairs: list[tuple[ast.Lambda, ast.Lambda]]) -> bool:
    """Whether two values are the same but for the bodies of the lambdas that they keep."""
    if isinstance(old, ast.Lambda) and isinstance(new, ast.Lambda):
        pairs.append((old, new))
        return same_tree(old.args, new.args)
    if type(old) is not type(new):
        return False
    match old, new:
        case (ast.List() | ast.Tuple() | ast.Set(), ast.List() | ast.Tuple() | ast.Set()):
            return len(old.elts) == len(new.elts) and all(
                _pair(context, a, b, pairs) for a, b in zip(old.elts, new.elts, strict=True)
            )
        case ast.Dict(), ast.Dict():
            return (
                len(old.keys) == len(new.keys)
                and same_tree(old.keys, new.keys)
                and all(_pair(context, a, b, pairs) for a, b in zip(old.values, new.values, strict=True))
            )
        case ast.Call(), ast.Call() if context.new.names.dotted(new.func) in _KEEPERS:
            return (
                same_tree(old.func, new.func)
                and len(old.args) == len(new.args)
                and same_tree(old.keywords, new.keywords)
                and all(_pair(context, a, b, pairs) for a, b in zip(old.args, new.args, strict=True))
            )
    return same_tree(old, new)


def _qualname(context: Context) -> str:
    return context.symbol("<lambda>")


def _code(context: Context, side: str, node: ast.Lambda) -> CodeType | None:
    """The lambda's code object, if it is the only lambda of its line."""
    uses = context.old if side == "old" else context.new
    found = uses.source.codes.get((_qualname(context), node.lineno), [])
    return found[0] if len(found) == 1 else None

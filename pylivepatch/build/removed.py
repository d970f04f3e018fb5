"""Removed functions and classes that somebody got hold of when they were defined, and goes on using.

"Nothing refers to it" is said of the source. A decorator may have put a function into a table, a metaclass or
``__init_subclass__`` a class into a registry: there they stay, and a route that is gone from the source is served.
"""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.machinery import watchers
from pylivepatch.build.names import SAFE_DECORATORS, Unsafe, check_expression
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import FunctionNode, Item


def who_keeps_function(context: Context, item: Item) -> str:
    """Who may have kept the old version's function: ``""``, or words for it."""
    names = context.old.names
    for decorator in item.function.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if names.dotted(function) in SAFE_DECORATORS:
            continue
        match function:
            case ast.Attribute(value=ast.Name(id=name), attr="setter" | "getter" | "deleter") if name == item.name:
                continue
        return f"the decorator {ast.unparse(function)} may have handed it on"
    return ""


def tell_defaults(context: Context, item: Item, new: FunctionNode | None = None) -> None:
    """What the defaults of the old version's function did when it was defined stays done. ``new`` is what is left of
    it: what that does is not told here.
    """
    stays = _defaults(new) if new is not None else []
    for default in _defaults(item.function):
        if any(same_tree(default, one) for one in stays):
            continue
        try:
            check_expression(default, context.old.names, fresh=True)
        except Unsafe as part:
            context.report.note(
                codes.RAN_AT_IMPORT,
                context.symbol(item.name),
                f"the function is gone, and what its default did when it was defined stays done: {part}"
                if new is None
                else f"a default is gone, and what it did when the function was defined stays done: {part}",
                old_line=item.line,
            )


def _defaults(node: FunctionNode) -> list[ast.expr]:
    return [*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)]


def who_keeps_class(context: Context, item: Item) -> str:
    """The same of a class."""
    cls = context.world.old.classes.all.get((context.module, context.symbol(item.name)))
    for watcher in watchers(context, cls) if cls is not None else ():
        return f"{watcher.place} may have handed it on"
    return ""

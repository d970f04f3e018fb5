"""Functions that live on in a registry of ``functools.singledispatch``, whatever becomes of their name."""

from __future__ import annotations

import ast

from pylivepatch.build.context import Context
from pylivepatch.build.scope import Item, items_of

_DISPATCHERS = frozenset({"functools.singledispatch", "functools.singledispatchmethod"})


def is_registered(context: Context, item: Item) -> bool:
    """Whether a ``singledispatch`` function of the tree keeps the function, so that it is found without its name."""
    decorators = item.function.decorator_list
    return bool(decorators) and any(_is_dispatcher(context, base) for base in map(_registering, decorators) if base)


def registered_by_annotation(item: Item) -> bool:
    """``@f.register`` without arguments: the first parameter's annotation says for which type."""
    return any(
        isinstance(decorator, ast.Attribute) and decorator.attr == "register"
        for decorator in item.function.decorator_list
    )


def _registering(decorator: ast.expr) -> ast.expr | None:
    """``f`` of ``@f.register`` and of ``@f.register(int)``."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.value if isinstance(node, ast.Attribute) and node.attr == "register" else None


def _is_dispatcher(context: Context, node: ast.expr) -> bool:
    names = context.new.names
    if context.owner and isinstance(node, ast.Name):
        for item in context.new.items:
            if item.kind == "class" and item.name == context.owner:
                return _defines(items_of(item.class_node.body), node.id, context.module, context)
    home, name = context.world.new.resolve(context.module, names.dotted(node))
    uses = context.world.new.modules.get(home)
    return uses is not None and _defines(uses.items, name, home, context)


def _defines(items: list[Item], name: str, module: str, context: Context) -> bool:
    found = [item for item in items if item.name == name]
    names = context.world.new.modules[module].names
    return (
        len(found) == 1
        and found[0].kind == "function"
        and any(names.dotted(decorator) in _DISPATCHERS for decorator in found[0].function.decorator_list)
    )

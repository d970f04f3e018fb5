"""Implementations of generic functions (``functools.singledispatch``), which the registry has, whatever their names.

A new one is registered at the switch, and one that is gone is taken out. What import-time code computed with the
generic function before stays: that is looked for as for any changed function.
"""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Ambiguous, Context
from pylivepatch.build.names import SAFE_DECORATORS, Unsafe, check_expression, is_private, mangle
from pylivepatch.build.scope import Item, items_of
from pylivepatch.build.stale import check_function
from pylivepatch.build.world import Version
from pylivepatch.patch import Unregistered

_DISPATCHERS = frozenset({"functools.singledispatch", "functools.singledispatchmethod"})


def is_registered(context: Context, item: Item, *, old: bool = False) -> bool:
    """Whether a ``singledispatch`` function of the tree keeps the function, so that it is found without its name."""
    return bool(dispatchers_of(context, item, old=old))


def registered_by_annotation(item: Item) -> bool:
    """``@f.register`` without arguments: the first parameter's annotation says for which type."""
    return any(
        isinstance(decorator, ast.Attribute) and decorator.attr == "register"
        for decorator in item.function.decorator_list
    )


def dispatchers_of(context: Context, item: Item, *, old: bool = False) -> list[ast.expr]:
    """What the decorators of the function name before ``.register``, where these are generic functions of the tree."""
    version = context.world.old if old else context.world.new
    bases = [base for base in map(_registering, item.function.decorator_list) if base is not None]
    return [base for base in bases if _found(context, version, base)]


def registers(context: Context, decorator: ast.expr) -> bool:
    """Whether the decorator does nothing but to register with a generic function of the tree. Raises ``Unsafe``."""
    base = _registering(decorator)
    if base is None or not _found(context, context.world.new, base):
        return False
    if isinstance(decorator, ast.Call):
        if len(decorator.args) != 1 or decorator.keywords:
            raise Unsafe(ast.unparse(decorator))
        check_expression(
            decorator.args[0], context.new.names, hidden=context.new_hidden, class_name=context.class_name
        )
    return True


def reaches_everything(context: Context, item: Item, *, old: bool = False) -> bool:
    """Whether no import-time result was made with the generic functions of the function; reports what was."""
    version = context.world.old if old else context.world.new
    found = filter(None, (_found(context, version, base) for base in dispatchers_of(context, item, old=old)))
    whole = [check_function(context, item, [name], module=home) for home, name in dict.fromkeys(found)]
    return all(whole)


def unregister(context: Context, item: Item) -> bool:
    """Carry that a function of the old version is no implementation any more; reports why that cannot be done."""

    def refuse(why: str) -> bool:
        return not context.report.refused(
            codes.FUNCTION_REMOVED,
            context.symbol(item.name),
            f"the function was registered with {names}, which does without it now, but {why}",
            "keep it, and give it the body that its callers should meet",
            old_line=item.line,
        )

    bases = dispatchers_of(context, item, old=True)
    names = ", ".join(map(ast.unparse, bases))
    others = [one for one in item.function.decorator_list if _registering(one) not in bases]
    unknown = [one for one in others if context.old.names.dotted(one) not in SAFE_DECORATORS]
    if item.guard:
        return refuse(f"the process may not have it ({item.guard[-1]})")
    if unknown:
        return refuse(f"the decorator {ast.unparse(unknown[0])} may have handed it on")
    if any(is_private(part.id) for base in bases for part in ast.walk(base) if isinstance(part, ast.Name)):
        return refuse("the generic function has a private name")
    try:
        context.code(context.old.source, item.function)
    except Ambiguous as problem:
        return refuse(f"it cannot be told apart in the compiled module: {problem}")
    if not reaches_everything(context, item, old=True):
        return False
    texts = tuple(_as_seen_by_the_module(context, base) for base in bases)
    context.changes.append(Unregistered(context.ref(item.function), item.line, texts))
    return True


def _as_seen_by_the_module(context: Context, base: ast.expr) -> str:
    if context.owner and isinstance(base, ast.Name):
        return f"{context.owner}.__dict__[{mangle(base.id, context.class_name)!r}]"
    return ast.unparse(base)


def _registering(decorator: ast.expr) -> ast.expr | None:
    """``f`` of ``@f.register`` and of ``@f.register(int)``."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.value if isinstance(node, ast.Attribute) and node.attr == "register" else None


def _found(context: Context, version: Version, node: ast.expr) -> tuple[str, str] | None:
    """The module and the name in it of the generic function that ``node`` names."""
    uses = version.modules[context.module]
    if context.owner and isinstance(node, ast.Name):
        cls = version.classes.all.get((context.module, context.owner))
        if cls is not None and _defines(items_of(cls.node.body), node.id, context.module, version):
            return context.module, f"{context.owner}.{node.id}"
    home, name = version.resolve(context.module, uses.names.dotted(node))
    there = version.modules.get(home)
    return (home, name) if there is not None and _defines(there.items, name, home, version) else None


def _defines(items: list[Item], name: str, module: str, version: Version) -> bool:
    found = [item for item in items if item.name == name]
    names = version.modules[module].names
    return (
        len(found) == 1
        and found[0].kind == "function"
        and any(names.dotted(decorator) in _DISPATCHERS for decorator in found[0].function.decorator_list)
    )

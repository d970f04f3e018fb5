"""Names that are gone: left in place where nobody could tell, and taken away where somebody could.

What nothing of the new version refers to does no harm, and stays: whoever has it can go on. Where the new version
still means something by the name (a base's method, a builtin, whether there is one at all), the name is taken away at
the switch, so that it means what it means in a fresh process. A name of a module that nothing would be found for is
not: who still reads it was forgotten in the diff.
"""

from __future__ import annotations

import ast
import builtins

from pylivepatch.build import codes
from pylivepatch.build.context import Ambiguous, Context
from pylivepatch.build.machinery import acts_at_creation
from pylivepatch.build.names import mangle
from pylivepatch.build.scope import Item
from pylivepatch.build.world import Version
from pylivepatch.patch import CodeRef, Removed, ValueChange

_FIXED = frozenset({"__new__", "__eq__", "__hash__", "__slots__", "__set_name__", "__init_subclass__", "__doc__"})

_MADE_OF_FIELDS = frozenset(
    {"__init__", "__repr__", "__lt__", "__le__", "__gt__", "__ge__", "__ne__", "__setattr__", "__delattr__"}
    | {"__getstate__", "__setstate__", "__getnewargs__", "__replace__"}
)


def take_away(context: Context, item: Item, code: str, why: str) -> None:
    """Carry the removal of a name; refuse it with ``code`` where the name's absence would not be all there is to it.

    ``why`` says why it cannot simply stay.
    """
    symbol = context.symbol(item.name)

    def refuse(reason: str) -> None:
        context.report.refused(
            code,
            symbol,
            f"it is gone, and its absence matters ({why}), but {reason}",
            "keep it, and give it what its users should meet" if item.kind == "function" else "keep it",
            old_line=item.line,
        )

    old: CodeRef | None = None
    if item.guard:
        refuse(f"the process may not have it ({item.guard[-1]})")
        return
    if sum(one.name == item.name for one in siblings(context, context.world.old)) > 1:
        refuse("it is defined more than once")
        return
    if context.owner:
        reason = acts_at_creation(context, item)
        if item.name in _FIXED:
            reason = "what a class statement makes of its presence stays"
        elif context.shape in ("enum", "fields") and item.kind == "value":
            reason = "it was made something of when the class was created"
        elif context.shape == "fields" and item.name in _MADE_OF_FIELDS:
            reason = "a class statement without it makes one of the fields"
        if reason:
            refuse(reason)
            return
    elif item.name in context.old.rebound:
        refuse("functions bind it at run time")
        return
    elif not hasattr(builtins, item.name) and not any(one.name == "__getattr__" for one in context.new.items):
        refuse("nothing else would be found in its place")
        return
    if item.kind == "function":
        try:
            context.code(context.old.source, item.function)
        except Ambiguous as problem:
            refuse(f"it cannot be told apart in the compiled module: {problem}")
            return
        old = context.ref(item.function)
    context.changes.append(Removed(context.owner, item.name, item.line, old))
    context.report.applied(codes.NAME_REMOVED, symbol, f"taken away: {why}", old_line=item.line)


def lose_accessors(context: Context, gone: list[Item]) -> bool:
    """Carry a property that loses its setter, getter or deleter; false for what is none, or is read at import."""
    name = gone[0].name
    parts = [accessor_of(item) for item in gone]
    if not context.owner or not all(parts) or any(item.guard for item in gone):
        return False
    if context.world.readers(context.module, name, owner=context.owner):
        return False
    live = f"{context.owner}.__dict__[{mangle(name, context.class_name)!r}]"
    rest = [f"{live}.{field}" if part not in parts else "None" for part, field in _FIELDS.items()]
    text = f"property({', '.join(rest)}, {live}.__doc__)"
    context.changes.append(ValueChange(context.owner, name, gone[0].line, live, text))
    context.report.applied(
        codes.VALUE_CHANGED,
        context.symbol(name),
        f"the property loses its {' and '.join(parts)}",
        old_line=gone[0].line,
    )
    return True


_FIELDS = {"getter": "fget", "setter": "fset", "deleter": "fdel"}


def accessor_of(item: Item) -> str:
    """``setter`` for a function under ``@name.setter``, where name is its own; ``""`` for any other."""
    match item.function.decorator_list:
        case [ast.Attribute(value=ast.Name(id=name), attr=part)] if name == item.name and part in _FIELDS:
            return part
    return ""


def siblings(context: Context, version: Version) -> list[Item]:
    """The items of the scope that is compared, in one of the versions."""
    if not context.owner:
        return version.modules[context.module].items
    cls = version.classes.all.get((context.module, context.owner))
    return list(cls.items) if cls is not None else []

"""The fields of dataclasses, attrs classes and named tuples: what their statement made of them is made anew.

``__init__``, ``__repr__``, ``__eq__`` and their like were written by the decorator when the class was created. The
target executes the new statement aside and moves what the decorator made of it into the live class. What it made of
the old one's instances stays: a new field must have a literal default, which they find in the class, or the author must
give them one; and what an instance is hashed by must stay, as it may be in a dict.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import Names, Unsafe
from pylivepatch.build.newclass import REMAKERS, check_statement, refuser_of_statement
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import Item, first_line, items_of
from pylivepatch.build.source import is_plain
from pylivepatch.build.stale import check_function
from pylivepatch.patch import CodeRef, NewFields, ValueChange

_FIELD_CALLS = frozenset({"dataclasses.field", "attr.ib", "attr.attrib", "attr.field", "attrs.field"})
_NAMED_TUPLES = frozenset({"typing.NamedTuple", "typing_extensions.NamedTuple"})
_NO_FIELDS = ("ClassVar", "InitVar", "KW_ONLY")


def compare_fields(context: Context, old: Item, new: Item) -> frozenset[str]:
    """Report and carry other fields of a class (``context`` is that of the scope around it); the names of what this
    says all that there is to say about.
    """
    before, after = (_maker(context, item.class_node) for item in (old, new))
    if not before or before != after:
        return frozenset()
    was, now = (_fields(item, uses.names) for item, uses in ((old, context.old), (new, context.new)))
    taken = frozenset((*was, *now))
    if list(was) == list(now) and all(same_tree(was[name].node, now[name].node) for name in now):
        if other_settings(context, old, new):
            _compare_settings(context, old, new, tuple(now))
        return frozenset()
    settings = other_settings(context, old, new)
    if settings and not _may_have(context, old, new, settings):
        return taken
    if not _is_allowed(context, old, new, was, now):
        return taken
    symbol = context.symbol(new.name)
    context.changes.append(NewFields(CodeRef(symbol, first_line(new.node)), tuple(was), tuple(now)))
    pairs = {name: [getattr(side.get(name), "node", None) for side in (was, now)] for name in taken}
    differing = [name for name, pair in pairs.items() if not same_tree(*pair)]
    context.report.applied(
        codes.FIELDS_CHANGED,
        symbol,
        f"what {after} made of its fields is made anew; they differ in {', '.join(sorted(differing)) or 'order'}"
        + (f", and its settings in {', '.join(sorted(settings))}" if settings else ""),
        old_line=old.line,
        new_line=new.line,
    )
    for name, item in now.items():
        if name not in was:
            _new_field(context, symbol, item, is_attrs=after.startswith("attr"))
        elif getattr(was[name].node, "value", None) is not None and not _same_default(was[name], item):
            context.report.note(
                codes.MAY_BE_STALE,
                f"{symbol}.{name}",
                "the field has another default; instances that exist keep what they were made with",
                old_line=was[name].line,
                new_line=item.line,
            )
    return taken


def other_settings(context: Context, old: Item, new: Item) -> frozenset[str]:
    """The settings of ``@dataclass`` in which the versions differ, where nothing else of the decorators does."""
    before, after = old.class_node.decorator_list, new.class_node.decorator_list
    found: set[str] = set()
    for was, now in zip(before, after, strict=False):
        if not same_tree(was, now):
            one, other = _given(was, context.old.names), _given(now, context.new.names)
            if one is None or other is None:
                return frozenset()
            found |= {name for name in one | other if one.get(name) != other.get(name)}
    return frozenset(found if len(before) == len(after) else ())


def _given(decorator: ast.expr, names: Names) -> dict[str, bool] | None:
    """The settings of a ``@dataclass``, with the defaults of those in ``_METHODS``; ``None`` for what is none."""
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if names.dotted(target) != "dataclasses.dataclass" or (isinstance(decorator, ast.Call) and decorator.args):
        return None
    found = dict(_METHODS)
    for keyword in keywords:
        if not isinstance(keyword.value, ast.Constant) or keyword.arg is None:
            return None
        found[keyword.arg] = bool(keyword.value.value)
    return found


_METHODS = {"init": True, "repr": True, "eq": True, "order": False, "match_args": True}
"""The settings of ``dataclass`` that say which methods it makes, and no more, with what they are by default."""


def _compare_settings(context: Context, old: Item, new: Item, fields: tuple[str, ...]) -> None:
    """Report and carry that a dataclass makes other methods."""
    symbol, settings = context.symbol(new.name), other_settings(context, old, new)
    if not _may_have(context, old, new, settings):
        return
    context.changes.append(NewFields(CodeRef(symbol, first_line(new.node)), fields, fields))
    context.report.applied(
        codes.FIELDS_CHANGED,
        symbol,
        f"what dataclass makes of it is made anew; its settings differ in {', '.join(sorted(settings))}",
        difference=describe_difference(old.class_node.decorator_list, new.class_node.decorator_list),
        old_line=old.line,
        new_line=new.line,
    )


def _may_have(context: Context, old: Item, new: Item, settings: frozenset[str]) -> bool:
    """Whether a dataclass can follow other ``settings``; reports why it cannot."""
    symbol, node = context.symbol(new.name), new.class_node
    report = refuser_of_statement(
        context, old, new, describe_difference(old.class_node.decorator_list, node.decorator_list)
    )

    def refuse(message: str, advice: str) -> bool:
        report(message, advice)
        return False

    if rest := settings - _METHODS.keys():
        return refuse(
            f"the dataclass is made with another {' and '.join(sorted(rest))}; instances that exist were made with the "
            "old, and layout and hash stay",
            "leave it as it was; init, repr, eq, order and match_args may change",
        )
    if "eq" in settings and any("__hash__" not in _names(one.class_node) for one in (old, new)):
        return refuse(
            "with eq the hash of instances changes, and those that are in a dict or a set could not be found any more",
            "define __hash__ in the class, or leave eq as it was",
        )
    try:
        check_statement(context, symbol, node)
    except Unsafe as part:
        return refuse(
            f"the class statement cannot be executed aside without side effects: {part}", "leave its settings"
        )
    made = ["__match_args__" if name == "match_args" else f"__{name}__" for name in sorted(settings - {"order"})]
    if why := _was_taken_over(context, symbol, [*made, *(_ORDERS if "order" in settings else ())]):
        return refuse(why, "leave its settings")
    return "init" not in settings or check_function(context, new, [f"{symbol}.__init__"])


_ORDERS = ("__lt__", "__le__", "__gt__", "__ge__")


def _was_taken_over(context: Context, symbol: str, methods: Iterable[str]) -> str:
    """Who has what was made of the fields otherwise than through the class; ``""`` where nobody does."""
    old = context.world.old
    cls = old.classes.all.get((context.module, symbol))
    for child in old.classes.descendants(cls) if cls is not None else ():
        if old.class_shape(child.symbol[0], child.node) == "enum":
            return f"the enumeration {child.symbol[1]} took its methods over when it was created"
    for name in methods:
        if places := context.world.readers(context.module, name, owner=symbol):
            return f"its {name} was read while modules were imported: {', '.join(map(str, places[:5]))}"
    return ""


def _names(node: ast.ClassDef) -> set[str]:
    return {item.name for item in items_of(node.body)}


def _maker(context: Context, node: ast.ClassDef) -> str:
    """The decorator or base that makes something of the class's fields, if it is one that can do so again."""
    names = context.new.names
    for decorator in node.decorator_list:
        dotted = names.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if dotted in REMAKERS:
            return dotted
    return next((dotted for dotted in map(names.dotted, node.bases) if dotted in _NAMED_TUPLES), "")


def _fields(item: Item, names: Names) -> dict[str, Item]:
    found = {}
    for one in items_of(item.class_node.body):
        node = one.node
        if one.kind not in ("value", "annotation") or one.typing_only:
            continue
        if isinstance(node, ast.AnnAssign):
            is_field = not any(word in ast.unparse(node.annotation) for word in _NO_FIELDS)
        else:
            is_field = isinstance(one.value, ast.Call) and names.dotted(one.value.func) in _FIELD_CALLS
        if is_field:
            found[one.name] = one
    return found


def _is_allowed(context: Context, old: Item, new: Item, was: dict[str, Item], now: dict[str, Item]) -> bool:
    symbol, node = context.symbol(new.name), new.class_node
    settings = _settings(context, node)
    same_names = was.keys() == now.keys()

    def refuse(message: str, advice: str) -> bool:
        context.report.refused(
            codes.CLASS_SHAPE,
            symbol,
            message,
            advice,
            old_line=old.line,
            new_line=new.line,
            difference=describe_difference([one.node for one in was.values()], [one.node for one in now.values()]),
        )
        return False

    try:
        check_statement(context, symbol, node)
    except Unsafe as part:
        return refuse(
            f"its fields changed, and the class statement cannot be executed aside without side effects: {part}",
            "leave the fields as they were",
        )
    if not same_tree(old.class_node.decorator_list, node.decorator_list) and not other_settings(context, old, new):
        return refuse("its fields and its decorators changed at once", "leave the decorators as they were")
    if "NamedTuple" in settings and list(was) != list(now):
        return refuse(
            "the fields of a named tuple are the places of a tuple, and those of instances that exist stay",
            "leave the fields and their order as they were; defaults may change",
        )
    if "slots" in settings and not same_names:
        return refuse(
            "its fields are slots, which are fixed when the class is created", "keep what is new outside of the class"
        )
    if "hash" in settings and list(was) != list(now):
        return refuse(
            "instances are hashed by their fields, and those that are in a dict or a set could not be found any more",
            "leave the fields as they were",
        )
    cls = context.world.old.classes.all.get((context.module, symbol))
    for child in context.world.old.classes.descendants(cls) if cls is not None else ():
        if _maker(context.peers.get(child.symbol[0], context), child.node):
            return refuse(
                f"{child.symbol[1]} has fields of its own, which were made together with these",
                "leave the fields of a base as they were",
            )
    if why := _was_taken_over(context, symbol, ("__init__", "__repr__", "__eq__", "__match_args__", *_ORDERS)):
        return refuse(why, "leave the fields as they were")
    changed = [name for name in now if name in was and not _same_default(was[name], now[name])]
    for name in changed:
        places = context.world.readers(context.module, name, owner=symbol)
        if places:
            return refuse(
                f"the default of {name} was read while modules were imported: {', '.join(map(str, places[:5]))}",
                "leave the default as it was",
            )
    return not changed or check_function(context, new, [f"{symbol}.__init__"])


def _settings(context: Context, node: ast.ClassDef) -> set[str]:
    """What is true of a class: ``slots`` (no attribute but the fields), ``hash`` (by the fields), ``NamedTuple``."""
    maker, names = _maker(context, node), context.new.names
    found = {"NamedTuple"} if maker in _NAMED_TUPLES else set()
    is_new_attrs = maker.rpartition(".")[2] in ("define", "frozen", "mutable")
    flags = {"slots": is_new_attrs, "frozen": maker.endswith(".frozen"), "eq": True, "hash": False}
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and names.dotted(decorator.func) == maker:
            for keyword in decorator.keywords:
                is_false = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                flags["hash" if keyword.arg == "unsafe_hash" else keyword.arg or ""] = not is_false
    body = {item.name for item in items_of(node.body)}
    if flags["slots"] or "__slots__" in body:
        found.add("slots")
    if (flags["hash"] or (flags["frozen"] and flags["eq"])) and "__hash__" not in body:
        found.add("hash")
    return found


def _same_default(old: Item, new: Item) -> bool:
    return same_tree(getattr(old.node, "value", None), getattr(new.node, "value", None))


def _new_field(context: Context, symbol: str, item: Item, *, is_attrs: bool) -> None:
    """What instances that exist find of a new field."""
    default = getattr(item.node, "value", None)
    if isinstance(default, ast.Call) and context.new.names.dotted(default.func) in _FIELD_CALLS:
        default = next((one.value for one in default.keywords if one.arg == "default"), None)
    if default is None or not is_plain(default):
        context.report.refused(
            codes.INSTANCE_STATE,
            f"{symbol}.{item.name}",
            "the field is new and has no literal default; instances that exist do not have it, and what was made of "
            "the fields reads it",
            "give it a literal default",
            new_line=item.line,
        )
        return
    if is_attrs:  # a dataclass keeps the default in the class by itself
        context.changes.append(ValueChange(symbol, item.name, item.line, None, ast.unparse(default)))
    context.report.applied(
        codes.INSTANCE_DEFAULT,
        f"{symbol}.{item.name}",
        f"the new field is {ast.unparse(default)} for instances that exist, which find that in the class",
        new_line=item.line,
    )


def without(items: Iterable[Item], taken: frozenset[str]) -> list[Item]:
    """The items of a body but for its fields."""
    return [item for item in items if item.kind not in ("value", "annotation") or item.name not in taken]

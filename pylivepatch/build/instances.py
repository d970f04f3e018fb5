"""Instances that were alive before the load: what their class's new methods expect of them.

An object that the old ``__init__`` made does not have what only the new one sets. Where that is always the same
literal (or a new parameter, for which the old calls stand for its default), the class gets it as a default, which old
instances find and new ones hide. Where other code sets the attribute later, an object in the middle of its life begins
with the default: that is told. What is no literal, or depends on the object, needs the author, and so does an
attribute that was made as one kind of value and is now made as another, or for which objects that exist find a class's
value of another kind. Another value of the same kind, or one whose kind is not plain to see, is told. So is what a
method newly sets over a class's value: it ran for some instances before, and is not run again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.initial import (
    Stays,
    Store,
    another_literal,
    defaults_of,
    is_other_call,
    kind_of,
    made_by_init,
    other_default,
    sets,
    value_of,
)
from pylivepatch.build.names import shown
from pylivepatch.build.nodes import walk
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import FunctionNode, items_of
from pylivepatch.build.source import is_plain
from pylivepatch.build.stdlib import made_with
from pylivepatch.build.stores import (
    certainly_run,
    counted_by,
    instance_name,
    passes_on,
    run_by_init,
    self_attribute,
    stores_of,
    targets_of,
)
from pylivepatch.patch import ValueChange


def compare_instances(context: Context, old: ast.ClassDef, new: ast.ClassDef) -> list[Stays]:
    """Report and carry what instances of the class (``context`` is its body's) newly need. What they keep is told by
    :func:`tell_what_stays`, when the functions have been looked at.
    """
    stay: list[Stays] = []
    _tell_of_hashes(context, old, new)
    before, after, counted = stores_of(old), stores_of(new), counted_by(old, new)
    for base in _new_bases(context):
        after = {**stores_of(base), **after}
    known = _parameters(old)
    by_init = {name for name, stores in before.items() if made_by_init(name, stores, None)}
    fresh = {name for name, stores in after.items() if made_by_init(name, stores, known)} - by_init
    is_new = {*after, *counted} - before.keys()
    inherited, made_above = _inherited(context) if fresh or is_new else ({}, {})
    given = _given(old, new) if fresh or is_new else {}
    values, found = {**inherited, **given}, {**inherited, **made_above, **given}
    for name, stores in counted.items():  # in the order of the source
        if name in values and not (name in made_above or name in before or name in after):
            stay += _set_by_method(context, name, stores, values[name])
    for name, stores in after.items():
        made = made_by_init(name, stores, known)
        if name in fresh and name in found:
            stay += _set_over(context, name, stores, found[name], made)
        elif name in found and name not in before:
            begun = run_by_init(new)
            if first := [one for one in stores if one[0].name in begun and one[1] in certainly_run(one[0].body)]:
                made = [value_of(statement, name) for _, statement in first]
                stay += _set_over(context, name, first, found[name], made)
            elif name not in made_above:
                stay += _set_by_method(context, name, stores, values[name])
        elif name in fresh or name not in before:
            stay += _new_attribute(context, old, new, name, stores, some_have_it=name in before)
        elif "" not in (kinds := {_category(name, before[name]), _category(name, stores)}) and len(kinds) > 1:
            why = "is made as another kind of value than instances that exist have"
            _refuse(context, name, stores, why, before[name])
        elif (default := other_default(old, new, name, stores)) is not None:
            if default.is_another_kind and _read_elsewhere(context, name, []):
                why = f"{default}: instances that exist have what was made of the old one"
                _refuse(context, name, stores, why, before[name])
            else:
                what = f"its attribute {default}; instances that exist keep what was made of the old one"
                stay.append(Stays(name, stores, what, before[name]))
        elif another_literal(was := made_by_init(name, before[name], None), made) or is_other_call(old, new, was, made):
            what = f"__init__ {sets(made)}; instances that exist keep what they have"
            stay.append(Stays(name, stores, what, before[name]))
    return stay


def _tell_of_hashes(context: Context, old: ast.ClassDef, new: ast.ClassDef) -> None:
    """A dict or set goes on with the hash that an object had when it was put there."""
    was, now = (next((item for item in items_of(node.body) if item.name == "__hash__"), None) for node in (old, new))
    if now is None and was is None:
        return
    if was is None and any(item.name == "__eq__" for item in items_of(old.body)):
        return  # they had none, and are in no dict
    if now is None or was is None or not same_tree(was.node, now.node):
        context.report.note(
            codes.MAY_BE_STALE,
            context.symbol("__hash__"),
            "dicts and sets do not find again the objects that they have by now, where their hash is another one",
            old_line=was.line if was is not None else 0,
            new_line=now.line if now is not None else 0,
        )


def only_adds_defaults(context: Context, old: FunctionNode, new: FunctionNode) -> bool:
    """Whether the new ``__init__`` differs from the old one by literals only that old instances find in the class."""
    own = instance_name(new)
    plain = {id(node) for node in new.body if self_attribute(node, own) and is_plain(getattr(node, "value", None))}
    carried = {change.name for change in context.changes if plain and isinstance(change, ValueChange)}
    rest = [node for node in new.body if id(node) not in plain or self_attribute(node, own) not in carried]
    return same_tree(old.body, rest) and same_tree(old.args, new.args)


def _given(old: ast.ClassDef, new: ast.ClassDef) -> dict[str, ast.expr | None]:
    """What the class itself gives its instances after the load, of the names that the old one has; ``None`` for what is
    not known.
    """
    before, after = ([item for item in items_of(node.body) if item.kind == "value"] for node in (old, new))
    given: dict[str, ast.expr | None] = {item.name: item.value for item in before}
    given |= {item.name: item.value for item in after if item.name in given}
    return given | dict.fromkeys(item.name for item in before if item.guard)


def _inherited(context: Context) -> tuple[dict[str, ast.expr | None], dict[str, ast.expr | None]]:
    """The attributes that instances have from the old version's classes above this one, found in a class, and set by an
    ``__init__`` → the value, or ``None`` where it is not known.
    """
    classes = context.world.old.classes
    cls = classes.all.get((context.module, context.owner))
    if cls is None:
        return {}, {}
    above = list(classes.ancestors(cls))
    values: dict[str, ast.expr | None] = {
        item.name: item.value
        for base in reversed(above)
        for item in base.items
        if item.kind == "value" and not item.guard
    }
    deleted = {
        node.attr
        for base in above
        for node in walk(base.node)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Del)
    }
    found: dict[str, ast.expr | None] = {}
    for one in (cls, *above):
        item = one.defines.get("__init__")
        if item is None:
            continue
        if item.kind != "function":
            return values, found
        certain = certainly_run(item.function.body)
        if one is not cls:
            own = instance_name(item.function)
            stores = {name: statement for statement in certain for name in targets_of(statement, own)}
            for name in stores.keys() - deleted - found.keys():
                found[name] = getattr(stores[name], "value", None) if self_attribute(stores[name], own) else None
        if not any(passes_on(statement, one.node) for statement in certain):  # those above this one do not run
            return values, found
    outside = set(classes.outside(cls))
    return values, dict.fromkeys(made_with(outside.pop()) if len(outside) == 1 else ()) | found


def _new_bases(context: Context) -> list[ast.ClassDef]:
    """The class statements that the class derives from in the new version only."""
    old, new = (version.classes for version in (context.world.old, context.world.new))
    symbol = context.module, context.owner
    if symbol not in old.all or symbol not in new.all:
        return []
    before = {base.symbol for base in old.ancestors(old.all[symbol])}
    return [base.node for base in new.ancestors(new.all[symbol]) if base.symbol not in before]


def _set_over(
    context: Context, name: str, stores: list[Store], found: ast.expr | None, made: list[ast.expr | None]
) -> list[Stays]:
    """``__init__`` newly sets what instances that exist have otherwise: from a class, or from a base's ``__init__``."""
    if found is not None and is_plain(found) and all(one is not None and same_tree(found, one) for one in made):
        return []
    what = shown(found) if found is not None else "what a base gives"
    by = "__init__" if made_by_init(name, stores, None) else f"{stores[0][0].name} (run by __init__)"
    place = _read_elsewhere(context, name, [function for function, _ in stores if function.name == "__init__"])
    kinds = {kind_of(found), kind_of(made[0]) if len(made) == 1 else ""}
    if place is not None and len(kinds) > 1 and "" not in kinds:
        why = f"is newly set by {by}; instances that exist have {what}, and {place} reads it"
        _refuse(context, name, stores, why)
        return []
    return [Stays(name, stores, f"{by} newly {sets(made)}; instances that exist have {what}")]


def _set_by_method(context: Context, name: str, stores: list[Store], found: ast.expr | None) -> list[Stays]:
    """Other methods than ``__init__`` newly set what instances that exist find in a class."""
    made = [value_of(one, name) for _, one in stores]
    if found is not None and is_plain(found) and all(one is not None and same_tree(found, one) for one in made):
        return []
    if _read_elsewhere(context, name, []) is None:
        return []
    by = " and ".join(dict.fromkeys(function.name for function, _ in stores))
    what = shown(found) if found is not None else "what a class gives"
    return [Stays(name, stores, f"{by} newly {sets(made)}; instances for which it has run before have {what}")]


def _new_attribute(
    context: Context,
    old: ast.ClassDef,
    node: ast.ClassDef,
    name: str,
    stores: list[Store],
    *,
    some_have_it: bool,
) -> list[Stays]:
    """``some_have_it``: another method of the old version sets it, in instances for which it was called."""
    place = _read_elsewhere(context, name, [function for function, _ in stores])
    if place is None:
        return []
    value = _default_of(name, stores, _parameters(old))
    later = _set_elsewhere(context, name, stores) if value is not None else []
    if any(isinstance(one.ctx, ast.Del) for _, one in later):
        value = None  # what a class gives cannot be deleted from an instance
    bound = {item.name: item for item in items_of(node.body) if item.kind in ("value", "function", "class")}
    if name in bound:
        item = bound[name]
        if item.kind == "function" and item.function.decorator_list:
            return []  # a property: what its setter keeps has a name of its own
        if item.kind == "value" and value is not None and same_tree(item.value, value):
            return []
        why = f"is new; instances that exist find the class's instead, and {place} reads it"
        _refuse(context, name, stores, why)
    elif some_have_it and (value is None or context.shape in ("fields", "enum") or "__slots__" in bound):
        return [Stays(name, stores, "__init__ now sets it in every instance; some that exist may not have it")]
    elif value is None or context.shape in ("fields", "enum") or "__slots__" in bound:
        _refuse(context, name, stores, f"is new; instances that exist do not have it, and {place} reads it")
    else:
        line = stores[0][1].lineno
        context.changes.append(ValueChange(context.owner, name, line, None, ast.unparse(value)))
        context.report.applied(
            codes.INSTANCE_DEFAULT,
            context.symbol(name),
            f"__init__ newly sets it to {ast.unparse(value)}; instances that exist find that in the class",
            new_line=line,
        )
        if later:
            places = ", ".join(dict.fromkeys(f"{path}:{one.lineno}" for path, one in later[:5]))
            context.report.note(
                codes.MAY_BE_STALE,
                context.symbol(name),
                f"other code sets it, too ({places}); instances in the middle of their life begin with "
                f"{ast.unparse(value)}, whatever it would be by now",
                new_line=line,
            )
    return []


def _default_of(name: str, stores: list[Store], old_parameters: set[str]) -> ast.expr | None:
    """The literal that ``__init__`` sets the attribute to, always and once; ``None`` where there is none."""
    made = [store for store in stores if store[0].name == "__init__"]
    if len(made) != 1 or made[0][1] not in made[0][0].body:
        return None
    function, statement = made[0]
    value = value_of(statement, name)
    if isinstance(value, ast.Name) and value.id not in old_parameters:
        value = defaults_of(function).get(value.id)
    return value if is_plain(value) else None


def _parameters(node: ast.ClassDef) -> set[str]:
    """The parameters of the class's ``__init__``."""
    for item in items_of(node.body):
        if item.kind == "function" and item.name == "__init__":
            return {argument.arg for argument in walk(item.function.args) if isinstance(argument, ast.arg)}
    return set()


def _set_elsewhere(context: Context, name: str, stores: list[Store]) -> list[tuple[str, ast.Attribute]]:
    """Where any other code than ``__init__`` sets or deletes an attribute of that name, other than of unrelated
    classes' own instances: path and node.
    """
    own = {id(node) for function, _ in stores if function.name == "__init__" for node in walk(function)}
    for statement in _unrelated(context):
        own |= {id(node) for _, stored in stores_of(statement).get(name, ()) for node in _stored_in(stored, name)}
    return [
        (uses.source.path, node)
        for uses in context.world.new.modules.values()
        if uses.has_attribute(name)
        for node in walk(uses.source.tree)
        if id(node) not in own
        and isinstance(node, ast.Attribute)
        and node.attr == name
        and not isinstance(node.ctx, ast.Load)
    ]


def _unrelated(context: Context) -> Iterator[ast.ClassDef]:
    """The classes of the tree's modules that are neither above nor below this one."""
    related = set(context.world.with_subclasses(context.module, context.owner))
    related |= set(context.world.with_bases(context.module, context.owner))
    for name, uses in context.world.new.modules.items():
        for item in uses.items:
            if item.kind == "class" and (name, item.name) not in related:
                yield item.class_node


def _stored_in(statement: ast.stmt, name: str) -> Iterator[ast.AST]:
    return (node for node in walk(statement) if isinstance(node, ast.Attribute) and node.attr == name)


def _category(name: str, stores: list[Store]) -> str:
    """The kind of value that ``__init__`` gives an attribute, where it is plain to see; ``""`` where it is not."""
    made = made_by_init(name, stores, None)
    return kind_of(made[0]) if len(made) == 1 else ""


def _refuse(
    context: Context, name: str, stores: list[Store], why: str, before: list[Store] | None = None
) -> None:
    old = before[0][1] if before else None
    context.report.refused(
        codes.INSTANCE_STATE,
        context.symbol(name),
        f"the instance attribute {why}",
        "let the methods that read it work without it (`getattr(self, name, default)`), or have __init__ set it to a "
        "literal before anything else does",
        old_line=old.lineno if old else 0,
        new_line=stores[0][1].lineno,
        difference=describe_difference(old, stores[0][1]) if old else "",
    )


def _read_elsewhere(context: Context, name: str, storing: list[FunctionNode]) -> str | None:
    """Where code that does not itself set the attribute reads one of that name."""
    skipped = {id(inner) for function in storing for inner in walk(function)}
    for uses in context.world.new.modules.values():
        for node in uses.mentions.get(name, ()):
            if id(node) not in skipped and _reads(node, name):
                return f"{uses.source.path}:{getattr(node, 'lineno', 0)}"
    return None


def _reads(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Attribute(attr=found, ctx=ast.Load() | ast.Del()):
            return found == name
        case ast.AugAssign(target=ast.Attribute(attr=found)):
            return found == name
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=found)]):
            return bool(found == name)
        case ast.Call(func=ast.Attribute(attr="attrgetter") | ast.Name(id="attrgetter"), args=args):
            return any(isinstance(one, ast.Constant) and one.value == name for one in args)
    return False

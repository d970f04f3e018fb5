"""Module constants and class attributes: which changes of a value a running process can follow.

A name is rebound; whoever copied the old value at import keeps it. So a change is carried only where nobody
did, or where the copy is a plain ``from module import NAME`` of an immutable literal, which is then rebound
as well.
"""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.lambdas import compare_lambdas
from pylivepatch.build.machinery import check_changed_attribute, check_new_member
from pylivepatch.build.names import Unsafe, check_expression, is_literal, is_shareable
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import Item
from pylivepatch.build.stale import check_value, was_read
from pylivepatch.build.uses import Copy
from pylivepatch.build.world import Place
from pylivepatch.patch import ValueChange

# What a release calls itself. A live patch does not make a process another release, so the old name may stay.
_VERSION_NAMES = frozenset({"__version__", "__version_info__", "version", "version_info", "VERSION"})


def compare_value(context: Context, old: Item, new: Item) -> None:
    """Report and carry the change of a value that both versions have once, under the same condition."""
    symbol, report = context.symbol(new.name), context.report
    difference = describe_difference(old.node, new.node)
    same_annotation = same_tree(_annotation(old), _annotation(new))
    if same_tree(old.value, new.value) and same_annotation:
        return
    if _shapes_class(context, old) or _shapes_class(context, new):
        _refuse_shape(context, new, old.line, difference)
        return
    if not same_annotation:
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "only its annotation changed; nothing to do",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )
    if same_tree(old.value, new.value):
        return
    if compare_lambdas(context, old, new):
        return
    if new.guard:
        report.refused(
            codes.CONDITIONAL,
            symbol,
            f"the value is assigned only under a condition ({new.guard[-1]}), so it may not be the live one",
            "assign it unconditionally under a new name, and use that",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )
        return
    try:
        _check(context, old.value, old=True)
        _check(context, new.value)
    except Unsafe as part:
        report.refused(
            codes.NOT_LITERAL,
            symbol,
            f"its value is no literal, and evaluating it again is not known to be free of side effects: "
            f"{part}",
            "add a new name with a literal value and let the functions use it, or compute it in a function",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )
        return
    if _is_rebound(context, new.name):
        line = context.old.rebound.get(new.name) or context.new.rebound[new.name]
        report.refused(
            codes.REBOUND,
            symbol,
            f"it is state, not a constant: line {line} binds it at run time",
            "change the functions that use it instead",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )
        return
    if not context.owner and new.name in _VERSION_NAMES and (
        _is_copied(context, old, new) or was_read(context, new.name)
    ):
        report.note(
            codes.LEFT_IN_PLACE,
            symbol,
            "the version's name was copied at import in ways that cannot be followed; the process goes on "
            "naming the "
            "version that it started as",
            old_line=old.line,
            new_line=new.line,
            difference=difference,
        )
        return
    if not _follow_copies(context, old, new, difference):
        return
    if not check_value(context, new, old_line=old.line, difference=difference):
        return
    if not check_changed_attribute(context, new, difference=difference):
        return
    old_text, new_text = ast.unparse(old.value), ast.unparse(new.value)
    context.changes.append(ValueChange(context.owner, new.name, new.line, old_text, new_text))
    report.applied(
        codes.VALUE_CHANGED,
        symbol,
        "the value changed",
        difference=difference,
        old_line=old.line,
        new_line=new.line,
    )


def new_value(context: Context, new: Item) -> None:
    """Report and carry a constant or class attribute that the old version does not have."""
    symbol, report = context.symbol(new.name), context.report
    if new.main_only or new.typing_only:
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "a running process never has this name; nothing to do",
            new_line=new.line,
        )
        return
    if _shapes_class(context, new):
        _refuse_shape(context, new, 0, "")
        return
    if new.guard:
        report.refused(
            codes.CONDITIONAL,
            symbol,
            f"the new value is assigned only under a condition ({new.guard[-1]})",
            "assign it unconditionally",
            new_line=new.line,
        )
        return
    try:
        _check(context, new.value, fresh=True)
    except Unsafe as part:
        report.refused(
            codes.NOT_LITERAL,
            symbol,
            f"its value is no literal, and evaluating it is not known to be free of side effects: {part}",
            "make it a literal, or compute it in a function when it is first needed",
            new_line=new.line,
        )
        return
    if not check_new_member(context, new):
        return
    context.changes.append(ValueChange(context.owner, new.name, new.line, None, ast.unparse(new.value)))
    report.applied(codes.VALUE_NEW, symbol, "new value", new_line=new.line)


def compare_annotation(context: Context, item: Item, *, old_line: int, new_line: int, what: str) -> None:
    """An annotation without a value: nothing executes, unless the class makes fields of its annotations."""
    if _shapes_class(context, item):
        _refuse_shape(context, item, old_line, what)
        return
    context.report.note(
        codes.TYPING_ONLY,
        context.symbol(item.name),
        "an annotation without a value; nothing to do",
        old_line=old_line,
        new_line=new_line,
        difference=what,
    )


def _annotation(item: Item) -> ast.expr | None:
    return item.node.annotation if isinstance(item.node, ast.AnnAssign) else None


def _shapes_class(context: Context, item: Item) -> bool:
    if not context.owner:
        return False
    if item.name == "__slots__" or context.shape == "enum":
        return True
    annotation = _annotation(item)
    if annotation is None or "ClassVar" in ast.unparse(annotation):
        return item.name in ("_fields_", "_fields", "_meta") and context.shape != "plain"
    return context.shape in ("fields", "unknown")


def _refuse_shape(context: Context, item: Item, old_line: int, difference: str) -> None:
    what = {"enum": "an enum's members are", "fields": "the class's fields are"}.get(
        context.shape, "what the class makes of this attribute may be"
    )
    if item.name == "__slots__":
        what = "__slots__ is"
    context.report.refused(
        codes.CLASS_SHAPE,
        context.symbol(item.name),
        f"{what} fixed when the class is created",
        "leave the class as it is, and keep what is new in a function, a module constant or a plain "
        "attribute",
        old_line=old_line,
        new_line=item.line,
        difference=difference,
    )


def _check(context: Context, value: ast.expr, *, old: bool = False, fresh: bool = False) -> None:
    uses, hidden = (context.old, context.old_hidden) if old else (context.new, context.new_hidden)
    check_expression(value, uses.names, hidden=hidden, fresh=fresh, class_name=context.class_name)


def _is_rebound(context: Context, name: str) -> bool:
    return not context.owner and (name in context.old.rebound or name in context.new.rebound)


def _is_copied(context: Context, old: Item, new: Item) -> bool:
    return bool(_copies_of(context, old, new)[1])


def _copies_of(context: Context, old: Item, new: Item) -> tuple[list[Copy], list[Place]]:
    """The copies that can be rebound too, and the places where the old value stays."""
    copies: list[Copy] = []
    places: list[Place] = []
    if context.owner:
        places = context.world.readers(context.module, new.name, owner=context.owner)
    else:
        literal = is_literal(old.value) and is_literal(new.value)
        shareable = is_shareable(old.value, context.old.names) and is_shareable(new.value, context.new.names)
        _collect(context, context.module, new.name, literal and shareable, copies, places)
    return copies, places


def _follow_copies(context: Context, old: Item, new: Item, difference: str) -> bool:
    """Rebind the copies too where that is all there is to do; else refuse, naming the places."""
    copies, places = _copies_of(context, old, new)
    if places:
        shown = ", ".join(map(str, places[:5])) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
        context.report.refused(
            codes.COPIED_AT_IMPORT,
            context.symbol(new.name),
            f"the old value was copied while modules were imported, and the copies would stay: {shown}",
            "give the new value a new name and let the functions use it, or change the places named",
            old_line=old.line,
            new_line=new.line,
            difference=difference,
        )
        return False
    for copy in copies:
        peer = context.peers[copy.importer]
        if any(isinstance(change, ValueChange) and change.target == copy.bound for change in peer.changes):
            continue
        peer.changes.append(
            ValueChange("", copy.bound, copy.line, ast.unparse(old.value), ast.unparse(new.value))
        )
        peer.report.applied(
            codes.VALUE_CHANGED,
            copy.bound,
            f"the name was imported from {copy.module}, where its value changed",
            old_line=copy.line,
            new_line=copy.line,
            difference=difference,
        )
    return True


def _collect(
    context: Context, module: str, name: str, shareable: bool, copies: list[Copy], places: list[Place]
) -> None:
    """Every copy of ``module``'s ``name``, and of those copies; what cannot be followed goes into
    ``places``.
    """
    places += context.world.readers(module, name)
    for copy in context.world.new.copies.get(module, ()):
        if copy.name not in (name, "*") or not _was_there(context, copy):
            continue
        uses = context.peers[copy.importer].new
        unclear = copy.conditional or copy.name == "*" or copy.bound in uses.rebound or not shareable
        if unclear or sum(item.name == copy.bound for item in uses.items) > 1:
            places.append(Place(uses.source.path, copy.line, f"from {copy.module} import {copy.name}"))
        elif copy not in copies:
            copies.append(copy)
            _collect(context, copy.importer, copy.bound, shareable, copies, places)


def _was_there(context: Context, copy: Copy) -> bool:
    """Whether the old version copied too: a new import gets the new value by itself."""
    old = context.world.old.modules.get(copy.importer)
    return old is not None and any(
        (other.module, other.name, other.bound) == (copy.module, copy.name, copy.bound)
        for other in old.copies
    )

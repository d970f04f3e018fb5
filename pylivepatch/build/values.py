"""Module constants and class attributes: which changes of a value a running process can follow.

A name is rebound, or the list, dict or set that it means gets new content. Whoever copied the old value at import
has to follow: that is seen to when all modules have been compared (``follow``).
"""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context, Root
from pylivepatch.build.lambdas import compare_lambdas, is_compiled_otherwise
from pylivepatch.build.machinery import check_changed_attribute, check_new_member
from pylivepatch.build.names import Unsafe
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import Item
from pylivepatch.patch import ValueChange


def compare_value(context: Context, old: Item, new: Item) -> None:
    """Report and carry the change of a value that both versions have once, under the same condition."""
    symbol, report = context.symbol(new.name), context.report
    difference = describe_difference(old.node, new.node)
    same_annotation = same_tree(_annotation(old), _annotation(new))
    same_value = same_tree(old.value, new.value)
    if same_value and same_annotation:
        if is_compiled_otherwise(context, new.value):
            compare_lambdas(context, old, new)
        return
    if old.typing_only and new.typing_only:
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "a running process never has this name; nothing to do",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )
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
    if compare_lambdas(context, old, new) or same_value:
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
        old_expr, new_expr = _pure(context, old, old=True), _pure(context, new)
    except Unsafe as part:
        if report.refused(
            codes.NOT_LITERAL,
            symbol,
            f"evaluating its value again is not known to be free of side effects: {part}",
            "add a new name with a literal value and let the functions use it, or compute it in a function",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        ):
            return
        old_expr, new_expr = _as_it_is(context, old, old=True), _as_it_is(context, new)
    line = _bound_by_code(context, new.name)
    if line and report.refused(
        codes.REBOUND,
        symbol,
        f"it is state, not a constant: the import-time code in line {line} binds it",
        "change the functions that use it instead",
        difference=difference,
        old_line=old.line,
        new_line=new.line,
    ):
        return
    if not check_changed_attribute(context, new, difference=difference):
        return
    change = ValueChange(context.owner, new.name, new.line, ast.unparse(old_expr), ast.unparse(new_expr))
    context.changes.append(change)
    context.roots.append(Root(context, old, new, change, old_expr, new_expr, difference))
    state = not context.owner and (new.name in context.old.rebound or new.name in context.new.rebound)
    report.applied(
        codes.VALUE_CHANGED,
        symbol,
        "the value changed" + ("; the load is refused where a function has set it already" if state else ""),
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
        value = _pure(context, new, fresh=True)
    except Unsafe as part:
        if report.refused(
            codes.NOT_LITERAL,
            symbol,
            f"evaluating its value is not known to be free of side effects: {part}",
            "make it a literal, or compute it in a function when it is first needed",
            new_line=new.line,
        ):
            return
        value = _as_it_is(context, new)
    if not check_new_member(context, new):
        return
    context.changes.append(ValueChange(context.owner, new.name, new.line, None, ast.unparse(value)))
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


def _pure(context: Context, item: Item, *, old: bool = False, fresh: bool = False) -> ast.expr:
    """The item's expression for the module's namespace. Raises :class:`Unsafe`."""
    node = context.expression(item.value, item.line, old=old)
    context.purity(old=old).check(node, fresh=fresh)
    return node


def _as_it_is(context: Context, item: Item, *, old: bool = False) -> ast.expr:
    """The same for one that the author has said to be safe: what cannot be evaluated refuses the load."""
    try:
        return context.expression(item.value, item.line, old=old)
    except Unsafe:
        return item.value


def _bound_by_code(context: Context, name: str) -> int:
    """The line of import-time code, other than an assignment, that binds the name; 0 for none."""
    if context.owner:
        return 0
    lines = (uses.bound_by_code.get(name, 0) for uses in (context.old, context.new))
    return next(filter(None, lines), 0)

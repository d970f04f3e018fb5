"""Functions and methods that are new: made in the target, where all that the ``def`` does there is known."""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Ambiguous, Context
from pylivepatch.build.decorated import is_overload
from pylivepatch.build.displays import annotations_display, check_annotations, check_defaults, displays
from pylivepatch.build.gone import accessor_of, siblings
from pylivepatch.build.machinery import check_new_member
from pylivepatch.build.names import (
    SAFE_DECORATORS,
    Unsafe,
    check_expression,
)
from pylivepatch.build.registered import (
    is_registered,
    reaches_everything,
    registers,
    taken_already,
)
from pylivepatch.build.scope import Item
from pylivepatch.build.stale import check_function
from pylivepatch.patch import NewFunction

_IMPLICIT = {"__new__": "staticmethod", "__class_getitem__": "classmethod"}


def new_function(context: Context, new: Item) -> None:
    """Report and carry a function that the old version does not have."""
    symbol, report = context.symbol(new.name), context.report
    if new.typing_only or is_overload(new, context.new.names):
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "only type checkers see this function; nothing to do",
            new_line=new.line,
        )
        return
    if new.main_only:
        report.note(
            codes.OUTSIDE,
            symbol,
            "the function exists only where the file is run as a script",
            new_line=new.line,
        )
        return
    change = made_new(context, new)
    if change is None or not check_new_member(context, new):
        return
    if not check_function(context, new, [context.symbol(new.name)]) or not reaches_everything(context, new):
        return
    context.changes.append(change)
    what = "new method" if context.owner else "new function"
    if is_registered(context, new):
        what = "new implementation of a generic function"
    report.applied(codes.FUNCTION_NEW, symbol, what, new_line=new.line)


def made_new(context: Context, new: Item) -> NewFunction | None:
    """The function as one that the target makes; reports what of it cannot be made there."""
    symbol, report, node = context.symbol(new.name), context.report, new.function

    def refuse(code: str, message: str, advice: str) -> None:
        report.refused(code, symbol, message, advice, new_line=new.line)

    found = len(report.findings)
    if new.guard:
        refuse(
            codes.CONDITIONAL,
            f"the new function is defined only under a condition ({new.guard[-1]})",
            "define it unconditionally, and test the condition in its body",
        )
        return None
    if getattr(node, "type_params", []):
        refuse(codes.GENERIC_FUNCTION, "the new function has type parameters", "use typing.TypeVar instead")
    try:
        context.code(context.new.source, node)
    except Ambiguous as problem:
        refuse(
            codes.AMBIGUOUS,
            f"the function cannot be told apart: {problem}",
            "define it once, on a line of its own",
        )
    decorators = _check_decorators(context, new, refuse)
    if is_registered(context, new) and (why := taken_already(context, new)):
        refuse(
            codes.FUNCTION_REMOVED,
            f"the new implementation of a generic function would take the place of another one: {why}",
            "change the one that is registered, instead of registering another",
        )
    check_defaults(context, new, [*node.args.defaults, *filter(None, node.args.kw_defaults)])
    check_annotations(context, new)
    if report.stopped(found):
        return None
    defaults, kwdefaults = displays(context, node)
    annotations = annotations_display(context, context.new, node)
    return NewFunction(
        context.ref(node),
        "" if defaults == "()" else defaults,
        "" if kwdefaults == "{}" else kwdefaults,
        "" if annotations == "{}" else annotations,
        decorators,
        bound=not (is_registered(context, new) and _is_bound_later(context, new)),
    )


def _is_bound_later(context: Context, new: Item) -> bool:
    return any(one.name == new.name and one.line > new.line for one in siblings(context, context.world.new))


def _check_decorators(context: Context, new: Item, refuse: object) -> tuple[str, ...]:
    assert callable(refuse)
    names, texts = context.new.names, []
    for decorator in new.function.decorator_list:
        texts.append(ast.unparse(decorator))
        target = names.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if accessor_of(new):
            places = context.world.readers(context.module, new.name, owner=context.owner)
            if not _extends_property(context, new) or places:
                refuse(
                    codes.PROPERTY_REBUILT,
                    f"a new {accessor_of(new)} makes another property object of {new.name}, and "
                    + (f"code that ran at import read the old one: {places[0]}" if places else "it was none"),
                    "add a plain method for it",
                )
            continue
        try:
            if registers(context, decorator):
                continue
        except Unsafe as part:
            refuse(
                codes.UNKNOWN_DECORATOR,
                f"the class that {ast.unparse(decorator)} names cannot be evaluated without side effects: {part}",
                "name a class of the module, or annotate the first parameter",
            )
            continue
        if target in {"abc.abstractmethod", "abc.abstractproperty"}:
            refuse(
                codes.NEEDS_CLASS_CREATION,
                "which methods are abstract is fixed when the class is created",
                "raise NotImplementedError in the body instead",
            )
        elif target not in SAFE_DECORATORS:
            refuse(
                codes.UNKNOWN_DECORATOR,
                f"what the decorator {ast.unparse(decorator)} does is not known, so it cannot be run safely",
                "write the function without it, or use one of the decorators that docs/edits.md lists",
            )
        elif isinstance(decorator, ast.Call):
            for value in (*decorator.args, *(keyword.value for keyword in decorator.keywords)):
                try:
                    check_expression(value, names, hidden=context.new_hidden, class_name=context.class_name)
                except Unsafe as part:
                    refuse(
                        codes.UNKNOWN_DECORATOR,
                        f"the decorator {ast.unparse(decorator)} cannot be run without side effects: {part}",
                        "give the decorator literals, or names of the module",
                    )
    if context.owner and new.name in _IMPLICIT and not texts:
        texts.append(_IMPLICIT[new.name])  # what the class statement does by itself
    return tuple(texts)


def _extends_property(context: Context, new: Item) -> bool:
    """Whether the name is a property of the class before the new accessor."""
    for item in siblings(context, context.world.new):
        if item.name == new.name and item.kind == "function" and item.line < new.line:
            return any(context.new.names.dotted(one) == "property" for one in item.function.decorator_list)
    return False

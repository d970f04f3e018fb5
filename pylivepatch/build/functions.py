"""A function in both versions: what of it changed, and whether a running process can follow.

A change of the body, of parameters, defaults, annotations or the docstring moves with the code. A change of
what was done once, when the ``def`` ran (decorators, the kind of function), cannot be done again on a live
function.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from types import CodeType

from pylivepatch.build import codes
from pylivepatch.build.context import Ambiguous, Context
from pylivepatch.build.decorated import check_signature, is_overload, tell_docstring
from pylivepatch.build.displays import annotations_display, check_annotations, check_defaults, displays
from pylivepatch.build.gone import siblings
from pylivepatch.build.instances import only_adds_defaults
from pylivepatch.build.lambdas import is_compiled_otherwise
from pylivepatch.build.machinery import check_changed_method
from pylivepatch.build.names import (
    SAFE_DECORATORS,
)
from pylivepatch.build.newfunctions import made_new
from pylivepatch.build.registered import (
    is_registered,
    reaches_everything,
    registered_by_annotation,
    unregister,
)
from pylivepatch.build.removed import tell_defaults
from pylivepatch.build.same import changed_inside, describe_difference, same_code, same_tree
from pylivepatch.build.scope import FunctionNode, Item
from pylivepatch.build.stale import changed_class_bodies, changed_functions, check_function
from pylivepatch.build.uses import Uses, annotations_of
from pylivepatch.patch import FunctionChange

_KINDS = (
    (inspect.CO_ASYNC_GENERATOR, "an async generator function"),
    (inspect.CO_COROUTINE, "a coroutine function"),
    (inspect.CO_GENERATOR, "a generator function"),
)


def compare_function(context: Context, old: Item, new: Item, *, shadowed: bool = False) -> None:
    """Report and carry what changed between two versions of one outermost function."""
    if same_tree(old.node, new.node) and not is_compiled_otherwise(context, new.node):
        return
    symbol, report = context.symbol(new.name), context.report
    if old.typing_only or new.typing_only or is_overload(new, context.new.names):
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "only type checkers see this function; nothing to do",
            old_line=old.line,
            new_line=new.line,
        )
        return
    if old.main_only or new.main_only:
        report.note(
            codes.OUTSIDE,
            symbol,
            "the function exists only where the file is run as a script",
            old_line=old.line,
            new_line=new.line,
        )
        return
    before, after = old.function, new.function
    if is_registered(context, old, old=True) and _registered_otherwise(old, new):
        _register_anew(context, old, new)
        return
    if not same_tree(before.decorator_list, after.decorator_list):
        _replace(context, old, new, codes.DECORATORS_CHANGED, "its decorators changed", shadowed)
        return
    if not same_tree(getattr(before, "type_params", []), getattr(after, "type_params", [])):
        report.refused(
            codes.GENERIC_FUNCTION,
            symbol,
            "its type parameters changed",
            "keep the type parameters as they were",
            old_line=old.line,
            new_line=new.line,
        )
        return
    try:
        old_code, new_code = context.code(context.old.source, before), context.code(context.new.source, after)
    except Ambiguous as problem:
        report.refused(
            codes.AMBIGUOUS,
            symbol,
            f"the function cannot be told apart in the compiled module: {problem}",
            "define it once, on a line of its own, in code that runs",
            old_line=old.line,
            new_line=new.line,
        )
        return
    kind, new_kind = kind_of(old_code), kind_of(new_code)
    if kind != new_kind:
        _replace(context, old, new, codes.KIND_CHANGED, f"it was {kind} and became {new_kind}", shadowed)
        return
    _carry(context, old, new, old_code, new_code, shadowed)


def _registered_otherwise(old: Item, new: Item) -> bool:
    """Whether decorators, or the annotations that say for which class, differ."""
    before, after = old.function, new.function
    if not same_tree(before.decorator_list, after.decorator_list):
        return True
    by_annotation = registered_by_annotation(old)
    return by_annotation and not same_tree([*annotations_of(before).values()], [*annotations_of(after).values()])


def _register_anew(context: Context, old: Item, new: Item) -> None:
    """Carry a function that takes the place of an implementation of a generic function, for other classes."""
    symbol, report = context.symbol(new.name), context.report
    difference = describe_difference(old.function.decorator_list, new.function.decorator_list)
    difference = difference or describe_difference(old.function.args, new.function.args)

    def refuse(why: str) -> None:
        report.refused(
            codes.DECORATORS_CHANGED,
            symbol,
            f"it is registered otherwise, and {why}",
            "keep what registers it, or register another function",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )

    if places := context.world.readers(context.module, new.name, owner=context.owner):
        refuse(f"code that ran at import read the old function: {', '.join(map(str, places[:5]))}")
        return
    if any(copy.name in (new.name, "*") for copy in context.world.old.copies.get(context.module, ())):
        refuse("another module has imported the old one by its name")
        return
    change = made_new(context, new)
    if change is None or not unregister(context, old) or not reaches_everything(context, new):
        return
    context.changes.append(change)
    report.applied(
        codes.FUNCTION_REPLACED,
        symbol,
        "it is registered otherwise: another function is, and takes its name",
        difference=difference,
        old_line=old.line,
        new_line=new.line,
    )


_KEPT_ASIDE = frozenset({"property", "functools.cached_property"})
"""They are not hidden by what a cached property keeps in an instance, or use it."""
_REGISTRIES = frozenset({"functools.singledispatch", "functools.singledispatchmethod", "functools.partialmethod"})


def _replace(context: Context, old: Item, new: Item, code: str, what: str, shadowed: bool) -> None:
    """Carry a function that takes the place of the old one as another object; refuse with ``code`` where it cannot."""
    before, after = old.function, new.function
    symbol, report = context.symbol(new.name), context.report
    difference = describe_difference(before.decorator_list, after.decorator_list)
    difference = difference or describe_difference(before.body, after.body)

    def refuse(why: str) -> None:
        report.refused(
            code,
            symbol,
            f"{what}, and {why}",
            "keep the decorators and the kind, and do in the body what the new ones would do, or add a function under "
            "another name",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )

    names = context.old.names
    gone = [names.dotted(one.func if isinstance(one, ast.Call) else one) for one in before.decorator_list]
    unknown = [dotted for dotted in gone if dotted not in SAFE_DECORATORS - _REGISTRIES]
    comes = [context.new.names.dotted(one) for one in after.decorator_list]
    if unknown:
        refuse(f"what {unknown[0] or 'a decorator'} made of the old function is not known")
    elif shadowed or new.guard or sum(item.name == new.name for item in siblings(context, context.world.new)) > 1:
        refuse("its name is bound more than once, or under a condition")
    elif gone == ["functools.cached_property"] and not _KEPT_ASIDE & {*comes}:
        refuse("what the cached property kept in instances hides what comes in its place")
    elif comes == ["functools.cached_property"] and not _KEPT_ASIDE & {*gone}:
        refuse("what the cached property keeps in instances would hide the old one after an unload")
    elif places := context.world.readers(context.module, new.name, owner=context.owner):
        refuse(f"code that ran at import read the old function: {', '.join(map(str, places[:5]))}")
    elif (change := made_new(context, new)) is not None and check_changed_method(context, new):
        if not check_function(context, new, [symbol]):
            return
        tell_defaults(context, old, after)
        context.changes.append(dataclasses.replace(change, replaces=context.ref(before)))
        report.applied(
            codes.FUNCTION_REPLACED,
            symbol,
            f"{what}: another function takes its names",
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )


def _carry(
    context: Context, old: Item, new: Item, old_code: CodeType, new_code: CodeType, shadowed: bool
) -> None:
    before, after = old.function, new.function
    symbol, report = context.symbol(new.name), context.report
    body_changed = not (same_code(old_code, new_code) and _same_optimized(context, before, after))
    parts = ["body"] if body_changed else []
    if body_changed and same_tree(before, after):
        parts = ["how CPython compiles it"]
    elif body_changed and _only_docstring(before, after):
        parts = ["docstring"]
    if not same_tree(_bare(before.args), _bare(after.args)):
        parts.append("parameters")

    found = len(report.findings)
    defaults, kwdefaults = displays(context, before, old=True)
    new_defaults, new_kwdefaults = displays(context, after)
    annotations = annotations_display(context, context.old, before)
    new_annotations = annotations_display(context, context.new, after)
    if defaults != new_defaults:
        parts.append("defaults")
        check_defaults(context, new, after.args.defaults)
    if kwdefaults != new_kwdefaults:
        parts.append("keyword defaults")
        check_defaults(context, new, [value for value in after.args.kw_defaults if value is not None])
    if annotations != new_annotations:
        parts.append("annotations")
        check_annotations(context, new)
        if registered_by_annotation(new):
            report.refused(
                codes.DECORATORS_CHANGED,
                symbol,
                "it was registered by its annotations, and those changed",
                "keep the annotations, or register another function in one that runs later",
                difference=describe_difference(before.args, after.args),
                old_line=old.line,
                new_line=new.line,
            )
    if not parts or report.stopped(found):
        return
    if shadowed:
        report.refused(
            codes.SHADOWED,
            symbol,
            "a later definition takes over its name, so the live function cannot be found by it",
            "give each of the functions a name of its own",
            difference=describe_difference(before, after),
            old_line=old.line,
            new_line=new.line,
        )
        return
    if not _check_import_time_calls(context, old, new, old_code, new_code, parts):
        return
    signature = [part for part in parts if part not in ("body", "docstring", "how CPython compiles it")]
    if signature and not check_signature(context, old, new, " and ".join(signature)):
        return
    tell_docstring(context, old, new)
    tell_defaults(context, old, after)
    if body_changed and any(context.new.names.dotted(one).endswith("cached_property") for one in after.decorator_list):
        report.note(
            codes.MAY_BE_STALE,
            symbol,
            "it is a cached property: instances that have computed it keep what the old function gave",
            old_line=old.line,
            new_line=new.line,
        )
    for name in changed_class_bodies(before, after, new_code.co_qualname):
        report.note(
            codes.MAY_BE_STALE,
            symbol,
            f"the class {name} is another one when it is made again; classes that were made before follow with their "
            "methods only, and keep their attributes",
            old_line=old.line,
            new_line=new.line,
        )
    context.changes.append(
        FunctionChange(
            context.ref(before),
            context.ref(after),
            None if defaults == new_defaults else new_defaults,
            None if kwdefaults == new_kwdefaults else new_kwdefaults,
            None if annotations == new_annotations else new_annotations,
        )
    )
    report.applied(
        codes.FUNCTION_CHANGED,
        symbol,
        f"changed: {', '.join(parts)}",
        difference=describe_difference(before, after),
        nested=changed_inside(old_code, new_code),
        old_line=old.line,
        new_line=new.line,
    )


def kind_of(code: CodeType) -> str:
    """What calling a function of this code gives."""
    return next((name for flag, name in _KINDS if code.co_flags & flag), "a plain function")


def _bare(arguments: ast.arguments) -> list[object]:
    names = [
        *arguments.posonlyargs,
        None,
        *arguments.args,
        None,
        arguments.vararg,
        *arguments.kwonlyargs,
        None,
    ]
    return [argument and ast.Name(argument.arg) for argument in (*names, arguments.kwarg)]


def _only_docstring(before: FunctionNode, after: FunctionNode) -> bool:
    def rest(node: FunctionNode) -> list[ast.stmt]:
        return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body

    return same_tree(rest(before), rest(after)) and same_tree(_bare(before.args), _bare(after.args))


def _same_optimized(context: Context, before: FunctionNode, after: FunctionNode) -> bool:
    # Under -O `__debug__` is false, and code that this interpreter dropped comes to life.
    def find(uses: Uses, node: FunctionNode) -> list[CodeType]:
        ref = context.ref(node)
        return uses.source.codes_optimized.get((ref.qualname, ref.line), [])

    return all(map(same_code, find(context.old, before), find(context.new, after)))


def _check_import_time_calls(
    context: Context, old: Item, new: Item, old_code: CodeType, new_code: CodeType, parts: list[str]
) -> bool:
    """Whether the function's change reaches everything: what it gave at import stays as the old one made it.

    What its inner functions do is followed by themselves: a decorator's wrapper is live, and changes with it.
    """
    if context.owner and only_adds_defaults(context, old.function, new.function):
        return True
    changed = changed_functions(old_code, new_code)
    changed += changed_class_bodies(old.function, new.function, new_code.co_qualname).values()
    if {"defaults", "keyword defaults"} & set(parts):
        changed.append(new_code.co_qualname)
    if not changed:
        return True
    return check_changed_method(context, new) and check_function(context, new, changed)

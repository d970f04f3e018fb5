"""Imports between the modules of one patch: which module must be prepared before which.

A new ``from module import name`` may name something that the same patch brings to that module. The engine then
hands over what it has made and not bound yet, so the giving module comes first in the patch; two modules that
give to each other have no order.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import absolute_module
from pylivepatch.patch import FunctionChange, NewFunction, NewImport, NewState, Removed, Unregistered, ValueChange


def order_modules(contexts: Mapping[str, Context]) -> list[str]:
    """The modules' names, givers first, otherwise in order; refuses imports that can get nothing."""
    brought = {
        (name, change.target)
        for name, context in contexts.items()
        for change in context.changes
        if not isinstance(change, FunctionChange | Removed | Unregistered)
    }
    needs: dict[str, set[str]] = {name: set() for name in contexts}
    for name, context in contexts.items():
        needs[name] |= {home for home in _needed(context, brought) if home != name and home in contexts}
        for change in list(context.changes):
            origin = _origin(change.statement, context) if isinstance(change, NewImport) else None
            if origin is None or not isinstance(change, NewImport):
                continue
            if origin in brought:
                needs[name].add(origin[0])
            elif _is_missing(context, *origin):
                _refuse(
                    context,
                    change,
                    f"`{change.statement}` imports a name that only the new version of that module has, and the "
                    "patch does not bring it there",
                    "see what the builder says of that name in its own module",
                )
    try:
        return list(TopologicalSorter({name: sorted(of) for name, of in needs.items()}).static_order())
    except CycleError as problem:
        circle = problem.args[1]
        for name in dict.fromkeys(circle):
            context = contexts[name]
            for change in context.changes:
                origin = _origin(change.statement, context) if isinstance(change, NewImport) else None
                if origin is not None and origin in brought and origin[0] in circle and isinstance(change, NewImport):
                    _refuse(
                        context,
                        change,
                        f"`{change.statement}` needs what the patch brings to {origin[0]}, which needs what it brings "
                        "here: none of them can be prepared first",
                        "import one of the modules instead of its name, or import it in the function that needs it",
                    )
        if not any(contexts[name].report.refusals() for name in circle):
            contexts[circle[0]].report.refused(
                codes.COPIED_AT_IMPORT,
                "",
                f"the modules {', '.join(dict.fromkeys(circle))} each compute values from what the patch brings to the "
                "others: none of them can be prepared first",
                "give the new values new names, and let the functions use them",
            )
        return list(contexts)


def _needed(context: Context, brought: set[tuple[str, str]]) -> set[str]:
    """The modules whose new values the module's own are computed from."""
    found: set[str] = set()
    for change in context.changes:
        match change:
            case ValueChange(new=text) | NewState(arguments=text):
                texts: list[str | None] = [text]
            case FunctionChange() | NewFunction():
                texts = [change.defaults, change.kwdefaults, change.annotations]
            case _:
                continue
        for node in (node for text in texts if text for node in ast.walk(ast.parse(text, mode="eval"))):
            if isinstance(node, ast.Name | ast.Attribute):
                symbol = context.world.new.resolve(context.module, context.new.names.dotted(node))
                found |= {symbol[0]} if symbol in brought else set()
    return found


def _origin(statement: str, context: Context) -> tuple[str, str] | None:
    """The module of the tree and the name in it that a ``from`` import means."""
    node = ast.parse(statement).body[0]
    if not isinstance(node, ast.ImportFrom):
        return None
    module = absolute_module(node, context.new.source.package)
    return (module, node.names[0].name) if module in context.world.new.modules else None


def _is_missing(context: Context, module: str, name: str) -> bool:
    """Whether the live module cannot have the name: only its new version binds it."""
    old, new = context.world.old.modules.get(module), context.world.new.modules[module]
    if old is None or f"{module}.{name}" in context.world.old.modules:
        return False
    return name in new.names.bound and name not in old.names.bound


def _refuse(context: Context, change: NewImport, message: str, advice: str) -> None:
    report = context.report
    report.findings[:] = [
        finding
        for finding in report.findings
        if not (finding.code == codes.IMPORT_NEW and finding.symbol == change.name)
    ]
    report.refused(codes.IMPORT_OF_NEW_NAME, change.name, message, advice, new_line=change.line)

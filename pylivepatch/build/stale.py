"""What the import computed with the old version of a function or value, and keeps: refused where it is certain."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from types import CodeType

from pylivepatch.build import codes
from pylivepatch.build.again import make_again
from pylivepatch.build.context import Context
from pylivepatch.build.nodes import children
from pylivepatch.build.reach import Hit
from pylivepatch.build.same import same_constant, same_tree
from pylivepatch.build.scope import FunctionNode, Item

_HAS_DOCSTRING = 0x4000000  # CO_HAS_DOCSTRING, since 3.13; before, the first constant is the docstring or None


def check_function(context: Context, item: Item, changed: Sequence[str], *, module: str = "") -> bool:
    """Whether the change of the functions ``changed`` (qualified names) reaches everything; reports what it does
    not. ``module`` is theirs, where that is another one.
    """
    symbol, whole = context.symbol(item.name), True
    hits = context.world.reach.of_functions((module or context.module, name) for name in changed)
    certain = [hit for hit in hits if hit.sure and hit.kept]
    kept = [hit for hit in certain if module or not make_again(context, symbol, hit)]
    ran = [hit for hit in hits if hit.sure and not hit.kept]
    if kept:
        whole = not context.report.refused(
            codes.MADE_AT_IMPORT,
            symbol,
            f"the changed function was called while modules were imported, and what it gave stays as the old one "
            f"made it: {_shown(kept)}",
            "change the place that uses the result, so that it calls a new function",
            new_line=item.line,
        )
    if ran:
        context.report.note(
            codes.RAN_AT_IMPORT,
            symbol,
            f"the function also ran while modules were imported; that is not done again: {_shown(ran)}",
            new_line=item.line,
        )
    if not certain:
        unsure = [hit for hit in hits if not hit.sure]
        may_be_stale(context, symbol, "the function may have run while modules were imported", unsure, item)
    return whole


def may_be_stale(context: Context, symbol: str, what: str, hits: Sequence[Hit], item: Item) -> None:
    """Tell of import-time code that may have used the old version."""
    if hits:
        context.report.note(
            codes.MAY_BE_STALE,
            symbol,
            f"{what}; what came of it stays as it is: {_shown(hits)}",
            new_line=item.line,
        )


def _shown(hits: Sequence[Hit]) -> str:
    places = sorted({str(hit) for hit in hits})
    return ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")


def changed_functions(old: CodeType, new: CodeType) -> list[str]:
    """The qualified names of ``new`` and the functions nested in it whose own code differs, or is new.

    A comprehension is its function's own code: it runs with it.
    """
    before, after = _own_codes(old), _own_codes(new)
    return [name for name, code in after.items() if name not in before or not _same(before[name], code)]


def changed_class_bodies(old: FunctionNode, new: FunctionNode, qualname: str) -> dict[str, str]:
    """The qualified names of the classes that a function makes and whose statements differ, methods left out → the
    function in which each is made.

    Told by the syntax tree: since 3.13 the code of a class body holds its line.
    """

    def bodies(node: FunctionNode | ast.ClassDef, name: str, function: str) -> dict[str, tuple[list[ast.AST], str]]:
        found: dict[str, tuple[list[ast.AST], str]] = {}
        stack: list[ast.AST] = list(reversed(node.body))
        while stack:
            part = stack.pop()
            inner = f"{name}.<locals>" if isinstance(node, FunctionNode) else name
            if isinstance(part, ast.ClassDef):
                head = [*part.decorator_list, *part.bases, *(keyword.value for keyword in part.keywords)]
                rest = [one for one in part.body if not isinstance(one, FunctionNode | ast.ClassDef)]
                found[f"{inner}.{part.name}"] = [*head, *rest], function
                found.update(bodies(part, f"{inner}.{part.name}", function))
            elif isinstance(part, FunctionNode):
                found.update(bodies(part, f"{inner}.{part.name}", f"{inner}.{part.name}"))
            else:
                stack.extend(reversed(children(part)))
        return found

    before, after = bodies(old, qualname, qualname), bodies(new, qualname, qualname)
    return {
        name: function
        for name, (body, function) in after.items()
        if name in before and not same_tree(before[name][0], body)
    }


def _own_codes(code: CodeType) -> dict[str, list[CodeType]]:
    """Each function in ``code`` → its code, and that of the comprehensions in it; no class bodies."""
    found: dict[str, list[CodeType]] = {}

    def visit(code: CodeType, function: str) -> None:
        if code.co_flags & inspect.CO_OPTIMIZED:
            comprehension = code.co_name.startswith("<") and code.co_name != "<lambda>"
            function = function if comprehension and function else code.co_qualname
            found.setdefault(function, []).append(code)
        for const in code.co_consts:
            if isinstance(const, CodeType):
                visit(const, function)

    visit(code, "")
    return found


def _same(old: list[CodeType], new: list[CodeType]) -> bool:
    return len(old) == len(new) and all(
        a.co_code == b.co_code and a.co_names == b.co_names and same_constant(_constants(a), _constants(b))
        for a, b in zip(old, new, strict=True)
    )


def _constants(code: CodeType) -> tuple[object, ...]:
    """The constants, without the docstring, and of nested functions the names only."""
    consts: tuple[object, ...] = code.co_consts
    if hasattr(inspect, "CO_HAS_DOCSTRING"):
        skip = bool(code.co_flags & _HAS_DOCSTRING)
    else:
        skip = bool(code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<"))
    return tuple(
        const.co_qualname if isinstance(const, CodeType) else const for const in (consts[1:] if skip else consts)
    )

"""Statements that run at import and define nothing: what of them changed is named, as it cannot be run again."""

from __future__ import annotations

import ast
import difflib

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.same import describe_difference, same_tree, show
from pylivepatch.build.scope import Item


def compare_code(context: Context, old: list[Item], new: list[Item]) -> None:
    """Statements that do something when the module is imported: they ran, and cannot be run again."""

    def keys(items: list[Item]) -> list[str]:
        return [
            "|".join((*item.guard, item.skeleton or ast.dump(item.node)))
            for item in items
            if not item.typing_only and not item.main_only
        ]

    before = [item for item in old if not item.typing_only and not item.main_only]
    after = [item for item in new if not item.typing_only and not item.main_only]
    matcher = difflib.SequenceMatcher(None, keys(old), keys(new), autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        was, now = before[i1:i2], after[j1:j2]
        if tag == "replace" and _catches_other(was, now):
            context.report.note(
                codes.RAN_AT_IMPORT,
                context.owner,
                "what a `try` catches changed; it ran when the module was imported, and what it bound is the same "
                "in both versions",
                old_line=was[0].node.lineno,
                new_line=now[0].node.lineno,
                difference=_code_difference(was, now),
            )
            continue
        message = "code that runs when the " + ("class is created" if context.owner else "module is imported")
        context.report.refused(
            codes.MODULE_CODE,
            context.owner,
            message + {"replace": " changed", "delete": " is gone", "insert": " is new"}[tag],
            "do the work in a function that runs later, or leave the code as it was",
            old_line=was[0].node.lineno if was else 0,
            new_line=now[0].node.lineno if now else 0,
            difference=_code_difference(was, now),
        )
    for items, others in ((old, new), (new, old)):
        for item in items:
            if item.main_only and not any(
                same_tree(item.node, other.node) for other in others if other.main_only
            ):
                context.report.note(
                    codes.OUTSIDE,
                    context.symbol(item.name),
                    "code under `if __name__ == '__main__'` differs; a running process does not run it again",
                    old_line=item.line if items is old else 0,
                    new_line=item.line if items is new else 0,
                )


def _catches_other(old: list[Item], new: list[Item]) -> bool:
    """Whether these are ``try`` statements with one handler each that differ in nothing but what that catches, and
    that only import: then a process that could start with both versions has bound the same names by either.
    """

    def bare(item: Item) -> ast.AST | None:
        match item.node:
            case ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[]) if item.skeleton and all(
                isinstance(part, ast.Import | ast.ImportFrom) for part in _leaves(body)
            ):
                return ast.Module([*body, *handler.body], [])
        return None

    pairs = [(bare(was), bare(now)) for was, now in zip(old, new, strict=False)]
    return len(old) == len(new) and all(a is not None and b is not None and same_tree(a, b) for a, b in pairs)


def _leaves(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a body, those under ``if`` instead of it; assignments of module attributes left out."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If):
            found += _leaves([*node.body, *node.orelse])
        elif not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute | ast.Constant | ast.Name)):
            found.append(node)
    return found


def _code_difference(old: list[Item], new: list[Item]) -> str:
    if len(old) == len(new) == 1 and not old[0].skeleton and not new[0].skeleton:
        return describe_difference(old[0].node, new[0].node)

    def text(items: list[Item]) -> str:
        return (
            (f"`{items[0].skeleton}`" if items[0].skeleton else show(items[0].node)) if items else "nothing"
        )

    return f"{text(old)} became {text(new)}"

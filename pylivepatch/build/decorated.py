"""What decorators made of a function: they may have read its signature as it was, and copied its docstring."""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import OVERLOADS, SAFE_DECORATORS, Names
from pylivepatch.build.nodes import children
from pylivepatch.build.scope import FunctionNode, Item

_SIGNATURE = frozenset(
    {"signature", "getfullargspec", "getargspec", "get_type_hints", "get_annotations", "getcallargs"}
    | {"__annotations__", "__annotate__", "__code__", "__defaults__", "__kwdefaults__", "__signature__"}
)
_SAFE = ("functools.", "contextlib.", "typing.", "typing_extensions.", "abc.", "types.", "warnings.")
# They hand on the function itself, or something that asks it for its docstring.
_SAME_DOCSTRING = frozenset({"staticmethod", "classmethod", "abc.abstractmethod", "types.coroutine"})


def check_signature(context: Context, old: Item, new: Item, what: str) -> bool:
    """Whether the decorators do not mind another signature; reports those that read it when they ran."""
    for decorator in new.function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        dotted = context.new.names.dotted(target)
        home, name = context.world.new.resolve(context.module, dotted) if dotted else ("", "")
        function = _function(context, home, name)
        if function is not None:
            line = _reads_signature(function, 1 if isinstance(decorator, ast.Call) else 0)
            if not line:
                continue
            path = context.world.new.modules[home].source.path
            context.report.refused(
                codes.DECORATORS_CHANGED,
                context.symbol(new.name),
                f"its {what} changed, and the decorator {name} ({path}:{line}) read the signature when the function "
                "was defined",
                "keep the signature as it was",
                old_line=old.line,
                new_line=new.line,
            )
            return False
        if not home and dotted not in SAFE_DECORATORS and not dotted.startswith(_SAFE):
            if isinstance(target, ast.Attribute) and target.attr in ("setter", "getter", "deleter", "register"):
                continue
            context.report.note(
                codes.MAY_BE_STALE,
                context.symbol(new.name),
                f"its {what} changed, and the decorator {ast.unparse(target)} may have read the signature when the "
                "function was defined",
                old_line=old.line,
                new_line=new.line,
            )
    return True


def tell_docstring(context: Context, old: Item, new: Item) -> None:
    """A docstring that decorators copied stays in what they made."""
    before, after = (ast.get_docstring(item.function, clean=False) for item in (old, new))
    if before == after:
        return
    for decorator in new.function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        dotted = context.new.names.dotted(target)
        if dotted in _SAME_DOCSTRING or dotted.startswith(("typing.", "typing_extensions.")):
            continue
        context.report.note(
            codes.DOCSTRING_LEFT,
            context.symbol(new.name),
            f"the function's docstring changed; what {ast.unparse(target)} made of the function may keep the old one",
            old_line=old.line,
            new_line=new.line,
        )
        return


def _function(context: Context, module: str, name: str) -> FunctionNode | None:
    uses = context.world.new.modules.get(module)
    found = [item for item in uses.items if item.name == name] if uses else []
    return found[0].function if len(found) == 1 and found[0].kind == "function" else None


def _reads_signature(function: FunctionNode, depth: int) -> int:
    """The line where a decorator asks for the signature while it runs: not in the functions that it hands out.

    ``depth`` is how many functions deep it runs: a decorator with arguments is called, and then what it gave.
    """
    stack: list[tuple[ast.AST, int]] = [(part, depth) for part in function.body]
    while stack:
        node, left = stack.pop()
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _SIGNATURE:
                return int(getattr(node, "lineno", function.lineno))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if not left:
                continue
            left -= 1
        stack.extend((part, left) for part in children(node))
    return 0


def is_overload(item: Item, names: Names) -> bool:
    """A stub for type checkers (``@overload``), which is never called."""
    return any(names.dotted(decorator) in OVERLOADS for decorator in item.function.decorator_list)

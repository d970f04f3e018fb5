"""A hooks file as text: what it says and defines, told without executing any of it."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from pylivepatch.errors import HooksError

CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)+")


@dataclass(frozen=True, slots=True)
class Statement:
    """``safe(code, symbol, why)`` in line ``line``."""

    code: str
    symbol: str
    why: str
    line: int


@dataclass(frozen=True, slots=True)
class Transform:
    """``@transform(target, eager=…)`` on the function ``function``."""

    target: str
    eager: bool
    function: str
    line: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a hooks file says and defines."""

    statements: tuple[Statement, ...] = ()
    transforms: tuple[Transform, ...] = ()
    callbacks: tuple[str, ...] = ()
    states: bool = False


def contents(source: str, filename: str) -> Contents:
    """Read a hooks file. Raises :class:`HooksError`, with file and line, where it is no Python of this version or a
    statement or a transformer's target is not written in literals.
    """
    tree = _parse(source, filename)
    statements: list[Statement] = []
    transforms: list[Transform] = []
    callbacks: list[str] = []
    states = False
    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Call(func=function) as call) if _last(function) == "safe":
                statements.append(Statement(*_three_texts(call, filename), call.lineno))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                callbacks += [name] if name in CALLBACKS else []
                transforms += [
                    _transform(decorator, name, filename)
                    for decorator in node.decorator_list
                    if isinstance(decorator, ast.Call) and _last(decorator.func) == "transform"
                ]
            case ast.Assign(targets=[ast.Name(id=name)]) if name in CALLBACKS:
                callbacks.append(name)
            case ast.Assign(targets=[ast.Name(id="STATES")]) | ast.AnnAssign(target=ast.Name(id="STATES")):
                states = True
    _check_no_other(tree, {statement.line for statement in statements}, filename)
    return Contents(tuple(statements), tuple(transforms), tuple(callbacks), states)


def _parse(source: str, filename: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, filename)
            compile(source, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise HooksError(
            f"the hooks file is no Python that this version reads: {getattr(problem, 'msg', None) or problem}",
            where=f"{filename}:{getattr(problem, 'lineno', None) or 1}",
            advice="mend the file",
        ) from problem
    return tree


def _check_no_other(tree: ast.Module, lines: set[int], filename: str) -> None:
    """A statement that is not at the top level would look as if it held, and be read by nobody."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) == "safe" and node.lineno not in lines:
            raise HooksError(
                "a safe() statement stands by itself, at the file's top level: it is read, not executed",
                where=f"{filename}:{node.lineno}",
                advice="move it there, or call the function of that name by another",
            )


def _three_texts(call: ast.Call, filename: str) -> tuple[str, str, str]:
    texts = [node.value for node in call.args if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if len(call.args) != 3 or len(texts) != 3 or call.keywords or not all(text.strip() for text in texts):
        raise HooksError(
            "a safe() statement is three literal texts: the code, the symbol, and why it is safe",
            where=f"{filename}:{call.lineno}",
            advice='such as safe("PLP255", "shop.cart:Cart.seen", "only set by callers that set it first")',
        )
    code, symbol, why = texts
    return code, symbol, why


def _transform(call: ast.Call, function: str, filename: str) -> Transform:
    match call:
        case ast.Call(args=[ast.Constant(value=str(target))], keywords=[]):
            eager = False
        case ast.Call(
            args=[ast.Constant(value=str(target))],
            keywords=[ast.keyword(arg="eager", value=ast.Constant(value=bool(eager)))],
        ):
            pass
        case _:
            target, eager = "", False
    if not _TARGET.fullmatch(target):
        raise HooksError(
            "transform() names the attribute as a literal text, module:Class.attribute",
            where=f"{filename}:{call.lineno}",
            advice='such as @transform("shop.cart:Cart.seen"), or @transform("shop.cart:Cart.seen", eager=True)',
        )
    return Transform(target, eager, function, call.lineno)


def _last(function: ast.expr) -> str:
    """The name by which a function is called: ``safe`` of ``hooks.safe(…)``."""
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""

"""The standard library's classes, looked at: nothing of the source is imported to find out, but these may be."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

METACLASSES = frozenset({"type", "abc.ABCMeta", "enum.EnumMeta", "enum.EnumType"})
_QUIET = ("builtins", "typing")


@cache
def subclassing(dotted: str) -> Literal["plain", "quiet", "unknown", "elsewhere"]:
    """What making a class below the class ``dotted`` does.

    ``plain``: it makes the class. ``quiet``: a metaclass of the standard library looks at its body. ``unknown``: it may
    do anything. ``elsewhere``: it is no class of the standard library, or none of this platform's.
    """
    if isinstance(getattr(builtins, dotted, None), type):
        return "plain"
    try:
        kind = _find(dotted)
    except LookupError:
        return "elsewhere"
    kind = getattr(kind, "__origin__", kind)
    if not isinstance(kind, type):
        return "unknown"
    noisy = any("__init_subclass__" in vars(one) for one in kind.__mro__ if one.__module__ not in _QUIET)
    kinds = inspect.getmro(type(kind))
    made_by = {f"{meta.__module__}.{meta.__qualname__}".removeprefix("builtins.") for meta in kinds}
    if noisy or made_by - METACLASSES - {"object", "typing._ProtocolMeta"}:
        return "unknown"
    return "quiet" if made_by - {"type", "object", "abc.ABCMeta"} else "plain"


@cache
def made_with(dotted: str) -> frozenset[str]:
    """The attributes that each instance of the standard library's class ``dotted`` has from its ``__init__``, as far as
    the source shows; none for a class from elsewhere, or one in C.
    """
    try:
        kind = _find(dotted)
    except LookupError:
        return frozenset()
    init = getattr(kind, "__init__", None) if isinstance(kind, type) else None
    if not isinstance(init, FunctionType):
        return frozenset()
    path = getattr(sys.modules.get(init.__module__), "__file__", None)  # frozen code does not know its file
    try:
        tree: ast.AST = ast.parse(Path(path).read_bytes()) if path else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    deleted = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Del)
    }
    for name in init.__qualname__.split("."):
        body = getattr(tree, "body", [])
        tree = next((one for one in body if getattr(one, "name", "") == name), ast.Module([], []))
    match tree:
        case ast.FunctionDef(args=ast.arguments(posonlyargs=first, args=second), body=body) if first or second:
            return frozenset(_set_on((first or second)[0].arg, body)) - deleted
    return frozenset()


def _set_on(own: str, body: list[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if any(isinstance(inner, ast.Return) for inner in ast.walk(node)):
            return found  # what follows may not be reached
        match node:
            case ast.Assign(targets=targets):
                for target in targets:
                    match target:
                        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name == own:
                            found.add(attr)
    return found


def _find(dotted: str) -> Any:
    """What the standard library has by this name, or ``None``. Raises ``LookupError`` where it has no such module, or
    none on this platform.
    """
    module, _, name = dotted.rpartition(".")
    if module.partition(".")[0] not in sys.stdlib_module_names:
        raise LookupError(dotted)
    try:
        return getattr(importlib.import_module(module), name, None)
    except Exception as problem:
        raise LookupError(dotted) from problem

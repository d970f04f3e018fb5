"""Whether two pieces of source mean the same: their syntax trees, and the code they compile to, without
positions.

Equal trees are equal code; the other way round, trees that differ may still compile to the same
(``not a in b`` and ``a not in b``, an annotation of a local variable), and then nothing that executes
has changed.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import CodeType
from typing import Any

# Says how a name is used (clear from its place) or how a string was spelled: neither is a difference.
_IGNORED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})

_compared: dict[type[ast.AST], list[str]] = {}
"""The fields of a class of nodes that are compared, the last one first: as they are put on a stack."""


def _compared_fields(node: ast.AST) -> list[str]:
    fields = _compared.get(type(node))
    if fields is None:
        fields = _compared[type(node)] = [name for name in reversed(node._fields) if name not in _IGNORED]
    return fields


def first_difference(old: object, new: object) -> tuple[Any, Any] | None:
    """The first place, in source order, where two trees (or lists of trees) differ; ``None`` where they do
    not.

    Gives the smallest pair of nodes that holds the difference. Iterative: a tree may be deeper than the
    stack.
    """
    stack: list[tuple[Any, Any, Any, Any]] = [(old, new, old, new)]
    while stack:
        a, b, parent_a, parent_b = stack.pop()
        if isinstance(a, ast.AST) and isinstance(b, ast.AST):
            if type(a) is not type(b):
                # An operator has no line and no text of its own: show the expression.
                return (a, b) if isinstance(a, ast.expr | ast.stmt) else (parent_a, parent_b)
            stack += [(getattr(a, name, None), getattr(b, name, None), a, b) for name in _compared_fields(a)]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                pairs = [(x, y) for x, y in zip(a, b, strict=False) if first_difference(x, y)]
                if pairs:
                    stack.append((*pairs[0], parent_a, parent_b))
                    continue
                longer = a if len(a) > len(b) else b
                extra = longer[min(len(a), len(b))]
                return (extra, None) if longer is a else (None, extra)
            stack.extend((x, y, parent_a, parent_b) for x, y in reversed(list(zip(a, b, strict=True))))
        elif isinstance(a, ast.AST) or isinstance(b, ast.AST):
            return a, b
        elif not same_constant(a, b):
            return parent_a, parent_b
    return None


def same_tree(old: object, new: object) -> bool:
    """Whether two trees differ in positions only."""
    return first_difference(old, new) is None


def fingerprint(tree: ast.AST) -> tuple[object, ...]:
    """Equal for trees that :func:`same_tree` finds the same, and only for those: for many that are to be compared."""
    found: list[object] = []
    stack: list[object] = [tree]
    while stack:
        part = stack.pop()
        found.append(type(part))
        if isinstance(part, ast.AST):
            stack += [getattr(part, name, None) for name in _compared_fields(part)]
        elif isinstance(part, list):
            found.append(len(part))
            stack += reversed(part)
        else:  # what the parser makes constants of: texts, numbers, and what is only equal to itself
            found.append(repr(part) if isinstance(part, float | complex) else part)
    return tuple(found)


def same_constant(a: object, b: object) -> bool:
    """Equality that tells ``1``, ``1.0`` and ``True``, and ``0.0`` and ``-0.0``, apart."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float | complex):
        return repr(a) == repr(b)
    if isinstance(a, tuple):
        assert isinstance(b, tuple)
        return len(a) == len(b) and all(map(same_constant, a, b))
    if isinstance(a, frozenset):
        assert isinstance(b, frozenset)
        return sorted(map(_typed, a)) == sorted(map(_typed, b))
    if isinstance(a, CodeType):
        assert isinstance(b, CodeType)
        return same_code(a, b)
    if isinstance(a, slice):  # constants since 3.14
        assert isinstance(b, slice)
        return all(map(same_constant, (a.start, a.stop, a.step), (b.start, b.stop, b.step)))
    return bool(a == b)


def _typed(value: object) -> str:
    return f"{type(value).__name__}:{value!r}"


def same_code(old: CodeType, new: CodeType) -> bool:
    """Whether two code objects run the same, wherever in the file they stand."""
    return _shape(old) == _shape(new) and same_constant(old.co_consts, new.co_consts)


def _shape(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_qualname,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_varnames,
        code.co_names,
        code.co_freevars,
        code.co_cellvars,
        code.co_stacksize,
    )


def changed_inside(old: CodeType, new: CodeType) -> tuple[str, ...]:
    """The qualified names of the functions nested in ``old`` and ``new`` that differ, are new or are gone."""
    before, after = _nested(old), _nested(new)
    names = [name for name in after if name not in before or not _all_same(before[name], after[name])]
    return (*names, *(name for name in before if name not in after))


def _nested(code: CodeType) -> dict[str, list[CodeType]]:
    found: dict[str, list[CodeType]] = {}
    stack = [const for const in reversed(code.co_consts) if isinstance(const, CodeType)]
    while stack:
        inner = stack.pop()
        found.setdefault(inner.co_qualname, []).append(inner)
        stack.extend(const for const in reversed(inner.co_consts) if isinstance(const, CodeType))
    return found


def _all_same(old: Sequence[CodeType], new: Sequence[CodeType]) -> bool:
    return len(old) == len(new) and all(map(same_code, old, new))


def show(node: object, width: int = 70) -> str:
    """A node as a short line of source."""
    if node is None:
        return "nothing"
    if isinstance(node, ast.AST):
        try:
            text = ast.unparse(node)
        except (RecursionError, ValueError, AttributeError, KeyError):
            text = type(node).__name__
        text = text or type(node).__name__
    else:
        text = repr(node)
    text = " ".join(text.split())
    return f"`{text}`" if len(text) <= width else f"`{text[: width - 1]}…`"


def describe_difference(old: object, new: object) -> str:
    """``line 12: `x > 3` became `x >= 3``` for the first difference, or ``""``."""
    pair = first_difference(old, new)
    if pair is None:
        return ""
    a, b = pair
    line = getattr(b, "lineno", 0) or getattr(a, "lineno", 0)
    prefix = f"line {line}: " if line else ""
    if a is None:
        return f"{prefix}{show(b)} is new"
    if b is None:
        return f"{prefix}{show(a)} is gone"
    return f"{prefix}{show(a)} became {show(b)}"

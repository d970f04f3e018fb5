"""Old and new code of one function: the pair, its nested functions, and trampolines for both directions.

Nested functions have no place in the module by which they could be found again: what belongs together is told from
names and order, and what has no counterpart must be idle at the switch. The pairs of a patch from source are made where
it is compiled, and marshalled each by itself.
"""

from __future__ import annotations

import ast
import inspect
import marshal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from pylivepatch.ftrace.hooks import kind
from pylivepatch.ftrace.late import signature_key
from pylivepatch.ftrace.trampoline import Path, Template, trampoline
from pylivepatch.ftrace.verify import check

_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "__annotate__")


@dataclass(frozen=True, slots=True)
class Nested:
    """A function nested in a changed one, which differs: where it lies in the old and the new outer code."""

    old_path: Path
    new_path: Path
    forward: Template
    backward: Template


@dataclass(frozen=True, slots=True)
class Pair:
    """Old and new code of one outermost function, with trampolines for both directions.

    ``guards_old`` and ``guards_new`` are nested code objects without a counterpart on the other side: they cannot be
    redirected, so they must be idle at the switch.
    """

    old: CodeType
    new: CodeType
    forward: Template
    backward: Template
    nested: tuple[Nested, ...] = ()
    guards_old: tuple[Path, ...] = ()
    guards_new: tuple[Path, ...] = ()


Optional = dict[tuple[str, int], list[tuple[int, frozenset[str]]]]


@lru_cache(maxsize=4)  # asked once for every function of a module
def optional_parameters(source: str) -> Optional:
    """How many positional and which keyword parameters of each function have defaults, by ``co_name`` and line.

    A code object does not say: a live instance of a nested function keeps the defaults that it was made with.
    """
    found: Optional = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name, line = node.name, min(part.lineno for part in (node, *node.decorator_list))
        elif isinstance(node, ast.Lambda):
            name, line = "<lambda>", node.lineno
        else:
            continue
        keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        optional = frozenset(argument.arg for argument, value in keywords if value is not None)
        found.setdefault((name, line), []).append((len(node.args.defaults), optional))
    return found


def make_pair(old: CodeType, new: CodeType, before: Optional | None = None, after: Optional | None = None) -> Pair:
    """Pair the nested functions of ``old`` and ``new``, and make all trampolines, checked.

    Nested functions are paired by qualified name and order. A pair that is equal but for line numbers is left alone:
    its live instances go on as they are. One whose signature, kind or free variables differ has no counterpart.
    ``before`` and ``after`` say which parameters are optional (:func:`optional_parameters`), where that is known.
    """
    before, after = before or {}, after or {}
    olds, news = dict(_nested(old)), dict(_nested(new))
    pairs: list[tuple[Path, Path]] = []
    guards_old: list[Path] = []
    guards_new: list[Path] = []
    for key, (path, code) in olds.items():
        if key not in news:
            guards_old.append(path)
            continue
        new_path, new_code = news[key]
        places = ((one.co_name, one.co_firstlineno) for one in (code, new_code))
        same_optional = before.get(next(places)) == after.get(next(places))
        if same_optional and normal_form(code) == normal_form(new_code):
            continue
        if same_optional and _can_follow(code, new_code):
            pairs.append((path, new_path))
        else:
            guards_old.append(path)
            guards_new.append(new_path)
    guards_new += [path for key, (path, _) in news.items() if key not in olds]
    olds_paired, news_paired = [p for p, _ in pairs], [p for _, p in pairs]
    nested = tuple(
        Nested(
            old_path,
            new_path,
            checked_trampoline(code_at(old, old_path), children(olds_paired, old_path)),
            checked_trampoline(code_at(new, new_path), children(news_paired, new_path)),
        )
        for old_path, new_path in pairs
    )
    return Pair(
        old,
        new,
        checked_trampoline(old, children(olds_paired, ())),
        checked_trampoline(new, children(news_paired, ())),
        nested,
        tuple(guards_old),
        tuple(guards_new),
    )


def equal_nested(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The nested functions that :func:`make_pair` leaves alone: the code of both sides."""
    news = dict(_nested(new))
    for key, (_, code) in _nested(old):
        if key in news and normal_form(code) == normal_form(news[key][1]):
            yield code, news[key][1]


def nested_paths(code: CodeType) -> list[Path]:
    """Where the functions nested in ``code`` lie."""
    return [path for _, (path, _) in _nested(code)]


def children(paths: list[Path], outer: Path) -> list[Path]:
    """Those of ``paths`` that lie below ``outer`` with none of the others between, relative to it."""
    below = [p for p in paths if len(p) > len(outer) and p[: len(outer)] == outer]
    nearest = [p for p in below if not any(p != q and p[: len(q)] == q for q in below)]
    return [p[len(outer) :] for p in nearest]


def checked_trampoline(code: CodeType, adopt: list[Path]) -> Template:
    """The trampoline of ``code``, after :func:`pylivepatch.ftrace.verify.check`.

    For a patch made by hand this runs in the process that must not pause: it gives up the GIL after each half.
    """
    template = trampoline(code, adopt=adopt)
    time.sleep(0)
    check(code, template, adopt)
    time.sleep(0)
    return template


def code_at(code: CodeType, path: Path) -> CodeType:
    """The nested code object at ``path``."""
    for index in path:
        code = code.co_consts[index]
    return code


def functions_of_body(body: CodeType, at: Path = ()) -> Iterator[Path]:
    """Where the methods of a class lie in its body's code, those of inner classes included."""
    for index, const in enumerate(body.co_consts):
        if not isinstance(const, CodeType):
            continue
        if not const.co_flags & inspect.CO_OPTIMIZED:
            yield from functions_of_body(const, (*at, index))
        elif _is_function(const) and const.co_name not in _COMPREHENSIONS:
            yield *at, index


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & 1) and not code.co_name.startswith("<generic parameters")


def _nested(code: CodeType, prefix: Path = ()) -> Iterator[tuple[tuple[str, int], tuple[Path, CodeType]]]:
    """Nested functions, lambdas and generator expressions by name and order, however deep."""
    counts: dict[str, int] = {}

    def visit(outer: CodeType, at: Path) -> Iterator[tuple[tuple[str, int], tuple[Path, CodeType]]]:
        for index, const in enumerate(outer.co_consts):
            if not isinstance(const, CodeType):
                continue
            path = (*at, index)
            if _is_function(const) and (const.co_name not in _COMPREHENSIONS or const.co_name == "<genexpr>"):
                number = counts[const.co_qualname] = counts.get(const.co_qualname, -1) + 1
                yield (const.co_qualname, number), (path, const)
            yield from visit(const, path)

    return visit(code, prefix)


def _can_follow(old: CodeType, new: CodeType) -> bool:
    return (
        old.co_name != "<genexpr>"
        and old.co_freevars == new.co_freevars
        and kind(old) == kind(new)
        and signature_key(old) == signature_key(new)
    )


def normal_form(code: CodeType) -> tuple[Any, ...]:
    """What ``code`` does, without where it stands: equal for code that differs in line numbers and file only."""
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_names,
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
        code.co_flags,
        code.co_qualname,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_stacksize),
        tuple(normal_form(c) if isinstance(c, CodeType) else _constant_key(c) for c in code.co_consts),
    )


def _constant_key(value: Any) -> Any:
    """Tells 1 from 1.0 and True, and 0.0 from -0.0, as CPython's compiler does."""
    if isinstance(value, tuple):
        return (tuple, tuple(_constant_key(item) for item in value))
    if isinstance(value, frozenset):
        return (frozenset, frozenset(_constant_key(item) for item in value))
    if isinstance(value, float | complex):
        return (type(value), repr(value))
    return (type(value), value)


def dump_pair(pair: Pair, values: list[CodeType | None]) -> bytes:
    nested = [(n.old_path, n.new_path, n.forward.to_bytes(), n.backward.to_bytes()) for n in pair.nested]
    return marshal.dumps(
        (
            pair.old,
            pair.new,
            pair.forward.to_bytes(),
            pair.backward.to_bytes(),
            nested,
            pair.guards_old,
            pair.guards_new,
            values,
        )
    )


def load_pair(data: bytes) -> tuple[Pair, list[CodeType | None]]:
    old, new, forward, backward, nested, guards_old, guards_new, values = marshal.loads(data)
    pair = Pair(
        old,
        new,
        Template.from_bytes(forward),
        Template.from_bytes(backward),
        tuple(Nested(o, n, Template.from_bytes(f), Template.from_bytes(b)) for o, n, f, b in nested),
        guards_old,
        guards_new,
    )
    return pair, values

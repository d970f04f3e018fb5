"""Code objects: what they do, without where they stand."""

from __future__ import annotations

import hashlib
import inspect
import opcode
from collections.abc import Iterator
from types import CodeType
from typing import Any

_GENERATORS = (
    (inspect.CO_ASYNC_GENERATOR, "async generator"),
    (inspect.CO_COROUTINE, "coroutine"),
    (inspect.CO_GENERATOR, "generator"),
)
_REBINDS = {opcode.opmap["STORE_GLOBAL"], opcode.opmap["DELETE_GLOBAL"]}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def kind(code: CodeType) -> str:
    return next((name for flag, name in _GENERATORS if code.co_flags & flag), "function")


def code_digest(code: CodeType) -> str:
    """Equal for code that differs in file and positions only."""
    return digest(_normal(code))


def lines_digest(code: CodeType) -> str:
    """Equal where the lines are, too. Columns are left out: ``-X no_debug_ranges`` has none."""
    return digest(repr([(one.co_firstlineno, list(one.co_lines())) for one in nested(code)]))


def nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from nested(const)


def signature(code: CodeType, defaults: tuple[Any, ...], kwdefaults: dict[str, Any]) -> str:
    """The parameters, as a person writes them; ``=…`` marks those that have a default."""
    count = code.co_argcount
    names = list(code.co_varnames[:count])
    parts = [name + ("=…" if i >= count - len(defaults) else "") for i, name in enumerate(names)]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    after = count + code.co_kwonlyargcount
    rest = list(code.co_varnames[after:])
    if code.co_flags & inspect.CO_VARARGS:
        parts.append(f"*{rest.pop(0)}")
    elif code.co_kwonlyargcount:
        parts.append("*")
    parts += [name + ("=…" if name in kwdefaults else "") for name in code.co_varnames[count:after]]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parts.append(f"**{rest.pop(0)}")
    return f"({', '.join(parts)})"


def rebound(code: CodeType) -> set[str]:
    """The variables of its surroundings that this code, or code nested in it, assigns or deletes when it runs.

    Global names as they are, those of an enclosing function as ``closure NAME``.
    """
    found: set[str] = set()
    for one in nested(code):
        more = 0
        for op, argument in _pairs(one.co_code):
            argument |= more
            more = argument << 8 if op == opcode.EXTENDED_ARG else 0
            if op in _REBINDS:
                found.add(one.co_names[argument])
            elif op == opcode.opmap["STORE_DEREF"]:
                name = one._varname_from_oparg(argument)  # type: ignore[attr-defined]
                if name in one.co_freevars:
                    found.add(f"closure {name}")
    return found


def _pairs(text: bytes) -> Iterator[tuple[int, int]]:
    return zip(text[::2], text[1::2], strict=True)


def _normal(code: CodeType) -> str:
    if "__firstlineno__" in code.co_names:  # since 3.13 the body of a class knows its first line
        instructions = " ".join(_without_first_line(code))
    else:
        instructions = f"{code.co_code.hex()} {[constant(one) for one in code.co_consts]}"
    parts = (
        instructions,
        code.co_exceptiontable.hex(),
        code.co_names,
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
        code.co_flags,
        code.co_qualname,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
    )
    return repr(parts)


def _without_first_line(code: CodeType) -> list[str]:
    """The instructions of a class's body, constants as they are and the one that loads its first line left out.

    Whether the line is a constant, and so the numbers of the others, depends on how great it is (since 3.14).
    """
    found: list[str] = []
    more = 0
    for op, argument in _pairs(code.co_code):
        argument |= more
        more = argument << 8 if op == opcode.EXTENDED_ARG else 0
        if op == opcode.EXTENDED_ARG:
            continue
        if op == opcode.opmap["STORE_NAME"] and code.co_names[argument] == "__firstlineno__":
            found.pop()
        if op == opcode.opmap["STORE_NAME"] and code.co_names[argument] == "__static_attributes__":
            found.pop()  # comes out of a set in some versions of 3.13, and follows from the methods
        found.append(f"{op} {constant(code.co_consts[argument]) if op in opcode.hasconst else argument}")
    return found


def constant(value: Any) -> str:
    """A constant of code as text: 1 is not 1.0 and not True, and the order of a set does not count."""
    if isinstance(value, CodeType):
        return _normal(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(constant, value))},)"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(constant, value)))}}}"
    if isinstance(value, slice):
        return f"slice({constant(value.start)}, {constant(value.stop)}, {constant(value.step)})"
    if type(value) is int:
        return hex(value)  # ``repr`` refuses those of more than 4,300 digits
    return f"{type(value).__name__} {value!r}"

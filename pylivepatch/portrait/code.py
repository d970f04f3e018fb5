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
    text, consts = code.co_code, code.co_consts
    if "__firstlineno__" in code.co_names:  # since 3.13 the body of a class knows its first line
        text = _without_first_line(code)
        consts = tuple(0 if type(one) is int and one == code.co_firstlineno else one for one in consts)
    if "__static_attributes__" in code.co_names:  # comes out of a set in some versions of 3.13
        consts = tuple(_sorted_names(one) for one in consts)
    parts = (
        text.hex(),
        code.co_exceptiontable.hex(),
        code.co_names,
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
        code.co_flags,
        code.co_qualname,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
    )
    return f"{parts!r} {[_normal(one) if isinstance(one, CodeType) else constant(one) for one in consts]}"


def _without_first_line(code: CodeType) -> bytes:
    """The line is an argument of the instruction before ``STORE_NAME __firstlineno__``, be it small or a constant."""
    text = bytearray(code.co_code)
    for at in range(2, len(text), 2):
        if text[at] == opcode.opmap["STORE_NAME"] and code.co_names[text[at + 1]] == "__firstlineno__":
            text[at - 1] = 0
            if text[at - 2] in _LOADS:
                text[at - 2] = opcode.opmap["LOAD_CONST"]
            break
    return bytes(text)


_LOADS = {opcode.opmap[name] for name in ("LOAD_CONST", "LOAD_SMALL_INT") if name in opcode.opmap}


def _sorted_names(const: Any) -> Any:
    if type(const) is tuple and all(type(one) is str for one in const):
        return tuple(sorted(const))
    return const


def constant(value: Any) -> str:
    """A constant of code as text: 1 is not 1.0 and not True, and the order of a set does not count."""
    if isinstance(value, tuple):
        return f"({', '.join(map(constant, value))},)"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(constant, value)))}}}"
    if isinstance(value, slice):
        return f"slice({constant(value.start)}, {constant(value.stop)}, {constant(value.step)})"
    if type(value) is int:
        return hex(value)  # ``repr`` refuses those of more than 4,300 digits
    return f"{type(value).__name__} {value!r}"

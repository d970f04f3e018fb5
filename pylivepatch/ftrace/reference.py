"""What a late entry must do, as statements in Python: the half of :mod:`pylivepatch.ftrace.verify` that knows them.

They are compiled by this interpreter and compared, instruction for instruction, with what the trampoline has. The text
is this module's own: a mistake in the maker's cannot hide in it.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import CodeType
from typing import Any

from pylivepatch.ftrace.follow import Slot
from pylivepatch.ftrace.listing import Listing

ARGUMENTS = object()
"""Stands for the loads of all parameters into one tuple."""

_MEANING = {11j: Slot("late_entry"), 12j: ARGUMENTS, 13j: Slot("scratch")}

_STATEMENTS = {
    "function": "def f(): return 11j(12j)",
    "generator": "def f(): return (yield from 11j(12j))",
    "coroutine": "async def f(): return await 11j(12j)",
    "async generator": """async def f():
        async for 13j[0] in 11j(12j):
            with 13j[0] as 13j[0]: 13j[0]((yield 13j[0][0]))""",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One instruction: ``value`` is its constant, target (an index into the statement) or argument; then its cover."""

    name: str
    value: Any
    cover: tuple[int, int, bool] | None

    def __str__(self) -> str:
        return f"{self.name} {self.value!r} (covered by {self.cover})"


@dataclass(frozen=True, slots=True)
class Statement:
    """The instructions of a late entry, with places counted from its start."""

    items: tuple[Item, ...]
    stacksize: int = 0

    @classmethod
    def read(cls, listing: Listing, consts: list[Any], places: list[int], loads: list[tuple[str, int]]) -> Statement:
        """The instructions at ``places``, of which the last is where it ends. ``loads`` together are one item."""
        number = {place: i for i, place in enumerate(places)}
        return cls(tuple(_item(listing, consts, at, end, number, loads) for at, end in pairwise(places)))


def _item(
    listing: Listing, consts: list[Any], place: int, end: int, number: dict[int, int], loads: list[tuple[str, int]]
) -> Item:
    cover = listing.covers[place]
    relative = None if cover is None else (number.get(cover.target, -1), cover.depth, cover.lasti)
    instr = listing.instructions[place]
    if end - place == len(loads) and [(i.opname, i.arg) for i in listing.instructions[place:end]] == loads:
        if any(listing.covers[i] != cover for i in range(place, end)):
            relative = (-1, -1, False)
        return Item("LOAD_CONST", ARGUMENTS, relative)
    target = listing.target(place)
    if target is not None:
        return Item(instr.opname, ("to", number.get(target, -1)), relative)
    if instr.opname in ("LOAD_CONST", "RETURN_CONST"):
        value = consts[instr.arg or 0]
        return Item(instr.opname, value if isinstance(value, Slot) or value is ARGUMENTS else repr(value), relative)
    return Item(instr.opname, instr.arg, relative)


def parameters(code: CodeType) -> list[tuple[str, int]]:
    """The instructions that load every parameter of ``code`` into one tuple."""
    count = code.co_argcount + code.co_kwonlyargcount
    for flag in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS):
        count += bool(code.co_flags & flag)
    cells = set(code.co_cellvars)
    loads = [("LOAD_DEREF" if code.co_varnames[i] in cells else "LOAD_FAST", i) for i in range(count)]
    return [*loads, ("BUILD_TUPLE", count)]


def statement(code: CodeType) -> Statement:
    """What a late entry into ``code`` must do."""
    if code.co_flags & inspect.CO_ASYNC_GENERATOR:
        return _compiled("async generator", 0)
    if code.co_flags & inspect.CO_COROUTINE:
        return _compiled("coroutine", 0)
    kind = "generator" if code.co_flags & inspect.CO_GENERATOR else "function"
    return _compiled(kind, code.co_flags & inspect.CO_ITERABLE_COROUTINE)


@cache
def _compiled(kind: str, flags: int) -> Statement:
    """``flags``: since 3.15 the interpreter sets GET_ITER's argument by them when it makes the code object."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a number is not callable: that is the point
        module = compile(_STATEMENTS[kind], "<late entry>", "exec", dont_inherit=True, optimize=0)
    code = next(const for const in module.co_consts if isinstance(const, CodeType))
    code = code.replace(co_flags=code.co_flags | flags)
    listing = Listing(code)
    start = next(i for i, instr in enumerate(listing.instructions) if instr.opname == "RESUME") + 1
    consts = [_MEANING.get(const, const) if type(const) is complex else const for const in code.co_consts]
    read = Statement.read(listing, consts, list(range(start, len(listing.instructions) + 1)), [])
    return Statement(read.items, code.co_stacksize)


__all__ = ["ARGUMENTS", "Item", "Statement", "parameters", "statement"]

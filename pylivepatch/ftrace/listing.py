"""A code object as :mod:`pylivepatch.ftrace.verify` reads it: with :mod:`dis` alone."""

from __future__ import annotations

import dis
from types import CodeType
from typing import NamedTuple

JUMPS = {*dis.hasjrel, *dis.hasjabs, dis.opmap["END_ASYNC_FOR"]}


class Problem(Exception):
    """What is wrong with a trampoline, in words."""


class Cover(NamedTuple):
    """The handler that covers an instruction: index of its first instruction, and what the table says of it."""

    target: int
    depth: int
    lasti: bool


class Listing:
    """The instructions of a code object without prefixes, and where its offsets and handlers lead."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.instructions: list[dis.Instruction] = []
        self.index_of: dict[int, int] = {}  # by offset; a prefix belongs to the instruction that it extends
        for instr in dis.get_instructions(code):
            self.index_of[instr.offset] = len(self.instructions)
            if instr.opname != "EXTENDED_ARG":
                self.instructions.append(instr)
        exact = {instr.offset: i for i, instr in enumerate(self.instructions)}
        self.covers: list[Cover | None] = [None] * len(self.instructions)
        for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
            if entry.target not in self.index_of:
                raise Problem(f"a handler begins in the middle of an instruction, at {entry.target}")
            cover = Cover(self.index_of[entry.target], entry.depth, entry.lasti)
            for offset in range(entry.start, entry.end, 2):
                if offset in exact:
                    self.covers[exact[offset]] = cover

    def target(self, index: int) -> int | None:
        """The index that the jump at ``index`` goes to; ``None`` where it is no jump."""
        instr = self.instructions[index]
        if instr.opcode not in JUMPS or not isinstance(instr.argval, int) or instr.arg is None:
            return None
        if instr.argval not in self.index_of:
            raise Problem(f"the jump at {instr.offset} goes into the middle of an instruction")
        return self.index_of[instr.argval]


_RESUMED_AT = 3  # bits of RESUME's argument: at the start, after yield, yield from, await


def _bare_yield() -> tuple[int, int]:
    """How this version marks a ``yield`` that no handler but the generator's own covers: by a bit of RESUME's argument
    (since 3.13) or by 1 as YIELD_VALUE's (3.12). CPython closes such a generator without running it."""
    module = compile("def f(): yield", "", "exec")
    instructions = list(dis.get_instructions(module.co_consts[0]))
    resume = max(instr.arg or 0 for instr in instructions if instr.opname == "RESUME")
    of_yield = max(instr.arg or 0 for instr in instructions if instr.opname == "YIELD_VALUE")
    return resume & ~_RESUMED_AT, 0 if resume & ~_RESUMED_AT else of_yield


_RESUME_MARK, _YIELD_MARK = _bare_yield()


def unmarked(instr: dis.Instruction) -> int | None:
    """The argument of ``instr`` in a trampoline: a mark must be taken off, so that closing the generator runs it and it
    is counted out, whoever keeps its frame."""
    if instr.opname == "RESUME" and instr.arg is not None:
        return instr.arg & ~_RESUME_MARK
    if instr.opname == "YIELD_VALUE" and _YIELD_MARK and instr.arg == _YIELD_MARK:
        return _YIELD_MARK + 1
    return instr.arg

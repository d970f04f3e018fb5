"""Code objects as lists of instructions that can be inserted into, and back.

A jump names the instruction that it goes to, and an instruction names the handler that covers it, so insertion
moves nothing by hand. Offsets, caches, EXTENDED_ARG prefixes, the location table and the exception table are made
anew by :func:`assemble`, through ``bytecode.ConcreteBytecode``.

Why not ``bytecode.Bytecode``, which has labels: it recomputes stack depths in the exception table and gets some
wrong (``asyncio.Runner.run`` for one); a wrong depth is a crash of the process. Here every original depth is kept.
Live constants never enter these objects, which form cycles: the caller gives code with placeholders and puts the
constants in afterwards with ``code.replace(co_consts=…)``.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from bytecode.concrete import ConcreteBytecode, ConcreteInstr, ExceptionTableEntry
from bytecode.instr import UNSET, InstrLocation

NOWHERE = InstrLocation(None, None, None, None)
"""The location of an instruction that no trace function must see."""


@dataclass(frozen=True, slots=True)
class Handler:
    """Where an exception goes, and how much of the stack is left there (CPython's ``exception_handling_notes``)."""

    target: Op
    depth: int
    lasti: bool


@dataclass(eq=False, slots=True)
class Op:
    """One instruction. ``arg`` is ``None`` where it takes none; a jump has ``target`` instead."""

    name: str
    arg: int | None = None
    location: InstrLocation | None = NOWHERE
    target: Op | None = None
    handler: Handler | None = field(default=None, repr=False)


def _cache_entries() -> dict[str, int]:
    table: Any = dis._inline_cache_entries  # type: ignore[attr-defined]
    if hasattr(table, "items"):  # a mapping by name since 3.13, a list by opcode before
        return {name: int(count) for name, count in table.items()}
    return {dis.opname[code]: int(count) for code, count in enumerate(table) if count}


_CACHES = _cache_entries()


def disassemble(code: CodeType) -> list[Op]:
    """The instructions of ``code``, without caches and prefixes."""
    concrete = ConcreteBytecode.from_code(code)
    ops: list[Op] = []
    at: dict[int, Op] = {}  # the offset where an instruction (its prefixes included) begins
    jumps: list[tuple[Op, int]] = []
    spans: list[tuple[Op, int]] = []
    offset = 0
    for instr in concrete:
        assert isinstance(instr, ConcreteInstr)
        if instr.name != "CACHE":
            op = Op(instr.name, None if instr.arg is UNSET else instr.arg, instr.location or NOWHERE)
            ops.append(op)
            at[offset] = op
            spans.append((op, offset))
            # The library wants the offset where the instruction itself starts, and adds its own size to it.
            target = instr.get_jump_target(offset)
            if target is not None:
                jumps.append((op, target))
        offset += instr.size // 2
    for op, target in jumps:
        op.target, op.arg = at[target], None
    starts = [start for _, start in spans]
    for entry in concrete.exception_table:
        handler = Handler(at[entry.target], entry.stack_depth, entry.push_lasti)
        for op, start in zip(ops, starts, strict=True):
            if entry.start_offset <= start <= entry.stop_offset:
                op.handler = handler
    return ops


def insert_before(ops: list[Op], op: Op, new: list[Op]) -> None:
    """Put ``new`` before ``op``; whatever jumped to ``op`` runs ``new`` first."""
    index = ops.index(op)
    ops[index:index] = new
    for other in ops:
        if other.target is op and other not in new:
            other.target = new[0]


def assemble(code: CodeType, ops: list[Op], *, consts: Iterable[Any], stacksize: int) -> CodeType:
    """``code`` with other instructions, constants and stack size; all else stays."""
    offsets, args = _lay_out(ops)
    empty = code.replace(co_consts=(), co_code=b"", co_linetable=b"", co_exceptiontable=b"")
    concrete = ConcreteBytecode.from_code(empty)
    concrete.consts = list(consts)
    for op in ops:
        arg = args[op]
        concrete.append(ConcreteInstr(op.name, UNSET if arg is None else arg, location=op.location))
        concrete.extend(ConcreteInstr("CACHE", 0, location=op.location) for _ in range(_CACHES.get(op.name, 0)))
    concrete.exception_table = _exception_table(ops, offsets)
    return concrete.to_code(stacksize=stacksize, compute_exception_stack_depths=False)


def offsets_of(ops: list[Op], *wanted: Op) -> tuple[int, ...]:
    """Where ``wanted`` will stand in the assembled code, in bytes: what ``f_lasti`` is when one is executed."""
    offsets = _lay_out(ops)[0]
    return tuple(2 * offsets[op] for op in wanted)


def _size(name: str, arg: int | None) -> int:
    prefixes = (arg.bit_length() - 1) // 8 if arg else 0
    return prefixes + 1 + _CACHES.get(name, 0)


def _lay_out(ops: list[Op]) -> tuple[dict[Op, int], dict[Op, int | None]]:
    """Offsets (in code units) and arguments. Jumps only ever grow, so this ends."""
    args: dict[Op, int | None] = {op: (0 if op.target is not None else op.arg) for op in ops}
    jumps = [op for op in ops if op.target is not None]
    while True:
        offsets: dict[Op, int] = {}
        offset = 0
        for op in ops:
            offsets[op] = offset
            offset += _size(op.name, args[op])
        grown = False
        for op in jumps:
            assert op.target is not None
            distance = offsets[op.target] - (offsets[op] + _size(op.name, args[op]))
            backward = "BACKWARD" in op.name or op.name == "END_ASYNC_FOR"  # the latter names its SEND since 3.14
            wanted = -distance if backward else distance
            if wanted < 0:
                raise ValueError(f"{op.name} would jump the wrong way")
            if wanted != args[op]:
                grown = grown or _size(op.name, wanted) != _size(op.name, args[op])
                args[op] = wanted
        if not grown:
            return offsets, args


def _exception_table(ops: list[Op], offsets: dict[Op, int]) -> list[ExceptionTableEntry]:
    table: list[ExceptionTableEntry] = []
    previous: Handler | None = None
    for op, following in zip(ops, [*ops[1:], None], strict=True):
        if op.handler is not None:
            stop = offsets[following] - 1 if following is not None else offsets[op] + 64  # the last never raises
            if op.handler == previous:
                table[-1].stop_offset = stop
            else:
                h = op.handler
                table.append(ExceptionTableEntry(offsets[op], stop, offsets[h.target], h.depth, h.lasti))
        previous = op.handler
    return table

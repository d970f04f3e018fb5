"""Taking code apart and putting it together gives the same code."""

from __future__ import annotations

import dis
import os
from pathlib import Path
from types import CodeType

import pytest

from pylivepatch.ftrace.assembly import NOWHERE, Op, assemble, disassemble, insert_before

MODULES = ["asyncio/runners.py", "asyncio/base_events.py", "contextlib.py", "argparse.py", "typing.py", "_pydecimal.py"]


def every_code(code: CodeType) -> list[CodeType]:
    return [code, *(inner for c in code.co_consts if isinstance(c, CodeType) for inner in every_code(c))]


def again(code: CodeType) -> CodeType:
    return assemble(code, disassemble(code), consts=code.co_consts, stacksize=code.co_stacksize)


@pytest.mark.parametrize("name", MODULES)
def test_a_round_trip_gives_the_same_code(name: str) -> None:
    """Instructions, exception table, lines and columns; an entry of the table may be split or joined."""
    path = Path(os.__file__).parent / name
    for code in every_code(compile(path.read_bytes(), str(path), "exec")):
        back = again(code)
        assert back.co_code == code.co_code, code.co_qualname
        assert list(back.co_positions()) == list(code.co_positions()), code.co_qualname
        assert covers(back) == covers(code), code.co_qualname


def covers(code: CodeType) -> dict[int, tuple[int, int, bool]]:
    """The handler of each instruction."""
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    offsets = [instr.offset for instr in dis.get_instructions(code)]
    return {o: (e.target, e.depth, e.lasti) for e in entries for o in offsets if e.start <= o < e.end}


def long_loop(n: int) -> str:
    out = []
    for i in range(n):
        if i % 2:
            out.append("odd")
        else:
            try:
                out.append(str(1 // (i % 3)))
            except ZeroDivisionError:
                out.append("zero")
    return ",".join(out)


def test_jumps_that_grow_over_a_prefix_still_arrive() -> None:
    """300 instructions in each half make one-byte jumps too short."""
    expected = long_loop(7)
    ops = disassemble(long_loop.__code__)
    for op in [op for op in ops if op.name == "LOAD_CONST" or op.name == "STORE_FAST"]:
        insert_before(ops, op, [Op("NOP") for _ in range(300)])
    code = assemble(
        long_loop.__code__, ops, consts=long_loop.__code__.co_consts, stacksize=long_loop.__code__.co_stacksize
    )
    before, long_loop.__code__ = long_loop.__code__, code
    try:
        assert long_loop(7) == expected
    finally:
        long_loop.__code__ = before
    assert len(code.co_code) > len(before.co_code) + 1200


def test_what_jumped_to_an_instruction_runs_what_was_put_before_it() -> None:
    ops = disassemble(long_loop.__code__)
    jump = next(op for op in ops if op.target is not None and op.name.startswith("POP_JUMP"))
    target = jump.target
    assert target is not None
    new = Op("NOP")
    insert_before(ops, target, [new])
    assert jump.target is new
    assert ops[ops.index(new) + 1] is target


def test_a_jump_that_would_go_the_wrong_way_is_an_error() -> None:
    ops = disassemble(long_loop.__code__)
    jump = next(op for op in ops if op.name.startswith("POP_JUMP"))
    jump.target = ops[0]
    with pytest.raises(ValueError, match="wrong way"):
        assemble(long_loop.__code__, ops, consts=long_loop.__code__.co_consts, stacksize=9)


def test_an_instruction_put_in_has_no_line() -> None:
    ops = disassemble(long_loop.__code__)
    ops.insert(1, Op("NOP"))
    code = assemble(long_loop.__code__, ops, consts=long_loop.__code__.co_consts, stacksize=9)
    assert Op("NOP").location == NOWHERE
    nop = next(instr for instr in dis.get_instructions(code) if instr.opname == "NOP")
    assert nop.positions is not None
    assert nop.positions.lineno is None

"""An independent check of a trampoline against its original, before it is installed.

It shares no code with the maker: it reads both code objects with :mod:`dis`, aligns the original's instructions with
the trampoline's, and requires that

* every instruction of the original is there, once, in order, with the same argument and position (jumps: to the
  image of their target, or into the exit hook before it), and what is between them belongs to a hook;
* every instruction of the body that the original's exception table covers is covered in the same way (same image of
  the handler, same depth, same lasti), and every other instruction of the body by the exit handler at depth 0;
* no instruction of a counting hook is covered but by the restoring handler of the exit handler itself;
* names, flags, arguments and variables are the original's, and the stack is deep enough for what was added.

A wrong exception table or stack size is a crash of the process, so what fails here is refused, never installed.
"""

from __future__ import annotations

import dis
from types import CodeType

from pylivepatch.errors import UnswappableShape

_SAME = (
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_names",
    "co_varnames",
    "co_cellvars",
    "co_freevars",
    "co_name",
    "co_qualname",
    "co_firstlineno",
    "co_nlocals",
)

Entry = tuple[int, int, bool]  # target, depth, lasti


def check(original: CodeType, generated: CodeType) -> None:
    """Raise :class:`UnswappableShape` unless ``generated`` is a faithful trampoline of ``original``."""
    problem = find_problem(original, generated)
    if problem:
        raise UnswappableShape(
            f"the trampoline for {original.co_qualname} fails its check: {problem}",
            where=f"{original.co_filename}:{original.co_firstlineno}",
            advice="please report this with the function's source; the patch was not installed",
        )


def find_problem(original: CodeType, generated: CodeType) -> str:
    """What is wrong with ``generated``, in words; an empty string where nothing is."""
    for name in _SAME:
        if getattr(original, name) != getattr(generated, name):
            return f"{name} differs"
    if len(generated.co_consts) < len(original.co_consts):
        return "constants are missing"
    if generated.co_stacksize < original.co_stacksize + 3:
        return "the stack is not deep enough"
    old = [i for i in dis.get_instructions(original) if i.opname != "EXTENDED_ARG"]
    new = [i for i in dis.get_instructions(generated) if i.opname != "EXTENDED_ARG"]
    image = _align(old, new)
    if image is None:
        return "the body's instructions are not those of the original"
    return _check_jumps(old, new, image) or _check_handlers(original, generated, old, new, image)


def _is_jump(instr: dis.Instruction) -> bool:
    return instr.opcode in _JUMPS


_JUMPS = {*dis.hasjrel, *dis.hasjabs, dis.opmap["END_ASYNC_FOR"]}


def _align(old: list[dis.Instruction], new: list[dis.Instruction]) -> dict[int, int] | None:
    """For each index into ``old`` the index into ``new`` that is its image; ``None`` where there is none.

    Greedy from the front: a hook's instruction has no position at all (or, after a MAKE_FUNCTION, belongs to a run
    that loads a constant which the original does not have), so it cannot be taken for one of the body.
    """
    image: dict[int, int] = {}
    at = 0
    for index, instr in enumerate(old):
        while at < len(new) and not _same(instr, new[at]):
            at += 1
        if at == len(new):
            return None
        image[index] = at
        at += 1
    return image


def _same(a: dis.Instruction, b: dis.Instruction) -> bool:
    if a.opname != b.opname or a.positions != b.positions:
        return False
    if _is_jump(a) or a.arg == b.arg:
        return True
    if a.opname == "RESUME" and a.arg and b.arg is not None:  # the mark of a generator that needs no running on close
        return (a.arg & 3) == (b.arg & 3) and (a.arg & ~b.arg) in (4, 8)
    return a.opname == "YIELD_VALUE" and (a.arg, b.arg) == (1, 2)


def _check_jumps(old: list[dis.Instruction], new: list[dis.Instruction], image: dict[int, int]) -> str:
    index_of = {instr.offset: i for i, instr in enumerate(old)}
    new_index = _index_by_offset(new)
    body = set(image.values())
    for i, instr in enumerate(old):
        if not _is_jump(instr) or not isinstance(instr.argval, int) or instr.arg is None:
            continue
        target = _at_or_after(index_of, instr.argval)
        reached = new_index.get(new[image[i]].argval)
        if reached is None:
            return f"the jump at {instr.offset} goes into the middle of an instruction"
        while reached not in body:  # through an exit hook, straight down
            reached += 1
        if reached != image[target]:
            return f"the jump at {instr.offset} goes elsewhere"
    return ""


def _index_by_offset(instructions: list[dis.Instruction]) -> dict[int, int]:
    """Where a jump may land: at an instruction, or at its EXTENDED_ARG prefixes (two code units at most here)."""
    result: dict[int, int] = {}
    for i, instr in enumerate(instructions):
        for offset in range(getattr(instr, "start_offset", instr.offset - _prefixes(instr)), instr.offset + 1, 2):
            result[offset] = i
    return result


def _prefixes(instr: dis.Instruction) -> int:
    return 2 * max(0, ((instr.arg or 0).bit_length() - 1) // 8)


def _at_or_after(index_of: dict[int, int], offset: int) -> int:
    while offset not in index_of:  # the prefixes of the instruction there
        offset += 2
    return index_of[offset]


def _check_handlers(
    original: CodeType,
    generated: CodeType,
    old: list[dis.Instruction],
    new: list[dis.Instruction],
    image: dict[int, int],
) -> str:
    old_cover, new_cover = _coverage(original, old), _coverage(generated, new)
    resume = next(i for i, instr in enumerate(old) if instr.opname == "RESUME" and not instr.arg)
    exits = {new_cover[image[i]] for i in range(resume + 1, len(old)) if old_cover[i] is None}
    if len(exits) > 1 or None in exits:
        return "the exit handler does not cover the whole body"
    for i in range(len(old)):
        before, after = old_cover[i], new_cover[image[i]]
        if before is None:
            if i > resume and after is not None and (after[1], after[2]) != (0, True):
                return f"the exit handler has a wrong depth at {old[i].offset}"
            if i <= resume and after is not None:
                return "the entry is covered by a handler"
        elif after is None or (before[1], before[2]) != (after[1], after[2]):
            return f"the handler of {old[i].offset} has another depth"
        elif i > resume and after[0] != image[before[0]]:
            return f"the handler of {old[i].offset} is another one"
        elif i <= resume and [new[after[0] + n].opname for n in (0, 1)] != [old[before[0] + n].opname for n in (0, 1)]:
            return "the entry's handler is not a copy"
    target = next(iter(exits))[0] if exits else None  # type: ignore[index]
    if target is not None and new[target].opname != "PUSH_EXC_INFO":
        return "the exit handler does not begin with PUSH_EXC_INFO"
    return _check_hooks(new, new_cover, set(image.values()), target)


def _check_hooks(
    new: list[dis.Instruction], cover: list[Entry | None], body: set[int], exit_handler: int | None
) -> str:
    """A hook (an unbroken run of instructions that have no line) stands outside every handler of the body."""
    for i, instr in enumerate(new):
        if i in body or cover[i] is None:
            continue
        inside_exit_handler = exit_handler is not None and i >= exit_handler and cover[i][2]  # type: ignore[index]
        adopting = instr.positions is not None and instr.positions.lineno is not None
        if not inside_exit_handler and not adopting:
            return f"the hook at {instr.offset} is covered by a handler"
    return ""


def _coverage(code: CodeType, instructions: list[dis.Instruction]) -> list[Entry | None]:
    """For each instruction the handler that covers it: index of its first instruction, depth, lasti."""
    index = _index_by_offset(instructions)
    result: list[Entry | None] = [None] * len(instructions)
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        for i, instr in enumerate(instructions):
            if entry.start <= instr.offset < entry.end:
                result[i] = (index[entry.target], entry.depth, entry.lasti)
    return result

"""The check that stands between a wrong trampoline and the process: each way to be wrong must be caught."""

from __future__ import annotations

import dataclasses
import dis
import sys
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType
from typing import Any

import pytest
from bytecode.instr import InstrLocation

from pylivepatch.errors import UnswappableShape
from pylivepatch.ftrace import assembly
from pylivepatch.ftrace.assembly import NOWHERE, Handler, Op, disassemble
from pylivepatch.ftrace.trampoline import Path, Template, traced, trampoline
from pylivepatch.ftrace.verify import check, find_problem
from pylivepatch.ftrace.verify_traced import find_problem_of_traced

# --- originals ----------------------------------------------------------------------------------------------


def plain(a: int, b: int = 2) -> int:
    for i in range(a):
        if i > b:
            return i
    return a


def careful(path: str) -> int:
    total = 0
    for part in path:
        try:
            total += int(part)
        except ValueError:
            total -= 1
            if total < -5:
                raise
        finally:
            total += 1
    return total


def generator(n: int) -> Any:
    for i in range(n):
        try:
            yield i
        finally:
            n -= 1


def bare_generator(n: int) -> Any:
    yield n


async def coroutine(n: int) -> int:
    async with n as m:  # type: ignore[attr-defined]
        return await m


async def async_generator(n: int) -> Any:
    async for m in n:  # type: ignore[attr-defined]
        yield m


@types.coroutine
def iterable_coroutine(n: Any) -> Any:
    return (yield from n)


def maker(n: int) -> Any:
    def inner() -> int:
        return n

    class Local:
        def method(self) -> int:
            return n

    return inner, Local, lambda: n


def returns_a_lambda() -> Any:
    return lambda: 1


def discards_a_lambda() -> None:
    lambda: 1  # noqa: B018


def nothing() -> None:
    pass


# fmt: off
def in_lines(x: int) -> int:
    return (
        x
    )


def generator_in_lines(x: int) -> Iterator[int]:
    yield x
    return (
        x
    )
# fmt: on


ORIGINALS = [plain, careful, generator, bare_generator, coroutine, async_generator, iterable_coroutine, maker]
ORIGINALS += [in_lines, generator_in_lines]


def paths_of(code: CodeType) -> list[Path]:
    """The functions made directly, and those made in a class body."""
    found: list[Path] = []
    for i, const in enumerate(code.co_consts):
        if isinstance(const, CodeType):
            is_class = not const.co_flags & 1
            found += [(i, *path) for path in paths_of(const)] if is_class else [(i,)]
    return found


def made(function: Callable[..., Any]) -> Template:
    return trampoline(function.__code__, adopt=paths_of(function.__code__))


def problem(function: Callable[..., Any], template: Template) -> str:
    return find_problem(function.__code__, template, paths_of(function.__code__))


def told(function: Callable[..., Any], edit: Callable[[list[Op], Template], None]) -> str:
    """What is wrong with what :func:`traced` makes of ``function``, after ``edit`` of its instructions."""
    return find_problem_of_traced(function.__code__, _edited(traced(function.__code__), edit))


def edited(function: Callable[..., Any], edit: Callable[[list[Op], Template], None], *, stack: int = 0) -> Template:
    """The trampoline of ``function`` after ``edit`` of its instructions."""
    return _edited(made(function), edit, stack=stack)


def _edited(template: Template, edit: Callable[[list[Op], Template], None], *, stack: int = 0) -> Template:
    ops = disassemble(template.code)
    edit(ops, template)
    code = assembly.assemble(
        template.code, ops, consts=template.code.co_consts, stacksize=template.code.co_stacksize + stack
    )
    return dataclasses.replace(template, code=code)


def slot(template: Template, name: str) -> int:
    return next(i for i, n in template.slots if n == name)


def loads(ops: list[Op], index: int) -> list[Op]:
    return [op for op in ops if op.name == "LOAD_CONST" and op.arg == index]


def hook_before(ops: list[Op], op: Op) -> list[Op]:
    """The exit hook: what takes the token off, below what is returned."""
    end = ops.index(op)
    hook = ops[end - (1 if op.name == "RETURN_CONST" else 2) : end]
    assert hook[-1].name == "POP_TOP"
    return hook


def entry_hook(ops: list[Op]) -> list[Op]:
    resume = next(i for i, op in enumerate(ops) if op.name == "RESUME" and not op.arg)
    end = next(i for i, op in enumerate(ops) if op.target is drop(ops))
    return ops[resume + 1 : end + 1]


def drop(ops: list[Op]) -> Op:
    """What takes the token, or ``None``, off the stack of a late entry: nothing falls into it."""
    jumps = [op for op in ops if op.name == "JUMP_FORWARD" and op.location == NOWHERE]
    return next(op.target for op in jumps if op.target is not None and op.target.name == "POP_TOP")


def exit_handler(ops: list[Op]) -> Op:
    """The PUSH_EXC_INFO that tells of an exit by an exception."""
    pairs = pairwise(ops)
    return next(a for a, b in pairs if a.name == "PUSH_EXC_INFO" and a.location == b.location == NOWHERE and b.handler)


def last_return(ops: list[Op]) -> Op:
    """The last return of the body: those of the late entry come behind."""
    body = ops[: ops.index(drop(ops))]
    return [op for op in body if op.name in ("RETURN_VALUE", "RETURN_CONST")][-1]


def remove(ops: list[Op], gone: list[Op]) -> None:
    """Take instructions out; what jumped to one of them goes to the next that stays."""
    for op in gone:
        following = next(o for o in ops[ops.index(op) :] if o not in gone)
        for other in ops:
            if other.target is op:
                other.target = following
            if other.handler is not None and other.handler.target is op:
                other.handler = dataclasses.replace(other.handler, target=following)
    ops[:] = [op for op in ops if op not in gone]


# --- what is right passes -----------------------------------------------------------------------------------


MORE = [nothing, returns_a_lambda, discards_a_lambda]


@pytest.mark.parametrize("function", [*ORIGINALS, *MORE], ids=lambda f: f.__name__)
def test_a_trampoline_as_it_is_made_passes(function: Callable[..., Any]) -> None:
    assert problem(function, made(function)) == ""


@pytest.mark.parametrize("function", [*ORIGINALS, nothing], ids=lambda f: f.__name__)
def test_taking_a_trampoline_apart_and_together_keeps_it_passing(function: Callable[..., Any]) -> None:
    assert problem(function, edited(function, lambda ops, template: None)) == ""


def test_a_function_that_begins_with_its_return_counts_the_exit() -> None:
    """The entry hook must go on to the exit hook, not past it."""
    assert problem(nothing, made(nothing)) == ""


# --- mutants ------------------------------------------------------------------------------------------------


def caught(function: Callable[..., Any], edit: Callable[[list[Op], Template], None], word: str, **kwargs: Any) -> None:
    found = problem(function, edited(function, edit, **kwargs))
    assert found, "the mutant passes"
    assert word in found


def caught_in_traced(function: Callable[..., Any], edit: Callable[[list[Op], Template], None], word: str) -> None:
    """The same for code that only tells of its calls: it has a handler for exits by an exception."""
    assert told(function, lambda ops, _: None) == ""
    found = told(function, edit)
    assert found, "the mutant passes"
    assert word in found


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_missing_exit_hook_is_caught(function: Callable[..., Any]) -> None:
    caught(function, lambda ops, _: remove(ops, hook_before(ops, last_return(ops))), "")


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_missing_entry_hook_is_caught(function: Callable[..., Any]) -> None:
    caught(function, lambda ops, _: remove(ops, entry_hook(ops)), "")


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_body_that_the_exit_handler_does_not_cover_is_caught(function: Callable[..., Any]) -> None:
    def edit(ops: list[Op], template: Template) -> None:
        handler = exit_handler(ops)
        [op for op in ops if op.handler is not None and op.handler.target is handler][-1].handler = None

    caught_in_traced(function, edit, "handler")


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_return_that_the_exit_handler_covers_is_caught(function: Callable[..., Any]) -> None:
    """It was told of: what a trace function raises at it must not be told again."""

    def edit(ops: list[Op], template: Template) -> None:
        returns = [op for op in ops if op.name in ("RETURN_VALUE", "RETURN_CONST")]
        returns[-1].handler = Handler(exit_handler(ops), 0, True)

    caught_in_traced(function, edit, "")


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_an_exit_handler_of_a_wrong_depth_is_caught(function: Callable[..., Any]) -> None:
    def edit(ops: list[Op], template: Template) -> None:
        handler = exit_handler(ops)
        for op in ops:
            if op.handler is not None and op.handler.target is handler:
                op.handler = Handler(handler, 1, True)

    caught_in_traced(function, edit, "depth")


def test_a_handler_of_the_body_with_a_wrong_depth_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        deepest = max((op.handler for op in ops if op.handler), key=lambda h: h.depth)
        for op in ops:
            if op.handler == deepest:
                op.handler = dataclasses.replace(deepest, depth=deepest.depth - 1)

    caught(careful, edit, "another depth")


def test_a_handler_that_does_not_keep_the_offset_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        handler = exit_handler(ops)
        for op in ops:
            if op.handler is not None and op.handler.target is handler:
                op.handler = Handler(handler, 0, False)

    caught_in_traced(plain, edit, "exit handler")


def test_two_handlers_of_the_body_that_are_swapped_are_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        handlers = {h for op in ops if (h := op.handler) and h.target.name == "PUSH_EXC_INFO"}
        first, second = list(handlers)[:2]
        swap = {id(first.target): second.target, id(second.target): first.target}
        for op in ops:
            if op.handler is not None and id(op.handler.target) in swap:
                op.handler = dataclasses.replace(op.handler, target=swap[id(op.handler.target)])

    caught(careful, edit, "")


@pytest.mark.parametrize("function", [careful, generator, coroutine], ids=lambda f: f.__name__)
def test_an_exit_hook_inside_a_handler_is_caught(function: Callable[..., Any]) -> None:
    def edit(ops: list[Op], template: Template) -> None:
        for op in hook_before(ops, last_return(ops)):
            op.handler = Handler(drop(ops), 0, True)

    caught(function, edit, "covered by a handler")


def test_an_entry_hook_inside_a_handler_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        resume = next(i for i, op in enumerate(ops) if op.name == "RESUME")
        for op in ops[resume + 1 : resume + 4]:
            op.handler = Handler(drop(ops), 0, True)

    caught(plain, edit, "covered by a handler")


def test_a_resume_that_the_exit_handler_covers_is_caught() -> None:
    """An interrupt at RESUME was not told of as an entry, so it must not be as an exit."""

    def edit(ops: list[Op], template: Template) -> None:
        next(op for op in ops if op.name == "RESUME").handler = Handler(exit_handler(ops), 0, True)

    caught_in_traced(plain, edit, "covered by a handler")


def test_an_exit_handler_that_does_not_restore_the_exception_state_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        start = ops.index(exit_handler(ops))
        for op in ops[start : start + 3]:
            op.handler = None

    caught_in_traced(plain, edit, "covered wrongly")


def test_an_exit_handler_that_swallows_the_exception_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        start = ops.index(exit_handler(ops))
        again = next(op for op in ops[start:] if op.name == "RERAISE")
        again.arg = 0

    caught_in_traced(plain, edit, "exit handler is not")


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_an_exit_handler_that_does_not_tell_is_caught(function: Callable[..., Any]) -> None:
    def edit(ops: list[Op], template: Template) -> None:
        start = ops.index(exit_handler(ops))
        again = next(op for op in ops[start:] if op.name == "RERAISE")
        remove(ops, ops[start + 1 : ops.index(again)])

    caught_in_traced(function, edit, "does not just call on_raise")


@pytest.mark.parametrize("size", ["of the original", "one less than needed"])
@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_stack_that_is_not_deep_enough_is_caught(function: Callable[..., Any], size: str) -> None:
    template = made(function)
    code = template.code.replace(co_stacksize=function.__code__.co_stacksize)
    found = problem(function, dataclasses.replace(template, code=code))
    assert "stack is not deep enough" in found
    if size == "one less than needed":
        needed = int(found.rpartition("and ")[2].split()[0])
        code = template.code.replace(co_stacksize=needed - 1)
        assert "stack is not deep enough" in problem(function, dataclasses.replace(template, code=code))


@pytest.mark.parametrize("function", [plain, careful], ids=lambda f: f.__name__)
def test_each_jump_that_goes_to_another_place_is_caught(function: Callable[..., Any]) -> None:
    count = sum(op.target is not None for op in disassemble(made(function).code))
    for number in range(count):

        def edit(ops: list[Op], template: Template, number: int = number) -> None:
            jump = [op for op in ops if op.target is not None][number]
            assert jump.target is not None
            step = -1 if "BACKWARD" in jump.name else 1
            jump.target = ops[ops.index(jump.target) + step]

        try:
            mutant = edited(function, edit)
        except ValueError:  # it cannot be assembled: the jump would go the wrong way
            continue
        assert problem(function, mutant) != "", f"jump {number}"


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_each_instruction_that_is_dropped_is_caught(function: Callable[..., Any]) -> None:
    count = len(disassemble(made(function).code))
    for number in range(count - 1):
        dropped = ""

        def edit(ops: list[Op], template: Template, number: int = number) -> None:
            nonlocal dropped
            dropped = f"{number} {ops[number].name}"
            remove(ops, [ops[number]])

        ops = disassemble(made(function).code)
        if ops[number].name in ("NOT_TAKEN", "PRECALL") or ops[number].target is ops[number + 1]:
            continue  # means nothing to what runs: a hook may do without
        try:
            mutant = edited(function, edit)
        except ValueError:  # it cannot be assembled: a jump would go the wrong way
            continue
        assert problem(function, mutant) != "", dropped


@pytest.mark.parametrize("function", [plain, careful, generator, maker], ids=lambda f: f.__name__)
def test_each_argument_that_is_changed_is_caught(function: Callable[..., Any]) -> None:
    """Constants, variables, names, operators, depths: of the body and of the hooks."""
    for number, op in enumerate(disassemble(made(function).code)):
        if op.arg is None or dis.opmap[op.name] < dis.HAVE_ARGUMENT or op.name in ("PRECALL", "NOT_TAKEN", "NOP"):
            continue
        name = op.name

        def edit(ops: list[Op], template: Template, number: int = number) -> None:
            changed = ops[number].arg
            assert changed is not None
            ops[number].arg = changed + 1 if changed + 1 < len(template.code.co_consts) else changed - 1

        try:
            mutant = edited(function, edit)
            found = problem(function, mutant)
        except (IndexError, KeyError, ValueError):
            continue  # dis cannot even read it
        if disassemble(mutant.code)[number].arg == op.arg:
            continue  # the interpreter has put it right (GET_ITER on 3.15)
        assert found != "", f"{number} {name}"


def test_a_hook_that_counts_with_another_constant_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        loads(ops, slot(template, "enter"))[0].arg = slot(template, "late_entry")

    caught(plain, edit, "a hook has a test of something other")


def test_a_hook_that_loads_a_constant_of_the_body_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        loads(ops, slot(template, "enter"))[0].arg = 0

    caught(plain, edit, "which is the body's")


def test_slots_that_are_exchanged_are_caught() -> None:
    template = made(plain)
    names = {"enter": "late_entry", "late_entry": "enter"}
    slots = tuple((i, names.get(name, name)) for i, name in template.slots)
    assert problem(plain, dataclasses.replace(template, slots=slots)) != ""


def test_a_slot_in_the_place_of_a_constant_of_the_body_is_caught() -> None:
    template = made(plain)
    slots = tuple((0 if name == "enter" else i, name) for i, name in template.slots)
    assert "takes another constant's place" in problem(plain, dataclasses.replace(template, slots=slots))


@pytest.mark.parametrize("function", ORIGINALS, ids=lambda f: f.__name__)
def test_a_missing_late_entry_is_caught(function: Callable[..., Any]) -> None:
    """The way to it leads back into the body instead."""

    def edit(ops: list[Op], template: Template) -> None:
        dropped = drop(ops)
        for op in ops:
            if op.target is dropped:
                op.target = last_return(ops)

    caught(function, edit, "late entry")


def test_a_late_entry_that_forgets_a_parameter_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        late = ops.index(loads(ops, slot(template, "late_entry"))[0])
        next(op for op in ops[late:] if op.name == "LOAD_FAST").arg = 1

    caught(plain, edit, "the late entry has")


def test_a_late_entry_that_drops_what_is_returned_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        late = ops.index(loads(ops, slot(template, "late_entry"))[0])
        returns = next(i for i in range(late, len(ops)) if ops[i].name == "RETURN_VALUE")
        ops[returns:returns] = [Op("POP_TOP"), Op("LOAD_CONST", 0)]

    caught(plain, edit, "the late entry has")


def test_a_late_entry_inside_a_wrong_handler_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        late = ops.index(loads(ops, slot(template, "late_entry"))[0])
        for op in ops[late:]:
            op.handler = Handler(drop(ops), 0, True)

    caught(plain, edit, "the late entry has")


@pytest.mark.parametrize("function", [plain, generator], ids=lambda f: f.__name__)
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("lines", [1, None])
def test_an_exit_hook_with_another_line_than_its_return_is_caught(
    function: Callable[..., Any], index: int, lines: int | None
) -> None:
    """A trace function would run between its instructions, or be told of the return's line once more."""

    def edit(ops: list[Op], template: Template) -> None:
        ret = last_return(ops)
        assert ret.location is not None
        assert ret.location.lineno is not None
        line = ret.location.lineno + lines if lines else None
        hook_before(ops, ret)[index].location = InstrLocation(line, line, None, None)

    caught(function, edit, "has a line of its own")


def test_an_entry_hook_with_a_line_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        entry_hook(ops)[-3].location = last_return(ops).location

    caught(plain, edit, "has a line of its own")


def teller(ops: list[Op]) -> Op:
    """The NOP that is told of as the line of the last return."""
    found = ops[ops.index(hook_before(ops, last_return(ops))[0]) - 1]
    assert found.name == "NOP"
    return found


@pytest.mark.parametrize("function", [in_lines, generator_in_lines], ids=lambda f: f.__name__)
def test_a_line_that_would_be_told_in_the_exit_hook_is_caught(function: Callable[..., Any]) -> None:
    caught(function, lambda ops, _: remove(ops, [teller(ops)]), "is told in its hook")


def test_a_line_that_is_told_of_where_no_handler_tells_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        next(op for op in ops if op.name == "NOP" and op.handler is not None).handler = None

    caught_in_traced(in_lines, edit, "the exit handler does not cover")


def test_a_line_that_is_told_of_where_a_handler_takes_the_token_off_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        teller(ops).handler = Handler(drop(ops), 0, True)

    caught(in_lines, edit, "is covered by a handler")


def test_a_line_that_is_told_of_as_another_is_caught() -> None:
    caught(in_lines, lambda ops, _: setattr(teller(ops), "location", ops[0].location), "is another")


def test_a_body_that_has_lost_its_line_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        last_return(ops).location = NOWHERE

    assert problem(plain, edited(plain, edit)) != ""


def test_an_entry_hook_away_from_resume_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        hook = entry_hook(ops)
        first, second = ops[ops.index(hook[-1]) + 1 :][:2]
        for op in hook:
            op.target = second if op.target is first else op.target
        ops.remove(first)
        ops.insert(ops.index(hook[0]), first)

    caught(plain, edit, "")


def test_a_call_in_an_exit_hook_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        enter = Op("LOAD_CONST", slot(template, "enter"))
        pair = [Op("PUSH_NULL"), enter] if sys.version_info < (3, 13) else [enter, Op("PUSH_NULL")]
        precall = [Op("PRECALL", 0)] if sys.version_info < (3, 12) else []
        first = hook_before(ops, last_return(ops))[0]
        call = [*pair, *precall, Op("CALL", 0), Op("POP_TOP")]
        for op in call:
            op.location = first.location
        assembly.insert_before(ops, first, call)

    caught(plain, edit, "does more than count", stack=2)


def test_an_entry_hook_that_counts_twice_is_caught() -> None:
    """The second token would never leave the stack but with the frame, which somebody may keep."""

    def edit(ops: list[Op], template: Template) -> None:
        copy = next(op for op in entry_hook(ops) if op.name == "COPY")
        assembly.insert_before(ops, copy, [Op("COPY", 1)])

    caught(plain, edit, "", stack=1)


def test_an_entry_hook_that_does_not_look_whether_the_token_is_in_use_is_caught() -> None:
    """After a switch over the heads of those inside, calls would go on entering the old body."""

    def edit(ops: list[Op], template: Template) -> None:
        first = loads(ops, slot(template, "in_use"))[0]
        for op in ops[ops.index(first) :]:
            remove(ops, [op])
            if op.name.startswith("POP_JUMP"):
                break

    caught(plain, edit, "does not ask and count")


def test_a_late_entry_that_keeps_what_enter_gave_is_caught() -> None:
    """A token that is in use no more would be kept for as long as the new function runs."""

    def edit(ops: list[Op], template: Template) -> None:
        for op in ops:
            if op.target is drop(ops):
                following = ops[ops.index(drop(ops)) + 1]
                remove(ops, [drop(ops)])
                op.target = following
                return

    caught(plain, edit, "")


def test_a_handler_of_the_body_that_takes_the_token_off_is_caught() -> None:
    """It would have the depth of the original."""

    def edit(ops: list[Op], template: Template) -> None:
        for op in ops:
            if op.handler is not None:
                op.handler = dataclasses.replace(op.handler, depth=op.handler.depth - 1)

    caught(careful, edit, "another depth")


def test_a_hook_that_loops_is_caught() -> None:
    def edit(ops: list[Op], template: Template) -> None:
        ret = last_return(ops)
        hook = hook_before(ops, ret)
        back = "JUMP_BACKWARD_NO_INTERRUPT"
        ops.insert(ops.index(ret), Op(back, target=hook[0]))

    caught(plain, edit, "")


def test_an_instruction_that_belongs_to_nothing_is_caught() -> None:
    caught(plain, lambda ops, _: ops.append(Op("POP_TOP")), "belongs to nothing")


def test_a_generator_whose_close_would_not_run_it_is_caught() -> None:
    """CPython closes a generator without running it where RESUME or YIELD_VALUE says that it may; then it is not
    counted out. Where this version has that mark, the trampoline must not have it."""
    original = disassemble(bare_generator.__code__)
    template = made(bare_generator)
    marks = [(op.name, op.arg) for op in original if op.name in ("RESUME", "YIELD_VALUE")]
    kept = [(op.name, op.arg) for op in disassemble(template.code) if op.name in ("RESUME", "YIELD_VALUE")]
    if sys.version_info < (3, 12):
        pytest.skip("3.11 always runs a generator to close it")
    assert marks[:3] != kept[:3]

    def edit(ops: list[Op], template: Template) -> None:
        same = [op for op in ops if op.name in ("RESUME", "YIELD_VALUE")]
        for op, (_, arg) in zip(same, marks, strict=False):
            op.arg = arg

    caught(bare_generator, edit, "")


# --- functions that the body makes --------------------------------------------------------------------------


def test_a_nested_function_that_nobody_reports_is_caught() -> None:
    code = maker.__code__
    assert "is not reported" in find_problem(code, trampoline(code), paths_of(code)[:1])


def test_a_method_that_nobody_reports_is_caught() -> None:
    code = maker.__code__
    deep = [path for path in paths_of(code) if len(path) > 1]
    assert "nobody reports" in find_problem(code, trampoline(code), deep)


def test_a_report_of_the_wrong_function_is_caught() -> None:
    template = made(maker)
    names = [name for _, name in template.slots if name.startswith("adopt:")]
    swap = dict(zip(names, reversed(names), strict=True))
    slots = tuple((i, swap.get(name, name)) for i, name in template.slots)
    assert "is not reported" in problem(maker, dataclasses.replace(template, slots=slots))


def test_a_report_that_nobody_asked_for_is_caught() -> None:
    assert find_problem(maker.__code__, made(maker), []) != ""


def test_a_report_in_a_class_body_that_goes_to_another_slot_is_caught() -> None:
    template = made(maker)
    ((index, inner),) = template.nested
    wrong = dataclasses.replace(inner, slots=tuple((i, "adopt:9/9") for i, _ in inner.slots))
    assert "is not reported" in problem(maker, dataclasses.replace(template, nested=((index, wrong),)))


# --- what is compared as it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("co_flags", plain.__code__.co_flags ^ 8),
        ("co_name", "other"),
        ("co_qualname", "other"),
        ("co_firstlineno", 1),
        ("co_varnames", ("x", *plain.__code__.co_varnames[1:])),
        ("co_names", ("x", *plain.__code__.co_names)),
    ],
)
def test_an_attribute_that_differs_is_caught(name: str, value: Any) -> None:
    template = made(plain)
    changed = dataclasses.replace(template, code=template.code.replace(**{name: value}))
    assert f"{name} differs" in problem(plain, changed)


def test_a_trampoline_of_another_function_is_caught() -> None:
    other = made(careful)
    assert problem(plain, other) != ""


def test_check_raises_with_the_place_and_what_is_wrong() -> None:
    code = plain.__code__
    template = made(plain)
    mutant = dataclasses.replace(template, code=template.code.replace(co_stacksize=code.co_stacksize))
    with pytest.raises(UnswappableShape, match="stack is not deep enough") as error:
        check(code, mutant)
    assert error.value.where == f"{code.co_filename}:{code.co_firstlineno}"

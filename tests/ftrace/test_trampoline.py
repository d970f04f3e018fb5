"""Trampolines at work: every call is counted in and out, however it ends, and behaves as it did."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import traceback
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import pytest

from pylivepatch.counter import Counter
from pylivepatch.errors import UnswappableShape
from pylivepatch.ftrace.late import LateEntry
from pylivepatch.ftrace.trampoline import Template, adopt_slot, instantiate, trampoline
from pylivepatch.ftrace.verify import check


class Hooked:
    """A function with a trampoline, its counter, and what was called."""

    def __init__(self, function: Any, *, new: Any = None, adopt: tuple[tuple[int, ...], ...] = ()) -> None:
        self.function = function
        self.original: CodeType = function.__code__
        self.counter = Counter()
        self.counter.at_zero(self.commit)
        self.commits = 0
        self.adopted: list[FunctionType] = []
        self.template = trampoline(self.original, adopt=adopt)
        check(self.original, self.template, adopt)
        values: dict[str, Any] = {
            "enter": self.counter.enter,
            "in_use": self.counter.in_use,
            "late_entry": LateEntry(function, self.original, lambda: new, lambda: None, self.counter),
            "scratch": [None],
            "asking": [0],
            "attend": None,
        }
        values |= {adopt_slot(path): self.adopted.append for path in adopt}
        function.__code__ = instantiate(self.template, self.original, values)

    def commit(self) -> None:
        self.commits += 1

    @property
    def inside(self) -> int:
        return self.counter.value - 1

    def switch(self, code: CodeType) -> None:
        """As a commit does."""
        self.counter.discount()
        self.function.__code__ = code


def test_a_call_is_counted_while_it_lasts() -> None:
    seen = []

    def f() -> str:
        seen.append(hooked.inside)
        return "done"

    hooked = Hooked(f)
    assert f() == "done"
    assert seen == [1]
    assert hooked.inside == 0


def test_a_function_that_does_nothing_is_counted_out() -> None:
    """Its body begins with its return: the entry hook must not go past the exit hook."""

    def f() -> None:
        pass

    hooked = Hooked(f)
    for _ in range(3):
        f()
    assert hooked.inside == 0


def test_recursion_is_counted_at_each_depth() -> None:
    seen = []

    def f(n: int) -> int:
        seen.append(hooked.inside)
        return f(n - 1) + 1 if n else 0

    hooked = Hooked(f)
    assert f(4) == 4
    assert seen == [1, 2, 3, 4, 5]
    assert hooked.inside == 0


def test_an_exception_counts_out_and_goes_on_with_its_traceback() -> None:
    def f(n: int) -> float:
        try:
            return 1 / n
        finally:
            n = 5

    before = _lines_of(f)
    hooked = Hooked(f)
    assert _lines_of(f) == before
    assert hooked.inside == 0


def _lines_of(f: Callable[[int], Any]) -> list[tuple[str, int | None]]:
    with pytest.raises(ZeroDivisionError) as error:
        f(0)
    return [(frame.name, frame.lineno) for frame in traceback.extract_tb(error.value.__traceback__)]


def test_an_exception_leaves_the_threads_exception_state_as_it_was() -> None:
    def f() -> None:
        raise KeyError("inner")

    Hooked(f)
    try:
        raise ValueError("outer")
    except ValueError:
        with pytest.raises(KeyError):
            f()
        assert isinstance(sys.exc_info()[1], ValueError)
    assert sys.exc_info() == (None, None, None)


def test_the_last_call_to_leave_commits_once() -> None:
    def f() -> str:
        hooked.counter.discount()  # the bias is dropped while the call is inside
        return "old"

    hooked = Hooked(f)
    assert f() == "old"
    assert hooked.counter.value == 0
    assert hooked.commits == 1


def test_the_last_call_commits_too_where_it_leaves_by_an_exception() -> None:
    def f() -> None:
        hooked.counter.discount()
        raise KeyError

    hooked = Hooked(f)
    with pytest.raises(KeyError):
        f()
    assert hooked.commits == 1


def test_what_commit_raises_is_not_the_callers_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def f() -> None:
        hooked.counter.discount()
        raise KeyError("of the body")

    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(str(args.exc_value)))

    def refuse() -> None:
        raise RuntimeError("of the commit")

    hooked = Hooked(f)
    hooked.counter.at_zero(refuse)
    with pytest.raises(KeyError, match="of the body"):
        f()
    assert told == ["of the commit"]
    assert sys.exc_info() == (None, None, None)


def test_a_frame_that_somebody_keeps_counts_no_longer_than_its_call() -> None:
    kept: list[Any] = []

    def f(raises: bool) -> None:
        kept.append(sys._getframe())
        if raises:
            raise KeyError

    hooked = Hooked(f)
    f(False)
    assert hooked.inside == 0
    try:
        f(True)
    except KeyError as error:
        kept.append(error)
    assert hooked.inside == 0


def test_whoever_comes_between_two_instructions_of_a_hook_finds_a_call_counted_or_not() -> None:
    """The bias is dropped at each place of a call in turn, by a trace function that is told of every instruction."""

    def call(in_call: int) -> tuple[str, int, int]:
        def f() -> str:
            return "old"

        def new() -> str:
            return "new"

        hooked = Hooked(f, new=new)
        seen, answer = 0, ""

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal seen
            if frame.f_code is not f.__code__:
                return None
            frame.f_trace_opcodes = True
            seen += event == "opcode"
            if seen == 0 and event == "opcode":
                hooked.counter.discount()
            return trace

        for start in (1000, -in_call):  # since 3.12 its instructions are told of from the second call on
            seen = start
            sys.settrace(trace)
            try:
                answer = f()
            finally:
                sys.settrace(None)
        return answer, hooked.counter.value, hooked.commits

    outcomes = [call(1)]
    while outcomes[-1] != ("old", 1, 0):  # the call has no more instructions
        outcomes.append(call(len(outcomes) + 1))
    assert set(outcomes[:-1]) == {("new", 0, 1), ("old", 0, 1)}, outcomes
    assert sorted(outcomes[:-1]) == outcomes[:-1]


def test_a_debuggers_jump_to_the_def_line_leaves_the_call_counted_once() -> None:
    """The entry hook runs again; the jump has taken the first token off the stack."""

    def f() -> int:
        seen.append(hooked.inside)
        return 1

    seen: list[int] = []
    hooked = Hooked(f)
    jumped = []

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code is not f.__code__:
            return None
        if event == "line" and seen and not jumped:
            jumped.append(True)
            frame.f_lineno = f.__code__.co_firstlineno
        return trace

    sys.settrace(trace)
    try:
        f()
    finally:
        sys.settrace(None)
    assert seen == [1, 1]
    assert hooked.inside == 0


# --- generators, coroutines ---------------------------------------------------------------------------------


def numbers(n: int) -> Any:
    yield from range(n)


def test_a_generator_is_counted_from_its_first_resumption_to_its_end() -> None:
    def f(n: int) -> Any:
        for i in range(n):
            sent = yield i
            if sent:
                return sent

    hooked = Hooked(f)
    generator = f(3)
    assert hooked.inside == 0
    assert next(generator) == 0
    assert hooked.inside == 1
    with pytest.raises(StopIteration) as stop:
        generator.send("enough")
    assert stop.value.value == "enough"
    assert hooked.inside == 0


@pytest.mark.parametrize("way", ["exhaust", "close", "throw", "drop"])
@pytest.mark.parametrize("started", [False, True])
def test_a_generator_is_counted_out_however_it_ends(way: str, started: bool) -> None:
    def bare() -> Any:
        yield 1

    hooked = Hooked(bare)
    generator = bare()
    if started:
        next(generator)
        assert hooked.inside == 1
    if way == "exhaust":
        list(generator)
    elif way == "close":
        generator.close()
    elif way == "throw":
        with pytest.raises(KeyError):
            generator.throw(KeyError)
    del generator
    gc.collect()
    assert hooked.inside == 0


def test_a_stop_iteration_in_a_generator_still_becomes_a_runtime_error() -> None:
    def f() -> Any:
        yield 1
        raise StopIteration

    hooked = Hooked(f)
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        list(f())
    assert hooked.inside == 0


def test_a_stop_iteration_thrown_into_an_unstarted_generator_is_treated_as_before() -> None:
    def f() -> Any:
        yield 1

    def outcome() -> str:
        try:
            f().throw(StopIteration("thrown"))
        except BaseException as error:
            return repr(error)
        return "nothing"

    before = outcome()
    hooked = Hooked(f)
    assert outcome() == before
    assert hooked.inside == 0


def test_a_coroutine_is_counted_while_it_waits() -> None:
    async def f(gate: asyncio.Event) -> str:
        await gate.wait()
        return "done"

    hooked = Hooked(f)

    async def main() -> None:
        gate = asyncio.Event()
        tasks = [asyncio.ensure_future(f(gate)) for _ in range(3)]
        await asyncio.sleep(0)
        assert hooked.inside == 3
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        assert hooked.inside == 2
        gate.set()
        assert await asyncio.gather(*tasks[1:]) == ["done", "done"]

    asyncio.run(main())
    assert hooked.inside == 0


def test_an_async_generator_is_counted_to_its_close() -> None:
    async def f(n: int) -> Any:
        try:
            for i in range(n):
                yield i
        finally:
            await asyncio.sleep(0)

    hooked = Hooked(f)

    async def main() -> None:
        generator = f(5)
        assert await anext(generator) == 0
        assert hooked.inside == 1
        await generator.aclose()
        assert hooked.inside == 0
        assert [i async for i in f(3)] == [0, 1, 2]

    asyncio.run(main())
    assert hooked.inside == 0


# --- late entries -------------------------------------------------------------------------------------------


def test_a_generator_made_before_the_switch_and_started_after_it_runs_the_new_code() -> None:
    def f(n: int) -> Any:
        yield from ["old"] * n

    def new(n: int) -> Any:
        sent = yield "new"
        yield sent
        return n

    hooked = Hooked(f, new=new)
    generator = f(2)
    hooked.switch(new.__code__)
    assert next(generator) == "new"
    assert generator.send("sent") == "sent"
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == 2
    assert hooked.counter.value == 0


def test_a_late_coroutine_awaits_the_new_one() -> None:
    async def f(n: int) -> Any:
        return "old", n

    async def new(n: int) -> Any:
        await asyncio.sleep(0)
        return "new", n

    hooked = Hooked(f, new=new)
    coroutine = f(3)
    hooked.switch(new.__code__)
    assert asyncio.run(_await(coroutine)) == ("new", 3)


async def _await(coroutine: Any) -> Any:
    return await coroutine


SEEN: list[Any] = []  # no closure: the new code must fit the function


def test_a_late_async_generator_passes_everything_to_the_new_one() -> None:
    """Values, what is sent, what is thrown, and the close."""
    SEEN.clear()

    async def f(n: int) -> Any:
        yield "old"

    async def new(n: int) -> Any:
        try:
            SEEN.append((yield "first"))
            try:
                yield "second"
            except KeyError:
                yield "caught"
            yield n
        finally:
            SEEN.append("closed")

    hooked = Hooked(f, new=new)
    generator = f(7)
    hooked.switch(new.__code__)

    async def main() -> None:
        assert await anext(generator) == "first"
        assert await generator.asend("sent") == "second"
        assert await generator.athrow(KeyError()) == "caught"
        assert await anext(generator) == 7
        await generator.aclose()

    asyncio.run(main())
    assert SEEN == ["sent", "closed"]


def test_a_late_call_passes_every_kind_of_parameter() -> None:
    def f(a: Any, /, b: Any, *rest: Any, c: Any, d: Any = 4, **more: Any) -> Any:
        def use() -> Any:  # makes a and c cells
            return a, c

        return use

    def new(a: Any, /, b: Any, *rest: Any, c: Any, d: Any = 4, **more: Any) -> Any:
        return "new", a, b, rest, c, d, more

    hooked = Hooked(f, new=new)
    late = f.__code__
    hooked.switch(new.__code__)
    call = FunctionType(late, globals(), "f", f.__defaults__, f.__closure__)
    call.__kwdefaults__ = f.__kwdefaults__
    assert call(1, 2, 3, c=5, e=6) == ("new", 1, 2, (3,), 5, 4, {"e": 6})


# --- what a trampoline keeps --------------------------------------------------------------------------------


class Base:
    def name(self) -> str:
        return "base"


class Derived(Base):
    def name(self) -> str:
        return super().name() + " derived at " + str(sys._getframe(1).f_code.co_name)


def test_super_and_the_frames_are_as_they_were() -> None:
    hooked = Hooked(Derived.name)
    try:
        assert Derived().name() == "base derived at test_super_and_the_frames_are_as_they_were"
    finally:
        Derived.name.__code__ = hooked.original


def test_signature_flags_and_docstring_are_as_they_were() -> None:
    def f(a: int, *b: int, c: int = 3) -> Any:
        """Text."""
        yield a

    before = (inspect.signature(f), f.__doc__, inspect.isgeneratorfunction(f), f.__code__.co_flags)
    Hooked(f)
    assert (inspect.signature(f), f.__doc__, inspect.isgeneratorfunction(f), f.__code__.co_flags) == before


def test_a_trace_function_sees_the_lines_of_the_body_only() -> None:
    """The line of a return may be told twice, as the hook before it has none."""

    def f(n: int) -> int:
        total = 0
        for i in range(n):
            total += i
        return total

    def lines() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []

        def trace(frame: Any, event: str, arg: Any) -> Any:
            if frame.f_code.co_name == "f":
                if seen[-1:] != [(event, frame.f_lineno)]:
                    seen.append((event, frame.f_lineno))
                return trace
            return None

        sys.settrace(trace)
        try:
            f(2)
        finally:
            sys.settrace(None)
        return seen

    before = lines()
    Hooked(f)
    assert lines() == before


def test_each_function_that_the_body_makes_is_reported() -> None:
    def f() -> Any:
        def inner() -> int:
            return 1

        class Local:
            def method(self) -> int:
                return 2

        return inner, Local

    codes = f.__code__.co_consts
    (inner,) = [i for i, c in enumerate(codes) if getattr(c, "co_name", "") == "inner"]
    (local,) = [i for i, c in enumerate(codes) if getattr(c, "co_name", "") == "Local"]
    (method,) = [i for i, c in enumerate(codes[local].co_consts) if getattr(c, "co_name", "") == "method"]
    hooked = Hooked(f, adopt=((inner,), (local, method)))
    made, cls = f()
    assert hooked.adopted == [made, cls.method]
    assert (made(), cls().method()) == (1, 2)


def test_a_template_survives_marshalling() -> None:
    template = trampoline(numbers.__code__)
    again = Template.from_bytes(template.to_bytes())
    assert again == template


def test_the_constants_of_the_original_do_not_enter_the_template() -> None:
    """They are the live ones, put in later: an object that lives in the template would spoil the reference count."""

    def f() -> Any:
        return "a constant of f", 12345.678

    template = trampoline(f.__code__)
    assert "a constant of f" not in template.code.co_consts
    assert 12345.678 not in template.code.co_consts


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UnswappableShape, match="not a function's code"):
        trampoline(compile("x = 1", "m.py", "exec"))


def test_a_template_for_other_code_is_refused() -> None:
    template = trampoline(numbers.__code__)
    with pytest.raises(UnswappableShape, match="made for other code"):
        instantiate(template, numbers.__code__.replace(co_consts=(None,) * 9), {})

"""The redirector that stays: it calls the replacement with everything, in the replacement's own kind."""

from __future__ import annotations

import asyncio
import inspect
from types import FunctionType
from typing import Any

import pytest

from pylivepatch.ftrace.keeper import keeper
from pylivepatch.ftrace.trampoline import trampoline
from pylivepatch.ftrace.verify import find_problem


def kept(new: Any, freevars: tuple[str, ...] = ()) -> Any:
    """A function that runs the keeper of ``new``."""
    code = keeper(new, freevars, "old.py")
    cells = tuple(type((lambda x: lambda: x)(0).__closure__[0])(i) for i in range(len(freevars)))  # type: ignore[index]
    function = FunctionType(code, {}, "f", new.__defaults__, cells or None)
    function.__kwdefaults__ = new.__kwdefaults__
    return function


def every_kind(a: Any, /, b: Any = 2, *more: Any, c: Any, d: Any = 4, **named: Any) -> Any:
    """Text."""
    return a, b, more, c, d, named


def test_every_kind_of_parameter_is_passed() -> None:
    f = kept(every_kind)
    assert f(1, c=3) == every_kind(1, c=3) == (1, 2, (), 3, 4, {})
    assert f(1, 5, 6, 7, c=3, d=8, e=9) == (1, 5, (6, 7), 3, 8, {"e": 9})
    assert f(1, c=3, a=4) == (1, 2, (), 3, 4, {"a": 4})


def test_what_the_signature_refuses_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'c'"):
        kept(every_kind)(1)


def test_signature_and_docstring_are_those_of_the_replacement() -> None:
    f = kept(every_kind)
    assert str(inspect.signature(f)) == "(a, /, b=2, *more, c, d=4, **named)"
    assert f.__doc__ == "Text."


def test_a_generator_stays_one_and_passes_what_is_sent() -> None:
    def new(n: int) -> Any:
        sent = yield n
        return sent

    f = kept(new)
    assert inspect.isgeneratorfunction(f)
    generator = f(3)
    assert next(generator) == 3
    with pytest.raises(StopIteration) as stop:
        generator.send("sent")
    assert stop.value.value == "sent"


def test_a_coroutine_function_stays_one() -> None:
    async def new(n: int) -> int:
        await asyncio.sleep(0)
        return n

    f = kept(new)
    assert inspect.iscoroutinefunction(f)
    assert asyncio.run(f(4)) == 4


def test_an_async_generator_passes_values_sent_and_thrown() -> None:
    async def new(n: int) -> Any:
        sent = yield n
        try:
            yield sent
        except KeyError:
            yield "caught"

    f = kept(new)
    assert inspect.isasyncgenfunction(f)

    async def main() -> list[Any]:
        generator = f(1)
        seen = [await anext(generator), await generator.asend("sent"), await generator.athrow(KeyError())]
        seen += [item async for item in generator]
        return seen

    assert asyncio.run(main()) == [1, "sent", "caught"]


def test_two_async_generators_of_one_keeper_do_not_mix() -> None:
    async def new(n: int) -> Any:
        for i in range(n):
            yield i
            await asyncio.sleep(0)

    f = kept(new)

    async def collect(n: int) -> list[int]:
        return [item async for item in f(n)]

    async def main() -> list[list[int]]:
        return await asyncio.gather(*(collect(n) for n in range(5)))

    assert asyncio.run(main()) == [list(range(n)) for n in range(5)]


def test_a_keeper_fits_the_closure_of_the_function_that_it_stays_in() -> None:
    def new(n: int) -> int:
        return n + 1

    f = kept(new, ("x", "y"))
    assert f.__code__.co_freevars == ("x", "y")
    assert f(1) == 2


@pytest.mark.parametrize("free", [(), ("x",)])
def test_a_keeper_gets_a_trampoline_that_passes_its_check(free: tuple[str, ...]) -> None:
    async def coroutine(n: int) -> Any: ...

    async def async_generator(n: int) -> Any:
        yield n

    def generator(n: int) -> Any:
        yield n

    for new in (every_kind, coroutine, async_generator, generator):
        code = keeper(new, free, "old.py")  # type: ignore[arg-type]
        assert find_problem(code, trampoline(code)) == ""

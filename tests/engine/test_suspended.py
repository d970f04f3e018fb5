"""Generators, coroutines and async generators: made, started, suspended and ended on either side of a switch."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout


def count(n: int) -> Generator[Any, Any, str]:
    try:
        for i in range(n):
            received = yield ("old", i)
            if received:
                yield ("old received", received)
    except KeyError as error:
        yield ("old caught", str(error))
    finally:
        log.append("old finally")
    return "old end"


def count_anew(n: int) -> Generator[Any, Any, str]:
    try:
        for i in range(n):
            received = yield ("new", i)
            if received:
                yield ("new received", received)
    except KeyError as error:
        yield ("new caught", str(error))
    finally:
        log.append("new finally")
    return "new end"


def bare(n: int) -> Generator[Any, Any, None]:
    """Only the interpreter's own StopIteration handler covers the yields: ``close`` need not run it."""
    yield ("old", n)
    yield ("old", n + 1)


def bare_anew(n: int) -> Generator[Any, Any, None]:
    yield ("new", n)
    yield ("new", n + 1)


log: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    log.clear()


PATCHES = {"handled": (count, count_anew), "bare": (bare, bare_anew)}
each_generator = pytest.mark.parametrize(("old", "new"), PATCHES.values(), ids=PATCHES)


def end_by_exhaustion(g: Any) -> None:
    for _ in g:
        pass


def end_by_close(g: Any) -> None:
    g.close()


def end_by_throw(g: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        g.throw(ZeroDivisionError)


def end_by_collection(g: Any) -> None:
    pass  # the caller drops it


ENDS = [end_by_exhaustion, end_by_close, end_by_throw, end_by_collection]


@each_generator
@pytest.mark.parametrize("end", ENDS)
def test_a_generator_started_before_holds_the_switch_until_it_ends(
    old: Any, new: Any, end: Callable[[Any], None]
) -> None:
    generator = old(2)
    next(generator)
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(Patch("fix").replace(old, new), timeout=0.05)
    assert [h.function.split(":")[1] for h in caught.value.holders] == [old.__name__]
    assert next(old(1))[0] == "old"
    end(generator)
    del generator
    applied = pylivepatch.load(Patch("fix").replace(old, new), timeout=2)
    assert next(old(1))[0] == "new"
    applied.unload()


@each_generator
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", ["in time", "late"])
def test_a_generator_started_in_the_transition_is_counted_until_it_ends(
    old: Any, new: Any, end: Callable[[Any], None], when: str, hold: Any
) -> None:
    held = hold(Patch("fix").replace(old, new))
    generator = old(2)
    assert held.counted == 0
    assert next(generator)[0] == "old"
    assert held.counted == 1
    if when == "late":
        held.released()
        assert old(1).gi_frame is not None
    end(generator)
    del generator
    if when == "in time":
        assert held.counted == 0
    held.finish()
    assert next(old(1))[0] == "new"


def helper() -> str:
    return "old"


def helper_anew() -> str:
    return "new"


def tidy() -> Generator[Any, Any, None]:
    try:
        yield
    finally:
        log.append(f"old {helper()}")


def tidy_anew() -> Generator[Any, Any, None]:
    yield
    log.append(f"new {helper()}")


def test_the_last_one_inside_is_closed_before_the_switch_where_it_is_garbage(hold: Any) -> None:
    """In a cycle it is the collector that ends it, which sees to weak references before it closes anything."""
    held = hold(Patch("fix").replace(tidy, tidy_anew).replace(helper, helper_anew))
    generator = tidy()
    next(generator)
    cycle: list[Any] = [generator]
    cycle.append(cycle)
    held.released()
    del generator, cycle
    assert log == []
    gc.collect()
    assert log == ["old old"]
    held.finish()


@each_generator
def test_a_generator_made_before_and_never_started_goes_to_the_new_code(old: Any, new: Any, hold: Any) -> None:
    held = hold(Patch("fix").replace(old, new))
    generator = old(2)
    held.finish()
    assert [v[0] for v in generator] == ["new", "new"]
    held.unloading().finish()


def test_a_generator_made_before_enable_and_never_started_holds_the_switch() -> None:
    generator = count(1)  # has old code itself, without hooks
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(Patch("fix").replace(count, count_anew), timeout=0.05)
    assert list(generator) == [("old", 0)]


def test_a_late_generator_is_driven_in_every_way(hold: Any) -> None:
    held = hold(Patch("fix").replace(count, count_anew))
    sent, thrown, closed, abandoned, unstarted, thrown_first = (count(2) for _ in range(6))
    held.finish()

    assert next(sent) == ("new", 0)
    assert sent.send("x") == ("new received", "x")
    assert next(sent) == ("new", 1)
    with pytest.raises(StopIteration) as stop:
        next(sent)
    assert stop.value.value == "new end"

    next(thrown)
    assert thrown.throw(KeyError("k")) == ("new caught", "'k'")
    log.clear()
    next(closed)
    closed.close()
    assert log == ["new finally"]
    log.clear()
    next(abandoned)
    del abandoned
    gc.collect()
    assert log == ["new finally"]
    log.clear()
    unstarted.close()
    with pytest.raises(KeyError):
        thrown_first.throw(KeyError("k"))
    assert log == []


def test_what_is_thrown_into_an_unstarted_generator_is_not_counted(hold: Any) -> None:
    held = hold(Patch("fix").replace(count, count_anew).replace(bare, bare_anew))
    for function in (count, bare):
        for error in (KeyError, StopIteration, GeneratorExit):
            with pytest.raises((error, RuntimeError)):
                function(1).throw(error)
        function(1).close()
    assert held.counted == 0
    held.finish()


def test_a_generator_that_yields_in_finally_is_counted_to_its_end(hold: Any) -> None:
    def stubborn() -> Any:
        try:
            yield 1
        finally:
            yield 2

    def gentle() -> Any:
        yield 3

    held = hold(Patch("fix").replace(stubborn, gentle))
    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()
    assert held.counted == 1
    with pytest.raises(GeneratorExit):
        next(generator)
    assert held.counted == 0
    held.finish()
    assert list(stubborn()) == [3]


def test_a_chain_of_yield_from_is_counted_at_every_level(hold: Any) -> None:
    def inner(n: int) -> Any:
        yield n
        return "inner"

    def outer(n: int) -> Any:
        return (yield from inner(n))

    held = hold(Patch("fix").replace(inner, lambda n: (yield)).replace(outer, lambda n: (yield)))
    generator = outer(4)
    assert next(generator) == 4
    assert held.counted == 2
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "inner"
    assert held.counted == 0
    held.finish()


# --- coroutines ---------------------------------------------------------------------------------------------


async def work(gate: Any) -> str:
    try:
        await gate()
        return "old"
    finally:
        log.append("old finally")


async def work_anew(gate: Any) -> str:
    try:
        await gate()
        return "new"
    finally:
        log.append("new finally")


def test_a_suspended_task_holds_the_switch_and_is_named() -> None:
    ready, leave, result = threading.Event(), threading.Event(), []

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(work(event.wait), name="the worker")
        await asyncio.sleep(0)
        ready.set()
        while not leave.is_set():
            await asyncio.sleep(0.001)
        event.set()
        result.append(await task)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(10)
        with pytest.raises(TransitionTimeout) as caught:
            pylivepatch.load(Patch("fix").replace(work, work_anew), timeout=0.3)
        holder = caught.value.holders[0]  # 3.15 with -X dev keeps one reference more, which is named as such
        assert (holder.kind, holder.name) == ("task", "the worker")
        assert holder.function.endswith(":work")
        assert holder.line == work.__code__.co_firstlineno + 2
        assert "the worker" in str(caught.value)
    finally:
        leave.set()
        thread.join()
    assert result == ["old"]


def test_coroutines_of_every_age_end_on_the_right_side(hold: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        event = asyncio.Event()
        held = hold(Patch("fix").replace(work, work_anew))
        started = loop.create_task(work(event.wait))
        cancelled = loop.create_task(work(event.wait))
        loop.run_until_complete(asyncio.sleep(0))
        assert held.counted == 2
        unstarted, never_awaited = work(event.wait), work(event.wait)
        held.released()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(cancelled)
        event.set()
        assert loop.run_until_complete(started) == "old"
        held.finish()
        assert loop.run_until_complete(unstarted) == "new"
        never_awaited.close()
        late = loop.run_until_complete(work(event.wait))
        assert late == "new"
        assert log == ["old finally"] * 2 + ["new finally"] * 2
    finally:
        loop.close()


def test_a_late_coroutine_can_be_cancelled(hold: Any) -> None:
    async def main() -> None:
        held = hold(Patch("fix").replace(work, work_anew))
        coroutine = work(asyncio.Event().wait)
        await asyncio.to_thread(held.finish)
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert log == ["new finally"]


# --- async generators ---------------------------------------------------------------------------------------


async def stream(n: int) -> AsyncIterator[Any]:
    try:
        for i in range(n):
            received = yield ("old", i)
            await asyncio.sleep(0)
            if received:
                yield ("old received", received)
    except KeyError:
        yield "old caught"
    finally:
        await asyncio.sleep(0)
        log.append("old finally")


async def stream_anew(n: int) -> AsyncIterator[Any]:
    try:
        for i in range(n):
            received = yield ("new", i)
            await asyncio.sleep(0)
            if received:
                yield ("new received", received)
    except KeyError:
        yield "new caught"
    finally:
        await asyncio.sleep(0)
        log.append("new finally")


def test_async_generators_are_counted_until_they_end(hold: Any) -> None:
    async def main() -> None:
        held = hold(Patch("fix").replace(stream, stream_anew))
        assert [v async for v in stream(2)] == [("old", 0), ("old", 1)]
        assert held.counted == 0
        a, b, c = (stream(3) for _ in range(3))
        for generator in (a, b, c):
            await anext(generator)
        assert held.counted == 3
        await a.aclose()  # type: ignore[attr-defined]
        with pytest.raises(ZeroDivisionError):
            await b.athrow(ZeroDivisionError())  # type: ignore[attr-defined]
        assert held.counted == 1
        del c, generator
        gc.collect()
        await asyncio.sleep(0.01)  # the loop's hook closes what was abandoned
        assert held.counted == 0
        assert log == ["old finally"] * 4
        await asyncio.to_thread(held.finish)
        assert [v async for v in stream(1)] == [("new", 0)]

    asyncio.run(main())


def test_a_late_async_generator_is_driven_in_every_way(hold: Any) -> None:
    async def main() -> None:
        held = hold(Patch("fix").replace(stream, stream_anew))
        looped, sent, thrown, closed, unstarted, thrown_first = (stream(2) for _ in range(6))
        await asyncio.to_thread(held.finish)
        assert [v async for v in looped] == [("new", 0), ("new", 1)]

        assert await sent.asend(None) == ("new", 0)  # type: ignore[attr-defined]
        assert await sent.asend("x") == ("new received", "x")  # type: ignore[attr-defined]
        assert [v async for v in sent] == [("new", 1)]
        await anext(thrown)
        assert await thrown.athrow(KeyError()) == "new caught"  # type: ignore[attr-defined]
        assert [v async for v in thrown] == []
        log.clear()
        await anext(closed)
        await closed.aclose()  # type: ignore[attr-defined]
        assert log == ["new finally"]
        with pytest.raises(StopAsyncIteration):
            await anext(closed)
        await unstarted.aclose()  # type: ignore[attr-defined]
        with pytest.raises(KeyError):
            await thrown_first.athrow(KeyError())  # type: ignore[attr-defined]
        assert log == ["new finally"]

    asyncio.run(main())


def test_late_async_generators_interleave(hold: Any) -> None:
    async def main() -> None:
        held = hold(Patch("fix").replace(stream, stream_anew))
        generators = [stream(n) for n in range(1, 6)]
        await asyncio.to_thread(held.finish)

        async def consume(generator: Any) -> list[Any]:
            return [v async for v in generator]

        results = await asyncio.gather(*map(consume, generators))
        assert results == [[("new", i) for i in range(n)] for n in range(1, 6)]

    asyncio.run(main())


def test_an_abandoned_late_async_generator_is_finalized(hold: Any) -> None:
    async def main() -> None:
        held = hold(Patch("fix").replace(stream, stream_anew))
        generator = stream(2)
        await asyncio.to_thread(held.finish)
        assert await anext(generator) == ("new", 0)
        log.clear()
        del generator
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert log == ["new finally"]

    asyncio.run(main())


def test_a_suspended_async_generator_holds_and_then_lets_go() -> None:
    async def main() -> None:
        generator = stream(2)
        await anext(generator)
        with pytest.raises(TransitionTimeout):
            await asyncio.to_thread(pylivepatch.load, Patch("fix").replace(stream, stream_anew), timeout=0.05)
        await generator.aclose()  # type: ignore[attr-defined]
        del generator  # an ended generator object keeps its code, and cannot be told from a suspended one
        applied = await asyncio.to_thread(pylivepatch.load, Patch("fix").replace(stream, stream_anew), timeout=5)
        assert [v async for v in stream(1)] == [("new", 0)]
        applied.unload()

    asyncio.run(main())


def test_a_generator_counted_by_a_reversed_transition_holds_the_next_one(hold: Any) -> None:
    """Its frame runs the old body in a trampoline that is no longer in place."""
    held = hold(Patch("fix").replace(count, count_anew))
    generator = count(3)
    next(generator)
    held.reverse()
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(Patch("fix2").replace(count, count_anew), timeout=0.05)
    assert [v[0] for v in generator] == ["old", "old"]
    del generator
    pylivepatch.load(Patch("fix3").replace(count, count_anew), timeout=2)
    assert next(count(1))[0] == "new"


def test_one_that_cannot_be_found_is_told_with_the_module_of_its_function(hold: Any) -> None:
    """Also where it was counted by a transition that was reversed: nobody but that one's trampoline leads there."""
    held = hold(Patch("fix").replace(count, count_anew))
    hidden = iter([count(3)])
    assert next(hidden.__reduce__()[1][0][0]) == ("old", 0)
    held.reverse()
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(Patch("fix2").replace(count, count_anew), timeout=0.05)
    assert {holder.function for holder in caught.value.holders} == {f"{__name__}:count"}
    del hidden, caught


def test_a_generator_counted_by_a_reversed_unload_holds_the_next_one(hold: Any) -> None:
    held = hold(Patch("fix").replace(count, count_anew))
    held.finish()
    held.unloading()
    generator = count(3)
    assert next(generator)[0] == "new"
    held.reverse()
    with pytest.raises(TransitionTimeout):
        pylivepatch.unload("fix", timeout=0.05)
    assert [v[0] for v in generator] == ["new", "new"]
    del generator
    pylivepatch.unload("fix", timeout=2)
    assert next(count(1))[0] == "old"

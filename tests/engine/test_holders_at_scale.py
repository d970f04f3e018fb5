"""The search for holders in a big process: what it makes and how often it gives way, not how long it takes."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.activeness import holders, tasks, threads, variables
from pylivepatch.activeness.functions import walk
from pylivepatch.activeness.references import tuples_that_hold
from pylivepatch.transition.base import Transition
from pylivepatch.transition.refcount import Refcount
from tests.conftest import PATIENCE

TASKS, THREADS, DEPTH = 3_000, 150, 12


class Watch:
    """What happens from one ``time.sleep(0)`` of this thread to the next.

    ``most`` is the greatest number of objects for the collector that were there more than at the beginning, ``breaks``
    how often the GIL was given up.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self.breaks = 0
        self._thread = threading.get_ident()
        self._sleep = time.sleep
        self._before = 0
        monkeypatch.setattr(time, "sleep", self._instead)

    def _instead(self, seconds: float) -> None:
        if threading.get_ident() != self._thread:
            return self._sleep(seconds)
        self._note()
        self.breaks += seconds == 0
        self._sleep(seconds)

    def _note(self) -> None:
        self.most = max(self.most, gc.get_count()[0] - self._before)

    def __call__(self, look: Callable[[], Any]) -> Any:
        self.most = self.breaks = 0
        gc.collect()
        gc.disable()  # so that each object counts
        try:
            self._before = gc.get_count()[0]
            result = look()
            self._note()
            return result
        finally:
            gc.enable()


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def request(future: asyncio.Future[None]) -> None:
    await answer(future)


async def answer(future: asyncio.Future[None]) -> None:
    await row(future)


async def row(future: asyncio.Future[None]) -> None:
    await future


async def nobody_runs_this() -> None: ...


def nobody_calls_this() -> None: ...


@pytest.fixture(scope="module")
def many_tasks() -> Iterator[list[asyncio.Task[None]]]:
    """Tasks that wait, three coroutines deep, on an event loop in another thread; the last one in ``alone``."""
    made: list[asyncio.Task[None]] = []
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    last: list[asyncio.Future[None]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        last.append(loop.create_future())
        made.extend(loop.create_task(request(last[0])) for _ in range(TASKS))
        made.append(loop.create_task(alone(last[0]), name="the one"))
        await asyncio.sleep(0)  # each has run until it waits
        loops.append(loop)
        ready.set()
        await asyncio.wait(made)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(PATIENCE)
    yield made
    loops[0].call_soon_threadsafe(last[0].set_result, None)
    thread.join()
    made.clear()


async def alone(future: asyncio.Future[None]) -> None:
    await future


async def alone_anew(future: asyncio.Future[None]) -> None:
    await future


def descend(depth: int, arrived: threading.Semaphore, leave: threading.Event) -> None:
    if depth:
        return descend(depth - 1, arrived, leave)
    arrived.release()
    leave.wait(PATIENCE)


@pytest.fixture
def many_threads() -> Iterator[None]:
    arrived, leave = threading.Semaphore(0), threading.Event()
    waiting = [threading.Thread(target=descend, args=(DEPTH, arrived, leave)) for _ in range(THREADS)]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert arrived.acquire(timeout=PATIENCE)
    yield
    leave.set()
    for thread in waiting:
        thread.join()


# --- tasks --------------------------------------------------------------------------------------------------


def test_a_task_that_executes_something_else_gets_no_frame_object(many_tasks: Any) -> None:
    before = sys.getallocatedblocks()
    holders.find([nobody_runs_this.__code__], {})
    assert sys.getallocatedblocks() - before < TASKS  # a coroutine keeps its frame object as long as it is suspended


def test_tasks_that_execute_something_else_cost_no_object_each(watch: Watch, many_tasks: Any) -> None:
    assert watch(lambda: holders.find([nobody_runs_this.__code__], {})) == []
    assert watch.most < TASKS / 10
    assert watch.breaks >= 3 * TASKS // tasks._SLICE


def test_a_plain_function_is_not_looked_for_among_the_tasks(
    monkeypatch: pytest.MonkeyPatch, many_tasks: Any, watch: Watch
) -> None:
    def unexpected() -> Any:
        raise AssertionError("nothing plain can be suspended in a task")

    monkeypatch.setattr(tasks, "_tasks", unexpected)
    assert holders.find([nobody_calls_this.__code__], {}) == []


def test_the_one_task_among_many_is_named(many_tasks: Any) -> None:
    (holder,) = holders.find([alone.__code__], {})
    assert (holder.kind, holder.name, holder.function) == ("task", "the one", f"{__name__}:alone")
    assert holder.line == alone.__code__.co_firstlineno + 1
    assert len(holders.find([answer.__code__, alone.__code__], {})) == TASKS + 1


def test_a_load_that_it_holds_says_so(many_tasks: Any) -> None:
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(Patch("p").replace(alone, alone_anew), timeout=0.1)
    assert [(holder.kind, holder.name) for holder in caught.value.holders] == [("task", "the one")]


def test_a_task_that_a_variable_keeps_is_one_holder(many_tasks: Any) -> None:
    kept = many_tasks[-1], many_tasks[-1].get_coro()

    class Hidden:
        """Keeps the code where nothing leads to it."""

        __slots__ = ("code",)

    hidden = Hidden()
    hidden.code = alone.__code__  # type: ignore[attr-defined]
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(Patch("p").replace(alone, alone_anew), timeout=0.01)
    assert [holder.kind for holder in caught.value.holders] == ["task", "reference"]
    assert caught.value.holders[1].name == "1 reference"
    assert kept[0].get_coro() is kept[1]


class LooksLikeACoroutine:
    """As compiled ones do."""

    cr_frame = None

    def __init__(self, awaited: Any) -> None:
        self.cr_await = awaited

    def __await__(self) -> Iterator[Any]:
        return self.cr_await.__await__()


def test_what_a_task_awaits_is_followed_through_types_of_others() -> None:
    async def outer(future: asyncio.Future[None]) -> None:
        await LooksLikeACoroutine(row(future))

    async def main() -> list[str]:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(outer(future), name="through")
        await asyncio.sleep(0)
        coroutine = task.get_coro()
        stand_in = LooksLikeACoroutine(coroutine)
        assert tasks._look_like(stand_in).following(stand_in) is coroutine  # type: ignore[union-attr]
        found = [holder.name for holder in holders.find([outer.__code__], {})]
        future.set_result(None)
        await task
        return found

    assert asyncio.run(main()) == ["through"]


# --- threads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [threads.running_code, threads.event_loops])
def test_the_stacks_of_all_threads_are_asked_for_once_a_slice(
    monkeypatch: pytest.MonkeyPatch, watch: Watch, many_threads: None, look: Callable[[], Any]
) -> None:
    asked, current_frames = [], sys._current_frames

    def counting() -> Any:
        asked.append(1)
        return current_frames()

    frames = sum(1 for _ in threads.stack_frames())
    monkeypatch.setattr(sys, "_current_frames", counting)
    for search in (look, lambda: holders.find([nobody_calls_this.__code__], {})):
        asked.clear()
        watch(search)
        assert frames > THREADS * DEPTH
        assert 2 <= len(asked) <= frames // threads._SLICE + 1
        assert watch.breaks >= len(asked) - 1
        assert watch.most < frames / 10


def test_a_walk_over_the_stacks_keeps_no_frame(many_threads: None) -> None:
    gc.collect()
    gc.disable()
    try:
        for look in (threads.running_code, threads.event_loops, lambda: holders.find([descend.__code__], {})):
            before = sys.getrefcount(descend.__code__)
            look()
            after = sys.getrefcount(descend.__code__)
            assert after == before
    finally:
        gc.enable()


def test_each_frame_of_each_thread_is_found(many_threads: None) -> None:
    assert len(holders.find([descend.__code__], {})) == THREADS * (DEPTH + 1)


# --- variables and functions ----------------------------------------------------------------------------------


@pytest.fixture
def big_module() -> types.ModuleType:
    module = types.ModuleType("big_module")
    vars(module).update(
        table={str(number): number for number in range(9_000)},
        row=[object() for _ in range(9_000)],
        kept={"here": [None] * 50 + [nobody_calls_this.__code__]},
        function=nobody_calls_this,
    )
    return module


def test_the_variables_of_a_big_module_cost_no_object_each(watch: Watch, big_module: types.ModuleType) -> None:
    (slot,) = watch(lambda: variables.slots_of([big_module], {id(nobody_calls_this.__code__)}))
    assert slot.container[slot.key] is nobody_calls_this.__code__
    assert watch.most < 1_000
    assert watch.breaks >= 18_000 // variables._BATCH


def test_functions_are_found_and_the_way_given(watch: Watch, big_module: types.ModuleType) -> None:
    assert nobody_calls_this in watch(lambda: list(walk([big_module])))
    assert watch.most < 1_000
    assert watch.breaks >= 18_000 // 300


def test_constants_are_searched_with_the_way_given(watch: Watch) -> None:
    source = "\n".join(f"def f{number}():\n    def inner(): pass" for number in range(1_000))
    code = compile(source, "<many>", "exec")
    wanted = code.co_consts[500].co_consts
    inner = next(const for const in wanted if isinstance(const, types.CodeType))
    assert watch(lambda: list(tuples_that_hold([code], {id(inner)}))) == [wanted]
    assert watch.breaks >= 2_000 // 150


# --- when it looks ----------------------------------------------------------------------------------------------


def test_a_drain_that_is_soon_over_asks_nobody_who_holds(monkeypatch: pytest.MonkeyPatch, hold: Any) -> None:
    looks: list[str] = []
    polls = threading.Semaphore(0)
    rest, explain = Refcount.rest, Transition._explain

    def counting(self: Any, seconds: float) -> None:
        polls.release()
        rest(self, seconds)

    def asking(self: Any) -> None:
        looks.append(self.state.value)
        explain(self)

    monkeypatch.setattr("pylivepatch.transition.refcount._EXPLAIN_EVERY", PATIENCE)
    monkeypatch.setattr(Refcount, "rest", counting)
    monkeypatch.setattr(Transition, "_explain", asking)
    held = hold(Patch("p"))
    for _ in range(3):
        assert polls.acquire(timeout=PATIENCE)
    held.finish().unload()
    assert looks == []


def test_a_drain_that_has_no_time_asks_before_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    explain = Transition._explain

    def asking(self: Any) -> None:
        looks.append(self.state.value)
        explain(self)

    monkeypatch.setattr("pylivepatch.transition.refcount._EXPLAIN_EVERY", PATIENCE)
    monkeypatch.setattr(Transition, "_explain", asking)
    suspended = ticks()
    next(suspended)
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(Patch("p").replace(ticks, ticks_anew), timeout=0.01)
    assert looks == ["drain"]
    assert [(holder.kind, holder.name) for holder in caught.value.holders] == [("generator", "suspended")]


def ticks() -> Iterator[int]:
    yield 1


def ticks_anew() -> Iterator[int]:
    yield 2

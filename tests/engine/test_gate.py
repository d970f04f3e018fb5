"""The gate: functions that are never idle switch, whoever is inside goes on, and nobody waits longer than the bound."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.transition.base import Transition
from pylivepatch.transition.gate import Gate
from pylivepatch.transition.stages import State
from tests.conftest import PATIENCE


def work(pause: float = 0.01) -> str:
    time.sleep(pause)
    return "old"


def work_anew(pause: float = 0.01) -> str:
    time.sleep(pause)
    return "new"


def staggered(stop: threading.Event, target: Any, offset: float) -> threading.Thread:
    def run() -> None:
        time.sleep(offset)
        while not stop.is_set():
            target()

    return threading.Thread(target=run)


def test_a_function_that_is_never_idle_switches() -> None:
    stop = threading.Event()
    threads = [staggered(stop, work, i * 0.001) for i in range(10)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.05)
        with pytest.raises(TransitionTimeout):
            pylivepatch.load(Patch("p").replace(work, work_anew), timeout=1, gate=None)
        applied = pylivepatch.load(Patch("p").replace(work, work_anew), timeout=PATIENCE)
        assert work() == "new"
        assert applied.report["gate"]["tries"] >= 1
        assert applied.report["gate"]["longest_wait"] <= 0.1
        assert applied.unload(timeout=PATIENCE)["gate"]["tries"] >= 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert work() == "old"


def test_a_coroutine_that_is_never_idle_switches_and_its_loop_runs_on() -> None:
    async def request() -> str:
        await asyncio.sleep(0.01)
        return "old"

    async def request_anew() -> str:
        await asyncio.sleep(0.01)
        return "new"

    async def main() -> tuple[list[str], float]:
        answers: list[str] = []
        stop = False
        worst = 0.0

        async def worker(number: int) -> None:
            await asyncio.sleep(number * 0.001)
            while not stop:
                answers.append(await request())

        async def ticker() -> None:
            nonlocal worst
            while not stop:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                worst = max(worst, time.monotonic() - before)

        workers = [asyncio.create_task(worker(n)) for n in range(10)]
        other = asyncio.create_task(ticker())
        await asyncio.sleep(0.05)
        applied = await asyncio.to_thread(
            pylivepatch.load, Patch("p").replace(request, request_anew), timeout=PATIENCE, gate=0.2
        )
        assert applied.report["gate"]["waits"] > 0
        await asyncio.sleep(0.03)
        stop = True
        await asyncio.gather(*workers, other)
        return answers, worst

    answers, _ = asyncio.run(main())
    assert answers == sorted(answers, reverse=True)  # "old" until the switch, "new" after it
    assert set(answers) == {"old", "new"}
    pylivepatch.unload("p")


def test_who_is_inside_passes_the_gate() -> None:
    """A sitter inside calls another function of the patch: kept waiting, it would hold itself."""
    called, go = threading.Event(), threading.Event()
    waits: list[float] = []

    def inner() -> str:
        return "old"

    def outer() -> None:
        called.set()
        go.wait(PATIENCE)
        for _ in range(20):
            before = time.monotonic()
            inner()
            waits.append(time.monotonic() - before)
            time.sleep(0.01)

    sitter = threading.Thread(target=outer)
    stop = threading.Event()
    others = [staggered(stop, work, i * 0.003) for i in range(4)]
    for thread in (sitter, *others):
        thread.start()
    assert called.wait(PATIENCE)
    patch = Patch("p").replace(inner, lambda: "new").replace(outer, lambda: None).replace(work, work_anew)
    def watch(event: pylivepatch.Event) -> None:
        if event.kind == "drain":
            go.set()

    unsubscribe = pylivepatch.subscribe(watch)
    try:
        applied = pylivepatch.load(patch, timeout=PATIENCE, gate=5.0)
    finally:
        unsubscribe()
        stop.set()
        for thread in (sitter, *others):
            thread.join()
    assert len(waits) == 20
    assert max(waits) < 4.0, "the insider was kept for the bound"
    assert inner() == "new"
    applied.unload()


def test_the_gate_opens_at_its_bound_for_an_insider_that_waits_for_an_outsider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is inside waits for a thread that the gate keeps: the bound ends that, and the transition goes on."""
    monkeypatch.setattr(Transition, "fast_path", False)
    inside, answered = threading.Event(), threading.Event()

    def ask() -> bool:
        inside.set()
        return answered.wait(PATIENCE)

    def answer() -> None:
        answered.set()

    patch = Patch("p").replace(ask, lambda: True).replace(answer, lambda: None)
    outcome: list[bool] = []
    released, closed = threading.Event(), threading.Event()

    def run() -> None:
        released.wait(PATIENCE)
        asker = threading.Thread(target=lambda: outcome.append(ask()))
        asker.start()
        inside.wait(PATIENCE)
        closed.wait(PATIENCE)
        answer()
        asker.join()

    thread = threading.Thread(target=run)
    thread.start()
    holder_in, holder_out = threading.Event(), threading.Event()

    def hold() -> None:
        holder_in.set()
        holder_out.wait(PATIENCE)

    patch.replace(hold, lambda: None)
    sitter = threading.Thread(target=hold)
    sitter.start()
    assert holder_in.wait(PATIENCE)

    def watch(event: pylivepatch.Event) -> None:
        if event.kind == "drain":
            released.set()
            inside.wait(PATIENCE)
            holder_out.set()
        elif event.kind == "gate":
            closed.set()

    unsubscribe = pylivepatch.subscribe(watch)
    try:
        applied = pylivepatch.load(patch, timeout=PATIENCE, gate=0.2)
    finally:
        unsubscribe()
    thread.join(PATIENCE)
    sitter.join(PATIENCE)
    assert outcome == [True]
    applied.unload()


def test_a_switch_that_comes_while_the_gate_is_put_in_is_not_covered_by_it(
    hold: Any, counted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one inside leaves while the second generation of trampolines is being made."""
    real = Transition._trampoline
    entered, leave = threading.Event(), threading.Event()

    def f() -> str:
        entered.set()
        leave.wait(PATIENCE)
        return "old"

    def f_anew() -> str:
        return "new"

    def meanwhile(self: Transition, *args: Any) -> Any:
        code = real(self, *args)
        if self.state is State.RELEASED and not leave.is_set():
            leave.set()
            caller.join(PATIENCE)
        return code

    monkeypatch.setattr(Transition, "_trampoline", meanwhile)
    original = id(f.__code__)
    held = hold(Patch("p").replace(f, f_anew))  # kept in drain
    caller = threading.Thread(target=f)
    caller.start()
    assert entered.wait(PATIENCE)
    applied = held.finish()
    assert not caller.is_alive()
    assert leave.is_set()
    assert f() == "new"
    applied.unload()  # refuses where something else than the new code is there
    assert id(f.__code__) == original


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("interrupted", [0, 1])
def test_all_who_are_kept_go_on_when_it_opens(interrupted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wakes a few others, also one that is interrupted as it wakes."""
    gate, left, others = Gate(10 * PATIENCE, {}), [], 20
    gate.close()
    current = gate._try
    assert current is not None

    class InterruptedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            raise Interrupted

    def call() -> None:
        with contextlib.suppress(Interrupted):
            gate._attend(list)
        left.append(1)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(interrupted + others)]
    for number, thread in enumerate(threads):
        with monkeypatch.context() as patched:
            if number < interrupted:
                patched.setattr("pylivepatch.transition.gate.threading.Event", InterruptedEvent)
            thread.start()
            end = time.monotonic() + PATIENCE
            while len(current.kept) <= number and time.monotonic() < end:
                time.sleep(0)
    assert not left
    gate.open()
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert len(left) == len(threads)


# --- coroutines that nobody awaits --------------------------------------------------------------------------


class Entering:
    """A coroutine that comes to a gate, and ways to await it."""

    def __init__(self) -> None:
        self.gate = Gate(PATIENCE, {})
        self.gate.close()
        self.current = self.gate._try

    async def enter(self) -> str:
        await self.gate._attend_awaiting()
        return "in"

    async def chain(self) -> str:
        return await self.enter()

    def __await__(self) -> Generator[Any, Any, str]:
        return (yield from self.chain().__await__())

    async def __aenter__(self) -> str:
        return await self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def stream(self) -> AsyncIterator[str]:
        yield await self.enter()

    async def with_it(self) -> str:
        async with self as answer:
            return answer

    async def over_it(self) -> str:
        async for answer in self.stream():
            return answer
        return ""


def test_a_coroutine_that_is_driven_by_hand_is_not_kept_also_where_a_loop_runs() -> None:
    """What it yielded would reach one who knows nothing of the loop."""
    entering, answers = Entering(), []

    def drive() -> None:
        for way in (entering.enter, entering.chain, entering.with_it, entering.over_it):
            with pytest.raises(StopIteration) as returned:
                way().send(None)
            answers.append(returned.value.value)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(drive)
        await asyncio.sleep(0)
        drive()
        with pytest.raises(StopIteration):
            entering.enter().send(None)

    asyncio.run(main())
    assert answers == ["in"] * 8


@pytest.mark.parametrize("times", [1, 20], ids=["", "warm"])
def test_a_coroutine_is_kept_in_whatever_way_its_task_awaits_it(times: int) -> None:
    """In code that has been specialised by the interpreter, too."""
    for _ in range(times):
        all_are_kept()


def all_are_kept() -> None:
    entering = Entering()
    current = entering.current
    assert current is not None

    async def main() -> list[str]:
        ways = (entering.enter, entering.chain, entering.with_it, entering.over_it)
        tasks = [asyncio.create_task(way()) for way in ways]
        for _ in range(3):
            await asyncio.sleep(0)
        assert current.waits == len(tasks)
        assert not any(task.done() for task in tasks)
        entering.gate.open()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["in"] * 4

"""Storms: many threads in mixed work against many switches. No call may ever see two versions.

Each version has a mark of its own, and everybody who calls somebody checks that both carry the same one. The control
swaps one ``__code__`` after the other, as other tools do, and must be caught by the same check.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.transition.base import Transition

VERSIONS = '''
class Boom(Exception):
    pass

def helper(mark, how):
    own = "MARK"
    check(own, mark)
    check(own, MARK)
    if how == 1:
        sleep(0.0001)
    elif how == 2:
        raise Boom
    return own

def outer(how):
    own = "MARK"
    tick()
    check(own, MARK)
    try:
        check(own, helper(own, how))
        if how == 3:
            for _ in range(300):
                pass
            check(own, helper(own, 0))
    except Boom:
        pass

def numbers(n, how):
    own = "MARK"
    tick()
    for i in range(n):
        check(own, helper(own, 0))
        yield own
        check(own, MARK)
    if how == 2:
        raise Boom

def drive(how):
    own = "MARK"
    tick()
    try:
        for got in numbers(3, how):
            check(own, got)
            if how == 3:
                break
    except Boom:
        pass

async def leaf(mark, how):
    own = "MARK"
    check(own, mark)
    await asyncio.sleep(0)
    check(own, MARK)
    if how == 2:
        raise Boom
    return own

async def stream(n, how):
    own = "MARK"
    for i in range(n):
        check(own, await leaf(own, 0))
        yield own
    if how == 2:
        raise Boom

async def task(how):
    own = "MARK"
    tick()
    try:
        check(own, await leaf(own, how))
        async for got in stream(3, how):
            check(own, got)
            if how == 3:
                break
    except Boom:
        pass
'''


class World:
    """A module with the first version of everything, and the functions of the second."""

    def __init__(self, sources: Any) -> None:
        self.mixed = 0
        self.calls = 0
        self.stop = False
        header = "import asyncio\nfrom time import sleep\nMARK = 'one'\n"
        self.old_source = header + VERSIONS.replace('"MARK"', '"one"')
        self.new_source = self.old_source.replace("'one'", "'two'").replace('"one"', '"two"')
        self.module = sources.load(self.old_source)
        vars(self.module).update(check=self.check, tick=self.tick)
        self.patch = sources.patch(self.module, self.new_source, "storm")
        self.functions = [f for f in vars(self.module).values() if isinstance(f, FunctionType)]
        self.originals = {f: f.__code__ for f in self.functions}

    def check(self, own: str, other: str) -> None:
        if own != other:
            self.mixed += 1

    def tick(self) -> None:
        self.calls += 1


@pytest.fixture
def world(sources: Any) -> Iterator[World]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield World(sources)
    sys.setswitchinterval(before)


@pytest.fixture
def seed() -> int:
    value = int(os.environ.get("STORM_SEED", random.randrange(1 << 30)))
    print(f"seed {value} (repeat with STORM_SEED={value})")
    return value


def thread_work(world: World, seed: int) -> None:
    chance = random.Random(seed)
    module = world.module
    kept: list[Any] = []
    while not world.stop:
        if chance.random() < 0.5:
            module.outer(chance.randrange(4))
        else:
            module.drive(chance.randrange(4))
        if chance.random() < 0.05:  # suspended across the switch, maybe; then abandoned, closed or exhausted
            kept.append(module.numbers(3, 0))
            if chance.random() < 0.7:
                next(kept[-1])
        if len(kept) > 2 or (kept and chance.random() < 0.3):
            generator = kept.pop()
            if chance.random() < 0.3:
                generator.close()
            elif chance.random() < 0.5:
                list(generator)
            del generator
        if chance.random() < 0.3:
            kept.clear()
            time.sleep(chance.random() * 0.003)


def loop_work(world: World, seed: int) -> None:
    chance = random.Random(seed)

    async def worker(number: int) -> None:
        while not world.stop:
            job = asyncio.create_task(world.module.task(chance.randrange(4)))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                job.cancel()
            await asyncio.wait([job])
            if not job.cancelled():
                job.result()
            if chance.random() < 0.1:  # abandoned: the loop's hook closes it
                stream = world.module.stream(2, 0)
                await anext(stream)
                del stream
            await asyncio.sleep(chance.random() * 0.003)

    async def main() -> None:
        await asyncio.gather(*(worker(n) for n in range(4)))

    asyncio.run(main())


def storm(world: World, seed: int, cycles: int, switch: Callable[[], None], *, loops: int = 1) -> list[BaseException]:
    errors: list[BaseException] = []

    def guarded(work: Callable[[World, int], None], number: int) -> None:
        try:
            work(world, seed + number)
        except BaseException as error:
            errors.append(error)

    works = [thread_work] * (7 - loops) + [loop_work] * loops
    threads = [threading.Thread(target=guarded, args=(work, i)) for i, work in enumerate(works)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(cycles):
            switch()
    finally:
        world.stop = True
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return errors


class Cycle:
    """Load and unload, each repeated where it was reversed for lack of time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.timeouts = 0

    def __call__(self) -> None:
        self._insist(lambda: pylivepatch.load(compiled(self.world.patch), timeout=5))
        self.world.calls and time.sleep(0.0005)
        self._insist(lambda: pylivepatch.unload("storm", timeout=5))

    def _insist(self, action: Callable[[], Any]) -> None:
        while True:
            try:
                return action()
            except TransitionTimeout as error:
                self.timeouts += 1
                if self.timeouts > 20:
                    raise AssertionError("it never switches") from error


_compiled: dict[int, Any] = {}


def compiled(patch: Patch) -> Any:
    """Compiled once: the helper process is not what storms are about."""
    from pylivepatch.compiled import compile_patch

    if id(patch) not in _compiled:
        _compiled.clear()
        _compiled[id(patch)] = compile_patch(patch)
    return _compiled[id(patch)]


def sizes(short: int, long: int) -> list[Any]:
    """Cycles: a short storm in each test run, a long one among the slow tests."""
    return [short, pytest.param(long, marks=pytest.mark.slow)]


@pytest.mark.parametrize(
    ("cycles", "fast"),
    [
        pytest.param(15, True, id="short"),
        pytest.param(15, False, id="short, no fast path"),
        pytest.param(300, True, id="long", marks=[pytest.mark.slow, pytest.mark.storm]),
        pytest.param(100, False, id="long, no fast path", marks=pytest.mark.slow),
    ],
)
def test_no_call_sees_two_versions(
    world: World, seed: int, cycles: int, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transition, "fast_path", fast)
    cycle = Cycle(world)
    errors = storm(world, seed, cycles, cycle)
    print(f"{cycles} cycles, {world.calls} calls, {world.mixed} mixed, {cycle.timeouts} reversed")
    assert errors == []
    assert world.mixed == 0
    assert world.calls > cycles
    for function, original in world.originals.items():
        assert function.__code__ is original
    assert world.module.MARK == "one"


@pytest.mark.storm
def test_one_by_one_assignment_is_caught_by_the_same_check(world: World, seed: int) -> None:
    """The control: without the protocol there are mixed calls, so the storm can fail."""
    space = dict(vars(world.module))
    exec(compile(world.new_source, "<new>", "exec"), space)
    new = {f: space[f.__name__].__code__ for f in world.functions}

    def switch() -> None:
        for codes in (new, world.originals):
            world.module.MARK = "two" if codes is new else "one"
            for function, code in codes.items():
                function.__code__ = code
            time.sleep(0.001)

    storm(world, seed, 300, switch)
    print(f"{world.calls} calls, {world.mixed} mixed")
    assert world.mixed > 0


@pytest.mark.parametrize("cycles", sizes(5, 50))
def test_the_storm_goes_on_under_trace_and_profile_functions(world: World, seed: int, cycles: int) -> None:
    def watch(frame: Any, event: str, argument: Any) -> Any:
        return watch

    threading.settrace(watch)
    threading.setprofile(lambda *_: None)
    try:
        cycle = Cycle(world)
        errors = storm(world, seed, cycles, cycle)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
        threading.setprofile(None)
    print(f"{world.calls} calls, {world.mixed} mixed, {cycle.timeouts} reversed")
    assert errors == []
    assert world.mixed == 0


@pytest.mark.parametrize("cycles", sizes(15, 100))
def test_the_storm_survives_reversals(world: World, seed: int, cycles: int) -> None:
    """Tiny time-outs: most transitions are reversed somewhere between enable and commit."""
    chance = random.Random(seed)
    outcomes = {"switched": 0, "reversed": 0}

    def switch() -> None:
        applied = bool(pylivepatch.patches())
        try:
            if applied:
                pylivepatch.unload("storm", timeout=chance.random() * 0.04)
            else:
                pylivepatch.load(compiled(world.patch), timeout=chance.random() * 0.04)
            outcomes["switched"] += 1
        except TransitionTimeout:
            outcomes["reversed"] += 1

    errors = storm(world, seed, cycles, switch)
    print(outcomes, f"{world.calls} calls, {world.mixed} mixed")
    assert outcomes["reversed"] > 0
    if pylivepatch.patches():
        gc.collect()
        pylivepatch.unload("storm")
    assert errors == []
    assert world.mixed == 0
    assert world.module.outer.__code__ is world.originals[world.module.outer]


@pytest.mark.parametrize("cycles", sizes(4, 30))
def test_threads_that_come_and_go_are_counted(world: World, seed: int, cycles: int) -> None:
    def short_lives(world: World, seed: int) -> None:
        chance = random.Random(seed)
        while not world.stop:
            short = [threading.Thread(target=world.module.outer, args=(chance.randrange(4),)) for _ in range(3)]
            for thread in short:
                thread.start()
            for thread in short:
                thread.join()

    spawner = threading.Thread(target=short_lives, args=(world, seed))
    spawner.start()
    cycle = Cycle(world)
    errors = storm(world, seed, cycles, cycle)
    spawner.join(30)
    assert errors == []
    assert world.mixed == 0

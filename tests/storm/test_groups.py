"""A patch of several groups, switched group by group under mixed work: within each group nobody sees two versions.

Between groups that is allowed, and it is seen: the control that the storm looks at all.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import TransitionTimeout
from pylivepatch.compiled import CompiledPatch, compile_patch
from pylivepatch.errors import PartlySwitched

GROUPS = 5
HEAD = "from time import sleep\n"
GROUP = '''
MARK_{n} = "one"

def inner_{n}(mark, pause):
    own = "one"
    check({n}, own, mark)
    check({n}, own, MARK_{n})
    if pause:
        sleep(pause)
    return own

def outer_{n}(pause):
    own = "one"
    inside = enter({n}, own)
    try:
        check({n}, own, inner_{n}(own, pause))
        if pause < 0.001:
            for _ in range(100):
                pass
        check({n}, own, inner_{n}(own, 0))
    finally:
        leave(inside)

def numbers_{n}(count):
    own = "one"
    for number in range(count):
        check({n}, own, inner_{n}(own, 0))
        yield number

async def task_{n}(nothing):
    own = "one"
    check({n}, own, inner_{n}(own, 0))
    await nothing(0.0002)
    check({n}, own, inner_{n}(own, 0))
'''
SOURCE = HEAD + "".join(GROUP.format(n=n) for n in range(GROUPS))


class World:
    """The module, and what was seen of each group."""

    def __init__(self) -> None:
        self.module: Any = types.ModuleType("storm_groups")
        self.mixed: list[tuple[int, str, str]] = []
        self.overlaps: list[int] = []
        self.inside: list[dict[str, set[object]]] = [{"one": set(), "two": set()} for _ in range(GROUPS)]
        self.calls = 0
        self.apart = 0  # looks that found two groups in different versions
        self.stop = False

    def check(self, group: int, own: str, other: str) -> None:
        if own != other:
            self.mixed.append((group, own, other))

    def enter(self, group: int, own: str) -> tuple[int, str, object]:
        self.calls += 1
        token = (group, own, object())
        self.inside[group][own].add(token)  # first note, then look: the later of two sees the other
        if self.inside[group]["two" if own == "one" else "one"]:
            self.overlaps.append(group)
        return token

    def leave(self, token: tuple[int, str, object]) -> None:
        self.inside[token[0]][token[1]].discard(token)

    def versions(self) -> list[str]:
        return [getattr(self.module, f"MARK_{n}") for n in range(GROUPS)]

    def call(self, kind: str, n: int, pause: float = 0.0) -> Any:
        return getattr(self.module, f"{kind}_{n}")(pause)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "storm_groups.py").write_text(SOURCE)
    made, before = World(), sys.getswitchinterval()
    sys.path.insert(0, str(tmp_path))
    import storm_groups  # type: ignore[import-not-found]

    sys.path.remove(str(tmp_path))
    made.module = storm_groups
    vars(storm_groups).update(check=made.check, enter=made.enter, leave=made.leave)
    sys.setswitchinterval(1e-5)
    yield made
    sys.setswitchinterval(before)
    sys.modules.pop("storm_groups")


@pytest.fixture
def patch(tmp_path: Path) -> CompiledPatch:
    for side, text in (("old", SOURCE), ("new", SOURCE.replace('"one"', '"two"'))):
        (tmp_path / side).mkdir()
        (tmp_path / side / "storm_groups.py").write_text(text)
    compiled = compile_patch(pylivepatch.build_patch(tmp_path / "old", tmp_path / "new", name="groups"))
    assert len(compiled.groups) == GROUPS
    return compiled


def workers(world: World, seed: int) -> list[Callable[[], None]]:
    def computes(number: int) -> None:
        chance = random.Random(seed + number)
        while not world.stop:
            world.call("outer", chance.randrange(GROUPS), chance.choice((0, 0, 0.0002, 0.002)))

    def always_in_the_last() -> None:
        while not world.stop:
            world.call("outer", GROUPS - 1, 0.01)

    def generates() -> None:
        chance = random.Random(seed)
        while not world.stop:
            for _ in getattr(world.module, f"numbers_{chance.randrange(GROUPS)}")(5):
                time.sleep(0.0001)

    async def tasks() -> None:
        chance = random.Random(seed)
        while not world.stop:
            chosen = [getattr(world.module, f"task_{chance.randrange(GROUPS)}") for _ in range(5)]
            await asyncio.gather(*(task(asyncio.sleep) for task in chosen))

    def looks() -> None:
        while not world.stop:
            world.apart += len(set(world.versions())) > 1
            time.sleep(0.0001)

    busy = [always_in_the_last] * 3
    return [lambda: computes(1), lambda: computes(2), *busy, generates, lambda: asyncio.run(tasks()), looks]


@pytest.mark.parametrize("cycles", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_within_each_group_nobody_sees_two_versions(world: World, patch: CompiledPatch, cycles: int) -> None:
    seed = int(os.environ.get("STORM_SEED", random.randrange(1 << 30)))
    print(f"seed {seed} (repeat with STORM_SEED={seed})")
    chance = random.Random(seed)
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in workers(world, seed)]
    for thread in threads:
        thread.start()
    outcomes = {"whole": 0, "back": 0, "partial": 0}

    def attempt(action: Callable[[], Any]) -> None:
        try:
            action()
            outcomes["whole"] += 1
        except TransitionTimeout:
            outcomes["back"] += 1
        except PartlySwitched:
            outcomes["partial"] += 1
        in_force = {name[-1] for applied in pylivepatch.patches() for name in applied.functions}
        assert in_force == {str(n) for n, mark in enumerate(world.versions()) if mark == "two"}

    try:
        for _ in range(cycles):  # some have the time, some have not
            bound = chance.choice((10.0, 10.0, 0.1))
            attempt(lambda bound=bound: pylivepatch.load(patch, incremental=True, timeout=bound))
            time.sleep(0.01)
            if pylivepatch.patches():
                attempt(lambda: pylivepatch.unload("groups", incremental=True, timeout=10.0))
    finally:
        world.stop = True
        for thread in threads:
            thread.join(20)
    if pylivepatch.patches():
        pylivepatch.unload("groups")
    print(f"{outcomes}, {world.calls} calls, groups seen apart {world.apart} times")
    assert errors == []
    assert world.mixed == []
    assert world.overlaps == []
    assert set(world.versions()) == {"one"}
    assert cycles < 60 or world.apart > 0

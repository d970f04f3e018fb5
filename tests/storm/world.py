"""The module that is patched in every storm, and what watches that nobody sees two versions of it.

Each version has a mark of its own, and everybody who calls somebody checks that both carry the same one (rule 1, and
per-task's promise). Whoever is inside is noted, so that one of each version at the same time is seen (rule 2).
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pylivepatch
from pylivepatch.compiled import CompiledPatch, compile_patch

SOURCE = '''
import asyncio
from time import sleep

MARK = "one"

class Boom(Exception):
    pass

def helper(mark, how):
    own = "one"
    check(own, mark)
    data(own, MARK)
    if how == 1:
        sleep(0.0001)
    elif how == 2:
        raise Boom
    return own

def outer(how):
    own = "one"
    inside = enter(own)
    try:
        data(own, MARK)
        check(own, helper(own, how))
        if how == 3:
            for _ in range(300):
                pass
            check(own, helper(own, 0))
    except Boom:
        pass
    finally:
        leave(inside)

def slow(pause):
    own = "one"
    inside = enter(own)
    try:
        data(own, MARK)
        pause()
        check(own, helper(own, 0))
        data(own, MARK)
    finally:
        leave(inside)

def even(n, mark, pause):
    own = "one"
    inside = enter(own)
    try:
        check(own, mark or own)
        if n % 8 == 0:
            pause()
        return odd(n - 1, own, pause) if n > 0 else own
    finally:
        leave(inside)

def odd(n, mark, pause):
    own = "one"
    check(own, mark)
    got = even(n - 1, own, pause)
    check(own, got)
    return own

def numbers(n, how):
    own = "one"
    inside = enter(own)
    try:
        for i in range(n):
            check(own, helper(own, 0))
            yield own
            data(own, MARK)
        if how == 2:
            raise Boom
    finally:
        leave(inside)

def drive(how):
    own = "one"
    inside = enter(own)
    try:
        for got in numbers(3, how):
            check(own, got)
            if how == 3:
                break
    except Boom:
        pass
    finally:
        leave(inside)

async def leaf(mark, how):
    own = "one"
    check(own, mark)
    await asyncio.sleep(0)
    data(own, MARK)
    if how == 2:
        raise Boom
    return own

async def stream(n, how):
    own = "one"
    for i in range(n):
        check(own, await leaf(own, 0))
        yield own
    if how == 2:
        raise Boom

async def task(how):
    own = "one"
    inside = enter(own)
    try:
        check(own, await leaf(own, how))
        async for got in stream(3, how):
            check(own, got)
            if how == 3:
                break
    except Boom:
        pass
    finally:
        leave(inside)
'''
NEW_SOURCE = SOURCE.replace('"one"', '"two"')

_numbers = itertools.count()


class World:
    """The module in its first version, the patch that makes it the second, and what was seen.

    ``strict`` is for modes that keep both rules. Where only per-task's promise holds the value ``MARK`` may
    lag behind, and both versions may be inside at once, in different tasks. ``noting`` is off where an exception may
    strike between being inside and being noted.
    """

    def __init__(self, folder: Path, *, strict: bool = True, noting: bool = True) -> None:
        self.strict, self.noting = strict, noting
        self.calls = 0
        self.mixed: list[tuple[str, str]] = []
        self.overlaps: list[str] = []
        self.inside: dict[str, set[object]] = {"one": set(), "two": set()}
        self.stop = False
        self.patch: CompiledPatch = _built(folder)
        name = f"storm_world_{next(_numbers)}"
        (folder / f"{name}.py").write_text(SOURCE)
        sys.path.insert(0, str(folder))
        try:
            importlib.invalidate_caches()
            self.module: Any = importlib.import_module(name)
        finally:
            sys.path.remove(str(folder))
        vars(self.module).update(check=self.check, data=self.data, enter=self.enter, leave=self.leave)
        # Known under the name that the patch was built for; the last storm's module is forgotten.
        sys.modules.pop(name)
        sys.modules["storm_world"] = self.module
        self.functions = [f for f in vars(self.module).values() if isinstance(f, FunctionType)]
        self.originals = {f.__name__: weakref.ref(f.__code__) for f in self.functions}
        self.references = self.count_references()

    def check(self, own: str, other: str) -> None:
        """Two that are in one call: of one version, in every mode."""
        if own != other:
            self.mixed.append((own, other))

    def data(self, own: str, mark: str) -> None:
        if self.strict and own != mark:
            self.mixed.append((own, mark))

    def enter(self, own: str) -> tuple[str, object] | None:
        self.calls += 1
        if not self.noting:
            return None
        token = (own, object())
        # First note, then look: of two who are inside at once the later one sees the other, so none is missed.
        self.inside[own].add(token)
        if self.inside["two" if own == "one" else "one"]:
            self.overlaps.append(own)
        return token

    def leave(self, token: tuple[str, object] | None) -> None:
        if token is not None:
            self.inside[token[0]].discard(token)

    @contextlib.contextmanager
    def somebody_inside(self) -> Iterator[None]:
        """A thread that has entered a function of the world, and leaves it at the end."""
        entered, may_leave = threading.Event(), threading.Event()

        def pause() -> None:
            entered.set()
            may_leave.wait()

        thread = threading.Thread(target=self.module.slow, args=(pause,))
        thread.start()
        entered.wait()
        try:
            yield
        finally:
            may_leave.set()
            thread.join()

    def await_calls(self, count: int = 5) -> None:
        """Let the callers make some calls in this version, for a bounded time."""
        wanted, end = self.calls + count, time.monotonic() + 1.0
        while self.calls < wanted and time.monotonic() < end:
            time.sleep(0.0005)

    def count_references(self) -> dict[str, int]:
        return {name: sys.getrefcount(original()) for name, original in self.originals.items()}

    def is_as_it_was(self) -> bool:
        """Every function has its original code, the very object, and the value is the first."""
        codes = all(f.__code__ is self.originals[f.__name__]() for f in self.functions)
        return codes and self.module.MARK == "one"

    def forget(self) -> None:
        sys.modules.pop("storm_world", None)


_patches: list[CompiledPatch] = []


def _built(folder: Path) -> CompiledPatch:
    """Built and compiled once: the builder and the helper process are not what storms are about."""
    if not _patches:
        for side, text in (("old", SOURCE), ("new", NEW_SOURCE)):
            (folder / side).mkdir()
            (folder / side / "storm_world.py").write_text(text)
        _patches.append(compile_patch(pylivepatch.build_patch(folder / "old", folder / "new", name="storm")))
    return _patches[0]

"""What is left after a thousand loads and unloads: nothing."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.transition.base import Transition


def plain(a: int) -> int:
    return a


def plain_anew(a: int) -> int:
    return -a


def generator() -> Any:
    yield 1


def generator_anew() -> Any:
    yield 2


def maker(k: int) -> Callable[[], int]:
    def inner() -> int:
        return k

    return inner


def cycles(n: int) -> None:
    patch = Patch("p").replace(plain, plain_anew).replace(generator, generator_anew)
    for _ in range(n):
        applied = pylivepatch.load(patch)
        assert (plain(1), next(generator())) == (-1, 2)
        applied.unload()
        assert (plain(1), next(generator())) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "counted"])
def test_a_thousand_cycles_leave_references_and_memory_as_they_were(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transition, "fast_path", fast)
    codes = [weakref.ref(plain.__code__), weakref.ref(generator.__code__)]  # a strong one would be one more holder
    cycles(20)  # what is made once: caches of this interpreter
    gc.collect()
    references = [sys.getrefcount(code()) for code in codes]
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cycles(1000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plain.__code__ is codes[0]()
    assert generator.__code__ is codes[1]()
    assert [sys.getrefcount(code()) for code in codes] == references
    assert abs(len(gc.get_objects()) - objects) < 100  # far less than one a cycle
    assert after - before < 100_000  # bytes: less than 100 a cycle

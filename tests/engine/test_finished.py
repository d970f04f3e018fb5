"""A generator or coroutine that has ended never runs again, so it holds nothing, however long it is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pylivepatch
from pylivepatch import Patch


def counting() -> Any:
    yield 1


def counting_anew() -> Any:
    yield 2


async def asked() -> int:
    return 1


async def asked_anew() -> int:
    return 2


def test_an_exhausted_generator_that_is_kept_holds_nothing() -> None:
    kept = [counting(), counting()]
    assert [list(generator) for generator in kept] == [[1], [1]]
    applied = pylivepatch.load(Patch("p").replace(counting, counting_anew), timeout=2)
    assert list(counting()) == [2]
    applied.unload(timeout=2)


def test_tasks_that_are_done_and_kept_hold_nothing() -> None:
    async def main() -> None:
        done = [asyncio.create_task(asked()) for _ in range(2)]
        assert await asyncio.gather(*done) == [1, 1]

        def patch() -> None:  # on another thread, from where only the heap leads to them
            pylivepatch.load(Patch("p").replace(asked, asked_anew), timeout=2, deep=True).unload(timeout=2, deep=True)

        await asyncio.to_thread(patch)

    asyncio.run(main())

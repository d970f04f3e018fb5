"""``suspended="allow"``: what is suspended finishes on the old code, everything else keeps the rules."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, PrepareError, TransitionTimeout
from tests.conftest import PATIENCE


def numbers() -> Iterator[str]:
    yield "old 1"
    yield "old 2"


def numbers_anew() -> Iterator[str]:
    yield "new"


def wait(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    leave.wait(PATIENCE)
    return "old"


def wait_anew(inside: threading.Event, leave: threading.Event) -> str:
    return "new"


PATCH = Patch("p").replace(numbers, numbers_anew)
KEPT: list[Any] = []
"""Where another thread finds what is suspended: variables of this one are not looked at."""


def test_a_suspended_generator_finishes_on_the_old_code() -> None:
    begun, unstarted = numbers(), numbers()
    assert next(begun) == "old 1"
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(PATCH, timeout=0.1)
    applied = pylivepatch.load(PATCH, timeout=PATIENCE, suspended="allow")
    assert applied.tainted
    assert {holder["name"] for holder in applied.report["allowed"]} == {"begun", "unstarted"}
    assert {holder["kind"] for holder in applied.report["allowed"]} == {"generator"}
    assert list(numbers()) == ["new"]
    assert list(begun) == ["old 2"]
    assert list(unstarted) == ["old 1", "old 2"]
    applied.unload()
    assert list(numbers()) == ["old 1", "old 2"]


def test_nothing_is_allowed_where_nothing_is_suspended() -> None:
    applied = pylivepatch.load(PATCH, timeout=PATIENCE, suspended="allow")
    assert not applied.tainted
    assert applied.report["allowed"] == []
    applied.unload(suspended="allow")


def test_who_executes_still_holds() -> None:
    inside, leave = threading.Event(), threading.Event()
    sitter = threading.Thread(target=wait, args=(inside, leave))
    sitter.start()
    assert inside.wait(PATIENCE)
    begun = numbers()
    next(begun)
    patch = Patch("p").replace(numbers, numbers_anew).replace(wait, wait_anew)
    with pytest.raises(TransitionTimeout) as caught:
        pylivepatch.load(patch, timeout=0.4, suspended="allow")
    assert "thread" in {holder.kind for holder in caught.value.holders}
    leave.set()
    sitter.join()
    applied = pylivepatch.load(patch, timeout=PATIENCE, suspended="allow")
    assert len(applied.report["allowed"]) == 1
    assert list(begun) == ["old 2"]
    applied.unload()


def test_one_that_begins_in_mid_transition_and_is_suspended_is_allowed_too(hold: Any) -> None:
    held = hold(PATCH, suspended="allow")
    KEPT.append(numbers())
    assert next(KEPT[0]) == "old 1"
    applied = held.finish()
    assert applied.tainted
    assert len(applied.report["allowed"]) == 1
    assert list(numbers()) == ["new"]
    assert list(KEPT.pop()) == ["old 2"]
    applied.unload()
    pylivepatch.load(PATCH, timeout=PATIENCE).unload()


def test_one_that_began_in_mid_transition_holds_later_transitions_that_do_not_allow_it(hold: Any) -> None:
    """It executes the old body in a trampoline: that must not be forgotten."""
    held = hold(PATCH, suspended="allow")
    KEPT.append(numbers())
    next(KEPT[0])
    held.finish().unload()
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(PATCH, timeout=0.2)
    assert list(KEPT.pop()) == ["old 2"]
    pylivepatch.load(PATCH, timeout=PATIENCE).unload()


def test_suspended_tasks_finish_on_the_old_code() -> None:
    async def job(gate: asyncio.Event) -> str:
        await gate.wait()
        return "old"

    async def job_anew(gate: asyncio.Event) -> str:
        return "new"

    async def main() -> list[str]:
        gate = asyncio.Event()
        tasks = [asyncio.create_task(job(gate), name=f"job {n}") for n in range(3)]
        await asyncio.sleep(0)
        patch = Patch("p").replace(job, job_anew)
        applied = await asyncio.to_thread(pylivepatch.load, patch, timeout=PATIENCE, suspended="allow")
        assert {holder["name"] for holder in applied.report["allowed"]} == {"job 0", "job 1", "job 2"}
        assert await job(gate) == "new"
        gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["old"] * 3
    pylivepatch.unload("p")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 does not tell whether an async generator is suspended")
def test_an_async_generator_that_begins_in_mid_transition_is_allowed_too(hold: Any) -> None:
    async def stream() -> AsyncIterator[str]:
        yield "old 1"
        yield "old 2"

    async def stream_anew() -> AsyncIterator[str]:
        yield "new"

    held = hold(Patch("p").replace(stream, stream_anew), suspended="allow")

    async def begin() -> str:
        return await anext(KEPT[0])

    KEPT.append(stream())
    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(begin()) == "old 1"
        applied = held.finish()

        async def rest() -> list[str]:
            return [item async for item in KEPT.pop()]

        assert loop.run_until_complete(rest()) == ["old 2"]
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    applied.unload()


def test_it_is_for_mode_refcount() -> None:
    with pytest.raises(PrepareError, match="allow"):
        pylivepatch.load(PATCH, mode="per-task", suspended="allow")
    with pytest.raises(PrepareError, match="maybe"):
        pylivepatch.load(PATCH, suspended="maybe")

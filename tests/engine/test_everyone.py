"""Who is there: where each thread and task stands, and the functions that it is in."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from pylivepatch.activeness.everyone import everyone


def found(name: str, *, callers: bool) -> dict[str, Any]:
    (one,) = [one for one in everyone(callers=callers) if one["name"] == name]
    return one


def test_a_suspended_task_is_in_every_coroutine_that_awaits() -> None:
    async def inner(wait: asyncio.Event) -> None:
        await wait.wait()

    async def outer(wait: asyncio.Event) -> None:
        await inner(wait)

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        wait = asyncio.Event()
        task = asyncio.create_task(outer(wait), name="suspended")
        await asyncio.sleep(0)
        with_callers, without = found("suspended", callers=True), found("suspended", callers=False)
        wait.set()
        await task
        return with_callers, without

    with_callers, without = asyncio.run(main())
    here = f"{__name__}:test_a_suspended_task_is_in_every_coroutine_that_awaits.<locals>"
    assert with_callers.pop("callers") == [f"{here}.inner", f"{here}.outer"]
    assert with_callers == without
    assert without["function"] == "asyncio.locks:Event.wait"


def test_a_thread_is_in_every_function_on_its_stack() -> None:
    entered, leave = threading.Event(), threading.Event()

    def inside() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=inside, name="inside")
    thread.start()
    try:
        assert entered.wait(30)
        one = found("inside", callers=True)
    finally:
        leave.set()
        thread.join()
    names = [one["function"], *one["callers"]]
    assert f"{__name__}:{inside.__qualname__}" in names
    assert names[-1] == "threading:Thread._bootstrap"

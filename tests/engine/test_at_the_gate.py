"""Who waits at the gate is told apart from who holds the transition: only those inside keep it from finishing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.transition import refcount
from pylivepatch.transition.base import Transition
from tests.conftest import PATIENCE


class Callers:
    """One sits inside of a function of the patch, another waits for the gate to open."""

    def __init__(self) -> None:
        self.sits, self.leave, self.late = threading.Event(), threading.Event(), threading.Event()
        self.answers: list[str] = []

    def sit(self) -> None:
        self.sits.set()
        self.leave.wait(PATIENCE)


@pytest.fixture
def callers(counted: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callers]:
    """The gate closes at once, and the transition's time is up when ``late`` is set."""
    found = Callers()
    real = Transition.go_on

    def go_on(self: Transition, deadline: float) -> bool:
        if found.late.is_set():
            raise self._timeout()
        return real(self, deadline)

    monkeypatch.setattr(Transition, "go_on", go_on)
    monkeypatch.setattr(refcount, "_BY_ITSELF", 0.0)
    monkeypatch.setattr(refcount, "_LONGEST_PAUSE", 0.0)
    yield found
    found.leave.set()


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def kept_out(callers: Callers, patch: Patch, enter: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """A load that the sitter holds, with the gate closed and somebody at it. Gives its status."""

    def begin(event: pylivepatch.Event) -> None:
        if event.kind == "drain":
            threading.Thread(target=callers.sit, name="sitter").start()
            assert callers.sits.wait(PATIENCE)

    def run() -> None:
        try:
            pylivepatch.load(patch, timeout=PATIENCE, gate=10)
        except TransitionTimeout as error:
            errors.append(error)

    def somebody_waits() -> bool:
        nonlocal status
        status = pylivepatch.status() or {}
        return bool(status.get("at_gate"))

    def come() -> None:
        closed.wait(PATIENCE)
        enter()

    closed = threading.Event()
    status: dict[str, Any] = {}
    errors: list[TransitionTimeout] = []
    unsubscribe = pylivepatch.subscribe(begin)
    loader = threading.Thread(target=run)
    waiter = threading.Thread(target=come, name="waiter")
    loader.start()
    waiter.start()
    try:
        until(lambda: (pylivepatch.status() or {}).get("gate", {}).get("tries"))
        closed.set()
        until(somebody_waits)
        yield status
        callers.late.set()
        loader.join(PATIENCE)
    finally:
        unsubscribe()
        for event in (closed, callers.leave, callers.late):
            event.set()
        loader.join(PATIENCE)
        waiter.join(PATIENCE)
    (error,) = errors
    assert [holder.name for holder in error.holders] == ["sitter"]
    assert [holder["name"] for holder in error.details["holders"]] == ["sitter"]
    assert "sitter" in error.message
    assert "waiter" not in error.message


def test_a_thread_that_waits_at_the_gate_is_no_holder(callers: Callers) -> None:
    def enter() -> str:
        return "old"

    patch = Patch("p").replace(Callers.sit, lambda self: None).replace(enter, lambda: "new")
    with kept_out(callers, patch, lambda: callers.answers.append(enter())) as status:
        assert [(one["kind"], one["name"]) for one in status["holders"]] == [("thread", "sitter")]
        assert [(one["kind"], one["name"]) for one in status["at_gate"]] == [("thread", "waiter")]
        assert status["at_gate"][0]["function"].endswith("enter")
        assert status["counter"] == 1
        assert callers.answers == []
    assert callers.answers == ["old"]


@pytest.mark.parametrize("kind", ["coroutine", "async generator"])
def test_a_task_that_waits_at_the_gate_is_no_holder(kind: str, callers: Callers) -> None:
    async def coroutine() -> str:
        return "old"

    async def coroutine_anew() -> str:
        return "new"

    async def generator() -> Any:
        yield "old"

    async def generator_anew() -> Any:
        yield "new"

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("waiter")
        if kind == "coroutine":
            callers.answers.append(await coroutine())
        else:
            callers.answers += [answer async for answer in generator()]

    patch = Patch("p").replace(coroutine, coroutine_anew).replace(generator, generator_anew)
    patch = patch.replace(Callers.sit, lambda self: None)
    with kept_out(callers, patch, lambda: asyncio.run(main())) as status:
        assert [one["name"] for one in status["holders"]] == ["sitter"]
        assert [one["name"] for one in status["at_gate"]] == ["waiter"]
    assert callers.answers == ["old"]


def test_a_coroutine_that_was_not_started_holds_and_is_not_at_the_gate(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frame stands before the question, too, but nobody keeps it: it has its trampoline for good."""

    async def work() -> str:
        return "old"

    async def work_anew() -> str:
        return "new"

    def enter() -> None:
        pass

    made = []
    patch = Patch("p").replace(Callers.sit, lambda self: None).replace(work, work_anew).replace(enter, lambda: None)

    def both() -> None:
        made.append(work())
        enter()

    with kept_out(callers, patch, both) as status:
        assert [one["name"] for one in status["at_gate"]] == ["waiter"]
        assert any(one["function"].endswith("work") for one in status["holders"])
        made.pop().close()


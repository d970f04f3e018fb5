"""A generator or coroutine that has ended never runs again, so it holds nothing, however long it is kept."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.way import MODES


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


def failing() -> None:
    raise ValueError("old")


def failing_anew() -> None:
    raise ValueError("new")


def caught() -> ValueError:
    try:
        failing()
    except ValueError as error:
        return error
    raise AssertionError


KEPT: list[Any] = []


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    yield KEPT
    KEPT.clear()


@pytest.mark.parametrize("mode", MODES)
def test_a_kept_exception_whose_traceback_has_a_finished_frame_holds_nothing(kept: list[Any], mode: str) -> None:
    kept.append(caught())
    applied = pylivepatch.load(Patch("p").replace(failing, failing_anew), timeout=5, mode=mode)
    assert str(caught()) == "new"
    kept.append(caught())
    applied.unload(timeout=5, mode=mode)
    assert len(traceback.extract_tb(kept[0].__traceback__)) == 2


def test_an_exception_that_a_thread_handles_meanwhile_holds_nothing() -> None:
    handling, go_on = threading.Event(), threading.Event()

    def handle() -> None:
        try:
            failing()
        except ValueError:
            handling.set()
            go_on.wait(20)

    thread = threading.Thread(target=handle)
    thread.start()
    try:
        assert handling.wait(20)
        pylivepatch.load(Patch("p").replace(failing, failing_anew), timeout=5).unload(timeout=5)
    finally:
        go_on.set()
        thread.join(20)


def test_who_called_a_finished_frame_that_is_kept_on_the_books_holds_nothing_after_its_own_end() -> None:
    """The books keep the frame, and with it those that called it, while the exception that led to it is gone."""
    inside, leave = threading.Event(), threading.Event()

    def handling() -> str:
        try:
            failing()
        except ValueError:
            inside.set()
            leave.wait(20)
        return "old"

    def handling_anew() -> str:
        return "new"

    thread = threading.Thread(target=handling)
    thread.start()
    unsubscribe = pylivepatch.subscribe(lambda event: leave.set() if event.kind == "holders" else None)
    try:
        assert inside.wait(20)
        patch = Patch("p").replace(failing, failing_anew).replace(handling, handling_anew)
        applied = pylivepatch.load(patch, timeout=10)
        assert leave.is_set()
        assert handling() == "new"
        applied.unload(timeout=10)
    finally:
        unsubscribe()
        leave.set()
        thread.join(20)


def test_an_import_error_that_another_module_keeps_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its traceback has the frames of all modules that were being imported, and their code that of their functions."""
    (tmp_path / "importing.py").write_text("class C:\n    import keeping\n    def f(self): return 'old'\n")
    (tmp_path / "keeping.py").write_text("try: import is_not_there\nexcept ImportError as e: error = e\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importing = importlib.import_module("importing")

    def anew(self: Any) -> str:
        return "new"

    applied = pylivepatch.load(Patch("p").replace(importing.C.f, anew), timeout=5)
    assert importing.C().f() == "new"
    applied.unload(timeout=5)


def test_what_only_a_cycle_keeps_is_found_in_the_heap() -> None:
    def cycle() -> None:
        error = caught()
        error.args = (error,)

    gc.disable()
    try:
        cycle()
        with pytest.raises(TransitionTimeout):
            pylivepatch.load(Patch("p").replace(failing, failing_anew), timeout=0.1)
        pylivepatch.load(Patch("p").replace(failing, failing_anew), timeout=5, deep=True).unload(timeout=5, deep=True)
    finally:
        gc.enable()


def test_a_frame_that_executes_is_not_taken_for_a_finished_one(kept: list[Any]) -> None:
    """Its exception is kept, and it goes on after it."""
    inside, leave = threading.Event(), threading.Event()

    def survivor() -> str:
        try:
            failing()
        except ValueError as error:
            kept.append(error)
        inside.set()
        leave.wait(20)
        return "old"

    def survivor_anew() -> str:
        return "new"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(survivor()))
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(TransitionTimeout) as timeout:
            pylivepatch.load(Patch("p").replace(survivor, survivor_anew), timeout=0.6, deep=True)
        assert [holder.kind for holder in timeout.value.holders] == ["thread"]
    finally:
        leave.set()
        thread.join(20)
    assert results == ["old"]


def test_a_failed_task_that_is_kept_holds_nothing(kept: list[Any]) -> None:
    async def fail() -> None:
        failing()

    async def main() -> None:
        kept.append(asyncio.create_task(fail()))
        await asyncio.wait(kept)
        pylivepatch.load(Patch("p").replace(failing, failing_anew), timeout=5).unload(timeout=5)
        assert kept[0].exception() is not None

    asyncio.run(main())

"""An exception that another thread sets (``PyThreadState_SetAsyncExc``) strikes anywhere: nothing is lost by it."""

from __future__ import annotations

import ctypes
import threading
import time

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.transition.base import Transition


class Struck(Exception):
    pass


def strike(thread: threading.Thread) -> None:
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Struck))


def busy() -> str:
    for _ in range(200):
        pass
    return "old"


def busy_anew() -> str:
    for _ in range(200):
        pass
    return "new"


@pytest.mark.slow
def test_threads_that_are_struck_in_trampolines_stay_counted_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost exit would keep the counter from 0 for ever, a lost entry would let it reach 0 too early."""
    monkeypatch.setattr(Transition, "fast_path", False)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                while not stop.is_set():
                    busy()
            except Struck:
                continue

    def survive() -> None:
        while not stop.is_set():
            try:
                work()
            except Struck:  # in its own handler
                continue

    def there_and_back() -> None:  # the threads leave it little of the GIL, and keep frames in their tracebacks
        pylivepatch.load(Patch("p").replace(busy, busy_anew), timeout=120).unload(timeout=120)

    threads = [threading.Thread(target=survive, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    struck = 0
    try:
        for _ in range(4):
            loader = threading.Thread(target=there_and_back)
            loader.start()
            while loader.is_alive():
                for thread in threads:
                    strike(thread)
                    struck += 1
                time.sleep(0)
            loader.join()
            assert pylivepatch.patches() == ()
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert struck > 4
    assert busy() == "old"


def test_a_loader_that_is_struck_leaves_one_state_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transition, "fast_path", False)
    original = busy.__code__
    inside, leave = threading.Event(), threading.Event()

    def holding() -> str:
        inside.set()
        leave.wait()
        return "old"

    sitter = threading.Thread(target=holding)
    sitter.start()
    assert inside.wait(10)
    caught: list[BaseException] = []
    patch = Patch("p").replace(busy, busy_anew).replace(holding, lambda: "new")

    def load() -> None:
        try:
            pylivepatch.load(patch, timeout=5)
        except (Struck, TransitionTimeout) as error:
            caught.append(error)

    loader = threading.Thread(target=load)
    loader.start()
    while pylivepatch.status() is None and loader.is_alive():
        time.sleep(0.001)
    strike(loader)
    loader.join(20)
    leave.set()
    sitter.join()
    assert [type(error) for error in caught] == [Struck]
    assert busy.__code__ is original
    assert pylivepatch.patches() == ()
    pylivepatch.load(patch, timeout=5).unload(timeout=5)

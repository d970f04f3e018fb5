"""A profiler's table keeps the code of what it saw called: that is no execution, and hides none."""

from __future__ import annotations

import cProfile
import threading
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout


def total(pause: Any = None) -> str:
    if pause is not None:
        pause()
    return "old"


def total_anew(pause: Any = None) -> str:
    return "new"


def profiled() -> cProfile.Profile:
    profile = cProfile.Profile()
    profile.runcall(total)
    return profile


def patch() -> Patch:
    return Patch("interplay").replace(total, total_anew)


def test_a_profile_that_is_kept_in_a_variable_holds_nothing() -> None:
    original = id(total.__code__)
    profile = profiled()
    applied = pylivepatch.load(patch(), timeout=5)
    profile.runcall(total)  # the new code is in the table, too
    assert total() == "new"
    applied.unload(timeout=5)
    assert (total(), id(total.__code__)) == ("old", original)


def test_a_profiler_that_is_at_work_holds_nothing() -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        total()
        applied = pylivepatch.load(patch(), timeout=5)
        total()
        applied.unload(timeout=5)
        assert total() == "old"
    finally:
        profile.disable()


def test_a_profile_that_only_another_thread_has_is_found_by_the_deep_search() -> None:
    kept, done = threading.Event(), threading.Event()

    def keep() -> None:
        profile = profiled()
        kept.set()
        done.wait()
        del profile

    thread = threading.Thread(target=keep)
    thread.start()
    kept.wait()
    try:
        with pytest.raises(TransitionTimeout) as caught:
            pylivepatch.load(patch(), timeout=0.1)
        assert [holder.kind for holder in caught.value.holders] == ["reference"]
        assert "deep=True" in caught.value.advice
        applied = pylivepatch.load(patch(), timeout=5, deep=True)
        assert total() == "new"
    finally:
        done.set()
        thread.join()
    applied.unload(timeout=5)


def test_a_table_that_is_cleared_hides_nobody_who_is_inside() -> None:
    inside, leave = threading.Event(), threading.Event()
    profile = profiled()

    def pause() -> None:
        inside.set()
        leave.wait()

    thread = threading.Thread(target=total, args=(pause,), name="sleeper")
    thread.start()
    inside.wait()
    outcome: list[Any] = []

    def load() -> None:
        try:
            pylivepatch.load(patch(), timeout=1.0)
        except TransitionTimeout as error:
            outcome.append([(holder.kind, holder.name) for holder in error.holders])

    loading = threading.Thread(target=load)
    loading.start()
    while pylivepatch.status() is None:
        pass
    profile.clear()
    loading.join()
    leave.set()
    thread.join()
    assert outcome == [[("thread", "sleeper")]]
    assert total() == "old"

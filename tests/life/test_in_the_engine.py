"""Callbacks and states as load and unload run them."""

from __future__ import annotations

from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout
from pylivepatch.callbacks import Callbacks
from pylivepatch.errors import CallbackRefused, IncompatibleState
from pylivepatch.state import State


def old() -> str:
    return "old"


def new() -> str:
    return "new"


def newer() -> str:
    return "newer"


def recording(seen: list[str]) -> Callbacks:
    def note(name: str) -> Any:
        return lambda context: seen.append(f"{name} {old()}")

    return Callbacks(note("pre_patch"), note("post_patch"), note("pre_unpatch"), note("post_unpatch"))


def test_callbacks_run_around_the_switch() -> None:
    seen: list[str] = []
    applied = pylivepatch.load(Patch("p", callbacks=recording(seen)).replace(old, new))
    assert seen == ["pre_patch old", "post_patch new"]
    applied.unload()
    assert seen[2:] == ["pre_unpatch new", "post_unpatch old"]
    assert not applied.tainted


def test_pre_patch_may_refuse() -> None:
    patch = Patch("p", callbacks=Callbacks(pre_patch=lambda context: "not now")).replace(old, new)
    with pytest.raises(CallbackRefused):
        pylivepatch.load(patch)
    assert old() == "old"
    assert pylivepatch.patches() == ()


def test_a_reversed_load_undoes_what_pre_patch_did() -> None:
    seen: list[str] = []
    held = generator()
    next(held)
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(Patch("p", callbacks=recording(seen)).replace(generator, other), timeout=0.05)
    assert seen == ["pre_patch old", "post_unpatch old"]
    held.close()


def generator() -> Any:
    yield 1


def other() -> Any:
    yield 2


def test_a_failing_callback_taints_and_the_patch_stays() -> None:
    def fails(context: Any) -> None:
        raise RuntimeError("no")

    applied = pylivepatch.load(Patch("p", callbacks=Callbacks(post_patch=fails)).replace(old, new))
    assert old() == "new"
    assert applied.tainted
    applied.unload()


def test_a_patch_with_an_older_state_is_refused() -> None:
    applied = pylivepatch.load(Patch("p", states=(State("cache", 2),)).replace(old, new))
    with pytest.raises(IncompatibleState):
        pylivepatch.load(Patch("q", states=(State("cache", 1),)).replace(other, generator))
    applied.unload()
    pylivepatch.load(Patch("q", states=(State("cache", 1),)).replace(old, newer)).unload()

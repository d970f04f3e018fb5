"""What may be asked in the middle of a transition: reverse, force, signal; and the taint that stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.errors import NoTransition, NotRemovable, TransitionReversed


def old() -> str:
    return "old"


def new() -> str:
    return "new"


def newer() -> str:
    return "newer"


@pytest.mark.parametrize("ask", [pylivepatch.reverse, pylivepatch.force, pylivepatch.signal])
def test_there_must_be_a_transition(ask: Callable[[], Any]) -> None:
    with pytest.raises(NoTransition):
        ask()


@pytest.mark.parametrize("mode", ["refcount", "per-task", "stop-machine"])
def test_a_load_is_reversed_on_request(hold: Any, mode: str) -> None:
    code = old.__code__
    held = hold(Patch("asked").replace(old, new), mode=mode)
    asked = pylivepatch.reverse()
    assert (asked["patch"], asked["action"]) == ("asked", "load")
    with pytest.raises(TransitionReversed):
        outcome(held)
    assert old.__code__ is code
    assert pylivepatch.patches() == ()
    held.let_go()


def test_an_unload_is_reversed_on_request(hold: Any) -> None:
    held = hold(Patch("stays").replace(old, new))
    held.finish()
    held.unloading()
    pylivepatch.reverse()
    with pytest.raises(TransitionReversed):
        outcome(held)
    assert [applied.name for applied in pylivepatch.patches()] == ["stays"]
    assert old() == "new"
    held.let_go()


@pytest.mark.parametrize("mode", ["refcount", "per-task", "stop-machine"])
def test_a_forced_load_switches_at_once_taints_and_stays(
    hold: Any, mode: str, forget_everything: None
) -> None:
    held = hold(Patch("hurried").replace(old, new), mode=mode)
    pylivepatch.force()
    outcome(held)
    assert held._sitter.is_alive(), "it switched with somebody inside"
    assert old() == "new"
    (applied,) = pylivepatch.patches()
    assert (applied.forced, applied.tainted, applied.report["forced"]) == (True, True, True)
    taint = next(t for t in pylivepatch.taints() if t.patch == "hurried")
    assert (taint.action, taint.reason, taint.details[0]["name"]) == ("load", "forced", "sitter")
    with pytest.raises(NotRemovable, match="was forced"):
        applied.unload()
    held.let_go()
    with pytest.raises(NotRemovable, match="was forced"):
        applied.unload()


def test_another_patch_can_be_loaded_on_a_forced_one(hold: Any, forget_everything: None) -> None:
    held = hold(Patch("below").replace(old, new))
    pylivepatch.force()
    outcome(held)
    held.let_go()
    above = pylivepatch.load(Patch("above").replace(old, newer))
    assert old() == "newer"
    above.unload()
    assert old() == "new"


def test_a_forced_unload_is_done_and_the_taint_stays(hold: Any) -> None:
    held = hold(Patch("gone").replace(old, new))
    held.finish()
    held.unloading()
    pylivepatch.force()
    outcome(held)
    assert old() == "old"
    assert pylivepatch.patches() == ()
    assert [(t.action, t.reason) for t in pylivepatch.taints() if t.patch == "gone"] == [("unload", "forced")]
    held.let_go()


def test_a_signal_wakes_an_event_loop_that_waits(hold: Any) -> None:
    loop = asyncio.new_event_loop()
    running = threading.Event()

    async def wait_for_work(done: asyncio.Event) -> None:
        running.set()
        await done.wait()

    done = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(wait_for_work(done),), name="looper")
    thread.start()
    try:
        assert running.wait(20)
        hold(Patch("woken").replace(old, new))
        assert pylivepatch.signal() != []
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(20)
        loop.close()


def outcome(held: Any) -> None:
    """What the loader came to, with the sitter still inside."""
    held._loader.join(20)
    assert not held._loader.is_alive()
    if held.error is not None:
        raise held.error

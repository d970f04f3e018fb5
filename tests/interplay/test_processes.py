"""Children of ``multiprocessing``, by each start method: a forked one has its parent's patches, the others none."""

from __future__ import annotations

import multiprocessing
import weakref
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import pylivepatch
from tests.conftest import PATIENCE

from . import children

METHODS = multiprocessing.get_all_start_methods()
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def child(method: str) -> list[Any]:
    """What a child finds that is started now."""
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=children.life, args=(sender,))
    process.start()
    sender.close()
    try:
        assert receiver.poll(PATIENCE)
        found: list[Any] = receiver.recv()
    finally:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        receiver.close()
    assert process.exitcode == 0
    return found


FRESH = ["old", False, True, "new", "old", True]


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_is_started_while_patched(method: str) -> None:
    original = weakref.ref(children.answer.__code__)
    applied = pylivepatch.load(children.PATCH, timeout=PATIENCE)
    patched = ["new", True, True, "old", "new", "old", True]
    assert child(method) == (patched if method == "fork" else FRESH)
    assert children.answer() == "new"
    applied.unload(timeout=PATIENCE)
    assert children.answer.__code__ is original()


@pytest.mark.parametrize("method", METHODS)
def test_a_child_that_is_started_in_mid_transition(method: str, hold: Any) -> None:
    """The parent's transition goes on; a forked child is reversed to the version that was in force."""
    original = weakref.ref(children.answer.__code__)
    held = hold(pylivepatch.Patch("children").replace(children.answer, children.answer_anew))
    assert child(method) == FRESH
    assert children.answer() == "old"
    held.finish()
    assert children.answer() == "new"
    pylivepatch.unload("children", timeout=PATIENCE)
    assert children.answer.__code__ is original()


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_calls_the_function_that_its_process_has(method: str) -> None:
    """Functions travel by name. A pool's child keeps the version that it was forked with: patch it by itself."""
    original = weakref.ref(children.answer.__code__)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(children.answer, range(2))) == ["old", "old"]
        applied = pylivepatch.load(children.PATCH, timeout=PATIENCE)
        assert children.answer() == "new"
        assert list(pool.map(children.answer, range(2))) == ["old", "old"]
        applied.unload(timeout=PATIENCE)
    assert children.answer.__code__ is original()

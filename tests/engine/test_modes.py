"""The modes, one after the other on the same functions."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Iterator

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.way import MODES


def old() -> str:
    return "old"


def new() -> str:
    return "new"


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What only a cycle keeps stays, as in a process whose next collection is far away."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(MODES, repeat=2)))
def test_a_mode_leaves_nothing_that_holds_the_next_one(no_collection: None, first: str, second: str) -> None:
    code = old.__code__
    references = sys.getrefcount(code)
    for _ in range(2):
        applied = pylivepatch.load(Patch("fix").replace(old, new), mode=first, timeout=5)
        assert old() == "new"
        applied.unload(mode=second, timeout=5)
        assert old.__code__ is code
        del applied
    assert sys.getrefcount(code) == references

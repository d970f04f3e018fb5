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


ORIGINAL = old.__code__


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What only a cycle keeps stays, as in a process whose next collection is far away."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(MODES, repeat=2)))
def test_a_mode_leaves_nothing_that_holds_the_next_one(no_collection: None, first: str, second: str) -> None:
    references = sys.getrefcount(ORIGINAL)
    for _ in range(2):
        there_and_back(first, second)
        assert sys.getrefcount(ORIGINAL) == references


def there_and_back(first: str, second: str) -> None:
    applied = pylivepatch.load(Patch("fix").replace(old, new), mode=first, timeout=5)
    assert old() == "new"
    applied.unload(mode=second, timeout=5)
    restored = old.__code__ is ORIGINAL
    assert restored

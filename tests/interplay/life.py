"""The life of a patch, stage by stage, for tests that do the same in each of them and compare."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pylivepatch import Patch

HAS_TRAMPOLINES = ("loading", "unloading")


class Stage(NamedTuple):
    name: str
    version: str
    held: Any  # the open transition, where there is one

    @property
    def counted(self) -> int:
        """How many calls the transition believes to be inside."""
        return int(self.held.counted)


def stages(hold: Callable[..., Any], *pairs: tuple[Any, Any]) -> Iterator[Stage]:
    """Before the patch, with trampolines in, patched, with trampolines in again, and after.

    At the end each function must have its original code: the very object. While trampolines are in, each call
    that the test made must have been counted out when it is over.
    """
    # Weakly: a variable that holds code is a holder that the engine has to explain away.
    originals = [weakref.ref(old.__code__) for old, _ in pairs]
    yield Stage("before", "old", None)
    patch = Patch("interplay")
    for old, new in pairs:
        patch = patch.replace(old, new)
    held = hold(patch)
    yield from _open(held, "loading", "old")
    held.finish()
    yield Stage("loaded", "new", None)
    held.unloading()
    yield from _open(held, "unloading", "new")
    held.finish()
    yield Stage("unloaded", "old", None)
    for (old, _), original in zip(pairs, originals, strict=True):
        assert old.__code__ is original()


def _open(held: Any, name: str, version: str) -> Iterator[Stage]:
    before = held.counted
    yield Stage(name, version, held)
    assert held.counted == before, f"calls that are over are still counted, or were counted out twice ({name})"

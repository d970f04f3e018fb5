"""Trampolines that some frame still executes after their transition: a later one must wait for such a frame, too."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pylivepatch.activeness.references import Version, counts

LINGERING: list[tuple[Version | None, Version]] = []
"""Each trampoline with the body's version where that is the old body of a transition that was reversed, forced or let
suspended ones go on (such a frame executes it, and a later transition must wait for it), else with ``None``."""


def linger(pairs: Iterable[tuple[Version | None, Version]]) -> None:
    """Frames may go on in code (second) whose body is that of another version (first): whoever patches that waits for
    them, too."""
    LINGERING.extend(pairs)  # straight from the iterator: no variable keeps a version
    prune()


def prune() -> None:
    """Forget trampolines that nobody executes any more.

    One by one: another thread may add some meanwhile, an arrival's or one that ends a tracing.
    """
    known = tuple(LINGERING)
    for item, n in zip(known, counts(trampoline for _, trampoline in known), strict=True):
        if n <= 0:
            with suppress(ValueError):  # the other was faster
                LINGERING.remove(item)

"""The garbage collector, off while a build lasts.

A build makes millions of objects that stay (syntax trees above all) and next to no cycles. The collector, which runs
by the number of new objects, goes through all of them again and again: it took three quarters of the time to parse.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Nothing is collected inside, unless somebody else turns the collector on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

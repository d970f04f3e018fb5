"""Profilers' tables: cProfile keeps the code of each function that it saw called, once a profiler, until it is cleared.

The collector does not know of the table, but the profiler itself lists it, in C. Found are the profilers that lie in
variables of the modules and of the callers, the one that profiles this thread (up to Python 3.11, which names it), and,
by the deep search, all others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from operator import attrgetter, call
from types import ModuleType
from typing import Any

from pylivepatch.activeness.variables import instances_in

_code_of = attrgetter("code")


def kind() -> type | None:
    """The type of C profilers; ``None`` where the process has none."""
    module = sys.modules.get("_lsprof")
    return getattr(module, "Profiler", None)


def profilers_in(modules: Iterable[ModuleType]) -> list[Any]:
    """Those that variables lead to, and that of this thread."""
    profiler = kind()
    if profiler is None:
        return []
    found = instances_in(modules, profiler)
    current = sys.getprofile()
    return [*found, current] if isinstance(current, profiler) else found


def code_kept(profilers: Iterable[Any], wanted: set[int]) -> Iterator[int]:
    """The ids of the code objects with a wanted id that the tables hold. The iterator runs no Python code."""
    listings = [partial(kind().getstats, profiler) for profiler in profilers]  # type: ignore[union-attr]
    return filter(wanted.__contains__, map(id, map(_code_of, chain.from_iterable(map(call, listings)))))

"""Who else has an object: the names that lead to it, and how many references there are beside those.

A function whose decorators changed is another object in the new version, and each name of the old one must lead to
the new one. The names of all modules, and of the classes in them, are looked through; for the rest the reference count
tells that there is one, not where.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import time
import warnings
from collections import Counter
from types import CellType, FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.functions import unwrap

_BATCH = 20  # classes looked through between two offers of the GIL
_TRIES = 100  # a call that is under way holds a reference to its function for a moment


def names_of(thing: Any) -> list[tuple[Any, str]]:
    """Every module's dict, and every class of a module, that has ``thing``, and by which name. Gives up the GIL."""
    found: list[tuple[Any, str]] = []
    looked_at = 0
    for module in list(sys.modules.values()):
        if not issubclass(type(module), ModuleType):
            continue
        space = vars(module)
        for name, value in list(space.items()):
            if value is thing:
                found.append((space, name))
            elif issubclass(type(value), type) and vars(value).get("__module__") == module.__name__:
                names = [key for key, inner in list(vars(value).items()) if inner is thing]
                found += [(value, key) for key in names if (value, key) not in found]
                looked_at += 1
                if looked_at % _BATCH == 0:
                    time.sleep(0)
        time.sleep(0)
    return found


def is_known(thing: Any, function: FunctionType) -> bool:
    """Whether ``thing`` is the function, or what a decorator of the standard library made of it: no tool's wrapper."""
    if thing is function:
        return True
    kinds = staticmethod, classmethod, property, functools.cached_property, functools._lru_cache_wrapper
    known = type(thing) in kinds
    if type(thing) is FunctionType:
        known = thing.__globals__ is vars(contextlib) or thing.__globals__ is vars(warnings)
    return known and any(function is inner for inner in unwrap(thing))


def held_elsewhere(places: list[tuple[Any, str]], inner: list[FunctionType]) -> int:
    """How many references there are to what the ``places`` lead to, or to the functions in it, beside the places.

    Nothing but the places, and ``inner`` the functions, may hold them in the calling code.
    """
    for _ in range(_TRIES):
        excess = _references_of(*places[0]) - _references_of({"": object()}, "") - (len(places) - 1)
        inside = _within(*places[0])
        for number in range(len(inner)):  # no name for one of them: that would be a reference
            if inner[number] is _at(*places[0]):
                excess -= 1  # the list's own
            else:
                excess += _references_in(inner, number) - _references_in([object()], 0) - inside[id(inner[number])]
        if excess <= 0:
            return 0
        time.sleep(0.001)
    return excess


def _at(space: Any, name: str) -> Any:
    return vars(space)[name] if isinstance(space, type) else space[name]


def _references_of(space: Any, name: str) -> int:
    if isinstance(space, type):
        space = vars(space)
    return sys.getrefcount(space[name])


def _references_in(things: list[Any], index: int) -> int:
    return sys.getrefcount(things[index])


def _within(space: Any, name: str) -> Counter[int]:
    """How often each object is referred to by what stands around the function: ids → counts."""
    found: Counter[int] = Counter()
    queue, seen = [_at(space, name)], set()
    while queue:
        thing = queue.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        for part in gc.get_referents(thing):
            found[id(part)] += 1
            plain = type(part) is dict and "__spec__" not in part
            if plain or isinstance(part, CellType | tuple) or hasattr(part, "__wrapped__"):
                queue.append(part)
    return found

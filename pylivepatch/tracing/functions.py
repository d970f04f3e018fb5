"""Which functions a pattern means."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from types import FunctionType, ModuleType

from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.pace import give_way

_NEVER = ("pylivepatch.tracing", "pylivepatch.agent", "threading", "_weakrefset")
"""What the hooks, the reader of the buffer and the agent run themselves."""
_BATCH = 200  # names looked at between two offers of the GIL


def name_of(function: FunctionType) -> str:
    """``module.qualname``, as it stands in a trace."""
    return f"{function.__module__}.{function.__qualname__}"


def find(patterns: Iterable[str], notrace: Iterable[str] = ()) -> list[FunctionType]:
    """Functions and methods of imported modules whose ``module.qualname`` matches one of ``patterns`` (as in
    :mod:`fnmatch`: ``*`` stands for anything, dots too) and none of ``notrace``. Each once, by name.

    Functions are looked for in the namespace of the module that they are defined in and of its classes. Gives up the
    GIL on the way.
    """
    patterns, notrace = tuple(patterns), tuple(notrace)
    found: dict[int, FunctionType] = {}
    looked_at = 0
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or _is_ours(module.__name__):
            continue
        if not any(_may_match(pattern, module.__name__) for pattern in patterns):
            continue
        for function in _functions_of(module):
            looked_at += 1
            if looked_at % _BATCH == 0:
                give_way()
            name = name_of(function)
            wanted = any(fnmatchcase(name, pattern) for pattern in patterns)
            if wanted and not any(fnmatchcase(name, pattern) for pattern in notrace):
                found[id(function)] = function
    return sorted(found.values(), key=name_of)


def _is_ours(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in _NEVER)


def _may_match(pattern: str, module: str) -> bool:
    """Whether a name that begins with the module's can match: the module's part of the pattern must fit."""
    fixed = pattern.partition("*")[0].partition("?")[0].partition("[")[0]
    name = module + "."
    return name.startswith(fixed) or fixed.startswith(name)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    for thing in list(vars(module).values()):
        if isinstance(thing, type):
            yield from _functions_of_class(thing, module.__name__, set())
        else:
            yield from (f for f in unwrap(thing) if f.__module__ == module.__name__)


def _functions_of_class(cls: type, module: str, seen: set[type]) -> Iterator[FunctionType]:
    if cls.__module__ != module or cls in seen:
        return
    seen.add(cls)
    for thing in list(vars(cls).values()):
        if isinstance(thing, type):
            yield from _functions_of_class(thing, module, seen)
        else:
            yield from (f for f in unwrap(thing) if f.__module__ == module)

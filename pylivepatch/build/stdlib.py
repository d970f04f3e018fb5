"""The standard library's classes, looked at: nothing of the source is imported to find out, but these may be."""

from __future__ import annotations

import builtins
import importlib
import inspect
import sys
from functools import cache
from typing import Literal

METACLASSES = frozenset({"type", "abc.ABCMeta", "enum.EnumMeta", "enum.EnumType"})
_QUIET = ("builtins", "typing")


@cache
def subclassing(dotted: str) -> Literal["plain", "quiet", "unknown", "elsewhere"]:
    """What making a class below the class ``dotted`` does.

    ``plain``: it makes the class. ``quiet``: a metaclass of the standard library looks at its body. ``unknown``: it may
    do anything. ``elsewhere``: it is no class of the standard library, or none of this platform's.
    """
    if isinstance(getattr(builtins, dotted, None), type):
        return "plain"
    module, _, name = dotted.rpartition(".")
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return "elsewhere"
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except Exception:  # of another platform
        return "elsewhere"
    kind = getattr(kind, "__origin__", kind)
    if not isinstance(kind, type):
        return "unknown"
    noisy = any("__init_subclass__" in vars(one) for one in kind.__mro__ if one.__module__ not in _QUIET)
    kinds = inspect.getmro(type(kind))
    made_by = {f"{meta.__module__}.{meta.__qualname__}".removeprefix("builtins.") for meta in kinds}
    if noisy or made_by - METACLASSES - {"object", "typing._ProtocolMeta"}:
        return "unknown"
    return "quiet" if made_by - {"type", "object", "abc.ABCMeta"} else "plain"

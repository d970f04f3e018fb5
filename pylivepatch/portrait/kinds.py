"""What a class is, asked of ``type`` itself: a metaclass may have an opinion of its own about every attribute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

space_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__bases__"].__get__
mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_base_of: Callable[[type], type | None] = type.__dict__["__base__"].__get__
_flags_of: Callable[[type], int] = type.__dict__["__flags__"].__get__
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def ids_of(*kinds: type) -> frozenset[int]:
    """To tell classes by identity: a metaclass may have an ``__eq__`` and a ``__hash__``."""
    return frozenset(map(id, kinds))


def module_of(cls: type) -> str:
    try:
        found = _module_of(cls)
    except AttributeError:  # deleted
        return "?"
    return found if type(found) is str else "?"


def is_made_at_run_time(cls: type) -> bool:
    """By a class statement; or by C, at run time."""
    return bool(_flags_of(cls) & _HEAP_TYPE)


def base_in_c(cls: type) -> type:
    """The nearest base that is compiled in: ``object`` for an ordinary class."""
    base: type | None = cls
    while base is not None and is_made_at_run_time(base):
        base = _base_of(base)
    return base or object


def name_of(cls: type) -> str:
    """``module.qualname``, without the module for a builtin."""
    module = module_of(cls)
    return qualname_of(cls) if module == "builtins" else f"{module}.{qualname_of(cls)}"

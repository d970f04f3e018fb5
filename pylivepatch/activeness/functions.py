"""Where the functions are: what a module's namespace leads to.

A patch names a function; what must change is the function *object*, which aliases, bound methods and callbacks
anywhere refer to. It is found by walking from the module's namespace through classes, descriptors, decorators that
keep their original, closures, containers and instances, and is recognised by its code. Whether all were found is not
this module's to say: the reference count of the code tells.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

_BATCH = 200  # objects looked at between two offers of the GIL; well under a millisecond
_LIMIT = 100_000  # objects looked at in all; what lies deeper is the deep search's to find


def unwrap(callable_: Any) -> list[FunctionType]:
    """The plain functions that ``callable_`` stands for: one, or the accessors of a property.

    Follows bound methods, ``staticmethod``, ``classmethod``, ``property``, ``functools.partial``,
    ``cached_property`` and ``__wrapped__``; gives an empty list where no Python function is inside.
    """
    seen: set[int] = set()
    while id(callable_) not in seen:
        seen.add(id(callable_))
        if isinstance(callable_, property):
            accessors = (callable_.fget, callable_.fset, callable_.fdel)
            return [f for accessor in accessors if accessor is not None for f in unwrap(accessor)]
        inner = _inside(callable_)
        if inner is None:
            break
        callable_ = inner
    return [callable_] if isinstance(callable_, FunctionType) else []


def _inside(wrapper: Any) -> Any:
    if isinstance(wrapper, MethodType | staticmethod | classmethod):
        return wrapper.__func__
    if isinstance(wrapper, functools.partial | functools.partialmethod | functools.cached_property):
        return wrapper.func
    if isinstance(wrapper, functools.singledispatchmethod):
        return wrapper.func
    # Look for the attribute without running a __getattr__ of the wrapper's.
    attributes = getattr(type(wrapper), "__dict__", {})
    own = wrapper.__dict__ if "__dict__" in dir(type(wrapper)) and hasattr(wrapper, "__dict__") else {}
    return own.get("__wrapped__") if "__wrapped__" not in attributes else None


def walk(modules: Iterable[ModuleType]) -> Iterator[FunctionType]:
    """Every function that is reachable from these modules' namespaces without entering another module.

    Gives up the GIL as it goes.
    """
    queue: deque[Any] = deque()
    names: set[str] = set()
    seen: set[int] = set()
    keep: list[Any] = []  # what was seen stays alive while its id is in use
    for module in modules:
        names.add(module.__name__)
        queue.extend(list(vars(module).values()))
    looked_at = 0
    while queue and looked_at < _LIMIT:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        keep.append(thing)
        looked_at += 1
        if looked_at % _BATCH == 0:
            time.sleep(0)
        if isinstance(thing, FunctionType):
            yield thing
        queue.extend(_parts(thing, names))


def _parts(thing: Any, names: set[str]) -> list[Any]:
    if isinstance(thing, FunctionType):
        cells = [contents(cell) for cell in thing.__closure__ or ()]
        return [*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *thing.__dict__.values()]
    if isinstance(thing, type):
        if thing.__module__ not in names:
            return []
        return list(vars(thing).values())
    if isinstance(thing, ModuleType | str | bytes | int | float | complex | bool | None):
        return []
    if isinstance(thing, property):
        return [thing.fget, thing.fset, thing.fdel]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, CellType):
        return [contents(thing)]
    if isinstance(thing, Mapping) and type(thing).__module__ in ("builtins", "collections"):
        return _snapshot(thing)
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return _snapshot(thing)
    inside = _inside(thing)
    state = _instance_state(thing)
    return [*state, inside] if inside is not None else state


def _snapshot(container: Any) -> list[Any]:
    try:
        return list(container.values()) if isinstance(container, Mapping) else list(container)
    except RuntimeError:  # it changed while it was copied; the reference counts tell if that hid a function
        return []


def _instance_state(thing: Any) -> list[Any]:
    try:
        return list(object.__getattribute__(thing, "__dict__").values())
    except (AttributeError, RuntimeError):
        return []


def contents(cell: CellType) -> Any:
    """What a closure's cell holds; ``None`` for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None

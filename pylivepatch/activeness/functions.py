"""Where the functions are: what a module's namespace leads to.

A patch names a function; what must change is the function *object*, which aliases, bound methods and callbacks
anywhere refer to. It is found by walking from the module's namespace through classes, descriptors, decorators that
keep their original, closures, containers and instances, and is recognised by its code. Whether all were found is not
this module's to say: the reference count of the code tells.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from pylivepatch.activeness.pace import give_way

BIG = 10_000  # a container with more items is not looked into: copying it would hold every thread
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
        if _is(callable_, property):
            accessors = (callable_.fget, callable_.fset, callable_.fdel)
            return [f for accessor in accessors if accessor is not None for f in unwrap(accessor)]
        inner = _inside(callable_)
        if inner is None:
            break
        callable_ = inner
    return [callable_] if _is(callable_, FunctionType) else []


def _is(thing: Any, *types: type) -> bool:
    """``isinstance`` by the real type: that of a proxy would run the proxy's code."""
    return issubclass(type(thing), types)


def _inside(wrapper: Any) -> Any:
    if _is(wrapper, MethodType, staticmethod, classmethod):
        return wrapper.__func__
    if _is(wrapper, functools.partial, functools.partialmethod, functools.cached_property):
        return wrapper.func
    if _is(wrapper, functools.singledispatchmethod):
        return wrapper.func
    return _state(wrapper).get("__wrapped__")


def _state(thing: Any) -> dict[str, Any]:
    """The instance's ``__dict__``, read without running its ``__getattr__``; empty where it has none."""
    try:
        state = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return state if type(state) is dict else {}


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
        queue.extend(_snapshot(dict.values, vars(module)))
    looked_at = 0
    while queue and looked_at < _LIMIT:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        keep.append(thing)
        looked_at += 1
        if looked_at % _BATCH == 0:
            give_way()
        if _is(thing, FunctionType):
            yield thing
        queue.extend(_parts(thing, names))


def _parts(thing: Any, names: set[str]) -> list[Any]:
    if _is(thing, FunctionType):
        cells = [contents(cell) for cell in thing.__closure__ or ()]
        return [*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *thing.__dict__.values()]
    if _is(thing, type):
        return list(vars(thing).values()) if thing.__module__ in names else []
    if _is(thing, ModuleType, str, bytes, int, float, complex, type(None)):
        return []
    if _is(thing, property):
        return [thing.fget, thing.fset, thing.fdel]
    if _is(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if _is(thing, CellType):
        return [contents(thing)]
    if _is(thing, dict):
        return _snapshot(dict.values, thing)
    for kind in (list, tuple, set, frozenset, deque):
        if _is(thing, kind):
            return _snapshot(kind.__iter__, thing)
    return [*_snapshot(dict.values, _state(thing)), _inside(thing), type(thing)]  # the class may be a local one


def _snapshot(items: Any, container: Any) -> list[Any]:
    if len(container) > BIG:
        return []
    try:
        return list(items(container))
    except RuntimeError:  # it changed while it was copied; the reference counts tell if that hid a function
        return []


def contents(cell: CellType) -> Any:
    """What a closure's cell holds; ``None`` for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None

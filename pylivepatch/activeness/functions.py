"""Where the functions are: what a module's namespace leads to.

A patch names a function; what must change is the function *object*, which aliases, bound methods and callbacks
anywhere refer to. It is found by walking from the module's namespace through classes, descriptors, decorators that
keep their original, closures, containers and instances, and is recognised by its code. Whether all were found is not
this module's to say: the reference count of the code tells.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any

from pylivepatch.activeness.pace import Met, give_way, let_go

BIG = 10_000  # a container with more items is not looked into: copying it would hold every thread
_BATCH = 200  # objects looked at between two offers of the GIL; well under a millisecond
_AS_ONE = 50  # parts of a container that take as long to queue as one object to look at
_LIMIT = 100_000  # objects looked at in all; what lies deeper is the deep search's to find

_NUMBERS_AND_TEXT = (str, bytes, int, bool, float, complex, NoneType)
_CODE_AND_WHAT_RUNS_IT = (CodeType, BuiltinFunctionType, GeneratorType, CoroutineType, AsyncGeneratorType)
_LEAVES = frozenset((*_NUMBERS_AND_TEXT, *_CODE_AND_WHAT_RUNS_IT))
"""Types that lead nowhere: most of what there is."""


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


def wrappers(thing: Any, function: FunctionType) -> list[Any]:
    """What stands around ``function`` where ``thing`` leads to it and has attributes of its own, outermost first."""
    found: list[Any] = []
    while thing is not function:
        if thing is None or len(found) > 20:
            return []
        found.append(thing)
        thing = _inside(thing)
    return [one for one in found if _is(one, FunctionType) or _state(one)]


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
    return _state(wrapper).get("__wrapped__") or _in_a_proxy(wrapper)


def _in_a_proxy(wrapper: Any) -> Any:
    """What a function wrapper of wrapt's (or of a tool that has it built in) stands around, where that is in C.

    Its descriptor is asked itself, as its ``__dict__`` is that of the function inside. Lazy proxies are none of these:
    they run a factory.
    """
    kinds = type.__dict__["__mro__"].__get__(type(wrapper))
    if not any(kind.__name__ in _PROXIES for kind in kinds):
        return None
    found: Any = next((vars(kind)["__wrapped__"] for kind in kinds if "__wrapped__" in vars(kind)), None)
    return found.__get__(wrapper) if type(found) in (GetSetDescriptorType, MemberDescriptorType) else None


_PROXIES = frozenset({"FunctionWrapper", "_FunctionWrapperBase", "BoundFunctionWrapper"})


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
    for module in modules:
        names.add(module.__name__)
        queue.extend(_snapshot(dict.values, vars(module)))
    return _walk(queue, names)


def reachable(thing: Any, module: str) -> Iterator[FunctionType]:
    """Every function that is reachable from one thing, by way of classes of ``module`` only."""
    return _walk(deque([thing]), {module})


def _walk(queue: deque[Any], names: set[str]) -> Iterator[FunctionType]:
    met = Met()
    ways: dict[type, _Way | None] = {}
    looked_at = work = 0
    while queue and looked_at < _LIMIT:
        thing = queue.popleft()
        work += 1
        if met.is_new(thing):
            looked_at += 1
            kind = type(thing)
            if kind not in ways:
                ways[kind] = _way_of(kind)
            way = ways[kind]
            if way is _parts_of_function:
                yield thing
            if way is not None:
                parts = way(thing, names)
                queue.extend(parts)
                work += len(parts) // _AS_ONE
        if work >= _BATCH:
            work = 0
            give_way()
    let_go(queue)
    met.forget()


_Way = Callable[[Any, set[str]], list[Any]]
"""How to take things of one type apart; the set is of the names of the modules that are entered."""


def _way_of(kind: type) -> _Way | None:
    """By the type alone, so once for each: ``None`` where nothing is inside."""
    if kind in _LEAVES or issubclass(kind, (ModuleType, str, bytes, int, float, complex)):
        return None
    if issubclass(kind, FunctionType):
        return _parts_of_function
    if issubclass(kind, type):
        return lambda thing, names: list(vars(thing).values()) if thing.__module__ in names else []
    if issubclass(kind, property):
        return lambda thing, _: [thing.fget, thing.fset, thing.fdel]
    if issubclass(kind, functools.partial):
        return lambda thing, _: [thing.func, *thing.args, *thing.keywords.values()]
    if issubclass(kind, CellType):
        return lambda thing, _: [contents(thing)]
    if issubclass(kind, dict):
        return lambda thing, _: _snapshot(dict.values, thing)
    for container in (list, tuple, set, frozenset, deque):
        if issubclass(kind, container):
            return lambda thing, _: _snapshot(container.__iter__, thing)
    return _parts_of_instance


def _parts_of_function(thing: Any, _: set[str]) -> list[Any]:
    cells = [contents(cell) for cell in thing.__closure__ or ()]
    return [*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values(), *thing.__dict__.values()]


def _parts_of_instance(thing: Any, _: set[str]) -> list[Any]:
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

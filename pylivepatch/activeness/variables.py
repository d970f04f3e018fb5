"""Code objects that somebody keeps in a variable: ``saved = f.__code__``.

Such a reference is no execution, but it counts like one. Looked through, a few levels deep: the namespaces of the
modules concerned, and the globals and local variables of the functions that called into this package (which cannot
change them while they wait for us). Local variables of other threads are left alone: a code object kept there goes
on counting as active, and the report says so.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType, ModuleType, TracebackType
from typing import Any

from pylivepatch.activeness.functions import BIG
from pylivepatch.activeness.pace import give_way

SUSPENDED: dict[type, str] = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}
"""The types that suspend a frame, and the prefix of their attributes."""

_DEPTH = 3
_LIMIT = 20_000  # containers' items looked at
_BATCH = 300  # items between two offers of the GIL
_DEEPER = object()
"""Stands in the queue where the containers of one level end."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in a container. ``container[key]`` is read by C code alone.

    ``weight`` is how many references the place stands for: 2 for a local variable before Python 3.13, the
    variable itself and its copy in the frame's ``f_locals``.
    """

    container: Any
    key: Any
    weight: int = 1

    def present(self) -> bool:
        try:
            self.container[self.key]
        except LookupError:
            return False
        return True


def slots_of(modules: Iterable[ModuleType], wanted: set[int]) -> list[Slot]:
    """Where code objects with these ids are kept."""
    found = [
        _slot(container, key, plain)
        for container, key, value, plain in _visit(modules)
        if type(value) is CodeType and id(value) in wanted
    ]
    return [slot for slot in found if slot is not None]


def suspended_in(modules: Iterable[ModuleType], wanted: set[int]) -> list[tuple[str, Any]]:
    """Generator-like objects that run code with these ids and are kept in a variable, with its name."""
    found: dict[int, tuple[str, Any]] = {}
    for _, key, value, _ in _visit(modules):
        code = code_of_suspended(value)
        if code is not None and id(code) in wanted:
            found.setdefault(id(value), (str(key), value))
    return list(found.values())


def finished_in(modules: Iterable[ModuleType], wanted: set[int]) -> list[Any]:
    """Generator-like objects that have run such code to its end and are kept in a variable."""
    return [
        value
        for _, _, value, _ in _visit(modules)
        if type(value) in SUSPENDED
        and code_of_suspended(value) is None
        and id(getattr(value, SUSPENDED[type(value)] + "_code")) in wanted
    ]


def exceptions_in(modules: Iterable[ModuleType]) -> list[Any]:
    """Exceptions, tracebacks and frames that are kept in a variable, by themselves or in a future that failed."""
    return [
        value for _, _, value, _ in _visit(modules) if isinstance(value, BaseException | TracebackType | FrameType)
    ]


def code_of_suspended(thing: Any) -> CodeType | None:
    """The code that a generator-like object will go on with; ``None`` for anything else, and for a finished one."""
    for kind, prefix in SUSPENDED.items():
        if type(thing) is kind:
            frame = getattr(thing, prefix + "_frame")
            return frame.f_code if frame is not None else None
    return None


def suspension(thing: Any) -> Callable[[], Any] | None:
    """A C callable that says whether a generator-like object has begun and is suspended; ``None`` where none can."""
    name = SUSPENDED[type(thing)] + "_suspended"
    return partial(getattr, thing, name) if hasattr(thing, name) else None  # async generators: since 3.12


def _visit(modules: Iterable[ModuleType]) -> Iterator[tuple[Any, Any, Any, set[str] | None]]:
    """Container, key and value of each variable; for a frame's ``f_locals`` also the names that are plain locals."""
    queue: deque[Any] = deque(vars(module) for module in modules)
    plain: dict[int, set[str]] = {}
    for frame in _callers():
        queue.append(frame.f_globals)
        variables, code = frame.f_locals, frame.f_code
        if variables is not frame.f_globals:
            # A cell is shared by several frames but is one reference: those are left out.
            plain[id(variables)] = set(code.co_varnames) - set(code.co_cellvars) - set(code.co_freevars)
            queue.append(variables)
    queue.append(_DEEPER)
    seen: set[int] = set()
    keep: list[Any] = []
    looked_at = depth = 0
    while queue and looked_at < _LIMIT:
        container = queue.popleft()
        if container is _DEEPER:
            depth += 1
            queue.extend([_DEEPER] if queue else [])
            continue
        if id(container) in seen:
            continue
        seen.add(id(container))
        keep.append(container)
        names = plain.get(id(container))
        for key, value in zip(*_items(container), strict=False):
            looked_at += 1
            if looked_at % _BATCH == 0:
                give_way()
            yield container, key, _coroutine_of(value), names
            if (exception := _exception_of(value)) is not None:
                yield container, key, exception, None
            inner = _container(value) if depth < _DEPTH else None
            if inner is not None:
                queue.append(inner)


def _exception_of(value: Any) -> Any:
    """What a future (asyncio's, a thread pool's) has failed with. Asking for it officially would count as seeing it."""
    for module in ("_asyncio", "concurrent.futures._base"):
        future = getattr(sys.modules.get(module), "Future", None)
        if future is not None and issubclass(type(value), future):
            return getattr(value, "_exception", None)
    return None


def _coroutine_of(value: Any) -> Any:
    """An asyncio task's coroutine, which the task keeps also when it is done; anything else as it is."""
    asyncio = sys.modules.get("_asyncio")
    return value.get_coro() if asyncio is not None and issubclass(type(value), asyncio.Task) else value


def _callers() -> Iterator[FrameType]:
    """The frames of this thread outside this package, innermost first."""
    frame = sys._getframe()
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith("pylivepatch."):
            yield frame
        frame = frame.f_back  # type: ignore[assignment]


def _slot(container: Any, key: Any, plain: set[str] | None) -> Slot | None:
    if plain is None:
        return Slot(container, key)
    if type(container) is dict:  # before 3.13: a copy of the variables, which the frame keeps
        return Slot(container, key, weight=2 if key in plain else 1)
    return Slot(container, key) if key in plain else None  # since 3.13: a view of the variables themselves


def _items(container: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """The keys, and the values in the same order. Pairs, ten thousand of them, would be so many objects."""
    try:
        if len(container) > BIG:
            return (), ()
        if isinstance(container, list | tuple):
            values = list(container)
            return range(len(values)), values
        if type(container) is dict:
            both = list(chain(container.keys(), container.values()))  # one C call: keys and values of one instant
            return both[: len(both) // 2], both[len(both) // 2 :]
        keys_and_values = list(container.items())  # a frame's variables
    except RuntimeError:  # it changed while it was copied: what it holds stays unexplained
        return (), ()
    return [key for key, _ in keys_and_values], [value for _, value in keys_and_values]


def _container(value: Any) -> Any:
    """``value`` if it is a plain container, else its instance ``__dict__``; nothing of the value's own runs."""
    if type(value) in (dict, list, tuple):
        return value
    if issubclass(type(value), (ModuleType, type)):
        return None
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return state if type(state) is dict else None

"""Code objects that somebody keeps in a variable: ``saved = f.__code__``.

Such a reference is no execution, but it counts like one. Looked through, a few levels deep: the namespaces of the
modules concerned, and the globals and local variables of the functions that called into this package (which cannot
change them while they wait for us). Local variables of other threads are left alone: a code object kept there goes
on counting as active, and the report says so.

Before Python 3.13, reading a frame's ``f_locals`` makes a copy of its variables, which the frame keeps until it ends or
is read again: what the function lets go of meanwhile would live on in there. So copies are taken back.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from sys import getrefcount
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType, ModuleType, TracebackType
from typing import Any, TypeVar

from pylivepatch.activeness.functions import BIG
from pylivepatch.activeness.pace import Met, give_way, let_go

SUSPENDED: dict[type, str] = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}
"""The types that suspend a frame, and the prefix of their attributes."""

_OF_EXCEPTIONS = (BaseException, TracebackType, FrameType)
_ATOMS = frozenset({str, int, float, bool, bytes, type(None), CodeType})
"""Types of most values, which hold none: asking one for its ``__dict__`` would raise an error each time."""

_T = TypeVar("_T")

_FRAMES_OWN = 3  # references to the copy of a frame's variables: the frame's, a variable's, getrefcount's argument
_DEPTH = 3
_LIMIT = 20_000  # containers' items looked at
_BATCH = 300  # items between two offers of the GIL
_DEEPER = object()
"""Stands in the queue where the containers of one level end."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in a container. ``container[key]`` is read by C code alone.

    ``weight`` is how many references the place stands for: 2 for a local variable before Python 3.13, the
    variable itself and its copy in the frame's ``f_locals``. Such a copy is to be taken back: ``copied`` are its names.
    """

    container: Any
    key: Any
    weight: int = 1
    copied: tuple[str, ...] = ()

    def present(self) -> bool:
        try:
            self.container[self.key]
        except LookupError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Names:
    """Of a frame's variables: ``plain`` are those that are in no cell; ``copied`` those to be taken back."""

    plain: frozenset[str]
    copied: tuple[str, ...]


def slots_of(modules: Iterable[ModuleType], wanted: set[int]) -> list[Slot]:
    """Where code objects with these ids are kept. What is in the copy of a frame's variables keeps that copy: give the
    slots to :func:`take_back` when they have served.
    """

    def pick(container: Any, key: Any, value: Any, names: _Names | None) -> Slot | None:
        return _slot(container, key, names) if type(value) is CodeType and id(value) in wanted else None

    return _look(modules, pick)


def take_back(slots: list[Slot]) -> None:
    """Empty ``slots``, and the copies of variables that they lie in, where nobody else has got hold of these."""
    copies = {id(slot.container): (slot.container, slot.copied) for slot in slots if slot.copied}
    slots.clear()
    _take_back([copies.popitem()[1] for _ in range(len(copies))])


def suspended_in(modules: Iterable[ModuleType], wanted: set[int]) -> list[tuple[str, Any]]:
    """Generator-like objects that run code with these ids and are kept in a variable, with its name."""

    def pick(container: Any, key: Any, value: Any, names: _Names | None) -> tuple[str, Any] | None:
        code = code_of_suspended(value)
        return (str(key), value) if code is not None and id(code) in wanted else None

    found: dict[int, tuple[str, Any]] = {}
    for name, thing in _look(modules, pick):
        found.setdefault(id(thing), (name, thing))
    return list(found.values())


def finished_in(modules: Iterable[ModuleType], wanted: set[int]) -> list[Any]:
    """Generator-like objects that have run such code to its end and are kept in a variable."""

    def pick(container: Any, key: Any, value: Any, names: _Names | None) -> Any:
        if type(value) not in SUSPENDED or code_of_suspended(value) is not None:
            return None
        return value if id(getattr(value, SUSPENDED[type(value)] + "_code")) in wanted else None

    return _look(modules, pick)


def exceptions_in(modules: Iterable[ModuleType]) -> list[Any]:
    """Exceptions, tracebacks and frames that are kept in a variable, by themselves or in a future that failed."""
    return instances_in(modules, _OF_EXCEPTIONS)


def instances_in(modules: Iterable[ModuleType], kinds: type | tuple[type, ...]) -> list[Any]:
    """What is kept in a variable and is of one of these types."""

    def pick(container: Any, key: Any, value: Any, names: _Names | None) -> Any:
        return value if isinstance(value, kinds) else None

    return _look(modules, pick)


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


def _look(modules: Iterable[ModuleType], pick: Callable[[Any, Any, Any, _Names | None], _T | None]) -> list[_T]:
    """What ``pick`` makes of each variable: it is given container, key, value and, for a frame's, the names."""
    copies: list[tuple[Any, tuple[str, ...]]] = []
    try:
        return [picked for each in _visit(modules, copies) if (picked := pick(*each)) is not None]
    finally:
        _take_back(copies)


def _take_back(copies: list[tuple[Any, tuple[str, ...]]]) -> None:
    """Empty ``copies``, each with its names, where nobody but its frame has it.

    Not while the thread is traced or profiled: when a tracer's function returns, CPython makes the frame's variables
    what the copy says, and deletes those that are not in it (``PyFrame_LocalsToFast``). Names that are none of the
    function's own stay: what ``exec`` sets in a function is in there alone.
    """
    traced = sys.gettrace() is not None or sys.getprofile() is not None
    while copies:
        variables, names = copies.pop()
        if not traced and getrefcount(variables) == _FRAMES_OWN:
            for name in names:
                variables.pop(name, None)


def _visit(
    modules: Iterable[ModuleType], copies: list[tuple[Any, tuple[str, ...]]]
) -> Iterator[tuple[Any, Any, Any, _Names | None]]:
    """Container, key and value of each variable; for a frame's ``f_locals`` also its names. To ``copies`` come those
    that a frame keeps now.
    """
    queue: deque[Any] = deque(vars(module) for module in modules)
    locals_of: dict[int, _Names] = {}
    for frame in _callers():
        queue.append(frame.f_globals)
        variables, code = frame.f_locals, frame.f_code
        if variables is not frame.f_globals:
            # A cell is shared by several frames but is one reference: those are left out.
            plain = frozenset(code.co_varnames) - {*code.co_cellvars, *code.co_freevars}
            # Of a class body it is the namespace itself, since 3.13 a view.
            is_copy = type(variables) is dict and code.co_flags & inspect.CO_OPTIMIZED
            copied = (*code.co_varnames, *code.co_cellvars, *code.co_freevars) if is_copy else ()
            locals_of[id(variables)] = _Names(plain, copied)
            if copied:
                copies.append((variables, copied))
            queue.append(variables)
        del variables, code
    queue.append(_DEEPER)
    met, futures = Met(), _futures()
    looked_at = depth = 0
    while queue and looked_at < _LIMIT:
        container = queue.popleft()
        if container is _DEEPER:
            depth += 1
            queue.extend([_DEEPER] if queue else [])
            continue
        if not met.is_new(container):
            continue
        names = locals_of.get(id(container))
        for key, value in zip(*_items(container), strict=False):
            looked_at += 1
            if looked_at % _BATCH == 0:
                give_way()
            if issubclass(type(value), futures):
                yield container, key, _coroutine_of(value), names
                # What it has failed with. Asking for it officially would count as seeing it.
                if (exception := getattr(value, "_exception", None)) is not None:
                    yield container, key, exception, None
            else:
                yield container, key, value, names
            inner = _container(value) if depth < _DEPTH else None
            if inner is not None:
                queue.append(inner)
    let_go(queue)
    met.forget()


def _futures() -> tuple[type, ...]:
    """The classes of asyncio's futures, its tasks among them, and of a thread pool's, where there are any."""
    modules = (sys.modules.get(name) for name in ("_asyncio", "concurrent.futures._base"))
    return tuple(future for module in modules if (future := getattr(module, "Future", None)) is not None)


def _coroutine_of(future: Any) -> Any:
    """An asyncio task's coroutine, which the task keeps also when it is done; another future as it is."""
    asyncio = sys.modules.get("_asyncio")
    return future.get_coro() if asyncio is not None and issubclass(type(future), asyncio.Task) else future


def _callers() -> Iterator[FrameType]:
    """The frames of this thread outside this package, innermost first."""
    frame = sys._getframe()
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith("pylivepatch."):
            yield frame
        frame = frame.f_back  # type: ignore[assignment]


def _slot(container: Any, key: Any, names: _Names | None) -> Slot | None:
    if names is None:
        return Slot(container, key)
    if type(container) is dict:  # before 3.13: a copy of the variables, which the frame keeps
        return Slot(container, key, weight=2 if key in names.plain else 1, copied=names.copied)
    return Slot(container, key) if key in names.plain else None  # since 3.13: a view of the variables themselves


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
    if type(value) in _ATOMS:
        return None
    if type(value) in (dict, list, tuple):
        return value
    if issubclass(type(value), (ModuleType, type)):
        return None
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return state if type(state) is dict else None

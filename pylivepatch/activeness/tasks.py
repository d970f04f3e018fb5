"""asyncio's tasks, and what each of them is suspended in.

There may be a hundred thousand of them, three coroutines deep, of which none executes what is looked for. So each is
told by its code alone: nothing is made for it, not even a frame object, and the GIL is given up on the way.

Where they are kept differs. Up to Python 3.13 it is a ``WeakSet``; a copy of its references takes 0.4 ms for 100,000
tasks, while ``asyncio.all_tasks`` takes 35 ms. Since 3.14 it is a list in C that nothing but ``asyncio.all_tasks``
reads, in one call: 20 ms for 100,000 tasks, which hold everybody. It is called for what can be suspended only.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Container, Iterator
from functools import partial
from operator import attrgetter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, NamedTuple

from pylivepatch.activeness.pace import give_way
from pylivepatch.activeness.threads import event_loops

_SLICE = 800  # coroutines and the like between two offers of the GIL: well under a millisecond
_TASKS = 100  # tasks whose chains are followed between two offers of the GIL, for people who watch
_DEEPEST = 10_000  # a bound for one task: what it awaits may change while it is read


class _Attributes(NamedTuple):
    """How to read one type of what a task may be suspended in."""

    kind: str
    code: Callable[[Any], Any]
    following: Callable[[Any], Any]


_BY_PREFIX = {
    "cr": _Attributes("coroutine", attrgetter("cr_code"), attrgetter("cr_await")),
    "gi": _Attributes("generator", attrgetter("gi_code"), attrgetter("gi_yieldfrom")),
    "ag": _Attributes("async_generator", attrgetter("ag_code"), attrgetter("ag_await")),
}
_BY_TYPE: dict[type, _Attributes | None] = {
    CoroutineType: _BY_PREFIX["cr"],
    GeneratorType: _BY_PREFIX["gi"],
    AsyncGeneratorType: _BY_PREFIX["ag"],
}


def in_tasks(wanted: set[int]) -> Iterator[tuple[str, str, Any]]:
    """The coroutines, generators and async generators with a code whose id is wanted, in which a task of an event loop
    that runs is suspended, or which it executes: name of the task, kind, and the object.

    Gives up the GIL as it goes: not of one instant.
    """
    types = dict(_BY_TYPE)  # and those that look like them, a compiled coroutine for one, while this goes on
    loops: list[Any] | None = None
    walked = 0
    for task in _tasks():
        thing, depth = task.get_coro(), 0
        while thing is not None and depth < _DEEPEST:
            try:
                attributes = types[type(thing)]
            except KeyError:
                attributes = types[type(thing)] = _look_like(thing)
            if attributes is None:
                break
            if id(attributes.code(thing)) in wanted:
                loops = [loop for _, loop in event_loops()] if loops is None else loops
                if any(task.get_loop() is loop for loop in loops):
                    yield task.get_name(), attributes.kind, thing
            thing, depth, walked = attributes.following(thing), depth + 1, walked + 1
            if walked % _SLICE == 0:
                give_way()


def where_tasks_stand(most: int) -> Iterator[tuple[str, list[Any]]]:
    """Name of the task, and the coroutines or the like that it is in, innermost first, of at most so many tasks.

    Gives up the GIL as it goes.
    """
    for number, task in enumerate(_tasks()):
        if number >= most:
            break
        if number % _TASKS == 0:
            give_way()
        chain, thing = deque[Any](), task.get_coro()
        for _ in range(_DEEPEST):
            attributes = (_BY_TYPE.get(type(thing)) or _look_like(thing)) if thing is not None else None
            if attributes is None:
                break
            chain.appendleft(thing)
            thing = attributes.following(thing)
        if chain:
            yield task.get_name(), list(chain)


def frame_of(thing: Any) -> Any:
    """The frame of a coroutine, a generator, or what looks like one; ``None`` where it has finished."""
    for prefix in _BY_PREFIX:
        if hasattr(thing, prefix + "_frame"):
            return getattr(thing, prefix + "_frame")
    return None


def awaits(thing: Any, codes: Container[int]) -> bool:
    """Whether a coroutine, or the like, is suspended in a coroutine of its own whose code has one of these ids."""
    attributes = _BY_TYPE.get(type(thing)) or _look_like(thing)
    return attributes is not None and id(getattr(attributes.following(thing), "cr_code", None)) in codes


def _tasks() -> Iterator[Any]:
    module = sys.modules.get("asyncio.tasks")
    if module is None:
        return
    if sys.version_info >= (3, 14):
        for _, loop in event_loops():
            found = module.all_tasks(loop)
            while found:
                yield found.pop()  # one by one, as letting go of them all takes time too
    else:
        for reference in _references(module):
            task = reference()
            if task is not None:
                yield task


def _references(module: Any) -> list[Any]:
    """Weak references to all tasks, in one C call: the set is everybody's."""
    name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
    return list(getattr(module, name).data)


def _look_like(thing: Any) -> _Attributes | None:
    """How to read something of somebody else's type; ``None`` where it is no suspended code."""
    for prefix, attributes in _BY_PREFIX.items():
        if hasattr(thing, prefix + "_frame"):
            following = prefix + ("_yieldfrom" if prefix == "gi" else "_await")
            return _Attributes(attributes.kind, partial(_read, prefix + "_code"), partial(_read, following))
    return None


def _read(name: str, thing: Any) -> Any:
    return getattr(thing, name, None)

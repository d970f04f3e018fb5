"""The switch: many assignments in one C call.

Threads change hands only where the eval loop looks at its breaker, so one call of a C function that calls no Python
is seen by everybody as done or not begun. ``deque(maxlen=0).extend(iterator)`` is such a call: it exhausts an
iterator and keeps nothing; the iterators are chains of ``map(setattr, …)`` and calls of C functions. Everything that
could fail or run Python code (the release of old values, an unhashable key, a closure of the wrong size) is ruled out
before, and old values are kept alive over the call.

Up to 3.11 the garbage collector may come in the middle of such a call, wherever something is allocated, and with it
finalizers and weakref callbacks written in Python, in which threads change hands. So each of these calls turns it off
as its first step and on again as its last (a microsecond or two). From 3.12 on it waits for the eval loop.

One exception is out of our hands: an audit hook written in Python is called for each ``__code__`` assignment. Even then
the rules hold while trampolines are installed, as a call in between is a late entry: the counter is 0 before the
first assignment, and data goes before code.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, repeat, starmap
from operator import call, eq
from time import perf_counter
from types import CodeType, FunctionType
from typing import Any, TypeVar

from pylivepatch.counter import Counter

_T = TypeVar("_T")

_NESTED: Any = [call] * 30  # C functions that call one another: more than any step has

_look_for_room: Callable[[Iterable[Any]], Iterator[Any]] = partial(*_NESTED, iter)
"""Gives an iterator back, and fails where the stack has no room for a step: half a call is worse than none."""

exhaust = deque[Any](maxlen=0).extend
"""Runs an iterator to its end, in one C call; up to 3.11 with garbage collections in it: see :func:`at_once`."""

MISSING = object()
"""Stands for a name that is not there, before or after."""


class Contents:
    """Owner of what a list, dict or set holds: its content is exchanged, and whoever has the container follows.

    What is read is a copy; the copy keeps every item alive over the switch, so that nothing is destroyed in it.
    """

    __slots__ = ("container",)

    def __init__(self, container: Any) -> None:
        self.container = container

    def read(self) -> Callable[[], Any]:
        return partial(type(self.container).copy, self.container)

    def fill(self, content: Any) -> tuple[Callable[[], Any], ...]:
        """C callables that give the container this content. Keys come with their hashes."""
        if type(self.container) is list:
            return (partial(list.__setitem__, self.container, slice(None), content),)
        kind = type(self.container)
        return (partial(kind.clear, self.container), partial(kind.update, self.container, content))


class Cache:
    """Owner of what a ``functools.lru_cache`` holds: there is nothing to bind but to empty it.

    What is read is a copy of its dict, which keeps everything in it alive over the switch.
    """

    __slots__ = ("_items", "wrapper")

    def __init__(self, wrapper: Any, items: dict[Any, Any]) -> None:
        self.wrapper, self._items = wrapper, items

    def read(self) -> Callable[[], Any]:
        return partial(dict.copy, self._items)

    def fill(self, content: Any) -> tuple[Callable[[], Any], ...]:
        return (self.wrapper.cache_clear,)


class Entry:
    """Owner of what a dict has for a class: of a generic function, the implementation. ``after`` are C callables that
    do away with what was made of the entry before.

    The class's hash and equality are those of ``type``, so that no Python code runs.
    """

    __slots__ = ("after", "items", "key")

    def __init__(self, items: dict[Any, Any], key: type, after: tuple[Callable[[], Any], ...]) -> None:
        self.items, self.key, self.after = items, key, after

    def read(self) -> Callable[[], Any]:
        return partial(self.items.get, self.key, MISSING)

    def fill(self, content: Any) -> tuple[Callable[[], Any], ...]:
        if content is MISSING:
            return (partial(self.items.pop, self.key, None), *self.after)
        return (partial(self.items.__setitem__, self.key, content), *self.after)


def owner_key(owner: Any, name: str) -> tuple[int, str]:
    """Tells apart what is bound, whichever object names it."""
    if isinstance(owner, Entry):
        return id(owner.items), str(id(owner.key))
    return id(owner.container if isinstance(owner, Contents) else owner), name


def set_code(functions: Iterable[FunctionType], code: CodeType) -> Iterator[Any]:
    """Assign ``code`` to each. A list may grow until the iterator runs."""
    return map(setattr, functions, repeat("__code__"), repeat(code))


def set_codes(pairs: list[tuple[FunctionType, CodeType]]) -> Iterator[Any]:
    """Assign each function its own code."""
    return map(setattr, [f for f, _ in pairs], repeat("__code__"), [c for _, c in pairs])


def set_attribute(owner: Any, name: str, value: Any) -> tuple[Callable[[], Any], ...]:
    """C callables that bind ``name``, or take it away where ``value`` is :data:`MISSING`.

    Classes go through ``type``, modules through their dict: no ``__setattr__`` of anybody's runs. None of them fails,
    also where somebody has taken the name away: a commit that stops half-way would be neither old nor new.
    """
    if isinstance(owner, Contents | Cache | Entry):
        return owner.fill(value)
    if isinstance(owner, type):
        bind = partial(type.__setattr__, owner, name, None if value is MISSING else value)
        return (bind, partial(type.__delattr__, owner, name)) if value is MISSING else (bind,)
    if isinstance(owner, dict):
        if value is MISSING:
            return (partial(owner.pop, name, None),)
        return (partial(owner.__setitem__, name, value),)
    return (partial(setattr, owner, name, value),)


def read_attribute(owner: Any, name: str) -> Callable[[], Any]:
    """A C callable that gives what ``name`` is bound to, or :data:`MISSING`."""
    if isinstance(owner, type):
        if name == "__bases__":
            return partial(type.__getattribute__, owner, name)
        name = "__annotate_func__" if name == "__annotate__" else name  # since 3.14: where CPython keeps it
    if isinstance(owner, Contents | Cache | Entry):
        return owner.read()
    if isinstance(owner, dict | type):
        return partial((vars(owner) if isinstance(owner, type) else owner).get, name, MISSING)
    return partial(getattr, owner, name, MISSING)


def at_once(*steps: Iterable[Any]) -> None:
    """Run ``steps`` in order, in one C call in which no garbage is collected. What one raises ends it.

    Raises ``RecursionError`` before the first where the stack is too deep.
    """
    collects: list[bool] = []
    _look_for_room(())
    try:
        exhaust(chain(_collect_no_more(collects), *steps, _collect_again(collects)))
    except BaseException:
        exhaust(_collect_again(collects))
        raise


def read(values: Iterable[_T]) -> list[_T]:
    """What ``values`` gives, an iterator that runs no Python code, all of one instant."""
    found: list[_T] = []
    at_once(map(found.append, values))
    return found


def once(*steps: Iterable[Any], times: list[float], plan: list[Iterable[Any]] | None = None) -> Callable[[], None]:
    """A C callable that runs ``steps`` in order, once, and notes its own beginning and end in ``times`` (seconds).

    A second call does nothing: the iterators are used up. After a step that raised, it goes on with the next. Where
    the stack is too deep it raises ``RecursionError`` and is as good as not called. ``plan`` is a list to put them
    into: emptied before the first call, nothing is done, and nothing of the steps is kept.
    """
    plan = [] if plan is None else plan
    collects: list[bool] = []
    plan += [_collect_no_more(collects), note(times), *steps, note(times), _collect_again(collects)]
    return partial(next, map(exhaust, map(_look_for_room, repeat(chain.from_iterable(plan)))))


def _collect_no_more(collects: list[bool]) -> Iterator[Any]:
    """Turn the collector off, and note whether it was on. It allocates nothing that the collector would count."""
    return chain(map(collects.append, map(call, (gc.isenabled,))), map(call, (gc.disable,)))


def _collect_again(collects: list[bool]) -> Iterator[Any]:
    """Turn it on where it was on."""
    return map(call, compress((gc.enable,), collects))


def note(times: list[float]) -> Iterator[None]:
    """Append the time (``time.perf_counter``) to ``times``."""
    return map(times.append, starmap(perf_counter, [()]))


def calls(operations: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """Call each."""
    return map(call, operations)


def switch_if_idle(
    counter: Counter, expected: Sequence[int], probe: Iterable[int], switch: Callable[[], None], *, inside: int = 1
) -> bool:
    """Check and commit in one C call: ``switch`` if the counter is ``inside`` (1: the bias alone) and ``probe`` gives
    ``expected``.

    ``probe`` is an iterator that runs no Python code, such as one of reference counts (``Accounts.probe``). Returns
    whether it switched; the counter is then 0.
    """
    outcome: list[bool] = []
    actions = {True: (partial(outcome.append, True), counter.zero(), switch), False: ()}
    found = map(list, [chain(counter.probe(), probe)])
    same = map(eq, [[inside, *expected]], found)
    try:
        at_once(map(call, chain.from_iterable(map(actions.__getitem__, same))))
    except LookupError:  # a container that held a code object changed: before the comparison, so nothing was done
        return False
    return bool(outcome)

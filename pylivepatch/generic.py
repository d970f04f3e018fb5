"""Generic functions (``functools.singledispatch``): what they do for a class is exchanged in the switch.

``register`` acts at once, so it is not called for what a patch brings: the classes are worked out with a generic
function of no consequence, and the entries of the live one's registry are bound at the switch like any other name.
Its cache of what it found for a class goes with them, in the same C call; a call that was looking at that moment may
store what it had found, so the cache is emptied again until no such call is left.

The registry, the cache and the token (which says that abstract classes play a part, so that the cache goes when one
gets another virtual subclass) are variables of CPython's ``singledispatch``, the same from 3.11 to 3.15.
"""

from __future__ import annotations

import functools
import sys
import time
from abc import get_cache_token
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from pylivepatch.activeness.functions import unwrap
from pylivepatch.commit import Entry
from pylivepatch.errors import CodeMismatch, UnswappableShape
from pylivepatch.transition.swap import Attribute

_TRIES = 1000  # looks, one a millisecond, at threads that are looking for an implementation


def _nothing(thing: object) -> None:
    """Never called."""


_of_no_consequence: Any = functools.singledispatch(_nothing)
"""Its parts tell a generic function's."""


_REGISTER: CodeType = _of_no_consequence.register.__code__
_FOR_A_CLASS: CodeType = _of_no_consequence.register(int).__code__
_DISPATCH: CodeType = _of_no_consequence.dispatch.__code__


class Registration(NamedTuple):
    """A decorator that would register what it is given: ``f.register``, or ``f.register(cls)``."""

    register: Any  # a function; as that type it would be a method here
    cls: Any  # ``None`` where the annotation of the first parameter says it

    def classes(self, function: Any) -> list[type]:
        """The classes that ``function`` would be registered for. Raises ``TypeError`` as ``register`` does."""
        probe: Any = functools.singledispatch(_nothing)
        probe.register(*([function] if self.cls is None else [self.cls, function]))
        found = [cls for cls, one in probe.registry.items() if one is function]
        _variables(probe.register)["registry"].cell_contents.clear()  # its parts are a cycle, which would keep it
        return found


def registration(decorator: Any) -> Registration | None:
    """What the decorator registers, if it is one of a generic function."""
    if type(decorator) is MethodType and decorator.__func__ is functools.singledispatchmethod.register:
        decorator = getattr(decorator.__self__, "dispatcher").register  # noqa: B009 - it is an object to mypy
    function: Any = decorator
    if type(function) is not FunctionType:
        return None
    if function.__code__ is _REGISTER:
        return Registration(function, None)
    if function.__code__ is _FOR_A_CLASS:
        cells = _variables(function)
        return Registration(cells["register"].cell_contents, cells["cls"].cell_contents)
    return None


def entry(register: FunctionType, cls: type, where: str) -> Entry:
    """The place of a class in a registry. Raises :class:`UnswappableShape` where to look it up runs Python code."""
    kind = type(cls)
    if kind.__hash__ is not type.__hash__ or kind.__eq__ is not type.__eq__:
        raise UnswappableShape(
            f"the metaclass of {cls.__qualname__} says itself when classes are equal, and would be asked in the switch",
            where=where,
            advice="register the implementation for another class",
        )
    cells = _variables(register)
    then = [cells["dispatch_cache"].cell_contents.data.clear]
    if hasattr(cls, "__abstractmethods__"):
        # An old token does no harm: the next call finds another one, and empties the cache.
        then.append(partial(setattr, cells["cache_token"], "cell_contents", get_cache_token()))
    return Entry(cells["registry"].cell_contents, cls, tuple(then))


def registered(
    dispatcher: Any, functions: Iterable[FunctionType], before: Callable[[dict[Any, Any]], dict[Any, Any]], where: str
) -> Iterator[tuple[FunctionType, type]]:
    """``register`` and class of each entry where the generic function has one of ``functions``, in it or a wrapper.
    ``before`` says what a registry had without the patches that are to be replaced.

    Raises :class:`CodeMismatch` where it is no generic function, has none of them, or one for ``object``, without which
    it cannot be called.
    """
    known = {id(function) for function in functions}
    found = registration(getattr(dispatcher, "register", None))
    if found is not None:
        registry = before(_variables(found.register)["registry"].cell_contents)
        classes = [cls for cls, one in registry.items() if any(id(inner) in known for inner in unwrap(one))]
        if classes and object not in classes:
            yield from ((found.register, cls) for cls in classes)
            return
    raise CodeMismatch(
        "the generic function does not have the implementation that the old source registers",
        where=where,
        advice="something registered another one in its place; take that out first",
    )


def called(register: FunctionType) -> str:
    """The generic function's qualified name."""
    return str(getattr(_variables(register)["registry"].cell_contents.get(object), "__qualname__", "?"))


def empty_again(attributes: Iterable[Attribute]) -> None:
    """After the switch: forget what calls that were looking for an implementation in that moment found."""
    entries = [attribute.owner for attribute in attributes if isinstance(attribute.owner, Entry)]
    if not entries:
        return
    looking = _looking()
    for _ in range(_TRIES):
        for one in entries:
            one.after[0]()
        looking &= _looking()
        if not looking:
            return
        time.sleep(0.001)


def _looking() -> set[tuple[int, int]]:
    """The threads that look for an implementation just now, with their frames for it."""
    found = set()
    for thread, frame in sys._current_frames().items():
        inner: Any = frame
        while inner is not None:
            if inner.f_code is _DISPATCH:
                found.add((thread, id(inner)))
            inner = inner.f_back
    return found


def _variables(function: FunctionType) -> dict[str, Any]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

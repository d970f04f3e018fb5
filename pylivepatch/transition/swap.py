"""What a transition switches: functions from one code object to another, and values.

Direction plays no part here. Loading a patch and unloading it are the same transition with old and new exchanged.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import BuiltinMethodType, CodeType, FunctionType
from typing import Any

from pylivepatch.activeness.references import Version
from pylivepatch.commit import MISSING, Cache, Contents, Entry, owner_key, read_attribute
from pylivepatch.counter import Counter
from pylivepatch.ftrace.hooks import awaits
from pylivepatch.ftrace.late import LateEntry
from pylivepatch.ftrace.trampoline import Path, Template, adopt_slot, instantiate


@dataclass(eq=False, slots=True)
class Swap:
    """One code object to another, on every function object that runs it.

    ``template`` is the trampoline of the *old* body. ``functions`` are the known instances; one that is made while the
    transition lasts comes to ``born``. ``nested`` are the functions that the old body makes and that change too.
    ``everywhere`` says that functions found to run the old code take part, not only those listed.
    """

    name: str
    old: Version
    new: Version
    template: Template
    functions: list[FunctionType]
    nested: list[tuple[Path, Swap]] = field(default_factory=list)
    is_nested: bool = False
    everywhere: bool = True
    born: list[weakref.ref[FunctionType]] = field(default_factory=list)
    trampolines: list[tuple[FunctionType, CodeType]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Swap]:
        """This one and all nested ones."""
        yield self
        for _, inner in self.nested:
            yield from inner

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]


@dataclass(eq=False, slots=True)
class Switch:
    """What a patch does to one function (``klp_func``): both versions, and trampolines for both directions."""

    name: str
    old: Version
    new: Version
    forward: Template
    backward: Template
    functions: list[weakref.ref[FunctionType]]
    nested: list[tuple[Path, Path, Switch]] = field(default_factory=list)
    is_nested: bool = False
    everywhere: bool = True

    def __iter__(self) -> Iterator[Switch]:
        """This one and all nested ones."""
        yield self
        for _, _, inner in self.nested:
            yield from inner

    def live(self) -> list[FunctionType]:
        """The function objects that are still there."""
        return [f for r in self.functions if (f := r()) is not None]

    def swap(self, *, forward: bool) -> Swap:
        """The transition's view, from old to new or back."""
        before, after = (self.old, self.new) if forward else (self.new, self.old)
        functions = [f for f in self.live() if f.__code__ is before.code]
        nested = [(o if forward else n, inner.swap(forward=forward)) for o, n, inner in self.nested]
        template = self.forward if forward else self.backward
        return Swap(
            self.name, before, after, template, functions, nested, is_nested=self.is_nested, everywhere=self.everywhere
        )

    def remember(self, swap: Swap) -> None:
        """Take over which functions were switched, for the way back."""
        self.functions = [weakref.ref(f) for f in swap.functions] + list(swap.born)
        for (_, _, inner), (_, inner_swap) in zip(self.nested, swap.nested, strict=True):
            inner.remember(inner_swap)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value to be bound at the switch: on a module's dict, a class or a function. ``MISSING`` for none. Or the
    content of a container (``Contents``; the name is empty).

    ``old`` is what is there before; keeping it also keeps it alive over the switch, so that no ``__del__`` runs in it.
    """

    owner: Any
    name: str
    old: Any
    new: Any
    label: str
    settled: bool = False  # ``new`` was there before the patch was loaded: nothing to check on the way in

    @property
    def key(self) -> tuple[int, str]:
        """The same for whatever binds the same."""
        return owner_key(self.owner, self.name)

    @property
    def is_cache(self) -> bool:
        """Whether it empties a cache: then nobody cares what is in it."""
        return isinstance(self.owner, Cache)

    def current(self) -> Any:
        return read_attribute(self.owner, self.name)()

    def is_unchanged(self) -> bool:
        """Whether what is there is what :meth:`expects` says."""
        return self.expects(self.current())

    def expects(self, current: Any) -> bool:
        """Whether this is ``old``; or it was the patch's own data, and is to go as it is by now."""
        return self.is_old(current) or (self.new is MISSING and _is_data(self.old))

    def is_old(self, current: Any) -> bool:
        """Whether this is ``old``. Function attributes and contents may be given back as equal copies."""
        if self.is_cache or current is self.old or (self.settled and current is self.new):
            return True
        if current is MISSING or self.old is MISSING or not isinstance(self.owner, FunctionType | Contents):
            return False
        return alike(current, self.old)

    def inverted(self) -> Attribute:
        """The way back. What has come back by itself, as by executing the module again, is taken as it is; and so is
        what the new code has made of a name that it brought."""
        now = self.current()
        came_back = now is not self.new and not alike(now, self.new) and (now is self.old or alike(now, self.old))
        brought = self.old is MISSING and not isinstance(self.owner, Entry)  # whose entry is somebody else's then
        return Attribute(self.owner, self.name, now if came_back or brought else self.new, self.old, self.label)


@dataclass(frozen=True, slots=True)
class Guard:
    """A nested code object that has no counterpart: it must be idle, and without instances, at the switch."""

    name: str
    version: Version


def _is_data(value: Any) -> bool:
    """Whether it is neither called nor a descriptor: nobody wraps it, as tools do with functions."""
    return not callable(value) and not hasattr(type(value), "__get__")


def alike(one: Any, other: Any) -> bool:
    """Equal, and of one type. Values may refuse to be compared: these are not alike.

    Two ``re.compile("x").match`` are unequal where the patterns are two objects, and alike all the same.
    """
    try:
        return type(one) is type(other) and (bool(one == other) or _same_parts(one, other))
    except Exception:
        return False


def _same_parts(one: Any, other: Any) -> bool:
    match one:
        case list() | tuple() if type(one) in (list, tuple):
            return len(one) == len(other) and all(map(alike, one, other))
        case dict() if type(one) is dict:
            return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
        case BuiltinMethodType():
            return one.__name__ == other.__name__ and alike(one.__self__, other.__self__)
    return False


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at each entry, before it is counted.

    ``attend`` takes the place of the counter's ``enter``, and is given it: it may keep the caller waiting, then counts
    the call by calling that, or gives ``None``, where the call is to go to the new function. Coroutines and async
    generators await ``attend_awaiting`` before they are counted, while ``asking[0]`` is true; if its answer is true,
    the call goes there.
    """

    asking: list[int]
    attend: Callable[[Callable[[], Any]], Any] | None
    attend_awaiting: Callable[[], Coroutine[Any, Any, bool]]


async def _nobody_asks() -> bool:
    return False


NOBODY_ASKS = Question([0], None, _nobody_asks)


def build_trampoline(
    swap: Swap,
    function: FunctionType,
    counter: Counter,
    commit: Callable[[], None],
    adopt: Callable[[Swap, FunctionType], None],
    question: Question,
    new_defaults: Mapping[str, Any],
    note_late: Callable[[], Any] | None = None,
) -> CodeType:
    """The trampoline of ``swap`` for one function object. ``new_defaults`` come with the new code.

    ``note_late`` is told of each late entry.
    """

    def made_new() -> FunctionType:
        f = FunctionType(swap.new.code, function_globals, function_name, closure=closure)
        f.__defaults__, f.__kwdefaults__ = defaults
        return f

    # Of the function only what a late call needs: a reference to it would be a cycle through a code object.
    function_globals, function_name, closure = function.__globals__, function.__name__, function.__closure__
    defaults = tuple(new_defaults.get(n, getattr(function, n)) for n in ("__defaults__", "__kwdefaults__"))
    waits = awaits(swap.old.code)
    values: dict[str, Any] = {
        "enter": counter.enter if waits or question.attend is None else partial(question.attend, counter.enter),
        "in_use": counter.in_use,
        "late_entry": LateEntry(function, swap.old.code, made_new, commit, counter, note_late),
        "scratch": [None],
        "asking": question.asking,
        "attend": question.attend_awaiting,
    }
    for path, inner in swap.nested:
        values[adopt_slot(path)] = _Adopter(adopt, inner)
    return instantiate(swap.template, swap.old.code, values)


class _Adopter:
    """Told of each function that an old body makes while the transition lasts."""

    __slots__ = ("_adopt", "_swap")

    def __init__(self, adopt: Callable[[Swap, FunctionType], None], swap: Swap) -> None:
        self._adopt = adopt
        self._swap = swap

    def __call__(self, function: FunctionType) -> None:
        self._adopt(self._swap, function)


__all__ = ["MISSING", "Attribute", "Cache", "Guard", "Swap", "Switch", "alike", "build_trampoline"]

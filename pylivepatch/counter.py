"""The transition's reference counter (``kpatch_refcnt``): the references to one object, its *token*.

Each call that is inside has the token at the bottom of its frame's stack: the entry hook puts it there, and it goes
when the call returns, raises, is closed or collected. So CPython counts, and misses nobody: it takes the token off a
stack as it takes anything off, an exception's way out included. The transition's own references are in a list: the
bias.

*inc-not-zero* is the call of a weak reference: it gives the token, counted, or ``None`` once there is none. Where a
switch must come while old calls go on (force, suspended ones that are allowed), a list is emptied that says that the
token is in use, and an entry hook looks at it after it is counted. *dec-if-positive, and whoever reaches 0
commits* is the end of the token's life: CPython calls back whoever watches it, on the thread that let go last, after
the weak reference has become ``None`` and before anything else. Nothing comes in between: it is one step of the eval
loop, all in C.

The token must be an object that the garbage collector does not know of, and of those that can be weakly referenced
only code objects are: nobody executes this one. A suspended generator that is in a cycle may be the last that has the
token. Both would be garbage, and the collector sees to weak references first: it would call back, and the switch come,
before it closes the generator, whose ``finally`` is old code. Nor does a list of all objects (``gc.get_objects``) hold
the token of those that the collector does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import compress, repeat
from operator import call, sub
from sys import getrefcount
from types import CodeType
from typing import Any
from weakref import ref

NEVER = 1 << 62
"""The value of a counter that no exit brings to 0: the transition is reversed."""

_PLAIN = compile("", "<token>", "exec")


def _token() -> CodeType:
    """One that nobody else has."""
    return _PLAIN.replace()


def _references(enter: Callable[[], CodeType | None], in_use: Sequence[object]) -> Iterator[int]:
    return map(getrefcount, filter(None, compress(map(call, (enter,)), in_use)))


def _measure() -> int:
    """How many references the look itself is."""
    token = _token()
    return next(_references(ref(token), [1])) - 1


_LOOK = _measure()


class Counter:
    """Begins at 1, the bias. ``enter`` and ``in_use`` are for the entry hooks: the first gives the token, or ``None``;
    the second is a list, and empty where the counter is 0 all the same.
    """

    # Cleared by name: where a counter that is not 0 is given up, who watches goes before the token, and is not called.
    __slots__ = ("_at_zero", "_held", "enter", "in_use", "is_stopped")

    def __init__(self) -> None:
        self._held: list[CodeType] = [_token()]
        self.enter: Callable[[], CodeType | None] = ref(self._held[0])
        self.in_use = [1]
        self.is_stopped = False

    def at_zero(self, commit: Callable[[], Any]) -> None:
        """Call ``commit``, which is C and runs no Python code, when the counter becomes 0."""
        # next() takes the dead reference that a callback is given for its default.
        self._at_zero: Any = ref(self._held[0], partial(next, map(call, repeat(commit))))

    def probe(self) -> Iterator[int]:
        """Gives the value, or nothing where it is 0. It runs no Python code."""
        return map(sub, _references(self.enter, self.in_use), (_LOOK,))

    @property
    def value(self) -> int:
        """How many are inside, the bias included. 0: the switch has come."""
        found = list(self.probe())
        if not found:
            return 0
        return NEVER if self.is_stopped else found[0]

    def count(self) -> bool:
        """Count the caller in, unless it is 0: then false."""
        self._held.extend(filter(None, compress(map(call, (self.enter,)), self.in_use)))  # one C call
        return self.enter() is not None and bool(self.in_use)

    def discount(self) -> None:
        """Drop the bias, or what :meth:`count` added. Commits where it was the last."""
        del self._held[-1:]

    def stop(self) -> bool:
        """Never let it become 0, unless it is already: then false. Pairs with the exits: they do not reach 0 any more
        once the token is held here."""
        self.is_stopped = self.count()
        return self.is_stopped

    def zero(self) -> Callable[[], Any]:
        """A C callable that makes it 0, whoever is inside. It does not commit."""
        return self.in_use.clear


__all__ = ["NEVER", "Counter"]

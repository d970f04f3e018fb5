"""Late entries: calls that began before the switch and reach the entry hook after it.

A thread can lose the GIL between the making of a frame and its first instruction, and a generator or coroutine can
wait unstarted for as long as it likes. The entry hook then finds the counter at 0, and hands the arguments over to
the :class:`LateEntry` of its trampoline. That makes sure that the commit is carried out (whoever brought the
counter to 0 may have been kept from it by a profile function), then calls the function anew: it runs the new code.

The arguments were bound by the old signature, and how they had been passed is not known any more. Where the new
signature is the same they are passed as they are. Where it differs they are passed by position as long as the new
parameter at that place has the same name or was renamed, and by name from the first one that
has moved. An argument that is the old default is left out where the new function has a default of its own. So the
call does what it would have done had it begun after the switch. Parameters that change places are the one thing that
cannot be told, as ``f(1, 2)`` and ``f(a=1, b=2)`` then mean different things: :func:`change_places` finds them, and
such a change is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType, TracebackType
from typing import Any
from weakref import ref

from pylivepatch.counter import Counter


class LateEntry:
    """Called by a trampoline's late-entry block with every parameter's value, in the order of the fast locals."""

    __slots__ = ("_code", "_commit", "_counter", "_defaults", "_function", "_make", "_note")

    def __init__(
        self,
        function: FunctionType,
        code: CodeType,
        make: Callable[[], FunctionType],
        commit: Callable[[], Any],
        counter: Counter,
        note: Callable[[], Any] | None = None,
    ) -> None:
        """``code`` is the old code; ``make`` gives a function with the new one, whatever ``function`` runs now.

        ``note`` is told of each such call.
        """
        self._note = note
        self._commit = commit
        self._counter = counter
        self._function = ref(function)  # a strong one would make a cycle through a code object: never collected
        self._code = code.replace(co_consts=(), co_code=b"")  # the signature only: hold none of the constants
        self._defaults = _defaults(function)
        self._make = make

    def __call__(self, values: tuple[Any, ...]) -> Any:
        if not self._counter.value:  # else the call was sent here by choice (mode per-task), and nothing is decided
            self._commit()
        if self._note is not None:
            self._note()
        function = self._function()
        if function is None or any(value is self for value in function.__code__.co_consts):
            function = self._make()  # it still runs this trampoline; that of another transition is to be called
        arguments = bind(self._code, self._defaults, function, values)
        result = function(*arguments[0], **arguments[1])
        if self._code.co_flags & inspect.CO_ASYNC_GENERATOR:
            return AsyncDelegate(result)
        return result


def _defaults(function: FunctionType) -> dict[str, Any]:
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    values = function.__defaults__ or ()
    defaults: dict[str, Any] = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
    return defaults | (function.__kwdefaults__ or {})


def signature_key(code: CodeType) -> tuple[Any, ...]:
    """Two functions with equal keys bind a call's arguments to the same parameters."""
    count = code.co_argcount + code.co_kwonlyargcount
    variadic = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, variadic, code.co_varnames[:count])


def change_places(old: CodeType, new: CodeType) -> list[str]:
    """Parameters that can be passed by position and by name, and are in another order in ``new``."""
    before, after = (code.co_varnames[code.co_posonlyargcount : code.co_argcount] for code in (old, new))
    kept = [name for name in before if name in after]
    return kept if kept != [name for name in after if name in before] else []


def bind(
    old: CodeType, old_defaults: dict[str, Any], new: FunctionType, values: tuple[Any, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments for ``new`` that say what ``values`` said to ``old``."""
    names = old.co_varnames[: old.co_argcount + old.co_kwonlyargcount]
    given = dict(zip(names, values, strict=False))
    rest = list(values[len(names) :])
    more: tuple[Any, ...] = rest.pop(0) if old.co_flags & inspect.CO_VARARGS else ()
    keywords: dict[str, Any] = dict(rest.pop(0)) if old.co_flags & inspect.CO_VARKEYWORDS else {}

    code = new.__code__
    new_names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    new_defaults = _defaults(new)

    def is_default(name: str, instead: str) -> bool:
        """Whether it was probably not passed, and need not be: ``instead`` has a default, or is gone."""
        was = name in old_defaults and given[name] is old_defaults[name]
        return was and (instead in new_defaults or instead not in new_names)

    changed = {name for name, value in new_defaults.items() if value is not old_defaults.get(name, value)}
    if signature_key(old) == signature_key(code) and not any(is_default(name, name) for name in changed):
        positional = tuple(given[name] for name in names[: old.co_argcount])
        return (*positional, *more), {name: given[name] for name in names[old.co_argcount :]} | keywords

    in_order = list(names[: old.co_argcount] if more else names[: _by_position(old, code)])
    while in_order and not more and is_default(in_order[-1], (*new_names, "")[len(in_order) - 1]):
        in_order.pop()
    for name in names:
        if name not in in_order and not is_default(name, name):
            keywords[name] = given[name]
    positional_only = code.co_varnames[: code.co_posonlyargcount]
    args = [given[name] for name in in_order]
    for name in positional_only[len(args) :]:  # a parameter that has become positional-only
        if name not in keywords:
            break
        args.append(keywords.pop(name))
    return (*args, *more), keywords


def _by_position(old: CodeType, new: CodeType) -> int:
    """How many of the old positional parameters are found at their place, by their name or renamed."""
    before, after = (code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] for code in (old, new))
    n = old.co_posonlyargcount
    while n < min(old.co_argcount, new.co_argcount) and (
        before[n] == after[n] or (before[n] not in after and after[n] not in before)
    ):
        n += 1
    return n


class AsyncDelegate(list[Any]):
    """Drives the new async generator from within the old one, which cannot ``yield from`` it.

    The trampoline's block is ``async for d in delegate: with d: d((yield d[0]))``, on the stack alone. Item 0 is the
    value to yield; calling the delegate says what was sent, leaving the ``with`` by an exception what was thrown.
    It is a list so that the block reads item 0 without running Python code.
    """

    __slots__ = ("_generator", "_resume")

    def __init__(self, generator: Any) -> None:
        super().__init__([None])
        self._generator = generator
        self._resume: Callable[[], Any] = generator.__anext__

    def __aiter__(self) -> AsyncDelegate:
        return self

    async def __anext__(self) -> AsyncDelegate:
        # No variable holds what is awaited: an exception that was thrown would keep this frame, and this frame it.
        self[0] = await self._take()()
        return self

    def _take(self) -> Callable[[], Any]:
        resume, self._resume = self._resume, self._generator.__anext__
        return resume

    def __enter__(self) -> AsyncDelegate:
        return self

    def __call__(self, sent: Any) -> None:
        self._resume = partial(self._generator.asend, sent)  # a closure would be a cycle, which keeps the code

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if error is None:
            return False
        self._resume = partial(self._generator.athrow, error)
        return True

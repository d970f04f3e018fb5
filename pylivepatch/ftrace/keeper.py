"""The redirector that stays: for new code that cannot run as the old function's ``__code__``.

A function object's closure and globals are fixed for life. Code that needs another closure (a method that begins to
call ``super()`` and so needs ``__class__``), or a hand-written replacement that lives in another module, cannot be
swapped in. For these the function gets, for as long as the patch is applied, code of the new signature and kind that
only calls the replacement. It costs one call; all else is as with swapped code: the keeper is counted like any
other body, and whoever executes the replacement holds the keeper's frame.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from bytecode.instr import InstrLocation

from pylivepatch.ftrace import hooks
from pylivepatch.ftrace.assembly import Op, assemble
from pylivepatch.ftrace.late import AsyncDelegate


class Forward:
    """Calls the replacement with every parameter's value, in the order of the fast locals."""

    __slots__ = ("_async", "_count", "_function", "_keywords", "_star", "_stars")

    def __init__(self, function: FunctionType) -> None:
        code = function.__code__
        self._function: Callable[..., Any] = function
        self._count = code.co_argcount
        self._keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        self._star = bool(code.co_flags & inspect.CO_VARARGS)
        self._stars = bool(code.co_flags & inspect.CO_VARKEYWORDS)
        self._async = bool(code.co_flags & inspect.CO_ASYNC_GENERATOR)

    def __call__(self, values: tuple[Any, ...]) -> Any:
        n = self._count + len(self._keywords)
        more = values[n] if self._star else ()
        keywords = dict(zip(self._keywords, values[self._count : n], strict=True))
        if self._stars:
            keywords.update(values[-1])
        result = self._function(*values[: self._count], *more, **keywords)
        return AsyncDelegate(result) if self._async else result


def keeper(function: FunctionType, freevars: tuple[str, ...], filename: str) -> CodeType:
    """Code with the signature and kind of ``function`` and the given free variables that calls it."""
    new = function.__code__
    count = new.co_argcount + new.co_kwonlyargcount
    count += bool(new.co_flags & inspect.CO_VARARGS) + bool(new.co_flags & inspect.CO_VARKEYWORDS)
    flags = new.co_flags & ~inspect.CO_NESTED | (inspect.CO_NESTED if freevars else 0)
    bare = new.replace(
        co_varnames=new.co_varnames[:count],
        co_nlocals=count,
        co_cellvars=(),
        co_freevars=freevars,
        co_flags=flags,
        co_names=(),
        co_filename=filename,
    )
    kind = hooks.kind(new)
    location = InstrLocation(new.co_firstlineno, new.co_firstlineno, None, None)
    consts: list[Any] = [function.__doc__]  # where CPython looks for the docstring

    def constant(value: Any) -> int:
        if value == 2j:
            value = Forward(function)
        elif value == 8j:
            value = [None]
        consts.append(value)
        return len(consts) - 1

    ops = [Op("COPY_FREE_VARS", len(freevars))] if freevars else []
    if kind != "function":
        ops += [Op("RETURN_GENERATOR", location=location), Op("POP_TOP", location=location)]
    ops.append(Op("RESUME", 0, location))
    arguments = [Op("LOAD_FAST", i) for i in range(count)]
    arguments.append(Op("BUILD_TUPLE", count))
    ops += hooks.delegate(kind, constant, arguments, location)
    stack = count + 1 + hooks.stacksize(kind)
    # The scratch list must be one object however often it is loaded.
    code = assemble(bare, ops, consts=(None,) * len(consts), stacksize=stack)
    first_list = next((c for c in consts if isinstance(c, list)), None)
    return code.replace(co_consts=tuple(first_list if isinstance(c, list) else c for c in consts))

"""The instructions that a trampoline adds, for the interpreter that is running.

They are compiled, not written: each hook is a small Python function, and its instructions are what this
interpreter's own compiler makes of it. So BINARY_SUBSCR or BINARY_OP, TO_BOOL or none, the three shapes of CALL and
the whole of ``yield from`` and ``await`` are right on every version without a table of versions here.

Live objects do not appear in the source. An imaginary number stands for each (``1j``, ``2j`` …: constants that the
compiler cannot fold into anything), and becomes a named *slot* in the trampoline's constants:

========= ============ =====================================================================================
``1j``    enter        gives the token of the transition's reference counter, or ``None``: see ``counter.py``
``2j``    late_entry   called with the arguments of a call that began before the switch and entered after it
``3j``    (arguments)  replaced by loads of the function's parameters into one tuple
``5j``    adopt        called with each function that the body makes from a nested code object
``6j``    (top)        replaced by a copy of the function just made, or of the value that is returned
``7j``    (jump)       replaced by a jump to the late-entry block; ``4j`` by one that takes the token off first
``8j``    scratch      a list of one item, for the delegation of an async generator
``9j``    asking       in coroutines: a list of one integer, whether ``attend`` is to be awaited at each entry
``10j``   attend       in coroutines: awaited before a call is counted; may wait; true: "to the new function"
``11j``   on_entry     told of each entry, where a function is traced; ``12j`` ``on_return`` and ``13j`` ``on_raise`` of
                       each exit. Where it is probed they are told of the arguments, and of what is returned
``14j``   in_use       a list, which is empty where the token that ``enter`` gave counts no more. By the name, as it is
                       tested for truth, and the compiler does that itself with a number
========= ============ =====================================================================================

**A call is counted by one instruction, and so it is counted out.** The entry hook's CALL leaves the token on the stack,
below all that the body puts there; the ``STORE_FAST`` of the template is left out for that. Before a return POP_TOP
takes it off. An exception that leaves the body needs no hook: what is on the stack is thrown away as the frame is left,
the token with it. So it does not matter who comes between two instructions, be it another thread, a trace function, a
tool of ``sys.monitoring`` or an exception that another thread has set: whoever has the token is counted, whoever has not
is not. What the entry hook branches on is the token that it already has.
"""

# The templates below are never called: they are read as instructions.
# mypy: ignore-errors
# ruff: noqa

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, MappingProxyType
from typing import Any

from pylivepatch.ftrace.assembly import NOWHERE, Handler, Op, disassemble

SLOTS = {
    1j: "enter",
    2j: "late_entry",
    5j: "adopt",
    8j: "scratch",
    9j: "asking",
    10j: "attend",
    11j: "on_entry",
    12j: "on_return",
    13j: "on_raise",
    14j: "in_use",
}
ARGUMENTS, DROP, TOP, JUMP, IN_USE = 3j, 4j, 6j, 7j, 14j

_SOURCE = '''
def entry():                       # atomic_inc_not_zero
    if not ((token := 1j()) and in_use): return 4j

async def entry_awaiting():        # the same in coroutines and async generators, which ask first
    if 9j[0] and await 10j(): return 7j
    if not ((token := 1j()) and in_use): return 4j

def on_entry(): 11j()

def on_return(): 12j()

def on_raise(): 13j()

def on_entry_with(): 11j(3j)

def on_return_with(): 12j(6j)

def adopt(): 5j(6j)

def function(): return 2j(3j)

def generator(): return (yield from 2j(3j))

async def coroutine(): return await 2j(3j)

async def async_generator():       # 2j(3j) makes an AsyncDelegate; see late.py
    async for 8j[0] in 2j(3j):
        with 8j[0] as 8j[0]: 8j[0]((yield 8j[0][0]))
'''


def _compile_templates() -> dict[str, CodeType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "complex is not callable": that is the point
        module = compile(_SOURCE, "<pylivepatch trampoline>", "exec", dont_inherit=True, optimize=0)
    return {c.co_name: c for c in module.co_consts if isinstance(c, CodeType)}


_TEMPLATES = _compile_templates()


def stacksize(name: str) -> int:
    """How deep the stack of the hook ``name`` goes."""
    return _TEMPLATES[name].co_stacksize


def kind(code: CodeType) -> str:
    """Which delegation a late entry into ``code`` needs; also the name of that template."""
    flags = code.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async_generator"
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    if flags & inspect.CO_GENERATOR:
        return "generator"
    return "function"


Constant = Callable[[Any], int]
"""Gives the index of a constant in the trampoline, adding it where it is new."""
_NOWHERE: Mapping[complex, Op] = MappingProxyType({})


def inline(
    name: str, constant: Constant, following: Op, jumps: Mapping[complex, Op] = _NOWHERE, arguments: Sequence[Op] = ()
) -> list[Op]:
    """The hook ``name``, to be put before ``following``, which runs next. ``jumps`` says where :data:`JUMP` and
    :data:`DROP` go, and :data:`ARGUMENTS` are loaded by ``arguments``. What the template binds to a name stays on the
    stack.
    """
    code = _TEMPLATES[name]
    result: list[Op] = []
    became: dict[Op, Op] = {}
    ops = _body(name)
    for op, after in zip(ops, [*ops[1:], None]):
        value = _pushed(op, code)
        if after is not None and after.name == "RETURN_VALUE" and value is not _NOT_A_CONSTANT:
            continue  # the constant of a return; the return itself is next
        if op.name in ("RETURN_VALUE", "RETURN_CONST"):
            load = op if op.name == "RETURN_CONST" else ops[ops.index(op) - 1]
            where = _pushed(load, code)
            leaves = where is None
            jump = Op("JUMP_FORWARD", target=following if leaves else jumps[where])
            became[load] = became[op] = following if leaves and op is ops[-1] else jump
            if became[op] is jump:
                result.append(jump)
        elif _stands_for(value, TOP):
            if following.name == "RETURN_CONST":  # 3.12 and 3.13: it is not on the stack
                became[op] = Op("LOAD_CONST", following.arg)
            else:
                became[op] = Op("COPY", 3)  # it lies below the callable and its NULL
            result.append(became[op])
        elif _stands_for(value, ARGUMENTS):
            result += arguments
        elif op.name != "STORE_FAST":
            if op.name == "LOAD_GLOBAL":
                op.name, op.arg = "LOAD_CONST", constant(IN_USE)
            elif op.name == "LOAD_CONST":
                op.arg = constant(value)
            result.append(op)
    for op in result:
        op.location = NOWHERE
        op.target = became.get(op.target, op.target)
    return _without_stop_iteration(result)


def _without_stop_iteration(ops: list[Op]) -> list[Op]:
    """A coroutine's hook without the handler that ends every coroutine (since 3.12): the function has its own."""
    last = [i for i, op in enumerate(ops) if op.name == "CALL_INTRINSIC_1"]
    if not last:
        return ops
    first = ops[last[-1]]
    for op in ops:
        if op.handler is not None and op.handler.target is first:
            op.handler = None
    return ops[: last[-1]]


def leave(op: Op) -> list[Op]:
    """The hook before the return ``op``: it takes the token off, below what is returned."""
    return [Op("POP_TOP")] if op.name == "RETURN_CONST" else [Op("SWAP", 2), Op("POP_TOP")]


def awaits(code: CodeType) -> bool:
    """Whether the function can await in its entry hook."""
    return kind(code) in ("coroutine", "async_generator")


def entry_hook(code: CodeType) -> str:
    """The name of the entry hook for a function of this kind."""
    return "entry_awaiting" if awaits(code) else "entry"


def delegate(name: str, constant: Constant, arguments: list[Op], location) -> list[Op]:
    """The late-entry block for a function of that :func:`kind`: it returns what the new function gives."""
    code = _TEMPLATES[name]
    result: list[Op] = []
    for op in _body(name):
        value = _pushed(op, code)
        if _stands_for(value, ARGUMENTS):
            for argument in arguments:
                argument.handler = op.handler
            result += arguments
            continue
        if op.name in ("LOAD_CONST", "RETURN_CONST"):
            op.arg = constant(value)
        result.append(op)
    for op in result:
        op.location = location
    return result


def _stands_for(value: Any, placeholder: complex) -> bool:
    return type(value) is complex and value == placeholder


_NOT_A_CONSTANT = object()


def _pushed(op: Op, code: CodeType) -> Any:
    """The constant that ``op`` pushes or returns."""
    if op.name in ("LOAD_CONST", "RETURN_CONST"):
        return code.co_consts[op.arg]
    if op.name == "LOAD_COMMON_CONSTANT":  # since 3.15, and None is the only one that a template returns
        return None
    return _NOT_A_CONSTANT


def _body(name: str) -> list[Op]:
    """The template's instructions after its first RESUME: a copy, to be changed at will."""
    body = _BODIES[name]
    copies = {op: Op(op.name, op.arg, op.location) for op in body}
    for op, copy in copies.items():
        copy.target = copies[op.target] if op.target is not None else None
        if op.handler is not None:
            copy.handler = Handler(copies[op.handler.target], op.handler.depth, op.handler.lasti)
    return list(copies.values())


def _read_body(code: CodeType) -> list[Op]:
    ops = disassemble(code)
    first = next(i for i, op in enumerate(ops) if op.name == "RESUME")
    return ops[first + 1 :]


_BODIES = {name: _read_body(code) for name, code in _TEMPLATES.items()}

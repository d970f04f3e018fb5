"""The trampoline: a function's own body between an entry hook and an exit hook.

The problem. During a transition every call of a patched function must be counted when it begins and when it ends,
however it ends, and a call that begins after the switch must run the new function. Ftrace does this in the kernel
with a call at the function's entry and a replaced return address.

The alternatives. *A wrapper function* is seen by everyone: another frame in tracebacks, ``sys._getframe`` and
``super()`` broken, a generator that is none. ``sys.monitoring`` cannot watch exits by exception for one code object,
and 3.11 has none. So the hooks go *inside*: a new code object holds the old body, instruction for instruction, and
becomes ``f.__code__`` for as long as the transition lasts::

    MAKE_CELL, COPY_FREE_VARS, RETURN_GENERATOR …   as they were
    RESUME
      push enter()                                  entry hook, inc-not-zero: the token is on the stack, or None
      if it is None, or in_use is empty: pop it, goto late
    the body, on a stack that has the token below all else, and before each of its returns:
      swap, pop                                     exit hook, dec-if-positive; who pops the last one commits
    late:    return late_entry(arguments)           or ``yield from``, or ``await``, by the function's kind

Who asks at each entry (the gate, per-task's choice) takes the place of ``enter``. A coroutine must await that, so its
entry hook begins with ``if asking[0] and await attend(): goto late``.

Invariants:

* A call is counted exactly while the token is on its stack (:mod:`pylivepatch.counter`). What leaves the body by an
  exception takes it off, as it takes off all that is there: no handler is added. The depths of the body's own handlers
  are one more than in the original, so that they keep it. The hooks are covered by no exception table entry; what is
  raised at RESUME (``KeyboardInterrupt``, a ``throw()`` into a generator that was never started) comes before the
  token, and what a trace function raises at the return behind an exit hook comes after it.
* A frame that somebody keeps (a traceback) does not keep the token: it is popped before a return, not with the frame.
* An exit hook before a return has the line of that return, and no part of it begins a line: a trace function is told of
  the line before the hook, if at all. The other hooks have no line.
* In a generator the entry hook runs at the first resumption; a generator made before the switch and started after
  it is a late entry. From then on it is counted until it returns, raises, is closed or collected. CPython closes a
  generator without running it where only its own StopIteration handler covers the ``yield``, and then leaves the
  token to whoever keeps the frame; it knows this from the argument of RESUME (3.13+) or YIELD_VALUE (3.12), which is
  therefore changed.
* Line numbers, handlers, and the order of the body's instructions are those of the original;
  :mod:`pylivepatch.ftrace.verify` checks that independently for each trampoline.

A :class:`Template` has placeholders for all constants: it can be made in another process and sent.
"""

from __future__ import annotations

import inspect
import marshal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from bytecode.instr import InstrLocation

from pylivepatch.errors import UnswappableShape
from pylivepatch.ftrace import hooks
from pylivepatch.ftrace.assembly import NOWHERE, Handler, Op, assemble, disassemble, insert_before, offsets_of

RETURNS = ("RETURN_VALUE", "RETURN_CONST")

Path = tuple[int, ...]
"""Where a nested code object lies: indices into ``co_consts``, from the outside in."""


@dataclass(frozen=True, slots=True)
class Template:
    """A trampoline whose constants are still to be put in.

    ``code.co_consts`` begins with a ``None`` for each constant of the original (``inherited`` of them). ``slots``
    names the constants that :func:`instantiate` fills. ``nested`` are class bodies inside the function, which take
    part only by having their methods adopted. ``body`` says between which ``f_lasti`` a frame executes the original's
    instructions: before, it has not been counted, and from the second on it delegates to the new function.
    """

    code: CodeType
    inherited: int
    slots: tuple[tuple[int, str], ...]
    nested: tuple[tuple[int, Template], ...] = ()
    body: tuple[int, int] = (0, 0)

    def to_bytes(self) -> bytes:
        return marshal.dumps(self._as_tuple())

    @classmethod
    def from_bytes(cls, data: bytes) -> Template:
        return cls._from_tuple(marshal.loads(data))

    def _as_tuple(self) -> tuple[Any, ...]:
        nested = tuple((i, t._as_tuple()) for i, t in self.nested)
        return (self.code, self.inherited, self.slots, nested, self.body)

    @classmethod
    def _from_tuple(cls, data: tuple[Any, ...]) -> Template:
        code, inherited, slots, nested, body = data
        return cls(code, inherited, slots, tuple((i, cls._from_tuple(t)) for i, t in nested), body)


def adopt_slot(path: Path) -> str:
    """The name of the slot that is called with each function made from the nested code at ``path``."""
    return "adopt:" + "/".join(map(str, path))


def trampoline(code: CodeType, *, adopt: Iterable[Path] = ()) -> Template:
    """Make the template for ``code``, which must be a function's.

    ``adopt`` lists nested functions whose instances are to be reported to a slot as they are made.
    Raises :class:`UnswappableShape` for code that has no such form (a module's, a class body's).
    """
    if not code.co_flags & inspect.CO_OPTIMIZED:
        raise UnswappableShape(f"{code.co_qualname} is not a function's code", where=_where(code))
    builder = _Builder(code)
    builder.adopt(tuple(adopt), ())
    builder.count()
    time.sleep(0)  # each half takes about half a millisecond: let other threads run in between
    return builder.finish()


def traced(code: CodeType, *, values: bool = False) -> Template:
    """Make the template for ``code``, a function's, in which each entry and each exit is only told to somebody.

    Its slots are ``on_entry``, ``on_return`` and ``on_raise``: callables without arguments, which must not raise. With
    ``values`` the first is called with a tuple of all parameters' values, in the order of the fast locals, and the
    second with the value that is returned. Raises :class:`UnswappableShape` as :func:`trampoline` does.
    """
    if not code.co_flags & inspect.CO_OPTIMIZED:
        raise UnswappableShape(f"{code.co_qualname} is not a function's code", where=_where(code))
    builder = _Builder(code)
    builder.tell("on_entry_with" if values else "on_entry", "on_return_with" if values else "on_return")
    time.sleep(0)
    return builder.finish()


def _deeper(handler: Handler) -> Handler:
    """The same handler where the token lies below all that the body has on the stack."""
    return Handler(handler.target, handler.depth + 1, handler.lasti)


def _line(op: Op) -> int | None:
    return op.location.lineno if op.location is not None else None


def _where(code: CodeType) -> str:
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"


class _Builder:
    def __init__(self, code: CodeType) -> None:
        self.original = code
        self.bare = code.replace(co_consts=(None,) * len(code.co_consts))
        self.ops = disassemble(self.bare)
        self.extra: list[Any] = []
        self.slots: dict[str, int] = {}
        self.nested: dict[int, Template] = {}
        self.stack = code.co_stacksize
        self.body: tuple[Op, Op] | None = None

    # --- constants ---

    def constant(self, value: Any) -> int:
        """The index of a hook's constant: a slot where a placeholder stands for one."""
        if type(value) is complex:
            return self.slot(hooks.SLOTS[value])
        return self._add(value)

    def slot(self, name: str) -> int:
        if name not in self.slots:
            self.slots[name] = self._add(None, new=True)
        return self.slots[name]

    def _add(self, value: Any, *, new: bool = False) -> int:
        first = len(self.original.co_consts)
        taken = set(self.slots.values())
        for i, old in enumerate(self.extra):
            if not new and type(old) is type(value) and old == value and first + i not in taken:
                return first + i
        self.extra.append(value)
        return first + len(self.extra) - 1

    # --- functions that the body makes ---

    def adopt(self, paths: tuple[Path, ...], prefix: Path) -> None:
        direct = {path[0] for path in paths if len(path) == 1}
        deeper = {path[0] for path in paths} - direct
        for index in deeper:
            inner = _Builder(self.original.co_consts[index])
            inner.adopt(tuple(p[1:] for p in paths if p[0] == index and len(p) > 1), (*prefix, index))
            self.nested[index] = inner.finish()
        for op, following in zip(self.ops[:], self.ops[1:], strict=False):
            if op.name == "LOAD_CONST" and op.arg in direct and following.name == "MAKE_FUNCTION":
                self._adopt_after(following, (*prefix, op.arg))

    def _adopt_after(self, make: Op, path: Path) -> None:
        index = self.ops.index(make) + 1
        while self.ops[index].name == "SET_FUNCTION_ATTRIBUTE":  # 3.13+: the function is whole after these
            index += 1

        def constant(value: Any) -> int:
            return self.slot(adopt_slot(path)) if value == 5j else self.constant(value)

        new = hooks.inline("adopt", constant, self.ops[index])
        for op in new:
            op.handler, op.location = make.handler, make.location  # it calls Python: let tracebacks say where
        self.ops[index:index] = new
        self.stack = max(self.stack, self.original.co_stacksize + 1 + hooks.stacksize("adopt"))

    # --- the hooks ---

    def count(self) -> None:
        """The hooks that count: at the entry, and before each return. Late entries go to a block of their own."""
        preamble, body = self._split()
        returns = [op for op in body if op.name in RETURNS]
        lines = self._lines_of_returns(returns, body, None)
        for op in (*body, *lines.values()):
            if op.handler is not None and op not in returns:
                op.handler = _deeper(op.handler)
        copy = self._uncounted_stop_iteration(preamble, returns)
        self._before_returns(body, returns, lines, hooks.leave)
        drop, *late = [Op("POP_TOP"), *self._late_entry()]
        # After the exit hooks: a body may begin with its return, and the entry hook must go on to the hook before it.
        entry = hooks.entry_hook(self.original)
        begin = hooks.inline(entry, self.constant, body[0], {hooks.JUMP: late[0], hooks.DROP: drop})
        self.ops = [*preamble, *begin, *body, drop, *late, *copy]
        late_stack = len(self._parameters()) + 1 + hooks.stacksize(hooks.kind(self.original))
        self.stack = max(self.stack + 1, hooks.stacksize(entry), late_stack)
        self.body = (body[0], drop)

    def tell(self, entry: str, leave: str) -> None:
        """The hooks that tell somebody of each entry, return and exit by an exception."""
        preamble, body = self._split()
        handler, handler_ops = self._exception_exit("on_raise")
        returns = [op for op in body if op.name in RETURNS]
        lines = self._lines_of_returns(returns, body, handler)
        for op in body:
            op.handler = op.handler or (None if op in returns else handler)
        copy = self._uncounted_stop_iteration(preamble, returns)
        self._before_returns(body, returns, lines, lambda op: hooks.inline(leave, self.constant, op))
        begin = hooks.inline(entry, self.constant, body[0], arguments=self._arguments())
        self.ops = [*preamble, *begin, *body, *handler_ops, *copy]
        self.stack = max(
            self.stack,
            self.original.co_stacksize + hooks.stacksize(leave),
            self.original.co_stacksize + hooks.stacksize(entry) + len(self._parameters()),
            3 + hooks.stacksize("on_raise"),
        )

    def _split(self) -> tuple[list[Op], list[Op]]:
        """The instructions up to RESUME, and the body behind it."""
        start = next((i for i, op in enumerate(self.ops) if op.name == "RESUME"), None)
        if start is None or self.ops[start].arg != 0:
            raise UnswappableShape(
                f"{self.original.co_qualname} has no ordinary function entry",
                where=_where(self.original),
                advice="generator expressions are switched with the function that holds them; name that one",
            )
        preamble, body = self.ops[: start + 1], self.ops[start + 1 :]
        self._keep_generator_running_on_close(body)
        return preamble, body

    @staticmethod
    def _before_returns(
        body: list[Op], returns: list[Op], lines: Mapping[Op, Op], leave: Callable[[Op], list[Op]]
    ) -> None:
        """An exit hook before each return, with its line."""
        for op in returns:
            hook = leave(op)
            for each in hook:
                each.location = op.location
            insert_before(body, op, [lines[op], *hook] if op in lines else hook)

    def _lines_of_returns(self, returns: list[Op], body: list[Op], handler: Handler | None) -> dict[Op, Op]:
        return {op: line for op in returns if (line := self._line_of_return(op, body, handler)) is not None}

    @staticmethod
    def _line_of_return(op: Op, body: list[Op], handler: Handler | None) -> Op | None:
        """An instruction for a trace function to be told of the return's line at, where it is told of it.

        It stands before the exit hook, which has the same line: so nobody is told of that in the hook, nor again at the
        return behind it. What the trace function raises here leaves a call that is still counted.
        """
        before = body[body.index(op) - 1] if op is not body[0] else op
        if before is not op and before.name != "RESUME" and _line(before) == _line(op):
            jumps = [other for other in body if other.target is op]
            return Op("NOP", location=op.location, handler=op.handler or handler) if jumps else None
        return Op("NOP", location=op.location, handler=op.handler or handler)

    def _exception_exit(self, raised: str) -> tuple[Handler, list[Op]]:
        """``finally`` as the compiler writes it, with the raising instruction's offset kept for ``f_lineno``."""
        push = Op("PUSH_EXC_INFO")
        again = Op("RERAISE", 2)
        cleanup = [Op("COPY", 3), Op("POP_EXCEPT"), Op("RERAISE", 1)]
        restore = Handler(cleanup[0], 2, True)
        protected = [push, *hooks.inline(raised, self.constant, again), again]
        for op in protected:
            op.handler = restore
        return Handler(push, 0, True), [*protected, *cleanup]

    def _late_entry(self) -> list[Op]:
        line = self.original.co_firstlineno
        location = InstrLocation(line, line, None, None)
        return hooks.delegate(hooks.kind(self.original), self.constant, self._arguments(), location)

    def _arguments(self) -> list[Op]:
        """What loads all parameters into one tuple."""
        loads = [Op("LOAD_DEREF" if cell else "LOAD_FAST", i) for i, cell in enumerate(self._parameters())]
        return [*loads, Op("BUILD_TUPLE", len(loads))]

    def _parameters(self) -> list[bool]:
        """For each parameter, in the order of the fast locals, whether the body keeps it in a cell."""
        c = self.original
        count = c.co_argcount + c.co_kwonlyargcount
        count += bool(c.co_flags & inspect.CO_VARARGS) + bool(c.co_flags & inspect.CO_VARKEYWORDS)
        return [name in c.co_cellvars for name in c.co_varnames[:count]]

    def _uncounted_stop_iteration(self, preamble: list[Op], returns: list[Op]) -> list[Op]:
        """What is raised in a generator before its entry hook ran (``throw()``), or behind an exit hook (by a trace
        function that is told of the return), meets a copy of CPython's own handler."""
        covered = [op for op in preamble if op.handler is not None]
        covered += [op for op in returns if op.handler is not None and op.handler.target.name == "CALL_INTRINSIC_1"]
        if not covered:
            return []
        assert covered[0].handler is not None
        first = self.ops.index(covered[0].handler.target)
        copy: list[Op] = []
        for op in self.ops[first:]:
            copy.append(Op(op.name, op.arg, op.location))
            if op.name == "RERAISE":
                break
        handler = Handler(copy[0], covered[0].handler.depth, covered[0].handler.lasti)
        for op in covered:
            op.handler = handler
        return copy

    def _keep_generator_running_on_close(self, body: list[Op]) -> None:
        for op in body:
            if op.name == "RESUME" and op.arg is not None:
                op.arg &= ~_ONLY_STOP_ITERATION
            elif op.name == "YIELD_VALUE" and op.arg == 1 and _DEPTH_IN_YIELD:
                op.arg = 2

    def finish(self) -> Template:
        inherited = len(self.original.co_consts)
        consts = [*self.bare.co_consts, *self.extra]
        code = assemble(self.bare, self.ops, consts=consts, stacksize=self.stack)
        slots = tuple(sorted((index, name) for name, index in self.slots.items()))
        nested = tuple(sorted(self.nested.items(), key=lambda item: item[0]))
        begin, end = offsets_of(self.ops, *self.body) if self.body is not None else (0, 0)
        return Template(code, inherited, slots, nested, (begin, end))


def _marks_of_a_bare_yield() -> tuple[int, bool]:
    """How this version marks a ``yield`` that only the StopIteration handler covers: a bit of RESUME's argument
    (3.13+), or an argument 1 of YIELD_VALUE (3.12). Read off a generator, as the bit has moved once already."""

    def bare() -> Any:
        yield

    ops = disassemble(bare.__code__)
    resume = next(op for op in ops if op.name == "RESUME" and op.arg)
    yields = next(op for op in ops if op.name == "YIELD_VALUE")
    mark = (resume.arg or 0) & ~1
    return mark, mark == 0 and yields.arg == 1


_ONLY_STOP_ITERATION, _DEPTH_IN_YIELD = _marks_of_a_bare_yield()


class _Constants(tuple[Any, ...]):
    """A trampoline's constants, told from others by identity: lists are among them, and would leave the code without a
    hash, while debuggers, coverage and profilers keep dicts by code.
    """

    __slots__ = ()
    __hash__ = object.__hash__


def instantiate(template: Template, original: CodeType, values: Mapping[str, Any]) -> CodeType:
    """Put the constants in: those of ``original``, the live code, and ``values`` for the slots."""
    if len(original.co_consts) != template.inherited:
        raise UnswappableShape("the trampoline was made for other code", where=_where(original))
    consts = [*original.co_consts, *template.code.co_consts[template.inherited :]]
    for index, name in template.slots:
        consts[index] = values[name]
    for index, inner in template.nested:
        consts[index] = instantiate(inner, original.co_consts[index], values)
    return template.code.replace(co_consts=_Constants(consts), co_filename=original.co_filename)


__all__ = ["NOWHERE", "Path", "Template", "adopt_slot", "instantiate", "traced", "trampoline"]

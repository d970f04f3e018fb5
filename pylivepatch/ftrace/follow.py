"""What a hook does, found by following its instructions one by one.

This is the half of :mod:`pylivepatch.ftrace.verify` that knows what instructions mean: no more of them than a hook may
have. Any other (a backward jump, a RESUME: places where a thread could lose the GIL) is an error, and so is a hook that
reaches below its own part of the stack.
"""

from __future__ import annotations

import dis
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pylivepatch.ftrace.listing import JUMPS, Cover, Listing, Problem


@dataclass(frozen=True, slots=True)
class Slot:
    """A constant that is put in later: ``enter``, ``in_use``, ``late_entry``, ``scratch`` or ``adopt:…``."""

    name: str


TOKEN = Slot("the token")
"""What ``enter`` gives while there is one; else ``None``."""


@dataclass(slots=True)
class Effect:
    """What was done between one place and another.

    ``events`` are ``("asking",)``, ``("in_use",)``, ``("await",)``, ``("branch",)`` and ``("call", slot name,
    arguments)`` in order; ``end`` the index of the first instruction that was not followed; ``depth`` how deep the
    stack went; ``visited`` the indices that were executed, ``waiting`` those of them that are an ``await``; ``stack``
    what lies on the stack at the end.
    """

    end: int
    events: list[tuple[Any, ...]] = field(default_factory=list)
    depth: int = 0
    visited: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    stack: list[Any] = field(default_factory=list)


_NULL = object()
_NOTHING = {"NOP", "NOT_TAKEN", "PRECALL", "CACHE"}
_JUMPS_IF = {
    "POP_JUMP_IF_TRUE": True,
    "POP_JUMP_IF_FALSE": False,
    "POP_JUMP_FORWARD_IF_TRUE": True,  # 3.11
    "POP_JUMP_FORWARD_IF_FALSE": False,
}


class Follower:
    """Follows the instructions of one code object. ``slots`` names constants; ``inherited`` of them are the body's."""

    def __init__(self, listing: Listing, consts: tuple[Any, ...], inherited: int) -> None:
        self._listing = listing
        self._code = listing.instructions
        self._index_of: Mapping[int, int] = listing.index_of  # by offset, prefixes included
        self._consts = consts
        self._inherited = inherited

    def follow(
        self,
        start: int,
        stop: range,
        stack: tuple[Any, ...] = (),
        *,
        counts: bool = True,
        in_use: bool = True,
        asking: int = 0,
        answer: bool = False,
        values: bool = False,
    ) -> Effect:
        """Execute from ``start`` for as long as the next instruction is in ``stop``. Raises :class:`Problem`.

        ``counts`` says whether ``enter`` gives the token, ``in_use`` whether the slot of that name is true, ``asking``
        is what that one holds, ``answer`` what ``attend`` gives. With ``values`` the hook may load variables and
        constants of the body: each is the pair of instruction and argument that loads it.
        """
        self._counts, self._in_use, self._asking, self._answer, self._values = counts, in_use, asking, answer, values
        effect = Effect(start, stack=list(stack))
        while effect.end in stop:
            if effect.end in effect.visited:
                raise Problem("a hook has a loop")
            effect.visited.add(effect.end)
            effect.end = self._step(self._code[effect.end], effect)
            effect.depth = max(effect.depth, len(effect.stack) - len(stack))
        return effect

    def _step(self, instr: dis.Instruction, effect: Effect) -> int:
        """Execute one instruction; returns the index of the next one."""
        stack, name, arg, following = effect.stack, instr.opname, instr.arg or 0, effect.end + 1
        if name in _NOTHING:
            return following
        if name in _JUMPS_IF:
            value = _pop(stack)
            if "TO_BOOL" in dis.opmap and type(value) is not bool:  # since 3.13 a jump tests for True itself
                raise Problem("a hook has a jump on what is no truth value")
            truth = self._truth(value, effect)
            effect.events.append(("branch",))
            return self._index_of[instr.argval] if truth is _JUMPS_IF[name] else following
        if name == "JUMP_FORWARD":
            return self._index_of[instr.argval]
        if name == "LOAD_CONST":
            own = not self._values or arg >= self._inherited
            stack.append(self._constant(arg) if own else (name, arg))
        elif name in ("LOAD_FAST", "LOAD_DEREF") and self._values:
            stack.append((name, arg))
        elif name == "BUILD_TUPLE" and self._values:
            stack.append(tuple(reversed([_pop(stack) for _ in range(arg)])))
        elif name == "LOAD_SMALL_INT":
            stack.append(arg)
        elif name == "PUSH_NULL":
            stack.append(_NULL)
        elif name == "COPY":
            stack.append(_at(stack, arg))
        elif name == "SWAP":
            _at(stack, arg)
            stack[-arg], stack[-1] = stack[-1], stack[-arg]
        elif name == "POP_TOP":
            _pop(stack)
        elif name == "TO_BOOL":
            stack.append(self._truth(_pop(stack), effect))
        elif name == "BINARY_SUBSCR" or (name == "BINARY_OP" and instr.argrepr == "[]"):
            index, container = _pop(stack), _pop(stack)
            if container != Slot("asking") or type(index) is not int or index != 0:
                raise Problem("a hook has a subscript of something other than what it is to ask")
            effect.events.append(("asking",))
            stack.append(self._asking)
        elif name == "CALL":
            self._call(stack, arg, effect)
        elif name == "GET_AWAITABLE":
            return self._await(effect)
        else:
            raise Problem(f"a hook has {name} {instr.argrepr}".strip())
        return following

    def _truth(self, value: Any, effect: Effect) -> bool:
        if value == Slot("in_use"):
            effect.events.append(("in_use",))
            return self._in_use
        if value is not TOKEN and value is not None and not isinstance(value, int):
            raise Problem("a hook has a test of something other than the token or an answer")
        return bool(value)

    def _constant(self, index: int) -> Any:
        if index < self._inherited:
            raise Problem(f"a hook has constant {index}, which is the body's")
        return self._consts[index]

    def _call(self, stack: list[Any], count: int, effect: Effect) -> None:
        arguments = tuple(reversed([_pop(stack) for _ in range(count)]))
        pair = [_pop(stack), _pop(stack)]  # the callable and its NULL; their order changed in 3.13
        called = [item for item in pair if isinstance(item, Slot)]
        if len(called) != 1 or _NULL not in pair:
            raise Problem("a hook has a call of something else")
        effect.events.append(("call", called[0].name, arguments))
        results = {"attend": int(self._answer), "enter": TOKEN if self._counts else None}
        stack.append(results.get(called[0].name, f"result of {called[0].name}"))

    def _await(self, effect: Effect) -> int:
        """Step over an ``await``, which must be what the compiler makes of one. Returns where it ends.

        An exception that is thrown in while it waits goes to a block of its own (since 3.12), which is part of it.
        """
        begin, span = effect.end, len(_AWAIT.main)
        self._compare(begin, _AWAIT.main)
        effect.waiting.update(range(begin, begin + span))
        cover = next((c for c in self._listing.covers[begin : begin + span] if c is not None), None)
        if (cover is None) is not (_AWAIT.cover is None):
            raise Problem("an await in a hook is covered wrongly")
        if cover is not None:
            if cover[1:] != _AWAIT.cover[1:]:
                raise Problem("an await in a hook is covered wrongly")
            self._compare(cover.target, _AWAIT.cold)
            back = self._listing.target(cover.target + len(_AWAIT.cold) - 1)
            if back != begin + _AWAIT.back:
                raise Problem("an await in a hook goes on elsewhere")
            effect.waiting.update(range(cover.target, cover.target + len(_AWAIT.cold)))
        effect.visited |= effect.waiting
        effect.events.append(("await",))
        return begin + span

    def _compare(self, begin: int, wanted: list[tuple[str, int | None, int | None]]) -> None:
        for offset, (name, arg, jump) in enumerate(wanted):
            index = begin + offset
            instr = self._code[index] if index < len(self._code) else None
            if instr is None or _base_name(instr.opname) != name:
                raise Problem("an await in a hook is not the compiler's")
            if jump is not None and self._listing.target(index) != begin + jump:
                raise Problem("an await in a hook goes on elsewhere")
            if arg is not None and instr.arg != arg:
                raise Problem("an await in a hook is not the compiler's")
            if name == "LOAD_CONST" and self._constant(instr.arg or 0) is not None:
                raise Problem("an await in a hook sends something")


def _pop(stack: list[Any]) -> Any:
    if not stack:
        raise Problem("a hook has a pop of what is not the hook's")
    return stack.pop()


def _at(stack: list[Any], depth: int) -> Any:
    if not 0 < depth <= len(stack):
        raise Problem("a hook has a copy of what is not the hook's")
    return stack[-depth]


@dataclass(frozen=True, slots=True)
class _Await:
    """What the compiler makes of an ``await``: name, argument and (relative) target of each instruction.

    ``cold`` is the block for what is thrown in, ``back`` where in ``main`` it goes on, ``cover`` how it is reached.
    """

    main: list[tuple[str, int | None, int | None]]
    cold: list[tuple[str, int | None, int | None]]
    back: int
    cover: Any


def _base_name(name: str) -> str:
    """JUMP_BACKWARD and its variants do the same here: a block out of line may be reached over either."""
    return "JUMP_BACKWARD" if name.startswith("JUMP_BACKWARD") else name


def _read_await() -> _Await:
    async def example() -> None:
        await waited  # type: ignore[name-defined]  # noqa: F821

    listing = Listing(example.__code__)
    code = listing.instructions
    begin = next(i for i, instr in enumerate(code) if instr.opname == "GET_AWAITABLE")
    end = next(i for i in range(begin, len(code)) if code[i].opname in ("END_SEND", "POP_TOP"))
    stop = end + 1 if code[end].opname == "END_SEND" else end

    def items(first: int, last: int, base: int) -> list[tuple[str, int | None, int | None]]:
        result: list[tuple[str, int | None, int | None]] = []
        for i in range(first, last):
            target = listing.target(i)
            inside = target is not None and first <= target <= last
            plain = code[i].opcode not in JUMPS and code[i].opname != "LOAD_CONST"
            jump = target - base if target is not None and inside else None
            result.append((_base_name(code[i].opname), code[i].arg if plain else None, jump))
        return result

    yields = next(i for i in range(begin, stop) if code[i].opname == "YIELD_VALUE")
    cover: Cover | None = listing.covers[yields]
    if cover is None or code[cover.target].opname != "CLEANUP_THROW":
        return _Await(items(begin, stop, begin), [], 0, None)
    cold = cover.target
    back = listing.target(cold + 1)
    assert back is not None
    return _Await(items(begin, stop, begin), items(cold, cold + 2, cold), back - begin, cover)


_AWAIT = _read_await()

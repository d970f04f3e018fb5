"""The check of code that only tells somebody of its entry and exits: :mod:`pylivepatch.ftrace.verify` for a tracing."""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING, Any

from pylivepatch.ftrace.listing import Cover, Problem
from pylivepatch.ftrace.reference import parameters
from pylivepatch.ftrace.verify import Comparison, line_of

if TYPE_CHECKING:
    from pylivepatch.ftrace.trampoline import Template

_RETURNED = "what is returned"
_EXIT_STACK = 5  # in the exit handler: lasti, exception, and those of a second one, and a copy


def find_problem_of_traced(original: CodeType, template: Template, *, values: bool = False) -> str:
    """What is wrong with a template that :func:`pylivepatch.ftrace.trampoline.traced` made; empty where nothing is."""
    try:
        _TracedComparison(original, template, values=values).check(counted=True)
    except Problem as problem:
        return str(problem)
    return ""


class _TracedComparison(Comparison):
    """The same for code that only tells somebody of its entry and exits: a hook is one call, and there is no late
    entry. With ``values`` the call has the parameters for its argument, or what is returned. A handler tells of exits
    by an exception: it covers, at depth 0, what nothing covers in the original."""

    token = 0

    def __init__(self, original: CodeType, template: Template, *, values: bool) -> None:
        super().__init__(original, template, (), ())
        self.values = values

    def _check_entry(self, start: int, end: int) -> int:
        stop = start
        while stop < end and self.new.instructions[stop].opname != "POP_TOP":
            stop += 1
        given = (tuple(parameters(self.original)[:-1]),) if self.values else ()
        self._check_call(start, min(stop + 1, end), "on_entry", given)
        return min(stop + 1, end)

    def _check_exit(self, start: int, end: int, way: str) -> None:
        returns = self.new.instructions[end]
        if not self.values or way != "on_return":
            self._check_call(start, end, way)
        elif returns.opname == "RETURN_CONST":
            self._check_call(start, end, way, (("LOAD_CONST", returns.arg),))
        else:
            self._check_call(start, end, way, (_RETURNED,), below=(_RETURNED,))

    def _check_call(
        self, start: int, end: int, slot: str, given: tuple[Any, ...] = (), below: tuple[Any, ...] = ()
    ) -> None:
        """From ``start`` to ``end`` one call of ``slot`` with ``given``. What lies ``below`` on the stack stays."""
        if start in self.hooks:
            return
        effect = self.follower.follow(start, range(start, end), below, values=self.values)
        if effect.events != [("call", slot, given)] or effect.stack != [*below] or effect.end != end:
            raise Problem(f"the hook at {self.new.instructions[start].offset} does not just call {slot}")
        if effect.visited != set(range(start, end)):
            raise Problem(f"not every instruction of the hook at {self.new.instructions[start].offset} can be reached")
        self.hooks[start] = end
        self.used |= effect.visited
        self.depth = max(self.depth, effect.depth)

    def _check_uncovered(self, after: Cover | None, offset: int) -> None:
        if after is None or after[1:] != (0, True):
            raise Problem(f"the exit handler does not cover {offset} at depth 0")
        self.exits.add(after)

    def _check_exit_handler(self) -> None:
        """It tells and raises again; and should the hook raise, the thread's exception state is restored."""
        if len(self.exits) != 1:
            raise Problem("there is no one exit handler")
        (start, _, _), new = next(iter(self.exits)), self.new.instructions
        end = next((i for i in range(start, len(new)) if new[i].opname == "RERAISE"), start)
        shape = [(i.opname, i.arg) for i in (new[start], *new[end : end + 4])]
        wanted = [("PUSH_EXC_INFO", None), ("RERAISE", 2), ("COPY", 3), ("POP_EXCEPT", None), ("RERAISE", 1)]
        if shape != wanted:
            raise Problem("the exit handler is not PUSH_EXC_INFO … RERAISE 2, COPY 3, POP_EXCEPT, RERAISE 1")
        self._check_exit(start + 1, end, "on_raise")
        for i in range(start, end + 4):
            restore = Cover(end + 1, 2, True) if i <= end else None
            instr = new[i]
            if self.new.covers[i] != restore:
                raise Problem(f"the exit handler's {instr.opname} at {instr.offset} is covered wrongly")
            if line_of(instr) is not None:
                raise Problem(f"the exit handler's {instr.opname} at {instr.offset} has a line")
        self._add([start, *range(end, end + 4)])
        self.highest = max(self.highest, _EXIT_STACK)

    def _check_late_entry(self) -> None:
        """There is none."""

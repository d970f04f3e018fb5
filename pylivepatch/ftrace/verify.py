"""An independent check of a trampoline against its original, before it is installed.

It shares no code with the maker: it reads both code objects with :mod:`dis`, aligns the original's instructions with
the trampoline's (the *image* of the body), and requires that

* every instruction of the original is there, once, in order, with the same argument and position;
* wherever control arrives at an instruction of the body (from the one before it, by a jump, by an exception), what
  runs in between is what it should be: the entry hook directly after RESUME, an exit hook before each return, the
  report of a new function directly after it is made, and nothing anywhere else. What a hook *does* is found by
  following it (:mod:`pylivepatch.ftrace.follow`), not by how it looks: the entry hook leaves the token on the stack,
  an exit hook takes it off;
* no counting hook has a line of its own, or is covered by a handler. One before a return has the line of that, which
  must have been told before it: by the instruction before, or by a NOP that is covered as the body is;
* every instruction of the body that the original's exception table covers is covered in the same way (same handler,
  same lasti) one deeper, so that the token stays, and no other one is covered: what is raised there takes the token
  off as it leaves. What comes before the token or after it, RESUME and the returns, is covered at the depth that the
  original has, by a handler that is not the body's;
* a late entry does what the same statement in Python does, with every parameter in order;
* there is no instruction besides; names, flags, arguments and variables are the original's, and the stack is deep
  enough for what was added.

A wrong exception table or stack size is a crash of the process, so what fails here is refused, never installed.
"""

from __future__ import annotations

import dis
import inspect
import time
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

from pylivepatch.errors import UnswappableShape
from pylivepatch.ftrace.follow import TOKEN, Follower, Slot
from pylivepatch.ftrace.listing import JUMPS, Cover, Listing, Problem, unmarked
from pylivepatch.ftrace.reference import ARGUMENTS, Statement, parameters, statement

if TYPE_CHECKING:
    from pylivepatch.ftrace.trampoline import Path, Template

_SAME = (
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_names",
    "co_varnames",
    "co_cellvars",
    "co_freevars",
    "co_name",
    "co_qualname",
    "co_firstlineno",
    "co_nlocals",
)

_AWAITS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_RETURNS = ("RETURN_VALUE", "RETURN_CONST")
_FUNCTION = "the function just made"
_RETURNED = "what is returned"


def check(original: CodeType, template: Template, adopt: Iterable[Path] = ()) -> None:
    """Raise :class:`UnswappableShape` unless ``template`` is a faithful trampoline of ``original``.

    ``adopt`` lists the nested functions whose instances it must report.
    """
    problem = find_problem(original, template, adopt)
    if problem:
        raise UnswappableShape(
            f"the trampoline for {original.co_qualname} fails its check: {problem}",
            where=f"{original.co_filename}:{original.co_firstlineno}",
            advice="please report this with the function's source; the patch was not installed",
        )


def find_problem(original: CodeType, template: Template, adopt: Iterable[Path] = ()) -> str:
    """What is wrong with ``template``, in words; an empty string where nothing is."""
    try:
        Comparison(original, template, tuple(adopt), ()).check(counted=True)
    except Problem as problem:
        return str(problem)
    return ""


class Comparison:
    """One original and its trampoline (``counted``), or a class body in it that only reports its methods."""

    token = 1  # how much the entry hook leaves on the stack

    def __init__(self, original: CodeType, template: Template, adopt: tuple[Path, ...], prefix: Path) -> None:
        self.original, self.template, self.prefix = original, template, prefix
        self.adopted = {path[0]: self._slot_of(path) for path in adopt if len(path) == 1}
        self.deeper: dict[int, tuple[Path, ...]] = {}
        for path in adopt:
            if len(path) > 1 and path[0] not in self.adopted:
                self.deeper[path[0]] = (*self.deeper.get(path[0], ()), path[1:])
        self.inherited = len(original.co_consts)
        self.consts: list[Any] = list(template.code.co_consts)
        self.resume = -1
        self.late = -1
        self.below = 0  # how much lies below the body's own part of the stack
        self.depth = 0  # of the deepest report, on top of the body's
        self.highest = 0  # of any other hook
        self.hooks: dict[int, int] = {}  # where each counting hook begins and ends
        self.tellers: dict[int, int] = {}  # for returns of the original: the NOP before the exit hook
        self.waiting: set[int] = set()  # indices of the await in the entry hook
        self.used: set[int] = set()  # indices of instructions that have their place
        self.exits: set[Cover] = set()  # the handlers that tell of exits by an exception

    def _slot_of(self, path: Path) -> str:
        return "adopt:" + "/".join(map(str, (*self.prefix, *path)))

    def check(self, *, counted: bool) -> None:
        self._compare_attributes()
        self.old = Listing(self.original)
        time.sleep(0)  # reading takes as long as checking: let other threads run in between
        self.new = Listing(self.template.code)
        time.sleep(0)
        self.follower = Follower(self.new, tuple(self.consts), self.inherited)
        self.targets = {self.old.target(i) for i in range(len(self.old.instructions))}
        self._align()
        if counted:
            entries = [i for i, instr in enumerate(self.old.instructions) if instr.opname == "RESUME"]
            if not entries or self.old.instructions[entries[0]].arg != 0:
                raise Problem("the original has no ordinary function entry")
            self.resume = entries[0]
            self.below = self.token
        self._check_arrivals(counted)
        self._check_covers()
        if counted:
            self._check_exit_handler()
            self._check_places()
            self._check_late_entry()
        self._check_rest()
        for index, paths in self.deeper.items():
            inner = dict(self.template.nested).get(index)
            if inner is None:
                raise Problem(f"nobody reports the functions that constant {index} makes")
            Comparison(self.original.co_consts[index], inner, paths, (*self.prefix, index)).check(counted=False)
        if set(dict(self.template.nested)) != set(self.deeper):
            raise Problem("nested code is replaced that should not be")

    def _compare_attributes(self) -> None:
        code = self.template.code
        for name in _SAME:
            if getattr(self.original, name) != getattr(code, name):
                raise Problem(f"{name} differs")
        if self.template.inherited != self.inherited or len(code.co_consts) < self.inherited:
            raise Problem("constants are missing")
        for index, name in self.template.slots:
            if not self.inherited <= index < len(code.co_consts) or isinstance(self.consts[index], Slot):
                raise Problem(f"the slot {name} takes another constant's place")
            self.consts[index] = Slot(name)

    # --- the body -----------------------------------------------------------------------------------------

    def _align(self) -> None:
        """Find the image of each instruction: greedily from the front.

        A counting hook has no position, so it cannot be taken for the body; the report of a new function has one,
        and is stepped over as a whole.
        """
        self.image: list[int] = []
        at, new = 0, self.new.instructions
        for instr in self.old.instructions:
            while at < len(new) and not _same(instr, new[at]):
                at = self._end_of_report(at) if self._begins_report(at) else at + 1
            if at >= len(new):
                raise Problem(f"the body's {instr.opname} at {instr.offset} is not there")
            self.image.append(at)
            at += 1
        self.used.update(self.image)

    def _begins_report(self, at: int) -> bool:
        instr = self.new.instructions[at]
        value = self.consts[instr.arg or 0] if instr.opname == "LOAD_CONST" else None
        return isinstance(value, Slot) and value.name.startswith("adopt:")

    def _end_of_report(self, at: int) -> int:
        while at < len(self.new.instructions) and self.new.instructions[at].opname != "POP_TOP":
            at += 1
        return at + 1

    def _check_arrivals(self, counted: bool) -> None:
        if self.image[0] != 0:
            raise Problem("it does not begin with the body")
        for i in range(1, len(self.image)):
            self._fall_through(i, counted)
        arrivals = set()
        for i, at in enumerate(self.image):
            target = self.old.target(i)
            if target is not None:
                arrivals.add((self.new.target(at), target))
            at = self.tellers.get(i, at)
            before, after = self.old.covers[i], self.new.covers[at]
            counts = i > self.resume and (i in self.tellers or not self._is_counted_return(i))
            if before is not None and after is not None and counts:
                arrivals.add((after.target, before.target))
        for start, index in arrivals:
            if start is None:
                raise Problem(f"what went to {self.old.instructions[index].offset} is no jump any more")
            self._arrive(start, index, counted)

    def _fall_through(self, index: int, counted: bool) -> None:
        """Control comes from the instruction before."""
        start = self.image[index - 1] + 1
        slot = self._slot_after(index)
        if slot is not None:
            start = self._check_report(start, slot, self.image[index - 1])
        if counted and index - 1 == self.resume:
            start = self._check_entry(start, self.image[index])
        self._arrive(start, index, counted)

    def _slot_after(self, index: int) -> str | None:
        """The slot to be called before ``index``: a function to be reported has been made, and is whole."""
        old = self.old.instructions
        if old[index - 1].opname == "LOAD_CONST" and old[index - 1].arg in self.adopted:
            if old[index].opname != "MAKE_FUNCTION":
                raise Problem(f"a nested function escapes at {old[index].offset}")
            return None
        make = index - 1
        while old[make].opname == "SET_FUNCTION_ATTRIBUTE":  # since 3.13
            make -= 1
        if old[make].opname != "MAKE_FUNCTION" or old[index].opname == "SET_FUNCTION_ATTRIBUTE":
            return None
        return self.adopted.get(old[make - 1].arg or 0) if old[make - 1].opname == "LOAD_CONST" else None

    def _check_report(self, start: int, slot: str, make: int) -> int:
        """The new function is given to ``slot`` and stays on the stack. Returns where the report ends."""
        end = self._end_of_report(start)
        if not any(self._begins_report(i) for i in range(start, min(end, start + 2))):  # PUSH_NULL is first before 3.13
            raise Problem(f"a nested function is not reported to {slot}")
        effect = self.follower.follow(start, range(start, end), (_FUNCTION,))
        if effect.events != [("call", slot, (_FUNCTION,))] or effect.stack != [_FUNCTION] or effect.end != end:
            raise Problem(f"a nested function is not reported to {slot}")
        for i in range(start, end):
            if self.new.covers[i] != self.new.covers[make]:
                raise Problem(f"the report at {self.new.instructions[i].offset} is covered by another handler")
        self.used.update(effect.visited)
        self.depth = max(self.depth, effect.depth)
        return end

    def _check_entry(self, start: int, end: int) -> int:
        """The entry hook counts: it leaves the token on the stack. Returns where it ends.

        Where ``enter`` gives none, or one that is in use no more, it leads to a POP_TOP, and behind that is the late
        entry. What awaits asks before:
        where somebody is to be asked, ``attend`` is awaited once, and a true answer leads to the late entry, too.
        """
        refused = self.follower.follow(start, range(start, end), counts=False)
        visited, drop, self.late = refused.visited, refused.end, refused.end + 1
        if start <= drop <= end or not self._is_drop(drop):
            raise Problem("the entry hook does not lead to the late entry")
        question: list[tuple[Any, ...]] = []
        if self.original.co_flags & _AWAITS:
            question = [("asking",), ("branch",), ("call", "attend", ()), ("await",), ("branch",)]
            asked = self.follower.follow(start, range(start, end), asking=1, answer=True)
            if asked.events != question:
                raise Problem("attend is not awaited as it should be")
            if asked.end != self.late or asked.stack:
                raise Problem("a call that is sent to the new function is counted")
            visited, self.waiting = visited | asked.visited, asked.waiting
        stop = max(visited, default=start - 1) + 1
        for asking, before in enumerate((question[:2], question)):
            for counts, in_use in ((False, True), (True, False), (True, True)):
                effect = self.follower.follow(start, range(start, stop), counts=counts, in_use=in_use, asking=asking)
                looks = [("in_use",), ("branch",)] if counts else []
                if effect.events != [*before, ("call", "enter", ()), ("branch",), *looks]:
                    raise Problem("the entry hook does not ask and count")
                if effect.end != (stop if counts and in_use else drop) or effect.stack != [TOKEN if counts else None]:
                    given = ("the token" if in_use else "one that is in use no more") if counts else "None"
                    raise Problem(f"the entry hook leads elsewhere when enter gives {given}")
                self.highest = max(self.highest, effect.depth)
                visited |= effect.visited
        if visited != set(range(start, stop)):
            raise Problem("not every instruction of the entry hook can be reached")
        self.hooks[start] = stop
        self.used |= visited
        self._add([drop])
        return stop

    def _is_drop(self, index: int) -> bool:
        """Whether there is what takes the token, or ``None``, off the stack of a late entry."""
        new = self.new
        if index + 1 >= len(new.instructions) or new.instructions[index].opname != "POP_TOP":
            return False
        return new.covers[index] is None and line_of(new.instructions[index]) is None

    def _arrive(self, start: int, index: int, counted: bool) -> None:
        """From ``start`` the exit hook must run where ``index`` is a return, and nothing else before it."""
        end = self.image[index]
        begin = self.image[index - 1] + 1 if index else 0
        if not begin <= start <= end:
            raise Problem(f"what goes to {self.old.instructions[index].offset} goes elsewhere")
        if counted and index > self.resume and self.old.instructions[index].opname in _RETURNS:
            start = self._check_line(start, index, jumped=index in self.targets)
            self._check_exit(start, end, "on_return")
        elif start != end:
            raise Problem(f"there is more before {self.old.instructions[index].offset} than there should be")

    def _check_line(self, start: int, index: int, *, jumped: bool) -> int:
        """The return's line is told before its exit hook, if it is to be told. Returns where that begins."""
        before, line = self.old.instructions[index - 1], line_of(self.old.instructions[index])
        if self.new.instructions[start].opname == "NOP":
            if self.new.instructions[start].positions != self.old.instructions[index].positions:
                raise Problem(f"the line of the return at {self.old.instructions[index].offset} is another")
            self.tellers[index] = start
            self.used.add(start)
            return start + 1
        if jumped or before.opname == "RESUME" or line_of(before) != line:
            raise Problem(f"the line of the return at {self.old.instructions[index].offset} is told in its hook")
        return start

    def _check_exit(self, start: int, end: int, way: str) -> None:
        """From ``start`` to ``end`` stands an exit hook: it takes the token off the stack, and does nothing else."""
        if start not in self.hooks:
            offset = self.new.instructions[start].offset if start < len(self.new.instructions) else "the end"
            stack = (TOKEN, _RETURNED) if self.new.instructions[end].opname == "RETURN_VALUE" else (TOKEN,)
            effect = self.follower.follow(start, range(start, end), stack)
            if effect.end != end or effect.stack != list(stack[1:]):
                raise Problem(f"the hook at {offset} does not count")
            if effect.events or effect.depth:
                raise Problem(f"the hook at {offset} does more than count")
            if effect.visited != set(range(start, end)):
                raise Problem(f"not every instruction of the hook at {offset} can be reached")
            self.hooks[start] = end
            self.used |= effect.visited
        elif self.hooks[start] != end:
            raise Problem(f"the hook before {self.new.instructions[end].offset} is not its own")

    def _check_places(self) -> None:
        """No hook has a line but its return's, none is covered; those of an exit handler are its own affair."""
        handlers = {cover.target + 1 for cover in self.exits}
        returns = {at for i, at in enumerate(self.image) if self._is_counted_return(i)}
        for start, end in self.hooks.items():
            line = line_of(self.new.instructions[end]) if end in returns else None
            for i in range(start, end):
                instr = self.new.instructions[i]
                if self.new.covers[i] is not None and start not in handlers and i not in self.waiting:
                    raise Problem(f"the hook at {instr.offset} is covered by a handler")
                if line_of(instr) != line:
                    raise Problem(f"the hook at {instr.offset} has a line of its own")

    def _check_covers(self) -> None:
        """Depths; that the handlers are the right ones is checked as arrivals are."""
        for i, at in enumerate(self.image):
            before, after, offset = self.old.covers[i], self.new.covers[at], self.old.instructions[i].offset
            if i > self.resume and not self._is_counted_return(i):
                self._check_cover(before, after, offset, self.below)
            elif before is None and after is not None:
                raise Problem(f"the instruction at {offset} is covered by a handler")
            elif before is not None:
                self._check_cover(before, after, offset, 0)
                self._check_copy(before.target, after.target if after else -1)
            if i in self.tellers:
                self._check_cover(before, self.new.covers[self.tellers[i]], offset, self.below)

    def _check_cover(self, before: Cover | None, after: Cover | None, offset: int, below: int) -> None:
        """Covered as in the original, ``below`` deeper, or not at all."""
        if before is not None:
            if after is None or (before.depth + below, before.lasti) != after[1:]:
                raise Problem(f"the handler of {offset} has another depth")
        else:
            self._check_uncovered(after, offset)

    def _check_uncovered(self, after: Cover | None, offset: int) -> None:
        """``after`` covers an instruction of the body that nothing covers in the original."""
        if after is not None:
            raise Problem(f"the instruction at {offset} is covered by a handler")

    def _is_counted_return(self, index: int) -> bool:
        """Whether an exit hook stands before this instruction of the original: what it raises was counted."""
        return self.resume >= 0 and index > self.resume and self.old.instructions[index].opname in _RETURNS

    def _check_copy(self, old: int, new: int) -> None:
        """What is thrown into a generator before the entry hook ran meets a copy of its own handler, uncounted."""
        for i in range(len(self.old.instructions) - old):
            if new + i >= len(self.new.instructions):
                break
            a, b = self.old.instructions[old + i], self.new.instructions[new + i]
            if (a.opname, a.arg) != (b.opname, b.arg) or new + i in self.image or self.new.covers[new + i] is not None:
                break
            self.used.add(new + i)
            if a.opname == "RERAISE":
                return
        raise Problem("the entry's handler is not a copy")

    # --- what was added -----------------------------------------------------------------------------------

    def _check_exit_handler(self) -> None:
        """There is none: an exception takes the token off as it leaves."""

    def _check_late_entry(self) -> None:
        """It returns (or yields from, or awaits) what ``late_entry`` gives for a tuple of all parameters."""
        wanted = statement(self.original)
        loads = parameters(self.original)
        places: list[int] = []  # the index of each instruction of the statement; the loads count as one
        at = self.late
        for item in wanted.items:
            places.append(at)
            at += len(loads) if item.value is ARGUMENTS else 1
        places.append(at)
        if at > len(self.new.instructions):
            raise Problem("the late entry is cut short")
        found = Statement.read(self.new, self.consts, places, loads)
        for place, a, b in zip(places, wanted.items, found.items, strict=False):
            if a != b:
                offset = self.new.instructions[place].offset
                raise Problem(f"the late entry has {b} at {offset} where {a} should be")
        self.highest = max(self.highest, wanted.stacksize + len(loads))
        self._add(range(self.late, at))

    def _add(self, place: Sequence[int]) -> None:
        if self.used.intersection(place):
            raise Problem("two of its parts overlap")
        self.used.update(place)

    def _check_rest(self) -> None:
        for i, instr in enumerate(self.new.instructions):
            if i not in self.used:
                raise Problem(f"the {instr.opname} at {instr.offset} belongs to nothing")
        needed = max(self.original.co_stacksize + self.below + self.depth, self.highest)
        if self.template.code.co_stacksize < needed:
            raise Problem(f"the stack is not deep enough: {self.template.code.co_stacksize}, and {needed} is needed")


def _same(a: dis.Instruction, b: dis.Instruction) -> bool:
    if a.opname != b.opname or a.positions != b.positions:
        return False
    return a.opcode in JUMPS or b.arg == unmarked(a)


def line_of(instr: dis.Instruction | None) -> int | None:
    return instr.positions.lineno if instr is not None and instr.positions is not None else None

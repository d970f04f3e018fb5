"""The protocol of ``pylivepatch.transition.refcount`` as a small state machine. docs/model.md explains it.

Two functions are patched, ``f``, which calls ``g`` (or itself first), and with them one value, ``data``. Tasks call
them, a patcher loads and unloads. A :class:`State` is a value; :meth:`Protocol.steps` gives every state that one
atomic step of anybody leads to. Each step is what CPython does without a chance for another thread: a C call, or
straight-line bytecode up to the next place where the GIL may be given up.

A frame's life: made, entered (the entry hook), its body in pieces, left (the exit hook), and, for whoever brings the
counter to 0, the commit. A frame that enters at counter 0 is late: it helps the commit, then calls the function anew.

Each field of :class:`Protocol` is a rule of the protocol; its default keeps it, any other value is a mutant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .state import (
    AFTER,
    BODY,
    CALLING,
    COMMIT,
    DELEGATING,
    EARLY,
    EXECUTING,
    FIRST_TRAMPOLINE,
    FUNCTIONS,
    LATE,
    LEAVING,
    MADE,
    NEVER,
    PROGRAMS,
    REDIRECT,
    SUSPENDED,
    TORN,
    UNPATCHED,
    Frame,
    State,
    Task,
    Transition,
)

Step = tuple[str, State, str]
"""What happened, where it led to, and the rule that was broken by it, if any."""


@dataclass(frozen=True)
class Protocol:
    """The protocol, and what may happen around it. The defaults are the real one."""

    # What may happen.
    fast_path: bool = True
    timeouts: bool = True
    gate: bool = False
    gate_bound: bool = True
    forks: bool = False
    commit: tuple[tuple[str, ...], ...] = (("data", "f", "g"),)  # what is carried out in one step each, in order

    # The rules. Another value than the default is a mutant.
    drain: str = "before release"  # "after release", "never"
    hooks_are_atomic: bool = True
    entry_refuses_zero: bool = True
    exit_after_body: bool = True
    exit_counts_exceptions: bool = True
    exit_counts_closing: bool = True
    interrupts_before_entry_uncounted: bool = True
    commit_needs_counter: bool = True
    late_entry_calls_anew: bool = True
    late_entry_helps: bool = True
    late_entry_heeds_later_trampolines: bool = True
    reverse_tests_and_sets: bool = True
    lingering_is_watched: bool = True
    fast_path_in_one_call: bool = True
    gate_passes_insiders: bool = True
    exchange_is_counted: bool = True
    fork_reverses: bool = True
    fork_remembers_lingering: bool = True
    fork_carries_commit_out: bool = True

    def start(self, kinds: tuple[str, ...], transitions: int = 2) -> State:
        tasks = tuple(Task(kind, PROGRAMS[kind]) for kind in sorted(kinds))
        return State((0, 0), 0, tasks, "idle", left=transitions)

    def steps(self, state: State) -> Iterator[Step]:
        yield from self._patcher(state)
        for index, task in enumerate(state.tasks):
            yield from self._task(state, index)
            finished = not (task.todo or task.stack or task.generator)
            if self.forks and not state.child and state.transitions and not finished:
                yield f"{task.kind} forks; in the child:", self._fork(state, index), ""

    # --- the patcher: transition/refcount.py ----------------------------------------------------------------

    def _patcher(self, s: State) -> Iterator[Step]:
        stage, number = s.patcher, len(s.transitions) - 1
        if s.gate in ("exchanging", "exchanged"):
            yield self._exchange(s, number)
            return
        if stage == "idle" or (stage == "released" and s.transitions[number].carried == len(self.commit)):
            if s.left:
                yield from self._begin(s)
            return
        t = s.transitions[number]
        if stage == "checked":  # (mutant)
            yield "patcher switches without a second look", self._switch_now(s, number), ""
        elif stage == "draining":
            if self._idle(s, number):
                if self.drain == "after release":
                    yield "patcher has drained", s._replace(patcher="released"), ""
                else:
                    yield "patcher has drained", s._replace(patcher="drained"), ""
        elif stage == "drained":
            if self.commit_needs_counter:
                yield "patcher drops the bias", self._drop_bias(s._replace(patcher="released"), number), ""
            else:
                yield "patcher commits without the counter", s._replace(patcher="committing"), ""
        elif stage == "committing":
            yield from self._carry_out(s, number, "patcher", lambda state: state._replace(patcher="released"))
        elif stage == "reversing":  # (mutant) it has seen a counter that was not 0
            yield "patcher sets the counter to NEVER", self._put(s, number, counter=NEVER, patcher="taking out"), ""
        elif stage == "taking out":
            yield "patcher takes the trampolines out", s._replace(codes=(t.old, t.old), patcher="idle", gate="open"), ""

        if self.timeouts and stage in ("draining", "drained", "released") and t.carried < len(self.commit):
            if t.counter == 0:
                yield "time is up, but it has switched", s._replace(patcher="committing"), ""
            elif self.reverse_tests_and_sets:
                yield "time is up: reverse", self._put(s, number, counter=NEVER, patcher="taking out"), ""
            else:
                yield "time is up: not at 0", s._replace(patcher="reversing"), ""
        if self.gate and stage == "released" and t.counter:
            if s.gate == "open":
                mine = 1 if self.exchange_is_counted else 0
                counted = self._put(s, number, counter=t.counter + mine, bias=mine)
                yield "patcher counts itself as inside", counted._replace(gate="exchanging"), ""
            elif s.gate == "asking":
                yield "patcher closes the gate", s._replace(gate="closed"), ""
            elif s.gate == "closed" and self.gate_bound:
                yield "the gate opens at its bound", s._replace(gate="spent"), ""

    def _exchange(self, s: State, number: int) -> Step:
        """The second generation, which asks at each entry, takes the place of the first. It has the same counter."""
        if s.gate == "exchanging":
            tramp = FIRST_TRAMPOLINE + number
            return "patcher exchanges the trampolines", s._replace(codes=(tramp, tramp), gate="exchanged"), ""
        asking = s._replace(gate="asking")
        if self.exchange_is_counted:
            asking = self._drop_bias(asking, number)
        return "patcher has exchanged them", asking, ""

    def _begin(self, s: State) -> Iterator[Step]:
        """Prepare, which nobody sees, then the fast path if nobody is inside, or enable."""
        number, what = len(s.transitions), "unload" if s.current else "load"
        begun = (*s.transitions, Transition(s.current, 1 - s.current))
        s = s._replace(transitions=begun, left=s.left - 1, gate="open", patcher="prepared")
        if self.fast_path and self._idle(s, number):
            if self.fast_path_in_one_call:
                yield f"patcher ({what}): idle, check and commit in one C call", self._switch_now(s, number), ""
            else:
                yield f"patcher ({what}): idle", s._replace(patcher="checked"), ""
        tramp = FIRST_TRAMPOLINE + number
        enabled = s._replace(codes=(tramp, tramp), patcher="released" if self.drain == "never" else "draining")
        if self.drain == "before release":
            yield f"patcher ({what}) enables", enabled, ""
        else:
            yield f"patcher ({what}) enables and releases", self._drop_bias(enabled, number), ""

    def _idle(self, s: State, number: int) -> bool:
        """The reference counts: no frame, entered or not, of the old code or of a trampoline that runs it."""
        t = s.transitions[number]
        for frame in s.frames():
            if frame.code == t.old:
                return False
            if FIRST_TRAMPOLINE <= frame.code < FIRST_TRAMPOLINE + number:
                former = s.transitions[frame.code - FIRST_TRAMPOLINE]
                watched = self.lingering_is_watched and (self.fork_remembers_lingering or not s.child)
                if watched and not former.switched and former.old == t.old:
                    return False
        return True

    def _switch_now(self, s: State, number: int) -> State:
        t = s.transitions[number]
        s = self._put(s, number, counter=0, bias=0, carried=len(self.commit), commits=True, patcher="idle")
        return s._replace(codes=(t.new, t.new), data=t.new)

    def _drop_bias(self, s: State, number: int) -> State:
        counter = s.transitions[number].counter - 1
        return self._put(s, number, counter=counter, bias=0, patcher=s.patcher if counter else "committing")

    def _put(self, s: State, number: int, *, patcher: str = "", **changes: Any) -> State:
        """``s`` with transition ``number`` changed."""
        before, after = s.transitions[:number], s.transitions[number + 1 :]
        changed = s.transitions[number]._replace(**changes)
        return s._replace(transitions=(*before, changed, *after), patcher=patcher or s.patcher)

    def _carry_out(self, s: State, number: int, who: str, then: Callable[[State], State]) -> Iterator[Step]:
        """One step of the commit, and ``then`` once none is left. Called again, it does nothing."""
        t = s.transitions[number]
        if t.carried == len(self.commit):
            yield f"{who}: the commit is done already", then(s), ""
            return
        names = self.commit[t.carried]
        last = t.carried + 1 == len(self.commit)
        result = self._put(s, number, carried=t.carried + 1, commits=True)
        if "data" in names:
            result = result._replace(data=t.new)
        codes = tuple(t.new if f in names else code for f, code in zip(FUNCTIONS, s.codes, strict=True))
        gate = "open" if last and s.gate != "exchanging" else s.gate
        result = result._replace(codes=(codes[0], codes[1]), gate=gate)
        yield f"{who} commits {', '.join(names)}", then(result) if last else result, ""

    def _fork(self, s: State, index: int) -> State:
        """journal._after_fork: the child has the forking task alone, and no transition under way."""
        number = len(s.transitions) - 1
        t = s.transitions[number]
        child = s._replace(tasks=(s.tasks[index],), patcher="idle", left=1, gate="open", child=True)
        under_way = s.patcher not in ("idle", "prepared") and t.carried < len(self.commit)
        if under_way and t.switched and self.fork_carries_commit_out:
            child = self._put(child, number, carried=len(self.commit))
            child = child._replace(codes=(t.new, t.new), data=t.new)
        elif under_way and not t.switched:
            if not self.fork_reverses:
                return child._replace(patcher="released", left=0)
            child = self._put(child, number, counter=NEVER)._replace(codes=(t.old, t.old))
        return child

    # --- the tasks: what the interpreter and the hooks do -----------------------------------------------------

    def _task(self, s: State, index: int) -> Iterator[Step]:
        task = s.tasks[index]
        if task.stack:
            yield from self._frame(s, index)
            return
        if task.generator:
            yield f"{task.kind} abandons its generator", self._close(s, index), ""
        if not task.todo:
            return
        job, rest = task.todo[0], task.todo[1:]
        if job == "make":  # the function's code is read here, the entry hook runs at the first resumption
            made = (Frame("f", s.codes[0]),)
            yield f"{task.kind} makes a generator", self._with(s, index, todo=rest, generator=made), ""
        elif job == "resume":
            yield (
                f"{task.kind} resumes its generator",
                self._with(s, index, todo=rest, generator=(), stack=self._resumed(task.generator)),
                "",
            )
        else:
            function, depth = job[0], len(job) - 1
            frame = Frame(function, s.codes[FUNCTIONS.index(function)], depth=depth)
            yield f"{task.kind} calls {function}", self._with(s, index, todo=rest, stack=(frame,)), ""

    def _resumed(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        top = frames[-1]
        return (*frames[:-1], top._replace(stage=BODY) if top.stage == SUSPENDED else top)

    def _frame(self, s: State, index: int) -> Iterator[Step]:
        """The one next step of the frame on top of a stack, or two where it may be interrupted."""
        task = s.tasks[index]
        frame = task.stack[-1]
        stage, who = frame.stage, f"{task.kind}: {frame.function} ({self._name(s, frame.code)})"
        number = frame.code - FIRST_TRAMPOLINE  # of the transition whose trampoline this is; negative for none
        if stage == MADE:
            if self.waits_at_gate(s, task):
                return
            if task.kind == "raising":
                popped = self._pop(s, index, raises=True)
                if number >= 0 and not self.interrupts_before_entry_uncounted:
                    popped = self._decremented(popped, number)
                yield f"{who} is interrupted before its entry hook", popped, ""
            if number < 0:  # no hook: whether it has begun makes no difference to anybody
                yield self._body(s, index, who)
            elif not self.hooks_are_atomic:
                counter = s.transitions[number].counter
                yield f"{who} loads the counter", self._top(s, index, stage=TORN, loaded=counter), ""
            else:
                yield self._enter(s, index, s.transitions[number].counter, who)
        elif stage == TORN:
            yield self._enter(s, index, frame.loaded, who)
        elif stage == LATE:

            def redirect(state: State) -> State:
                return self._top(state, index, stage=REDIRECT)

            if self.late_entry_helps:
                yield from self._carry_out(s, number, f"{who}, late,", redirect)
            else:
                yield f"{who}, late, does not help", redirect(s), ""
        elif stage == REDIRECT:
            code = s.codes[FUNCTIONS.index(frame.function)]
            own = code == frame.code
            later = code >= FIRST_TRAMPOLINE and not own
            if own or (later and not self.late_entry_heeds_later_trampolines):
                code = s.transitions[number].new  # LateEntry makes a function for it
            again = Frame(frame.function, code, depth=frame.depth, caller=frame.caller)
            waiting = self._top(s, index, stage=DELEGATING)
            yield f"{who} calls {frame.function} ({self._name(s, code)}) anew", self._push(waiting, index, again), ""
        elif stage == BODY:
            yield self._body(s, index, who)
        elif stage == AFTER:
            yield self._exit(s, index, who)
        elif stage == LEAVING:
            yield self._exit(s, index, who, raises=True)
        elif stage == EARLY:
            yield f"{who} reads the data and returns", self._pop(s, index), self._reads(s, frame)
        elif stage == COMMIT:
            yield from self._carry_out(s, number, who, lambda state: self._pop(state, index, raises=frame.raises))

    def _enter(self, s: State, index: int, counter: int, who: str) -> Step:
        """The entry hook: atomic_inc_not_zero."""
        number = s.tasks[index].stack[-1].code - FIRST_TRAMPOLINE
        if counter == 0 and self.entry_refuses_zero:
            if not self.late_entry_calls_anew:
                return f"{who} is late and runs the old body", self._top(s, index, stage=BODY), ""
            return f"{who} finds the counter at 0", self._top(s, index, stage=LATE), ""
        entered = self._top(s, index, stage=BODY, loaded=0)
        return f"{who} enters, counted", self._put(entered, number, counter=min(counter + 1, NEVER)), ""

    def _body(self, s: State, index: int, who: str) -> Step:
        """The body up to its call: read the data, make the callee's frame. A generator yields first."""
        task = s.tasks[index]
        frame = task.stack[-1]
        broken = self._reads(s, frame)
        if frame.function == "g":
            return self._exit(s, index, who, raises=task.kind == "raising")
        if task.todo and task.kind.startswith("generator") and task.todo[-1] == "resume" and not self._plain(task):
            yielded = (*task.stack[:-1], frame._replace(stage=SUSPENDED))
            return f"{who} yields", self._with(s, index, stack=(), generator=yielded), broken
        function, depth = ("f", frame.depth - 1) if frame.depth else ("g", 0)
        callee = Frame(function, s.codes[FUNCTIONS.index(function)], depth=depth, caller=s.version(frame))
        calling = self._top(s, index, stage=CALLING)
        return f"{who} calls {function} ({self._name(s, callee.code)})", self._push(calling, index, callee), broken

    def _plain(self, task: Task) -> bool:
        """Whether the frames on the stack are an ordinary call's, not the generator's."""
        return bool(task.generator)

    def _reads(self, s: State, frame: Frame) -> str:
        version = s.version(frame)
        if s.data != version:
            return f"rule 1: {frame.function} of version {version} reads data of version {s.data}"
        if frame.caller not in (UNPATCHED, version):
            return f"rule 1: a body of version {frame.caller} sees {frame.function} of version {version}"
        return ""

    def _exit(self, s: State, index: int, who: str, *, raises: bool = False) -> Step:
        """The last read of the data, then the exit hook: atomic_dec_if_positive, and whoever reaches 0 commits."""
        frame = s.tasks[index].stack[-1]
        number = frame.code - FIRST_TRAMPOLINE
        broken = "" if frame.stage == LEAVING else self._reads(s, frame)
        popped = self._pop(s, index, raises=raises)
        how = "raises" if raises else "returns"
        if number < 0 or (raises and not self.exit_counts_exceptions):
            return f"{who} {how}, uncounted", popped, broken
        if not self.exit_after_body:
            return f"{who} is counted out, and goes on", self._decremented(self._top(s, index, stage=EARLY), number), ""
        if s.transitions[number].counter == 1:
            last = self._decremented(self._top(s, index, stage=COMMIT, raises=raises), number)
            return f"{who} {how} and brings the counter to 0", last, broken
        return f"{who} {how}, counted", self._decremented(popped, number), broken

    def _decremented(self, s: State, number: int) -> State:
        counter = s.transitions[number].counter
        return self._put(s, number, counter=counter - 1) if 0 < counter < NEVER else s

    def _close(self, s: State, index: int) -> State:
        """``close()``, or the collector: a suspended body leaves by GeneratorExit, an unstarted one just goes."""
        task = s.tasks[index]
        rest = tuple(job for job in task.todo if job != "resume")
        top = task.generator[-1]
        if top.stage == MADE or (top.code >= FIRST_TRAMPOLINE and not self.exit_counts_closing):
            return self._with(s, index, generator=(), todo=rest)
        leaving = (*task.generator[:-1], top._replace(stage=LEAVING, raises=True))
        return self._with(s, index, generator=(), stack=leaving, todo=rest)

    # --- the gate ---------------------------------------------------------------------------------------------

    def waits_at_gate(self, s: State, task: Task) -> bool:
        """A new outermost entry waits while the gate is closed; insiders, also of uncounted old bodies, never."""
        frame = task.stack[-1]
        number = len(s.transitions) - 1
        if frame.stage != MADE or frame.code != FIRST_TRAMPOLINE + number or s.gate != "closed":
            return False
        if s.transitions[number].counter in (0, NEVER):
            return False
        return not (self.gate_passes_insiders and self.is_inside(task))

    @staticmethod
    def is_inside(task: Task) -> bool:
        return any(frame.stage in EXECUTING for frame in task.stack)

    # --- small changes ----------------------------------------------------------------------------------------

    @staticmethod
    def _with(s: State, index: int, **changes: Any) -> State:
        changed = s.tasks[index]._replace(**changes)
        return s._replace(tasks=(*s.tasks[:index], changed, *s.tasks[index + 1 :]))

    def _top(self, s: State, index: int, **changes: Any) -> State:
        stack = s.tasks[index].stack
        return self._with(s, index, stack=(*stack[:-1], stack[-1]._replace(**changes)))

    def _push(self, s: State, index: int, frame: Frame) -> State:
        return self._with(s, index, stack=(*s.tasks[index].stack, frame))

    def _pop(self, s: State, index: int, *, raises: bool = False) -> State:
        """The top frame is gone. Its caller goes on; one that only delegates to it returns what it returned."""
        stack = s.tasks[index].stack[:-1]
        while stack and stack[-1].stage == DELEGATING:
            stack = stack[:-1]
        if stack:
            stage = LEAVING if raises else AFTER
            stack = (*stack[:-1], stack[-1]._replace(stage=stage, raises=raises))
        return self._with(s, index, stack=stack)

    @staticmethod
    def _name(s: State, code: int) -> str:
        return f"trampoline {code - FIRST_TRAMPOLINE}" if code >= FIRST_TRAMPOLINE else f"version {code}"


REAL = Protocol()

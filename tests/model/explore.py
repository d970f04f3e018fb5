"""Every state that the protocol can reach, each once, and the rules that must hold in each."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from .protocol import Protocol
from .state import COUNTED, EXECUTING, FIRST_TRAMPOLINE, MADE, NEVER, State


@dataclass(frozen=True)
class Outcome:
    states: int
    steps: int
    ends: int  # states in which nothing is left to do
    violation: str
    trace: tuple[str, ...]  # the shortest way there

    def __str__(self) -> str:
        if not self.violation:
            return f"{self.states:,} states, {self.steps:,} steps, {self.ends} ends: no violation"
        lines = (f"{number:3}  {step}" for number, step in enumerate(self.trace, 1))
        return "\n".join([*lines, f"     {self.violation}", f"     ({self.states:,} states seen)"])


def explore(protocol: Protocol, *starts: State) -> Outcome:
    """Breadth first from ``starts``: the first violation met has the shortest trace."""
    before: dict[State, tuple[State, str] | None] = dict.fromkeys(starts)
    waiting = deque(starts)
    steps = ends = 0

    def outcome(violation: str, state: State, *more: str) -> Outcome:
        trace = list(more)
        step = before[state]
        while step is not None:
            state, label = step
            trace.insert(0, label)
            step = before[state]
        kinds = "tasks: " + "; ".join(task.kind for task in state.tasks)
        return Outcome(len(before), steps, ends, violation, (kinds, *trace) if violation else ())

    while waiting:
        state = waiting.popleft()
        violation = broken(protocol, state)
        if violation:
            return outcome(violation, state)
        stuck = True
        for label, after, violation in protocol.steps(state):
            stuck = False
            steps += 1
            if violation:
                return outcome(violation, state, label)
            after = in_order(after)
            if after not in before:
                before[after] = (state, label)
                waiting.append(after)
        if stuck:
            ends += 1
            violation = wrong_end(state)
            if violation:
                return outcome(violation, state)
    return outcome("", starts[0])


def in_order(state: State) -> State:
    """Tasks of one kind are the same task: which of them is where makes no other state."""
    tasks = state.tasks
    if all(a <= b for a, b in pairwise(tasks)):
        return state
    return state._replace(tasks=tuple(sorted(tasks)))


def broken(protocol: Protocol, state: State) -> str:
    """What must hold in every state. (What a body sees is checked at the step in which it looks.)"""
    current = state.current
    inside = [0] * len(state.transitions)
    for frame in state.frames():
        if frame.stage in EXECUTING:
            version = state.version(frame)
            if version != current:
                return f"rule 2: {frame.function} of version {version} executes, version {current} is in force"
            if frame.stage in COUNTED and frame.code >= FIRST_TRAMPOLINE:
                inside[frame.code - FIRST_TRAMPOLINE] += 1
    for transition, n in zip(state.transitions, inside, strict=True):
        expected = n + transition.bias
        if transition.counter not in (0, NEVER, expected):
            return f"balance: the counter is {transition.counter}, the bias and those inside are {expected}"
        if transition.counter == 0 and n:
            return f"balance: the counter is 0, and {n} are inside"
    if state.gate == "closed":
        for task in state.tasks:
            waiting = bool(task.stack) and task.stack[-1].stage == MADE and protocol.waits_at_gate(state, task)
            if waiting and protocol.is_inside(task):
                return f"gate: an insider waits ({task.kind})"
    return ""


def wrong_end(state: State) -> str:
    """Where nobody can do a step, all must be done, in one version, without a trampoline. There is no third outcome."""
    for task in state.tasks:
        if task.todo or task.stack or task.generator:
            return f"deadlock: {task.kind} cannot go on"
    if state.patcher not in ("idle", "released") or state.left:
        return f"deadlock: the patcher cannot go on ({state.patcher})"
    if state.codes != (state.current, state.current) or state.data != state.current:
        return f"third outcome: f and g run {state.codes}, data is of version {state.data}"
    return ""

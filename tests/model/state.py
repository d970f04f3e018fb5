"""What the model's world is made of: frames, tasks, transitions, and the whole as one hashable value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

NEVER = 99
"""A counter that no number of exits brings to 0. The model does not count from here on."""

FIRST_TRAMPOLINE = 2
"""Code is a number: 0 and 1 are the two versions, 2 + n is the trampoline of transition n."""

UNPATCHED = -1
"""The version of a caller that is no part of the patch: it may see either version."""

FUNCTIONS = ("f", "g")

# Where a frame is.
MADE = "made"  # before its entry hook; a generator may stay here
TORN = "torn"  # (mutant) between the load and the store of the entry hook
BODY = "body"  # entered
SUSPENDED = "suspended"  # a generator at its yield
CALLING = "calling"  # waits for the callee
AFTER = "after"  # the callee has returned
LEAVING = "leaving"  # an exception is on its way through it to the exit hook
EARLY = "early"  # (mutant) counted out, but the body goes on
COMMIT = "commit"  # has brought the counter to 0, and now calls the commit
LATE = "late"  # found the counter at 0
REDIRECT = "redirect"  # late, the commit is carried out: about to call the function anew
DELEGATING = "delegating"  # late, waits for that call
EXECUTING = frozenset({BODY, SUSPENDED, CALLING, AFTER, LEAVING, EARLY})
COUNTED = EXECUTING - {EARLY}


class Frame(NamedTuple):
    function: str
    code: int
    stage: str = MADE
    depth: int = 0  # how often f still calls itself before it calls g
    caller: int = UNPATCHED  # the version of the body that made this call
    raises: bool = False  # an exception is on its way out
    loaded: int = 0  # (mutant) what the torn entry hook has loaded


class Task(NamedTuple):
    kind: str
    todo: tuple[str, ...]  # what it will still do at the outermost level
    stack: tuple[Frame, ...] = ()
    generator: tuple[Frame, ...] = ()  # its generator's frames while that is suspended


class Transition(NamedTuple):
    old: int
    new: int
    counter: int = 1
    bias: int = 1
    carried: int = 0  # how many steps of the commit are done
    commits: bool = False  # the commit was called, with or without a counter of 0

    @property
    def switched(self) -> bool:
        return self.counter == 0 or self.commits


class State(NamedTuple):
    codes: tuple[int, int]  # of f and g
    data: int
    tasks: tuple[Task, ...]
    patcher: str
    transitions: tuple[Transition, ...] = ()
    left: int = 2  # how many transitions the patcher will still begin
    gate: str = "open"  # open, exchanging and exchanged (trampolines), asking, closed, spent (its bound was hit)
    child: bool = False  # a forked child

    @property
    def current(self) -> int:
        """The version in force. The switch is the counter becoming 0, whoever carries it out, and when."""
        version = 0
        for transition in self.transitions:
            if transition.switched:
                version = transition.new
        return version

    def version(self, frame: Frame) -> int:
        """Which body ``frame`` executes."""
        if frame.code < FIRST_TRAMPOLINE:
            return frame.code
        return self.transitions[frame.code - FIRST_TRAMPOLINE].old

    def frames(self) -> Iterator[Frame]:
        for task in self.tasks:
            yield from task.stack
            yield from task.generator


PROGRAMS = {
    "call": ("f",),
    "twice": ("f", "f"),
    "leaf": ("g",),
    "recursive": ("ff",),
    "raising": ("f",),  # g raises through f; may also be interrupted before an entry hook
    "generator": ("make", "resume", "resume"),  # f is a generator; abandoned at any point, started or not
    "generator and call": ("make", "resume", "f", "resume"),
}

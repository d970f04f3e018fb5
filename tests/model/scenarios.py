"""What is explored: which tasks, and what may happen around them. ``python -m tests.model`` prints the numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .explore import Outcome, explore
from .protocol import REAL, Protocol

AUDITED = (("data",), ("f",), ("g",))
"""The commit in three steps, as where an audit hook written in Python lets other threads in. No fast path then."""


@dataclass(frozen=True)
class Scenario:
    name: str
    tasks: tuple[str, ...]
    protocol: Protocol = REAL
    transitions: int = 2
    slow: bool = False

    def explore(self, **mutation: object) -> Outcome:
        protocol = replace(self.protocol, **mutation)  # type: ignore[arg-type]
        return explore(protocol, protocol.start(self.tasks, self.transitions))


TO_THE_END = Protocol(timeouts=False)
"""Nobody gives up: a transition that cannot finish is a deadlock."""
GATED = Protocol(gate=True, timeouts=False)
FORKING = Protocol(forks=True)
IN_STEPS = Protocol(commit=AUDITED, fast_path=False)

SCENARIOS = (
    Scenario("three callers", ("call", "call", "call")),
    Scenario("recursion", ("call", "recursive")),
    Scenario("exceptions", ("leaf", "raising")),
    Scenario("generators", ("generator", "leaf")),
    Scenario("three kinds", ("call", "generator", "raising"), transitions=1),
    Scenario("nobody gives up", ("call", "generator", "raising"), TO_THE_END, transitions=1),
    Scenario("forks", ("call", "generator", "leaf"), FORKING, transitions=1),
    Scenario("gate", ("call", "call", "recursive"), GATED, transitions=1),
    Scenario("gate and generators", ("call", "generator and call", "leaf"), GATED, transitions=1),
    Scenario("gate without its bound", ("call", "raising", "recursive"), replace(GATED, gate_bound=False), 1),
    Scenario("audit hook", ("call", "generator", "leaf"), IN_STEPS, transitions=1),
    # Load and unload with three tasks of every kind, and what combines: minutes.
    Scenario("three and recursion", ("call", "leaf", "recursive"), slow=True),
    Scenario("three and exceptions", ("call", "raising", "recursive"), slow=True),
    Scenario("three and generators", ("generator", "generator", "call"), slow=True),
    Scenario("three kinds and back", ("call", "generator", "raising"), slow=True),
    Scenario("two calls each", ("twice", "twice", "leaf"), slow=True),
    Scenario("four callers", ("call", "call", "call", "leaf"), transitions=1, slow=True),
    Scenario("nobody gives up, and back", ("call", "generator", "raising"), TO_THE_END, slow=True),
    Scenario("forks, and back", ("call", "generator", "leaf"), FORKING, slow=True),
    Scenario("forks in a commit", ("call", "raising", "leaf"), replace(IN_STEPS, forks=True), 1, slow=True),
    Scenario("gate, and back", ("call", "generator and call", "leaf"), GATED, slow=True),
    Scenario("gate and time-outs", ("call", "generator", "raising"), replace(GATED, timeouts=True), 1, slow=True),
    Scenario("audit hook, and back", ("call", "generator", "leaf"), IN_STEPS, slow=True),
)

"""The protocol with one rule broken: what each mutant gets wrong, where it shows, and which rule catches it."""

from __future__ import annotations

from dataclasses import dataclass

from .explore import Outcome
from .protocol import REAL, Protocol
from .scenarios import FORKING, GATED, Scenario


@dataclass(frozen=True)
class Mutant:
    name: str
    change: dict[str, object]
    caught_by: str  # how the violation begins
    tasks: tuple[str, ...] = ("call", "call", "leaf")
    around: Protocol = REAL  # what may happen
    transitions: int = 1

    def explore(self) -> Outcome:
        return Scenario(self.name, self.tasks, self.around, self.transitions).explore(**self.change)


GENERATORS = ("call", "generator", "leaf")
RAISING = ("call", "leaf", "raising")
SLOW = Protocol(fast_path=False)

MUTANTS = (
    Mutant("the bias is released before the drain ends", {"drain": "after release"}, "rule 1"),
    Mutant("the drain is skipped", {"drain": "never"}, "rule 1"),
    Mutant("the counter goes down before the body ends", {"exit_after_body": False}, "rule 2"),
    Mutant("a hook can be interrupted", {"hooks_are_atomic": False}, "balance"),
    Mutant(
        "code is swapped before data, without helping",
        {"commit": (("f", "g"), ("data",)), "late_entry_helps": False},
        "rule 1",
        around=SLOW,
    ),
    Mutant("code is swapped before data", {"commit": (("f", "g"), ("data",))}, "rule 1", around=SLOW),
    Mutant("the counter goes up from 0", {"entry_refuses_zero": False}, "rule 2"),
    Mutant("the commit does not ask the counter", {"commit_needs_counter": False}, "rule 2"),
    Mutant("reverse looks first and sets later", {"reverse_tests_and_sets": False}, "rule 2"),
    Mutant("a late entry runs the old body", {"late_entry_calls_anew": False}, "rule 2"),
    Mutant("a late entry does not help", {"late_entry_helps": False}, "rule 1"),
    Mutant(
        "a late entry passes by a later trampoline",
        {"late_entry_heeds_later_trampolines": False},
        "rule 1",
        ("call", "leaf"),
        transitions=2,
    ),
    Mutant("exits by exception are not counted", {"exit_counts_exceptions": False}, "balance", RAISING),
    Mutant(
        "what is interrupted before its entry hook is counted out",
        {"interrupts_before_entry_uncounted": False},
        "rule 2",
        RAISING,
    ),
    Mutant("a generator is closed without its exit hook", {"exit_counts_closing": False}, "balance", GENERATORS),
    Mutant(
        "what lingers after a reverse is forgotten",
        {"lingering_is_watched": False},
        "rule 2",
        ("call", "leaf"),
        transitions=2,
    ),
    Mutant("the fast path looks and switches in two calls", {"fast_path_in_one_call": False}, "rule 1"),
    Mutant("the gate holds insiders", {"gate_passes_insiders": False}, "gate", around=GATED),
    Mutant(
        "the gate has no bound",
        {"gate_bound": False},
        "deadlock",
        ("generator and call", "leaf", "leaf"),
        GATED,
    ),
    Mutant("trampolines are exchanged uncounted", {"exchange_is_counted": False}, "third outcome", around=GATED),
    Mutant("a child keeps its parent's count", {"fork_reverses": False}, "balance", around=FORKING),
    Mutant("a child forgets what lingers", {"fork_remembers_lingering": False}, "rule 2", around=FORKING),
    Mutant(
        "a child does not carry the commit out",
        {"fork_carries_commit_out": False},
        "rule 1",
        around=FORKING,
    ),
)

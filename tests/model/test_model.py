"""The protocol keeps the rules in every interleaving, and each rule of it is needed."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from .explore import Outcome
from .mutants import MUTANTS, Mutant
from .protocol import REAL, Protocol
from .scenarios import SCENARIOS, Scenario
from .state import PROGRAMS

DOCS = Path(__file__).parents[2] / "docs" / "model.md"
EVERY_SCENARIO = [pytest.param(s, id=s.name, marks=[pytest.mark.slow] if s.slow else []) for s in SCENARIOS]


@pytest.mark.parametrize("scenario", EVERY_SCENARIO)
def test_no_interleaving_breaks_a_rule(scenario: Scenario) -> None:
    found = scenario.explore()
    print(found)
    assert not found.violation, str(found)
    assert found.ends > 1  # it was not stuck at the start
    tasks = ", ".join(scenario.tasks)
    row = f"| {scenario.name} | {tasks} | {scenario.transitions} | {found.states:,} | {found.steps:,} |"
    assert row in DOCS.read_text(), f"docs/model.md says something else: {row}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_protocol_is_caught_with_its_shortest_trace(mutant: Mutant) -> None:
    found = mutant.explore()
    print(found)
    assert found.violation.startswith(mutant.caught_by), str(found)


@functools.cache
def unchanged(tasks: tuple[str, ...], around: Protocol, transitions: int) -> Outcome:
    return Scenario("control", tasks, around, transitions).explore()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_unbroken_protocol_passes_where_the_mutant_is_caught(mutant: Mutant) -> None:
    found = unchanged(tuple(sorted(mutant.tasks)), mutant.around, mutant.transitions)
    assert not found.violation, str(found)


def test_every_rule_of_the_protocol_has_a_mutant() -> None:
    broken = {name for mutant in MUTANTS for name in mutant.change}
    surroundings = {"fast_path", "timeouts", "gate", "forks"}
    assert broken == set(Protocol.__dataclass_fields__) - surroundings


def test_every_kind_of_task_is_explored() -> None:
    assert {kind for scenario in SCENARIOS for kind in scenario.tasks} == set(PROGRAMS)


def test_transitions_end_in_each_way_that_is_allowed() -> None:
    """Load applied or reversed, and then unload, reload or a second reverse: the model is not empty."""
    protocol = REAL
    ends = set()
    waiting, seen = [protocol.start(("leaf",))], set()
    while waiting:
        state = waiting.pop()
        after = [next_state for _, next_state, _ in protocol.steps(state)]
        if not after:
            ends.add(tuple((t.old, t.new, t.switched) for t in state.transitions))
        waiting += [s for s in after if s not in seen]
        seen.update(after)
    load, unload = (0, 1), (1, 0)
    assert ends == {
        ((*load, True), (*unload, True)),
        ((*load, True), (*unload, False)),
        ((*load, False), (*load, True)),
        ((*load, False), (*load, False)),
    }


def test_a_trace_is_shortest_and_repeatable() -> None:
    first, second = MUTANTS[0].explore(), MUTANTS[0].explore()
    assert first == second
    assert len(first.trace) == 5, str(first)

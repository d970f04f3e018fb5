"""Explore every scenario and every mutant, and print what was found: ``python -m tests.model [--all] [words …]``."""

from __future__ import annotations

import sys
import time

from .mutants import MUTANTS
from .scenarios import SCENARIOS


def main(arguments: list[str]) -> int:
    everything = "--all" in arguments
    words = [word for word in arguments if not word.startswith("--")]
    failures = 0
    print(f"{'scenario':28} {'tasks':36} {'transitions':>11} {'states':>9} {'steps':>10} {'ends':>5} {'s':>6}")
    for scenario in SCENARIOS:
        if (scenario.slow and not everything) or not all(word in scenario.name for word in words):
            continue
        began = time.perf_counter()
        found = scenario.explore()
        seconds = time.perf_counter() - began
        tasks = ", ".join(scenario.tasks)
        print(
            f"{scenario.name:28} {tasks:36} {scenario.transitions:11} {found.states:9,} {found.steps:10,} "
            f"{found.ends:5} {seconds:6.1f}",
            flush=True,
        )
        if found.violation:
            failures += 1
            print(found)
    for mutant in MUTANTS:
        if all(word in mutant.name for word in words):
            found = mutant.explore()
            failures += not found.violation.startswith(mutant.caught_by)
            print(f"\nmutant: {mutant.name}\n{found}")
    return failures


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

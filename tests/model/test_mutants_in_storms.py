"""The mutants that can be made of the real engine are caught by a storm, too. Each runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pylivepatch

from . import storm

pytestmark = pytest.mark.slow

ROOT = Path(pylivepatch.__file__).parents[1]
NEVER_FINISHES = "exceptions uncounted"
"""Nobody sees two versions there: a counter that never comes down lets no transition finish."""


def run(mutant: str, seconds: float) -> dict[str, int]:
    command = [sys.executable, storm.__file__, mutant, str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 60)
    assert done.returncode == 0, done.stderr
    seen: dict[str, int] = json.loads(done.stdout)
    print(mutant, seen)
    return seen


@pytest.mark.parametrize("mutant", sorted(set(storm.MUTANTS) - {*storm.UNBROKEN, NEVER_FINISHES}))
def test_a_storm_catches_the_mutant(mutant: str) -> None:
    assert run(mutant, 60)["mixed"] > 0


def test_a_storm_sees_that_uncounted_exceptions_let_no_transition_finish() -> None:
    seen = run(NEVER_FINISHES, 5)
    assert seen["switched"] == 0
    assert seen["reversed"] > 0


@pytest.mark.parametrize("unbroken", storm.UNBROKEN)
def test_the_same_storm_sees_no_fault_in_the_engine(unbroken: str) -> None:
    seen = run(unbroken, 10)
    assert seen["mixed"] == 0
    assert seen["switched"] > 5

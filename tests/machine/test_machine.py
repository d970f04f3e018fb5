"""Lives of patches that Hypothesis makes up, checked after each step against the model of ``machine.py``.

The short form is the same in each run. The long one prints its seed; ``MACHINE_SEED`` repeats it.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine

BASE = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],  # not "explain", which traces
    print_blob=False,
)


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """The machine collects after each exception that it catches: a cycle, which keeps frames and so their code."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_short_lives() -> None:
    short = settings(BASE, derandomize=True, max_examples=4, stateful_step_count=10)
    run_state_machine_as_test(Machine, settings=short)


@pytest.mark.slow
def test_long_lives() -> None:
    number = int(os.environ.get("MACHINE_SEED", random.randrange(1 << 30)))
    print(f"seed {number} (repeat with MACHINE_SEED={number})")
    run_state_machine_as_test(
        seed(number)(Machine), settings=settings(BASE, max_examples=10, stateful_step_count=50)
    )

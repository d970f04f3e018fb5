"""Each case of the corpus: what the builder says of it, and what a process does with the patch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.edits.cases import read_all
from tests.edits.live import Pair, run

CASES = read_all()


@pytest.mark.parametrize("name", CASES)
def test_the_process_becomes_the_new_version_and_goes_back(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if sys.version_info < case.since:
        pytest.skip(f"needs Python {'.'.join(map(str, case.since))}")
    run(case, Pair(tmp_path, case.old, case.new))


def test_there_are_at_least_150_cases() -> None:
    assert len(CASES) >= 150

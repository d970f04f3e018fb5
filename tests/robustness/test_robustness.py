"""Standard libraries against themselves, formatted, and the next one: no crash, and a code for every difference.

A few modules in each run, every tenth among the slow tests, the whole library of the running Python by
``ROBUSTNESS=1``. ``python -m tests.robustness`` takes every library that is here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.robustness.libraries import VERSIONS, libraries, units
from tests.robustness.sweep import Outcome, examine_unit, sweep

HERE = "{}.{}".format(*sys.version_info)
whole = pytest.mark.skipif(
    "ROBUSTNESS" not in os.environ, reason="minutes: asked for by ROBUSTNESS=1, or python -m tests.robustness"
)
SAMPLE = ("textwrap.py", "contextlib.py", "dataclasses.py", "json", "enum.py", "shlex.py", "graphlib.py", "wsgiref")


def library(version: str) -> Path:
    path = libraries().get(version)
    if path is None:
        pytest.skip(f"there is no Python {version} here")
    return path


def next_version() -> str:
    later = VERSIONS[VERSIONS.index(HERE) + 1 :] if HERE in VERSIONS else ()
    if not later:
        pytest.skip(f"no supported Python comes after {HERE}")
    return later[0]


def wrong(outcomes: list[Outcome], *, may_differ: bool) -> list[str]:
    return [
        f"{one.unit}: {one.outcome}: {one.said[-1500:]}"
        for one in outcomes
        if one.outcome == "crash" or one.unclassified or (one.codes and not may_differ)
    ]


def of_sample(old: Path, new: Path, how: str) -> list[Outcome]:
    before, after = (units(side, tests=False) for side in (old, new))
    return [examine_unit(name, old, new, (before[name], after[name]), how) for name in SAMPLE]


@pytest.mark.parametrize("how", ["same", "formatted"])
def test_a_few_modules_do_not_differ_from_their_copies(how: str) -> None:
    outcomes = of_sample(library(HERE), library(HERE), how)
    assert wrong(outcomes, may_differ=False) == []
    assert {one.outcome for one in outcomes} == {"unchanged"}


def test_a_few_modules_against_those_of_the_next_python() -> None:
    outcomes = of_sample(library(HERE), library(next_version()), "next")
    assert wrong(outcomes, may_differ=True) == []
    assert sum(len(one.codes) for one in outcomes) > 10


def every_tenth(*sides: Path) -> list[str]:
    return sorted({name for side in sides for name in units(side, tests=False)})[::10]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["same", "formatted"])
def test_every_tenth_module_does_not_differ_from_its_copies(how: str) -> None:
    here = library(HERE)
    outcomes = list(sweep(here, here, how, tests=False, only=every_tenth(here)))
    assert wrong(outcomes, may_differ=False) == []
    assert len(outcomes) > 15


@pytest.mark.slow
def test_every_tenth_module_against_that_of_the_next_python() -> None:
    here, after = library(HERE), library(next_version())
    outcomes = list(sweep(here, after, "next", tests=False, only=every_tenth(here, after)))
    assert wrong(outcomes, may_differ=True) == []
    assert {"built", "refused", "unchanged"} <= {one.outcome for one in outcomes}


@pytest.mark.slow
@whole
@pytest.mark.parametrize("how", ["same", "formatted"])
def test_the_library_does_not_differ_from_its_copies(how: str) -> None:
    outcomes = list(sweep(library(HERE), library(HERE), how, tests=False))
    assert wrong(outcomes, may_differ=False) == []
    assert len(outcomes) > 150


@pytest.mark.slow
@whole
def test_the_library_against_that_of_the_next_python() -> None:
    outcomes = list(sweep(library(HERE), library(next_version()), "next", tests=False))
    assert wrong(outcomes, may_differ=True) == []
    assert {"built", "refused", "unchanged"} <= {one.outcome for one in outcomes}

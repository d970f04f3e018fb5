"""CPython's own tests pass with every function counted, and the counter comes back to the unit."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ["test_json", "test_argparse", "test_dataclasses", "test_typing", "test_contextlib"]

needs_tests = pytest.mark.skipif(
    importlib.util.find_spec("test.test_json") is None or importlib.util.find_spec("test.libregrtest") is None,
    reason=f"{sys.executable} comes without CPython's own tests (the package `test`)",
)


def run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.ftrace.counted", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=1200
    )
    last = done.stdout.strip().splitlines()[-1:] or [""]
    assert last[0].startswith("{"), done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(last[0])
    return result


@needs_tests
def test_a_call_that_goes_on_is_seen_by_both_the_counter_and_the_heap() -> None:
    """The two books must agree also where they are not empty."""
    program = (
        "import gc\n"
        "from http.cookiejar import deepvalues\n"
        "from tests.ftrace.counted import Counted, install\n"
        "counted = Counted()\n"
        "install(counted, ['http'])\n"
        "suspended = deepvalues({'a': {'b': 1, 'c': 2}})\n"
        "unstarted = deepvalues({'a': {'b': 1}})\n"
        "next(suspended)\n"  # recursive: two generators are suspended
        "print(counted.counter.value - 1, len(counted.still_inside()), counted.functions > 100)\n"
        "del suspended, unstarted\n"
        "gc.collect()\n"
        "print(counted.counter.value - 1, len(counted.still_inside()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["2", "2", "True", "0", "0"], done.stdout + done.stderr


@needs_tests
@pytest.mark.slow
def test_cpythons_own_tests_pass_with_every_call_counted() -> None:
    plain = run("--plain", *TESTS)
    counted = run(*TESTS)
    assert counted["errors"] == []
    assert counted["functions"] > 3000
    assert counted["counter"] == len(counted["inside"]), counted["inside"]
    assert len(counted["tests"]) > 1000
    assert counted["tests"] == plain["tests"]
    assert counted["status"] == plain["status"]

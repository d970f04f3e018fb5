"""Trampolines of the standard library's functions: none is refused by its check."""

from __future__ import annotations

import importlib
import os
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pylivepatch.ftrace.trampoline import traced
from pylivepatch.ftrace.verify_traced import find_problem_of_traced

sys.path.insert(0, str(Path(__file__).parents[2]))
sweep: ModuleType = importlib.import_module("tests.ftrace.sweep")

HARD = ["asyncio/runners.py", "asyncio/tasks.py", "contextlib.py", "dataclasses.py", "enum.py", "typing.py", "ast.py"]


@pytest.mark.parametrize("name", HARD)
def test_the_functions_of_a_hard_module_all_get_trampolines(name: str) -> None:
    root = Path(os.__file__).parent
    outcome = sweep.sweep_file(root / name)
    assert outcome.made > 0
    assert outcome.refused == []


@pytest.mark.parametrize("name", HARD[:4])
@pytest.mark.parametrize("values", [False, True])
def test_the_functions_of_a_hard_module_can_all_be_traced_and_probed(name: str, values: bool) -> None:
    path = Path(os.__file__).parent / name
    codes = list(sweep.functions(compile(path.read_bytes(), str(path), "exec", dont_inherit=True)))
    problems = [find_problem_of_traced(code, traced(code, values=values), values=values) for code in codes]
    assert set(problems) == {""}


def test_a_refusal_is_found() -> None:
    """A class body is no function: the sweep would say so."""
    module = compile("class K:\n    x = 1", "m.py", "exec")
    body = next(const for const in module.co_consts if hasattr(const, "co_code"))
    assert "is not a function's code" in sweep.problem_of(body)


@pytest.mark.slow
def test_no_function_of_the_standard_library_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A third of the files, chosen by a printed seed; all of them where PYLIVEPATCH_SWEEP is ``full``."""
    seed = random.randrange(1_000_000)
    share = 1.0 if os.environ.get("PYLIVEPATCH_SWEEP") == "full" else 1 / 3
    outcome = sweep.sweep(sweep.sample(share, seed))
    with capsys.disabled():
        print(f"\nseed {seed}, {outcome.files} files; {sweep.summary(outcome)}")
    assert outcome.refused == []
    assert outcome.made > 1000

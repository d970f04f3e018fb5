"""``pytest --livepatch`` on a small project."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_suite_runs_on_the_patched_process_and_not_on_the_old_one(project: Any) -> None:
    old = project.pytest()
    assert old.returncode == 1
    assert "2 failed" in old.stdout
    done = project.pytest("--livepatch", project.fix)
    assert done.returncode == 0, done.stdout
    assert "livepatch: fix (2 changes), to be loaded when all tests are collected" in done.stdout
    assert "loaded fix: 1 functions, 1 attributes" in done.stdout
    assert "after the load the process equals a fresh one of the new version" in done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.slow
def test_the_way_back_is_tried_and_verified(project: Any) -> None:
    done = project.pytest("--livepatch", project.fix, "--unload-after")
    assert done.returncode == 0, done.stdout
    assert "unloaded fix" in done.stdout
    assert "after the unload the process equals a fresh one of the old version" in done.stdout


@pytest.mark.slow
def test_a_patch_that_is_refused_fails_the_run_before_any_test(project: Any) -> None:
    project.write("conftest.py", "import shop\nshop.LIMIT = 7\n")
    project.write("test_shop.py", "def test_nothing():\n    open('ran', 'w').close()\n")
    done = project.pytest("--livepatch", project.fix)
    assert done.returncode == 1
    assert "PLP116" in done.stdout
    assert not (project.folder / "ran").exists()


@pytest.mark.slow
def test_a_suite_that_leaves_the_process_otherwise_than_it_was_fails(project: Any) -> None:
    project.write("test_shop.py", "import shop\n\ndef test_it():\n    shop.Account.spend = lambda self, x: x\n")
    done = project.pytest("--livepatch", project.fix, "--unload-after")
    assert "1 passed" in done.stdout
    assert done.returncode == 1, done.stdout
    assert "FAILED" in done.stdout


@pytest.mark.slow
def test_what_the_suite_put_into_the_modules_before_is_told_and_no_failure(project: Any) -> None:
    project.write("conftest.py", "import shop\nshop.Account.close = lambda self: None\n")
    done = project.pytest("--livepatch", project.fix)
    assert done.returncode == 0, done.stdout
    assert "before the load it differs from the old version: shop:Account.close" in done.stdout


@pytest.mark.slow
def test_a_file_that_is_no_patch_is_a_mistake_in_the_call(project: Any) -> None:
    assert project.pytest("--livepatch", "test_shop.py").returncode == 4
    assert project.pytest("--unload-after").returncode == 4


@pytest.mark.slow
def test_without_the_option_nothing_of_pylivepatch_is_imported(project: Any) -> None:
    project.write("conftest.py", "import shop\nshop.LIMIT = 5\n")
    project.write(
        "test_shop.py", "import sys\n\ndef test_it():\n    assert not [m for m in sys.modules if 'pylivepatch' in m]\n"
    )
    done = project.pytest()
    assert done.returncode == 0, done.stdout

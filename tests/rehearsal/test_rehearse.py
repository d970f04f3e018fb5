"""``pylivepatch rehearse`` with small programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

PROGRAM = """\
import sys, time, shop
from pylivepatch.agent import server

account, until = shop.Account(), time.monotonic() + 60
while time.monotonic() < until:
    if type(account.spend(1)) is float:
        print("mended")
        while server.current()._clients:  # who loads it has not got the answer yet
            time.sleep(0.01)
        sys.exit(7)
"""
LONG = "import time, shop\nshop.LIMIT = 9\nwhile True:\n    time.sleep(0.01)\n"


def test_a_program_is_patched_while_it_runs_and_its_exit_status_is_the_commands(project: Any) -> None:
    project.write("program.py", PROGRAM)
    done = project.run("-m", "pylivepatch", "rehearse", project.fix, "--", "program.py")
    assert (done.returncode, done.stdout) == (7, "mended\n"), done.stderr
    assert "loaded fix into process" in done.stderr


@pytest.mark.slow
def test_json_is_one_object_and_the_programs_output_is_elsewhere(project: Any) -> None:
    project.write("program.py", PROGRAM)
    done = project.run("-m", "pylivepatch", "rehearse", "--json", project.fix, "--", "program.py")
    shape = json.loads(done.stdout)
    assert (shape["status"], shape["load"]["patch"], done.returncode) == (7, "fix", 7)
    assert "mended" in done.stderr


@pytest.mark.slow
def test_the_way_back_is_tried_and_verified(project: Any) -> None:
    project.write("program.py", "import os, time, shop\nwhile not os.path.exists('stop'):\n    time.sleep(0.01)\n")
    command = ["-m", "pylivepatch", "rehearse", "--unload-after", project.fix, "--", "program.py"]
    with project.start(*command) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "old version" in line:
                project.write("stop", "")
    assert process.returncode == 0, said
    text = "".join(said)
    assert "compared with a fresh process of the new version: equal" in text
    assert "unloaded fix" in text
    assert "compared with a fresh process of the old version: equal" in text


@pytest.mark.slow
def test_a_load_that_fails_ends_the_command_and_is_the_outcome(project: Any) -> None:
    project.write("program.py", LONG)
    done = project.run("-m", "pylivepatch", "rehearse", project.fix, "--", "program.py")
    assert done.returncode == 1
    assert "PLP116" in done.stderr


def test_a_command_that_ends_too_soon_is_told(project: Any) -> None:
    done = project.run("-m", "pylivepatch", "rehearse", "--after", 50, project.fix, "--", "-c", "import shop")
    assert done.returncode == 1
    assert "PLP404" in done.stderr


def test_what_is_no_program_of_pythons_is_refused(project: Any) -> None:
    for command in ("/bin/sh", "no-such-program"):
        done = project.run("-m", "pylivepatch", "rehearse", project.fix, "--", command)
        assert (done.returncode, "PLP404" in done.stderr) == (1, True)

"""On a free-threaded build the engine refuses at its import, and what needs no engine works.

Pretended on the interpreter that is running; on a real build where ``PYLIVEPATCH_FREE_THREADED`` names its executable,
in whose environment ``bytecode``, ``click`` and ``rich`` must be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REAL = os.environ.get("PYLIVEPATCH_FREE_THREADED", "")


@dataclass(frozen=True)
class Build:
    """An executable, what is run first in it, and its environment."""

    python: str = sys.executable
    pretend: str = "pass"
    gil: str = ""

    def run(self, program: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
        environ |= {"PYTHON_GIL": self.gil} if self.gil else {}
        command = [self.python, "-c", f"import sys; {self.pretend}\n{program}"]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)

    def command(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return self.run(f"from pylivepatch.cli import main; main({list(arguments)})", cwd)


BUILDS = {
    "pretended": Build(pretend="sys._is_gil_enabled = lambda: False"),
    "pretended, with the GIL on": Build(pretend="sys.version += ' free-threading build'"),
    "real": Build(REAL),
    "real, with the GIL on": Build(REAL, gil="1"),
}


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Build:
    chosen = BUILDS[request.param]
    if not chosen.python:
        pytest.skip("PYLIVEPATCH_FREE_THREADED does not name a free-threaded interpreter")
    return chosen


@pytest.mark.parametrize(
    "use",
    [
        "import pylivepatch.core",
        "import pylivepatch; pylivepatch.load",
        "from pylivepatch import load",
        "import pylivepatch.agent; pylivepatch.agent.start()",
    ],
)
def test_the_engine_refuses(build: Build, use: str) -> None:
    done = build.run(use)
    assert done.returncode == 1
    refusal = done.stderr.splitlines()[-3:]
    assert "EngineUnsupported: PLP101: this is a free-threaded build of CPython:" in refusal[0]
    assert refusal[1].startswith(f"  where: {build.python}")
    assert refusal[2].startswith("  what to do: run the service on the default build of CPython")


def test_a_program_is_not_begun_with_an_agent(build: Build) -> None:
    done = build.run("from pylivepatch.agent.boot import sitecustomize; print('begun')")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "PLP101" in done.stderr


def test_errors_and_other_data_can_be_imported(build: Build) -> None:
    done = build.run(
        "import pylivepatch, pylivepatch.errors, pylivepatch.patchfile\n"
        "pylivepatch.Patch, pylivepatch.LivePatchError, pylivepatch.__version__\n"
        "print(hasattr(pylivepatch, 'no_such_name'))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_a_patch_can_be_built_and_shown(build: Build, tmp_path: Path) -> None:
    for side, text in (("old", "def f(): return 1\n"), ("new", "def f(): return 2\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "m.py").write_text(text)
    made = build.command("build", "--from", "old", "--to", "new", "-o", "fix.plp", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    shown = build.command("info", "fix.plp", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "m:f" in shown.stdout


def test_the_interpreter_of_these_tests_is_not_refused() -> None:
    """The control of what is pretended."""
    assert Build().run("import pylivepatch; pylivepatch.load").returncode == 0

"""A program that is run with an agent runs as it would without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from targets import ROOT, environment

REPORT = """
import json, os, sys
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv,
    "path0": sys.path[0],
    "name": __name__,
    "main": main.__dict__ is globals(),
    "spec": getattr(main.__spec__, "name", None),
    "file": globals().get("__file__"),
    "pythonpath": os.environ.get("PYTHONPATH"),
    "flags": list(sys.flags),
    "path": sys.path,
}))
"""


def python(*arguments: str, folder: Path, agent: bool, **more: str) -> subprocess.CompletedProcess[str]:
    runner = ["-m", "pylivepatch.agent.run"] if agent else []
    return subprocess.run(
        [sys.executable, *runner, *arguments],
        cwd=folder,
        env=environment(folder / "run", **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(REPORT)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(REPORT)
    (tmp_path / "package" / "module.py").write_text(REPORT)
    (tmp_path / "fails.py").write_text("def f():\n    raise ValueError('as it is')\nf()\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["script.py", "a", "-b", "--json", "--", "-m"],
        ["./package"],
        ["-m", "package", "--help"],
        ["-m", "package.module", "-c", "x"],
        ["-c", REPORT, "one"],
    ],
)
def test_the_program_sees_what_it_would_see_without_an_agent(folder: Path, arguments: list[str]) -> None:
    with_agent = python(*arguments, folder=folder, agent=True)
    without = python(*arguments, folder=folder, agent=False)
    assert with_agent.stderr == without.stderr == ""
    assert json.loads(with_agent.stdout) == json.loads(without.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fails.py"],
        ["missing.py"],
        ["-m", "missing"],
        ["-c", "import sys; sys.exit(41)"],
        ["-c", "raise SystemExit('word')"],
        ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"],
    ],
)
def test_it_ends_as_it_would_without_an_agent(folder: Path, arguments: list[str]) -> None:
    with_agent = python(*arguments, folder=folder, agent=True)
    without = python(*arguments, folder=folder, agent=False)
    assert (with_agent.returncode, with_agent.stdout, with_agent.stderr) == (
        without.returncode,
        without.stdout,
        without.stderr,
    )


def test_the_agent_is_there_from_the_first_line_and_gone_at_the_end(folder: Path) -> None:
    code = "import os; print(os.path.exists(f'run/{os.getpid()}.sock'))"
    assert python("-c", code, folder=folder, agent=True).stdout == "True\n"
    assert list((folder / "run").iterdir()) == []


def test_the_target_imports_nothing_of_the_command_line(folder: Path) -> None:
    code = "import sys; print(sorted(sys.modules))"
    modules = python("-c", code, folder=folder, agent=True).stdout
    assert "pylivepatch.core" in modules
    for name in (
        "click",
        "rich",
        "pylivepatch.cli",
        "pylivepatch.build",
        "http.server",
        "http.client",
        "email",
    ):
        assert f"'{name}'" not in modules


def test_child_processes_get_no_agent(folder: Path) -> None:
    code = (
        "import subprocess, sys; "
        "print(subprocess.run([sys.executable, '-c', \"import sys; print('pylivepatch' in sys.modules)\"], "
        "capture_output=True, text=True).stdout.strip())"
    )
    assert python("-c", code, folder=folder, agent=True).stdout == "False\n"


def test_a_pythonpath_that_was_not_there_is_not_there_afterwards(folder: Path) -> None:
    env = environment(folder / "run")
    del env["PYTHONPATH"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pylivepatch.agent.run",
            "-c",
            "import os; print(os.environ.get('PYTHONPATH'))",
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "None\n", done.stderr


def test_the_installations_own_sitecustomize_still_runs(folder: Path) -> None:
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text("import os; os.environ['SEEN'] = __file__\n")
    code = "import os, sys; print(os.environ['SEEN'], sys.modules['sitecustomize'].__file__)"
    path = str(folder / "site" / "sitecustomize.py")
    done = python("-c", code, folder=folder, agent=True, PYTHONPATH=f"{ROOT}:{folder / 'site'}")
    assert done.stdout.split() == [path, path], done.stderr


def test_flags_for_python_are_kept(folder: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-O",
            "-X",
            "dev",
            "-m",
            "pylivepatch.agent.run",
            "-c",
            "import sys; print(sys.flags)",
        ],
        cwd=folder,
        env=environment(folder / "run"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "optimize=1" in done.stdout
    assert "dev_mode=True" in done.stdout


def test_a_program_does_not_begin_without_its_agent(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run").chmod(0o755)
    done = python("-c", "print('begun')", folder=folder, agent=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "PLP400" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-c"], ["-x", "y"], ["--json"]])
def test_nothing_to_run_says_so(folder: Path, arguments: list[str]) -> None:
    done = python(*arguments, folder=folder, agent=True)
    assert done.returncode == 1
    assert "PLP400" in done.stderr
    assert "Traceback" not in done.stderr


def test_multiprocessing_works_in_it(folder: Path) -> None:
    (folder / "spawns.py").write_text(
        "import multiprocessing as m\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    for way in ('spawn', 'fork', 'forkserver'):\n"
        "        with m.get_context(way).Pool(1) as pool: print(pool.map(double, [21]))\n"
    )
    done = python("spawns.py", folder=folder, agent=True, PYTHONWARNINGS="ignore")
    assert done.stdout == "[42]\n" * 3, done.stderr

"""A big build is done on all cores, and gives what one core gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.build.test_scale import write as write_scaled
from tests.edits.cases import read_all

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

# Builds twice, and notes who compared each module. Whatever it is, it is worth the while, unless a test says otherwise.
PROGRAM = """\
import os, sys, threading
from pathlib import Path
from pylivepatch import cores, patchfile
from pylivepatch.build import compare, examine, spread
from pylivepatch.errors import LivePatchError
cores.usable = lambda: 2
compare.WORTH_ASIDE = spread.WORTH_READING = spread.WORTH_COMPARING = 0
old, new, log = map(Path, sys.argv[1:])
hooks = log.with_name("hooks.py") if log.with_name("hooks.py").exists() else None
def noting(context, work=compare._compare_module):
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\\n")
    return work(context)
compare._compare_module = noting
def build(**how):
    log.write_text("")
    try:
        result = examine(old, new, name="fix", hooks=hooks, **how)
    except LivePatchError as error:
        return str(error), error.as_dict(), {*log.read_text().split()}
    data = b""
    if result.patch is not None:
        patchfile.write(result.patch, log.with_suffix(".plp"))
        data = log.with_suffix(".plp").read_bytes()
    return result, data, {*log.read_text().split()}
"""
BOTH = """
one, all = build(), build(spread=True)
print(one[2] == {str(os.getpid())}, len(all[2] - one[2]) == len(all[2]) > 0, one[:2] == all[:2], bool(one[1]))
"""
SAME = ["True True True True"]


def said(program: str, old: Path, new: Path) -> list[str]:
    """What a process with one thread prints."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM + program, str(old), str(new), str(old.parent / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def scaled(tmp_path: Path) -> tuple[Path, Path]:
    """Modules that import functions, classes and values from each other, all of them changed."""
    old, new = (write_scaled(tmp_path / str(version), 6, 3, version) for version in (1, 2))
    return old, new


@pytest.mark.parametrize("outcome", ["builds", "refuses"])
def test_the_corpus_of_edits_gives_the_same(outcome: str, tmp_path: Path) -> None:
    trees: dict[str, dict[str, str]] = {"old": {}, "new": {}}
    cases = [case for case in read_all().values() if outcome in case.head and sys.version_info >= case.since]
    for number, case in enumerate(cases):  # a package each, in one tree
        for side, files in (("old", case.old), ("new", case.new)):
            named = {f"edit_{number}/{path}": text for path, text in {"__init__.py": "", **files}.items()}
            trees[side].update(named)
    old, new = (write(tmp_path / side, files) for side, files in trees.items())
    (line,) = said(BOTH, old, new)
    assert line.startswith("True True True")
    assert len(cases) > 50


def test_what_follows_across_modules_is_the_same(scaled: tuple[Path, Path]) -> None:
    assert said(BOTH, *scaled) == SAME


def test_what_the_author_says_counts_as_said(tmp_path: Path) -> None:
    text = "class C:\n    def __init__(self):\n        self.a = 1\n{}    def get(self): return {}\n"
    old = write(tmp_path / "old", {f"m{n}.py": text.format("", "self.a") for n in range(3)})
    more = text.format("        self.b = make()\n", "self.b")
    new = write(tmp_path / "new", {f"m{n}.py": "def make(): return []\n" + more for n in range(3)})
    (tmp_path / "hooks.py").write_text(
        "from pylivepatch.hooks import safe\n" + "".join(f'safe("PLP255", "m{n}:C.b", "it is")\n' for n in range(3))
    )
    program = f"{BOTH}\nprint(sum('The author: it is' in one.message for one in all[0].changes), all[0].outcome)"
    assert said(program, old, new) == [*SAME, "3 built"]


def test_the_first_error_is_the_same(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {f"m{n}.py": "def f(): return 1\n" for n in range(6)})
    new = write(tmp_path / "new", {f"m{n}.py": "def f(): return 2\n" + "return\n" * (n > 2) for n in range(6)})
    program = f"{BOTH}\nprint(all[0])"
    line, *error = said(program, old, new)
    assert line.split()[2:] == ["True", "True"]
    assert "does not compile" in error[0]
    assert "m3.py:2" in error[1]


def test_a_build_whose_workers_die_is_done_on_one_core(scaled: tuple[Path, Path]) -> None:
    program = """
one, here = build(), os.getpid()
def dying(context, work=noting):
    if os.getpid() != here:
        os._exit(1)
    work(context)
compare._compare_module = dying
two = build(spread=True)
print(one == two, bool(one[1]))
"""
    assert said(program, *scaled) == ["True True"]


@pytest.mark.parametrize(
    "change",
    ["compare.WORTH_ASIDE = spread.WORTH_READING = spread.WORTH_COMPARING = 50_000", "thread.start()"],
    ids=["a small build", "a process with threads"],
)
def test_on_one_core_are_done(change: str, scaled: tuple[Path, Path]) -> None:
    program = f"""
stop = threading.Event()
thread = threading.Thread(target=stop.wait, daemon=True)
{change}
print(build(spread=True)[2] == {{str(os.getpid())}})
stop.set()
"""
    assert said(program, *scaled) == ["True"]


def test_the_library_forks_only_where_it_is_told_to_and_does_without_where_it_cannot(scaled: tuple[Path, Path]) -> None:
    program = """
import pylivepatch
asked = []
def fork():
    asked.append(1)
    raise OSError("no more processes")
os.fork = fork
one = pylivepatch.build_patch(old, new, name="fix")
print(len(asked))
print(pylivepatch.build_patch(old, new, name="fix", spread=True) == one, len(asked) > 0)
"""
    assert said(program, *scaled) == ["0", "True True"]


def test_the_command_is_a_process_that_can_be_forked(scaled: tuple[Path, Path]) -> None:
    program = """
from pylivepatch.cli import build as command
from pylivepatch.cli.output import Output
paths = dict(old=str(old), new=str(new), output=str(log.with_suffix(".plp")), diff=(), dist=(), git=None, source=None)
log.write_text("")
status = command.build(Output(json=True), command.Options(**paths, name=None, description="", hooks=None))
print()
print(status, str(os.getpid()) in log.read_text().split(), bool(log.read_text()))
"""
    assert said(program, *scaled)[-1] == "0 False True"

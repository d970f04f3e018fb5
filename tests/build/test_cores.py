"""A big patch is compiled on all cores, and is what one core makes of it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

HEAD = """\
import os, sys, threading
from pathlib import Path
from pylivepatch import compiled, cores
cores.usable = lambda: 2
here = os.getpid()
"""
PATCH = """
from pylivepatch.build import build_patch
for version in (1, 2):
    folder = Path(sys.argv[1], str(version))
    folder.mkdir()
    for module in range(4):
        body = "".join(f"def f_{n}(a, b={n}):\\n    return lambda: a + {version}\\n" for n in range(7))
        (folder / f"mod_{module}.py").write_text(body)
patch = build_patch(*(Path(sys.argv[1], str(version)) for version in (1, 2)), name="big")
def compile_module(*arguments, make=compiled.compile_module):
    with open(Path(sys.argv[1], "makers"), "a") as log:
        log.write(f"{os.getpid() != here}\\n")
    return make(*arguments)
compiled.compile_module = compile_module
"""


def said(program: str, folder: Path) -> list[str]:
    """What a process with one thread prints."""
    command = [sys.executable, "-W", "error", "-c", HEAD + program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_other_processes_do_the_work_and_it_comes_back_in_order(tmp_path: Path) -> None:
    program = """
found, other = cores.on_all(lambda item: (item * 2, os.getpid() != here), range(20), os.getpid)
print(found == [(n * 2, True) for n in range(20)], other == here)
"""
    assert said(program, tmp_path) == ["True True"]


def test_a_process_with_threads_is_not_forked(tmp_path: Path) -> None:
    program = """
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(cores.on_all(lambda item: os.getpid() == here, range(3), lambda: 1))
stop.set()
thread.join()
while not cores.can_fork():  # the kernel's thread ends a little later than Python's
    pass
print(cores.on_all(lambda item: os.getpid() == here, range(3), lambda: 1))
"""
    assert said(program, tmp_path) == ["([True, True, True], 1)", "([False, False, False], 1)"]


def test_what_a_worker_leaves_undone_when_it_dies_is_done_here(tmp_path: Path) -> None:
    program = """
def work(item):
    if item == 2 and os.getpid() != here:
        os._exit(9)
    return item
print(cores.on_all(work, range(5), lambda: 1))
"""
    assert said(program, tmp_path) == ["([0, 1, 2, 3, 4], 1)"]


def test_a_patch_that_two_cores_compile_is_that_of_one(tmp_path: Path) -> None:
    program = """
two = compiled.compile_patch(patch, spread=True)
print({*Path(sys.argv[1], "makers").read_text().split()})
print(two == compiled.compile_patch(patch), len(two.modules[3].items))
print(compiled.CompiledPatch.from_bytes(two.to_bytes()) == two)
"""
    assert said(PATCH + program, tmp_path) == ["{'True'}", "True 7", "True"]


def test_few_functions_are_compiled_on_one(tmp_path: Path) -> None:
    program = """
compiled.FEW = 28
compiled.compile_patch(patch, spread=True)
print({*Path(sys.argv[1], "makers").read_text().split()})
"""
    assert said(PATCH + program, tmp_path) == ["{'False'}"]


def test_an_error_in_one_module_is_raised_as_on_one_core(tmp_path: Path) -> None:
    program = """
import dataclasses
broken = dataclasses.replace(patch.modules[2], old_source="x = 1\\n")
patch = dataclasses.replace(patch, modules=(*patch.modules[:2], broken, *patch.modules[3:]))
for spread in (False, True):
    try:
        compiled.compile_patch(patch, spread=spread)
    except compiled.CompileError as error:
        print(error.as_dict())
"""
    one, two = said(PATCH + program, tmp_path)
    assert one == two
    assert "the source has no function f_0" in one


WAITING = """
import signal, time
read, write = os.pipe()
def work(item):
    os.write(write, os.getpid().to_bytes(4, "big"))
    time.sleep(600)
def started():
    return {int.from_bytes(os.read(read, 4), "big") for _ in range(2)}
"""


def ended(pid: int) -> bool:
    """Whether the process is gone, but for its entry in the table; waits for it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_an_interrupt_ends_the_workers_and_comes_through(tmp_path: Path) -> None:
    program = """
def meanwhile():
    global pids
    pids = started()
    os.kill(here, signal.SIGINT)
    time.sleep(600)
try:
    cores.on_all(work, range(4), meanwhile)
except KeyboardInterrupt:
    print("interrupted")
for pid in pids:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        print("ended")
"""
    assert said(WAITING + program, tmp_path) == ["interrupted", "ended", "ended"]


def test_workers_end_with_the_process_that_they_are_of(tmp_path: Path) -> None:
    program = """
def meanwhile():
    print(*started(), flush=True)
    os.kill(here, signal.SIGKILL)
cores.on_all(work, range(4), meanwhile)
"""
    command = [sys.executable, "-c", HEAD + WAITING + program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    assert all(map(ended, pids))


def test_what_a_worker_raises_is_raised_here_and_nothing_is_left_behind(tmp_path: Path) -> None:
    program = """
def work(item):
    if item == 1:
        raise ValueError(os.getpid() == here)
    return bytes(300_000)
cores.on_all(len, "ab", lambda: 1)  # on some systems ctypes holds libffi open
before = sorted(os.listdir("/proc/self/fd"))
print(cores.by_workers(work, range(400)))
try:
    cores.on_all(work, range(400), lambda: 1)
except ValueError as error:
    print(error)
print(before == sorted(os.listdir("/proc/self/fd")))
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child")
print(cores.on_all(len, ["a" * n for n in range(1000)], lambda: 1) == ([*range(1000)], 1))
"""
    assert said(program, tmp_path) == ["None", "True", "True", "no child", "True"]

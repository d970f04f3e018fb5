"""gevent, monkey-patched and not: greenlets in patched functions hold, wait at the gate, and go on. In children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pylivepatch

pytest.importorskip("gevent")
ROOT = Path(pylivepatch.__file__).parents[1]

TARGET = """
import gevent

def work(n):
    gevent.sleep(0.002)
    helper_says = helper()
    assert helper_says == "old", helper_says
    return "old"

def helper():
    gevent.sleep(0)
    return "old"
"""

PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
{monkey}
import gevent, pylivepatch, target, weakref
from pylivepatch import compiled

originals = [weakref.ref(f.__code__) for f in (target.work, target.helper)]
answers, stop = [], []

def busy(n):
    gevent.sleep(n * 0.0005)
    while not stop:
        answers.append(target.work(n))

greenlets = [gevent.spawn(busy, n) for n in range(8)]
gevent.sleep(0.01)
patch = compiled.compile_patch(pylivepatch.build_patch({folder!r}, {folder!r} + "/new", name="p"))
for mode in ("refcount", "per-task"):
    for action, version in (lambda: pylivepatch.load(patch, timeout=15, mode=mode), "new"), (
        lambda: pylivepatch.unload("p", timeout=15, mode=mode), "old"
    ):
        gevent.get_hub().threadpool.apply(action)  # on a native thread
        seen = len(answers)
        while len(answers) < seen + 50:
            gevent.sleep(0.001)
        assert set(answers[seen + 8:]) == {{version}}, (mode, answers[-50:])  # each of 8 may have been inside
stop.append(1)
gevent.joinall(greenlets, timeout=10, raise_error=True)
assert target.work.__code__ is originals[0]() and target.helper.__code__ is originals[1]()
print("well")
"""


@pytest.mark.parametrize("monkey", ["from gevent import monkey; monkey.patch_all()", ""], ids=["patched", "plain"])
def test_busy_greenlets_switch_with_the_gate(monkey: str, tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "target.py").write_text(TARGET.replace('"old"', '"new"'))
    program = PROGRAM.format(root=str(ROOT), folder=str(tmp_path), monkey=monkey)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "well\n", done.stderr


GATED = """
import gevent.event

leave, inside = gevent.event.Event(), []

def hold():
    inside.append(1)
    leave.wait()

def enter():
    return "old"
"""

AT_THE_GATE = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
{monkey}
import gated, gevent, gevent.monkey, pylivepatch
from pylivepatch import Patch
from pylivepatch.transition import refcount
from pylivepatch.transition.base import Transition

refcount._BY_ITSELF = refcount._LONGEST_PAUSE = 0.0  # the gate closes at once
Transition.fast_path = False
sleep = gevent.monkey.get_original("time", "sleep")
drains = []

def load():
    patch = Patch("p").replace(gated.hold, lambda: None).replace(gated.enter, lambda: "new")
    pylivepatch.load(patch, timeout=15, gate=10)

def begin(event):
    if event.kind == "drain":
        drains.append(1)
        while not gated.inside:
            sleep(0.001)

def until(true):
    while not true():
        gevent.sleep(0.001)

def status(what, otherwise=()):
    return (pylivepatch.status() or {{}}).get(what, otherwise)

pylivepatch.subscribe(begin)
loading = gevent.get_hub().threadpool.spawn(load)
until(lambda: drains)
gevent.spawn(gated.hold)
until(lambda: status("gate", {{}}).get("tries"))
waiter = gevent.spawn(gated.enter)
waiter.name = "waiter"
until(lambda: status("at_gate"))
(one,) = status("at_gate")
assert (one["kind"], one["name"], one["function"]) == ("greenlet", "waiter", "gated:enter"), one
held = [one["function"] for one in status("holders")]
assert held == ["gated:hold"], held
gated.leave.set()
loading.get()
assert waiter.get() == "new"
print("well")
"""


@pytest.mark.parametrize("monkey", ["from gevent import monkey; monkey.patch_all()", ""], ids=["patched", "plain"])
def test_a_greenlet_that_waits_at_the_gate_is_no_holder(monkey: str, tmp_path: Path) -> None:
    (tmp_path / "gated.py").write_text(GATED)
    program = AT_THE_GATE.format(root=str(ROOT), folder=str(tmp_path), monkey=monkey)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "well\n", done.stderr

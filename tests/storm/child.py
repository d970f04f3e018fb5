"""A child that is forked in the middle of a storm: in one version, whole, and patchable by itself."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
import warnings

import pylivepatch

from .world import World

PATIENCE = 20.0  # seconds


def fork_one(world: World) -> None:
    """Fork, and wait for the child's verdict; raises where it is bad, and ends a child that hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _child(world)
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if os.waitstatus_to_exitcode(status):
                raise AssertionError("a forked child failed: its traceback is on stderr")
            return
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError("a forked child hung")


def _child(world: World) -> None:
    assert threading.active_count() == 1
    world.mixed.clear()
    world.noting = False  # what its parent's other threads had noted nobody leaves
    for how in range(4):
        world.module.outer(how)
        world.module.drive(how)
    assert pylivepatch.status() is None, pylivepatch.status()
    version = world.module.helper(world.module.MARK, 0)
    assert version == ("two" if pylivepatch.patches() else "one")
    assert world.mixed == [], world.mixed
    # A generator that another thread had begun at the fork is nobody's here, and may hold: reversed, then, whole.
    try:
        if pylivepatch.patches():
            pylivepatch.unload("storm", timeout=0.2)
        else:
            pylivepatch.load(world.patch, timeout=0.2)
        switched = True
    except pylivepatch.TransitionTimeout:
        switched = False
    expected = {"one": "two", "two": "one"}[version] if switched else version
    assert world.module.helper(world.module.MARK, 0) == expected == world.module.MARK
    world.module.outer(3)
    assert world.mixed == [], world.mixed

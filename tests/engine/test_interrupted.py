"""Interrupted at any line, a load or unload leaves the old state or the new one, whole."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout, journal
from pylivepatch.transition.refcount import Transition


def one() -> str:
    return "old"


def two() -> str:
    return "old"


def one_new() -> str:
    return "new"


def two_new() -> str:
    return "new"


COMPILING = ("ftrace", "compiled", "items", "pairs")
"""Where a patch is made into code, which changes nothing in the process."""


class Injected(KeyboardInterrupt):
    pass


class Injector:
    """Raises at the n-th line that the engine executes on this thread; as Control-C may."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.where = ""

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith("pylivepatch.") or name.split(".")[1] in COMPILING:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise Injected
        return self


def run(action: Any, n: int) -> tuple[bool, str]:
    """Run ``action`` with an interrupt at line ``n``. Returns whether it came, and where."""
    injector = Injector(n)
    before = sys.gettrace()
    sys.settrace(injector)
    try:
        action()
    except Injected:
        pass
    except TransitionTimeout:
        pass
    finally:
        sys.settrace(before)
        gc.collect()  # the interrupted frames and their variables
    return bool(injector.where), injector.where


def state(where: str) -> str:
    assert sys.exc_info() == (None, None, None), where
    names = [a.name for a in pylivepatch.patches()]  # whoever looks settles what was cut off
    assert one() == two(), where
    assert pylivepatch.status() is None, where
    assert journal._undertakings == [], where
    assert names == (["p"] if one() == "new" else []), where
    return one()


STEP = 164  # every 164th line, from another start for each path; the slow form looks at sixteen times as many


@pytest.mark.parametrize("fast", [True, False], ids=["fast path", "counted"])
@pytest.mark.parametrize("step", [STEP, pytest.param(STEP // 16, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_one_state_whole(
    fast: bool, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transition, "fast_path", fast)
    originals = id(one.__code__), id(two.__code__)
    patch = Patch("p").replace(one, one_new).replace(two, two_new)
    outcomes = set()
    n = 1
    while True:
        came, where = run(lambda: pylivepatch.load(patch, timeout=2), n)
        loaded = state(where) == "new"
        outcomes.add(loaded)
        if not loaded:
            pylivepatch.load(patch, timeout=2)
        came_back, where = run(lambda: pylivepatch.unload("p", timeout=2), n)
        if state(where) == "new":
            pylivepatch.unload("p", timeout=2)
        assert (id(one.__code__), id(two.__code__)) == originals, where
        if not came and not came_back:
            break
        n += step
    assert n > 500
    assert outcomes == {True, False}

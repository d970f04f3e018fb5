"""Caches that would keep the old version's answers are emptied in the switch, loading and unloading."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch import caches
from tests.build.conftest import Package

Make = Callable[..., Package]

CACHED = """
    import functools
    RATE = 2
    calls = []
    @functools.lru_cache(maxsize=8)
    def price(x): return x * rate()
    @functools.cache
    def twice(x): return 2 * price(x)
    @functools.lru_cache(maxsize=None)
    def other(x):
        calls.append(x)
        return x
    def rate(): return RATE
    class C:
        @staticmethod
        @functools.cache
        def label(x): return 'C' + str(price(x))
"""
QUESTION = "(m.price(3), m.twice(3), m.C.label(3))"


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("x * rate()", "x * rate() + 4"),  # the cached function itself
        ("return RATE", "return RATE + 2"),  # what it calls
        ("RATE = 2", "RATE = 4"),  # what that reads
    ],
)
def test_a_cache_gives_the_new_answers_and_the_old_ones_after(package: Make, was: str, now: str) -> None:
    pair = package({"m.py": CACHED}, {"m.py": CACHED.replace(was, now)})
    module = pair.module("m")
    module.other(1)
    before = eval(QUESTION, {"m": module})
    applied = pair.load()
    after = eval(QUESTION, {"m": module})
    assert after != before
    assert after[1] == 2 * after[0]
    assert after[2] == f"C{after[0]}"
    applied.unload()
    assert eval(QUESTION, {"m": module}) == before
    module.other(1)
    assert module.calls == [1]  # it depends on nothing that changed


def test_what_a_cache_held_is_destroyed_after_the_switch(package: Make) -> None:
    source = """
        import functools
        class Held:
            def __del__(self): seen.append(f())
        seen = []
        @functools.cache
        def held(x): return Held()
        def f(): return 1
    """
    new = source.replace("return Held()", "return None").replace("return 1", "return 2")
    pair = package({"m.py": source}, {"m.py": new})
    module = pair.module("m")
    module.held(1)
    applied = pair.load()
    assert module.held(1) is None
    assert module.seen == [2]
    applied.unload()


def names_of_frameworks() -> set[str]:
    return {name for name, _ in caches._entry_points()}


def age(*paths: Path) -> None:
    """As if they had been written an hour ago."""
    for path in paths:
        was = path.stat().st_mtime
        os.utime(path, (was - 3600, was - 3600))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of ``sys.path`` with one distribution, installed long ago, whose entry points were looked at."""
    entry_point(tmp_path, "early", "nobody:clear")
    plain = tmp_path / "plain-1.0.dist-info"
    plain.mkdir()
    info = tmp_path / "early-1.0.dist-info"
    age(info / "entry_points.txt", info, plain, tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert names_of_frameworks() == {"early"}
    return tmp_path


def test_entry_points_that_did_not_change_are_not_read_again(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("it was read again"))
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("the folder was listed again"))
    assert names_of_frameworks() == {"early"}


def test_a_framework_that_is_installed_later_is_found(installed: Path) -> None:
    entry_point(installed, "late", "nobody:clear")
    assert names_of_frameworks() == {"early", "late"}
    age(installed / "late-1.0.dist-info")
    assert names_of_frameworks() == {"early", "late"}


def test_entry_points_that_a_distribution_gets_later_are_found(installed: Path) -> None:
    (installed / "plain-1.0.dist-info" / "entry_points.txt").write_text("[pylivepatch.caches]\nplain = nobody:clear\n")
    assert names_of_frameworks() == {"early", "plain"}


def test_entry_points_that_are_written_anew_are_read_anew(installed: Path) -> None:
    (installed / "early-1.0.dist-info" / "entry_points.txt").write_text("[pylivepatch.caches]\nother = nobody:clear\n")
    assert names_of_frameworks() == {"other"}


def test_a_framework_that_is_taken_out_is_forgotten(installed: Path) -> None:
    shutil.rmtree(installed / "early-1.0.dist-info")
    assert names_of_frameworks() == set()


def test_what_changed_a_moment_ago_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert names_of_frameworks() == set()
    was = tmp_path.stat()
    entry_point(tmp_path, "same", "nobody:clear")
    os.utime(tmp_path, ns=(was.st_atime_ns, was.st_mtime_ns))  # as if the clock had not gone on
    assert names_of_frameworks() == {"same"}


def entry_point(folder: Path, name: str, target: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(f"[console_scripts]\nx = y:z\n[pylivepatch.caches]\n{name} = {target}\n")


def test_frameworks_empty_their_own_caches_after_each_switch(
    package: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "framework_of_caches.py").write_text(
        "told = []\ndef clear(modules): told.append(modules)\ndef broken(modules): raise OSError('no')\n"
    )
    entry_point(tmp_path / "plugins", "one", "framework_of_caches:clear")
    entry_point(tmp_path / "plugins", "two", "framework_of_caches:broken")
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    pair = package({"m.py": "def f(): return 1\n"}, {"m.py": "def f(): return 2\n"})
    module = pair.module("m")
    applied = pair.load()
    assert module.f() == 2
    outcomes = {one["name"]: one.get("error") for one in applied.report["caches"]}
    assert (outcomes["one"], outcomes["two"]) == (None, "OSError: no")
    assert applied.unload()["caches"] == applied.report["caches"]
    assert sys.modules["framework_of_caches"].told == [frozenset({module.__name__})] * 2
    assert module.f() == 1
    assert not pylivepatch.patches()

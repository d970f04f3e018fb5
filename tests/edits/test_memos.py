"""Memos of instances that a patch lets be forgotten: never does one version find what the other made."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import groups, patchfile
from pylivepatch.build import BuildResult, build_patch
from pylivepatch.errors import LivePatchError, TransitionTimeout
from tests.conftest import PATIENCE
from tests.edits.live import Pair, load_patch

OLD = """
class Base:
    def __init__(self): self.memo = {}
    def rule(self, name):
        if name not in self.memo:
            self.memo[name] = [getattr(self, f"RULE_{name}")]
        return self.memo[name]
class Child(Base):
    RULE_ONE = "old"
    def both(self): return "old", self.rule("ONE").copy()
"""
NEW = OLD.replace('"old"', '"new"')


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, {"main.py": OLD}, {"main.py": NEW})


@pytest.fixture
def main(pair: Pair) -> Iterator[ModuleType]:
    with pair.imported(pair.old, pair.modules) as module:
        yield module
        for applied in reversed(pylivepatch.patches()):
            pylivepatch.unload(applied.name)


def built(pair: Pair) -> BuildResult:
    result = pair.build()
    assert result.patch is not None
    return result


class Asker(threading.Thread):
    """Asks an object for a rule whose value it gets only when it is let: a property of a class of the program."""

    def __init__(self, main: ModuleType) -> None:
        super().__init__(name="asker")
        self.inside, self.go_on = threading.Event(), threading.Event()

        def slow(instance: Any) -> str:
            value: str = instance.RULE_ONE
            self.inside.set()
            assert self.go_on.wait(PATIENCE)
            return value

        self.object = type("Own", (main.Child,), {"RULE_SLOW": property(slow)})()

    def run(self) -> None:
        self.object.rule("SLOW")

    def __enter__(self) -> Asker:
        self.start()
        assert self.inside.wait(PATIENCE)
        return self

    def __exit__(self, *error: object) -> None:
        self.go_on.set()
        self.join()


def test_a_call_that_is_about_to_remember_what_it_made_holds_the_transition(pair: Pair, main: ModuleType) -> None:
    with Asker(main) as asker, pytest.raises(TransitionTimeout):
        load_patch(built(pair), timeout=0.2)
    assert asker.object.rule("SLOW") == ["old"]
    load_patch(built(pair))
    assert asker.object.rule("SLOW") == ["new"]


def test_a_call_that_is_about_to_remember_holds_the_unload_too(pair: Pair, main: ModuleType) -> None:
    applied = load_patch(built(pair))
    with Asker(main) as asker, pytest.raises(TransitionTimeout):
        pylivepatch.unload(applied.name, timeout=0.2)
    pylivepatch.unload(applied.name, timeout=PATIENCE)
    assert asker.object.rule("SLOW") == ["old"]


@pytest.mark.slow
def test_no_call_meets_what_the_other_version_made(pair: Pair, main: ModuleType) -> None:
    over, wrong = threading.Event(), []
    kept = main.Child()

    def ask() -> None:
        for number in itertools.count():
            child = kept if number % 3 else main.Child()
            version, (rule,) = child.both()
            if version != rule:
                wrong.append((version, rule))
            if over.is_set():
                return

    result = built(pair)
    threads = [threading.Thread(target=ask, name=f"asker {number}") for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            load_patch(result).unload()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_after_the_unload_an_object_has_what_it_had_and_nothing_else(pair: Pair, main: ModuleType) -> None:
    kept, idle = main.Child(), main.Child()
    kept.rule("ONE")
    applied = load_patch(built(pair))
    made = main.Child()
    assert [one.rule("ONE") for one in (kept, idle, made)] == [["new"]] * 3
    applied.unload()
    assert [vars(one) for one in (kept, idle, made)] == [{"memo": {"ONE": ["old"]}}, {"memo": {}}, {"memo": {}}]
    assert "memo" not in vars(main.Base)


def test_an_object_whose_memo_leads_back_to_it_is_not_kept_alive(pair: Pair, main: ModuleType) -> None:
    main.Child.RULE_OWN = property(lambda self: self)
    try:
        load_patch(built(pair))
        child = main.Child()
        assert child.rule("OWN") == [child]
        gone = weakref.ref(child)
        del child
        gc.collect()
        assert gone() is None
    finally:
        del main.Child.RULE_OWN


def test_copies_and_pickles_begin_where_the_object_is(pair: Pair, main: ModuleType) -> None:
    kept = main.Child()
    kept.rule("ONE")
    load_patch(built(pair))
    assert kept.rule("ONE") == ["new"]
    for other in (copy.copy(kept), copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert other.rule("ONE") == ["new"]


def test_the_attribute_is_as_it_was_for_who_asks(pair: Pair, main: ModuleType) -> None:
    load_patch(built(pair))
    child = main.Child()
    child.rule("ONE")
    assert child.memo == {"ONE": ["new"]}
    child.memo = {"ONE": ["given"]}
    assert child.rule("ONE") == ["given"]
    del child.memo
    for thing in (child, main.Child):
        with pytest.raises(AttributeError, match="has no attribute 'memo'"):
            thing.memo  # noqa: B018


def test_a_class_of_the_program_that_uses_the_memo_refuses_the_load(pair: Pair, main: ModuleType) -> None:
    class Own(main.Child):  # type: ignore[name-defined, misc]
        def names(self) -> list[str]:
            return list(self.memo)

    with pytest.raises(LivePatchError, match=r"Own\.names uses it, too") as caught:
        load_patch(built(pair))
    assert caught.value.code == "PLP114"
    assert "memo" not in vars(main.Base)
    assert Own().rule("ONE") == ["old"]


@pytest.mark.parametrize("own", [{"memo": None}, {"forget": lambda self: self.memo.clear()}])
def test_so_does_another_base_of_such_a_class(own: dict[str, Any], pair: Pair, main: ModuleType) -> None:
    mixin = type("Mixin", (), own)
    kept = type("Own", (mixin, main.Child), {})()
    with pytest.raises(LivePatchError, match=r"uses it, too"):
        load_patch(built(pair))
    assert kept.rule("ONE") == ["old"]


@pytest.mark.parametrize("options", [{"mode": "stop-machine"}, {"mode": "per-task"}, {"incremental": True}])
def test_it_is_forgotten_however_the_patch_is_loaded(options: Any, pair: Pair, main: ModuleType) -> None:
    kept = main.Child()
    assert kept.rule("ONE") == ["old"]
    patch = built(pair).patch
    assert patch is not None
    applied = pylivepatch.load(patch, timeout=PATIENCE, **options)
    assert kept.both() == ("new", ["new"])
    applied.unload()
    assert kept.both() == ("old", ["old"])


def newest(pair: Pair, folder: Path, base: Path) -> pylivepatch.Patch:
    home = folder / "newest" / pair.name
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("")
    (home / "main.py").write_text(NEW.replace('"new"', '"newest"'))
    return build_patch(base, folder / "newest", name="newest")


def test_of_two_patches_each_has_its_own(tmp_path: Path, pair: Pair, main: ModuleType) -> None:
    kept = main.Child()
    assert kept.rule("ONE") == ["old"]
    load_patch(built(pair))
    assert kept.rule("ONE") == ["new"]
    applied = pylivepatch.load(newest(pair, tmp_path, pair.new), timeout=PATIENCE)
    assert kept.rule("ONE") == ["newest"]
    applied.unload()
    assert kept.rule("ONE") == ["new"]


def test_so_does_one_that_takes_the_place_of_another(tmp_path: Path, pair: Pair, main: ModuleType) -> None:
    kept = main.Child()
    assert kept.rule("ONE") == ["old"]
    load_patch(built(pair))
    assert kept.rule("ONE") == ["new"]
    applied = pylivepatch.load(newest(pair, tmp_path, pair.old), replace=True, timeout=PATIENCE)
    assert kept.rule("ONE") == ["newest"]
    applied.unload()
    assert kept.both() == ("old", ["old"])
    assert vars(kept) == {"memo": {"ONE": ["old"]}}


def test_the_value_and_the_memo_switch_together_whatever_is_switched_by_itself(pair: Pair) -> None:
    patch = built(pair).patch
    assert patch is not None
    assert len(groups.of_patch(patch)) == 1


def test_the_patch_file_holds_it(pair: Pair, tmp_path: Path) -> None:
    patch = built(pair).patch
    assert patch is not None
    patchfile.write(patch, tmp_path / "fix.plp")
    assert patchfile.read(tmp_path / "fix.plp") == patch

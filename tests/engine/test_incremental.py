"""A patch that is switched group by group: each is old or new, whole, and the record says which."""

from __future__ import annotations

import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from orchard import apple, apple_new, hole, hole_new, nut, nut_new, pear, pear_new, stay, stay_new
from test_interrupted import run

import pylivepatch
from pylivepatch import Patch, PrepareError, TransitionTimeout, events, journal
from pylivepatch.callbacks import Callbacks
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import CodeMismatch, PartlySwitched, PatchExists, TransitionReversed
from pylivepatch.portions import leads_to

PATIENCE = 20.0


def fruit(name: str = "fruit", **more: Any) -> Patch:
    """Three groups: apple and pear, nut, and stay."""
    patch = Patch(name, **more).replace(apple, apple_new).replace(pear, pear_new).replace(nut, nut_new)
    return patch.replace(stay, stay_new)


def versions() -> tuple[str, str, bool]:
    return apple(), nut(), "new" in stay.__code__.co_consts


OLD, NEW = ("oldold", "old", False), ("newnew", "new", True)


class Inside:
    """A thread that is in a function."""

    def __init__(self, function: Callable[..., str]) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=function, args=(self.inside, self.leave), name="sitter")
        self.thread.start()
        assert self.inside.wait(PATIENCE)

    def go(self) -> None:
        self.leave.set()
        self.thread.join(PATIENCE)


@pytest.fixture
def sit() -> Iterator[Callable[[Callable[..., str]], Inside]]:
    inside: list[Inside] = []

    def begin(function: Callable[..., str]) -> Inside:
        inside.append(Inside(function))
        return inside[-1]

    yield begin
    for one in inside:
        one.go()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    for applied in reversed(pylivepatch.patches()):
        applied.unload()
    assert versions() == OLD


@contextmanager
def when(name: str, of_kind: str, happens: Callable[[dict[str, Any]], None], **wanted: Any) -> Iterator[None]:
    """Do ``happens`` at each such event of the patch, on the thread where it comes."""

    def watch(event: pylivepatch.Event) -> None:
        if (event.patch, event.kind) == (name, of_kind) and wanted.items() <= event.data.items():
            happens(dict(event.data))

    unsubscribe = pylivepatch.subscribe(watch)
    try:
        yield
    finally:
        unsubscribe()


def test_each_group_switches_and_the_report_says_when() -> None:
    applied = pylivepatch.load(fruit(), incremental=True)
    assert versions() == NEW
    names = [sorted(name.partition(":")[2] for name in group["functions"]) for group in applied.report["groups"]]
    assert names == [["apple", "pear"], ["nut"], ["stay"]]
    assert all(0 <= group["after"] < PATIENCE for group in applied.report["groups"])
    assert not applied.partial
    assert [group["in_force"] for group in applied.groups] == [True] * 3
    report = applied.unload(incremental=True)
    assert versions() == OLD
    assert (report["action"], len(report["groups"])) == ("unload", 3)
    assert pylivepatch.patches() == ()


def test_a_patch_that_was_loaded_at_once_can_be_unloaded_group_by_group() -> None:
    applied = pylivepatch.load(fruit())
    assert len(applied.unload(incremental=True)["groups"]) == 3
    assert pylivepatch.patches() == ()


def test_idle_groups_do_not_wait_for_one_that_is_busy(sit: Any) -> None:
    busy = sit(stay)
    seen: list[Any] = []

    def look(data: dict[str, Any]) -> None:
        (applied,) = pylivepatch.patches()
        seen.append(("stay" in data["group"], applied.partial, nut()))
        if nut() == "new" and apple() == "newnew":
            busy.leave.set()

    with when("fruit", "group", look):
        applied = pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    assert seen == [(False, True, "old"), (False, True, "new"), (True, False, "new")]
    assert versions() == NEW
    assert not applied.partial


def test_when_the_time_is_up_the_groups_that_switched_are_switched_back(sit: Any) -> None:
    sit(stay)
    switched: list[str] = []
    noting = when("fruit", "group", lambda data: switched.append(data["action"]))
    with noting, pytest.raises(TransitionTimeout) as raised:
        pylivepatch.load(fruit(), incremental=True, timeout=0.3)
    assert switched == ["load", "load", "unload", "unload"]
    assert versions() == OLD
    assert pylivepatch.patches() == ()
    assert "sitter" in str(raised.value)
    assert "1 of 3 groups" in raised.value.message


@pytest.mark.usefixtures("counted")
def test_a_load_that_is_taken_back_tells_the_calls_of_all_tries_in_its_error(sit: Any) -> None:
    sit(stay)
    called: list[str] = []

    def call(data: dict[str, Any]) -> None:
        called.append(nut())

    with when("fruit", "drain", call), pytest.raises(TransitionTimeout) as raised:
        pylivepatch.load(fruit(), incremental=True, timeout=0.3, count_calls=True)
    assert len(called) > 1  # in a try of each group
    entered = raised.value.details["calls"]["entered"]
    assert 0 < entered < len(called)  # nut has its trampoline in the tries of its own group only


def test_an_unload_that_cannot_be_completed_puts_back_what_it_took_out(sit: Any) -> None:
    applied = pylivepatch.load(fruit())
    sit(stay)
    with pytest.raises(TransitionTimeout):
        applied.unload(incremental=True, timeout=0.3)
    assert versions() == NEW
    assert not applied.partial


def partial_load(sit: Any, **options: Any) -> tuple[Inside, Inside, PartlySwitched]:
    """A load that is neither completed nor taken back: somebody is in old ``stay``, and then in new ``hole``."""
    old, new = sit(stay), []

    def enter(data: dict[str, Any]) -> None:
        if "hole" in data["group"]:
            new.append(sit(hole))

    patch = fruit(**options).replace(hole, hole_new)
    with when("fruit", "group", enter), pytest.raises(PartlySwitched) as raised:
        pylivepatch.load(patch, incremental=True, timeout=0.3)
    return old, new[0], raised.value


def test_what_cannot_be_switched_back_stays_and_the_error_says_what(sit: Any) -> None:
    old, new, error = partial_load(sit)
    (applied,) = pylivepatch.patches()
    assert applied.partial
    assert versions() == OLD
    assert [name.partition(":")[2] for name in applied.functions] == ["hole"]
    assert {g["functions"][0].partition(":")[2]: g["in_force"] for g in error.details["groups"]} == {
        "apple": False,
        "nut": False,
        "stay": False,
        "hole": True,
    }
    assert "applied in part" in error.message
    assert applied.as_dict()["partial"] is True
    old.go()
    new.go()
    applied.unload()
    assert pylivepatch.patches() == ()
    assert "old" in hole.__code__.co_consts


def test_loading_a_partial_patch_again_goes_on_with_what_is_missing(sit: Any) -> None:
    old, new, _ = partial_load(sit)
    old.go()
    again = fruit().replace(hole, hole_new)
    with pytest.raises(PatchExists, match="incremental"):
        pylivepatch.load(again)
    with pytest.raises(PatchExists, match="another patch"):
        pylivepatch.load(fruit(), incremental=True)
    applied = pylivepatch.load(again, incremental=True)
    assert versions() == NEW
    assert not applied.partial
    assert pylivepatch.patches() == (applied,)
    assert len(applied.report["groups"]) == 3
    new.go()


def test_going_on_that_fails_leaves_what_was_there(sit: Any) -> None:
    old, new, _ = partial_load(sit)
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(fruit().replace(hole, hole_new), incremental=True, timeout=0.2)
    (applied,) = pylivepatch.patches()
    assert applied.partial
    assert [name.partition(":")[2] for name in applied.functions] == ["hole"]
    assert versions() == OLD
    old.go()
    new.go()


def test_a_missing_group_that_somebody_else_changed_is_refused(sit: Any) -> None:
    old, new, _ = partial_load(sit)
    old.go()
    new.go()
    above = pylivepatch.load(Patch("above").replace(nut, nut_new))
    with pytest.raises(CodeMismatch, match="other code since"):
        pylivepatch.load(fruit().replace(hole, hole_new), incremental=True)
    (applied, _) = pylivepatch.patches()
    assert applied.partial
    above.unload()
    assert pylivepatch.load(fruit().replace(hole, hole_new), incremental=True).partial is False


def test_a_partial_patch_is_replaced_like_any_other(sit: Any) -> None:
    old, new, _ = partial_load(sit)
    old.go()
    new.go()
    pylivepatch.load(Patch("cumulative").replace(nut, nut_new), replace=True)
    assert [applied.name for applied in pylivepatch.patches()] == ["cumulative"]
    assert (apple(), nut()) == ("oldold", "new")
    assert "old" in hole.__code__.co_consts


def test_callbacks_run_once_for_the_patch_as_a_whole(sit: Any) -> None:
    seen: list[str] = []

    def note(name: str) -> Any:
        return lambda context: seen.append(f"{name} {nut()}")

    callbacks = Callbacks(note("pre_patch"), note("post_patch"), note("pre_unpatch"), note("post_unpatch"))
    applied = pylivepatch.load(fruit(callbacks=callbacks), incremental=True)
    assert seen == ["pre_patch old", "post_patch new"]
    applied.unload(incremental=True)
    assert seen[2:] == ["pre_unpatch new", "post_unpatch old"]
    sit(stay)
    del seen[:]
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(fruit(callbacks=callbacks), incremental=True, timeout=0.2)
    assert seen == ["pre_patch old", "post_unpatch old"]


def test_a_reversal_on_request_takes_every_group_back(sit: Any) -> None:
    sit(stay)

    def ask(data: dict[str, Any]) -> None:
        if data["action"] == "load":
            pylivepatch.reverse()

    with when("fruit", "group", ask), pytest.raises(TransitionReversed):
        pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    assert versions() == OLD
    assert pylivepatch.patches() == ()


def test_force_is_for_all_groups_whose_turn_is_to_come(sit: Any, forget_everything: None) -> None:
    sit(stay)
    asked: list[str] = []

    def ask(data: dict[str, Any]) -> None:
        if not asked:
            asked.append(pylivepatch.force()["patch"])

    with when("fruit", "drain", ask):
        applied = pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    assert asked == ["fruit"]
    assert versions() == NEW
    assert (applied.forced, applied.tainted, applied.report["forced"]) == (True, True, True)


def test_status_shows_the_groups(sit: Any) -> None:
    busy = sit(stay)
    seen: list[Any] = []

    def look(data: dict[str, Any]) -> None:
        status = pylivepatch.status()
        assert status is not None
        seen.append(sum(group["in_force"] for group in status["groups"]))
        busy.leave.set()

    with when("fruit", "drain", look):
        pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    assert seen[0] == 0 or seen[0] == 2
    assert pylivepatch.status() is None


@pytest.mark.parametrize("options", [{"mode": "per-task"}, {"mode": "stop-machine"}, {"replace": True}])
def test_what_incremental_does_not_go_with_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PrepareError, match="incremental"):
        pylivepatch.load(fruit(), incremental=True, **options)
    assert pylivepatch.patches() == ()


class Injected(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_leaves_what_the_record_says(sit: Any, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Once: what has switched is switched back. Again, on the way back: it ends there, and the patch is partial."""
    sit(stay)
    told, publish = [], events.publish

    def strike(kind: str, patch: str, **data: Any) -> None:
        publish(kind, patch, **data)
        if kind == "group":
            told.append(data["action"])
            if told == ["load"] * 2 or (told == ["load"] * 2 + ["unload"] and times == 2):
                raise Injected

    monkeypatch.setattr(events, "publish", strike)
    with pytest.raises(Injected) as raised:
        pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    monkeypatch.undo()
    in_force = {name.partition(":")[2] for applied in pylivepatch.patches() for name in applied.functions}
    answers = {"apple": apple()[:3], "pear": pear(), "nut": nut()}
    assert in_force == {name for name, answer in answers.items() if answer == "new"}
    assert bool(in_force) is (times == 2)
    assert all(applied.partial for applied in pylivepatch.patches())
    assert any("applied in part" in note for note in getattr(raised.value, "__notes__", ())) is (times == 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_is_forked_between_two_groups_knows_what_is_in_force(sit: Any) -> None:
    busy = sit(stay)
    answers: list[int] = []

    def fork(data: dict[str, Any]) -> None:
        if answers or nut() != "new":
            return
        child = os.fork()
        if child == 0:
            try:
                here = [name.partition(":")[2] for applied in pylivepatch.patches() for name in applied.functions]
                os._exit(0 if sorted(here) == ["apple", "nut", "pear"] and pylivepatch.patches()[0].partial else 1)
            finally:
                os._exit(2)
        answers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        busy.leave.set()

    done = threading.Event()

    def forker() -> None:
        while not done.is_set() and not answers:
            fork({})
            time.sleep(0.001)

    thread = threading.Thread(target=forker)
    thread.start()
    try:
        pylivepatch.load(fruit(), incremental=True, timeout=PATIENCE)
    finally:
        done.set()
        thread.join(PATIENCE)
    assert answers == [0]


MODULE = """
LIMIT = {version!r}
def one(): return {version!r} + two()
def two(): return {version!r}
def three(): return LIMIT
def stays(inside, leave):
    inside.set()
    leave.wait(20)
    return {version!r}
"""


SECOND = f"""
from inc_first import stays as theirs
{MODULE}
def again(*events): return {{version!r}} + theirs(*events)
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patch]:
    """A patch of two modules, the second of which is not imported yet."""
    for version in ("old", "new"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "inc_first.py").write_text(MODULE.format(version=version))
        (folder / "inc_second.py").write_text(SECOND.format(version=version))
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    yield pylivepatch.build_patch(tmp_path / "old", tmp_path / "new", name="built")
    for applied in reversed(pylivepatch.patches()):
        applied.unload()
    for name in ("inc_first", "inc_second"):
        sys.modules.pop(name, None)


def test_a_built_patch_comes_with_its_groups(built: Patch) -> None:
    import inc_first as first  # type: ignore[import-not-found]

    applied = pylivepatch.load(built, incremental=True)
    assert (first.one(), first.three()) == ("newnew", "new")
    groups = [sorted([*group["functions"], *group["attributes"]]) for group in applied.report["groups"]]
    assert sorted(groups) == [["inc_first:LIMIT"], ["inc_first:one", "inc_first:two"], ["inc_first:stays"]]
    import inc_second as second  # type: ignore[import-not-found]

    assert (second.one(), second.three()) == ("newnew", "new")
    applied.unload(incremental=True)
    assert (first.one(), first.three(), second.one(), second.three()) == ("oldold", "old", "oldold", "old")


def test_a_module_that_arrives_in_the_midst_of_it_is_taken_in(built: Patch, sit: Any) -> None:
    import inc_first as first

    busy = sit(first.stays)
    modules: list[Any] = []

    def importer() -> None:
        import inc_second

        modules.append((inc_second, inc_second.one(), inc_second.again.__code__.co_consts))
        busy.leave.set()

    threads: list[threading.Thread] = []

    def begin(data: dict[str, Any]) -> None:
        if not threads:
            threads.append(threading.Thread(target=importer))
            threads[0].start()

    with when("built", "group", begin):
        applied = pylivepatch.load(built, incremental=True, timeout=PATIENCE)
    threads[0].join(PATIENCE)
    ((second, answer, constants),) = modules
    assert (answer, second.one(), first.one()) == ("newnew",) * 3
    assert "old" in constants, "its group was still waiting"
    assert "new" in second.again.__code__.co_consts
    assert applied.waiting == ()
    applied.unload()
    assert (second.one(), second.three(), first.one()) == ("oldold", "old", "oldold")
    assert "old" in second.again.__code__.co_consts


@pytest.mark.parametrize("step", [401, pytest.param(67, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_the_record_true(built: Patch, step: int) -> None:
    import inc_first as first

    patch = compile_patch(built)
    groups = {"one": ("one", "two"), "stays": ("stays",)}

    def check(where: str) -> None:
        pylivepatch.patches()  # whoever looks settles what was cut off
        named = {name for applied in pylivepatch.patches() for name in (*applied.functions, *applied.attributes)}
        for names in groups.values():
            new = {"new" in getattr(first, name).__code__.co_consts for name in names}
            assert new == {f"inc_first:{names[0]}" in named}, where
        assert (first.LIMIT == "new") is ("inc_first:LIMIT" in named), where
        missing = sum(not group["in_force"] for applied in pylivepatch.patches() for group in applied.groups)
        assert all(applied.partial is (missing > 0) for applied in pylivepatch.patches()), where
        assert pylivepatch.status() is None, where
        assert journal._undertakings == [], where

    n = 1
    while True:
        came, where = run(lambda: pylivepatch.load(patch, incremental=True), n)
        check(where)
        if not pylivepatch.patches() or pylivepatch.patches()[0].partial:
            pylivepatch.load(patch, incremental=True)
        assert (first.one(), first.three()) == ("newnew", "new"), where
        came_back, where = run(lambda: pylivepatch.unload("built", incremental=True), n)
        check(where)
        if pylivepatch.patches():
            pylivepatch.unload("built")
        assert (first.one(), first.three()) == ("oldold", "old"), where
        if not came and not came_back:
            break
        n += step
    assert n > 1000


def test_groups_that_a_module_between_them_leads_to_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    def g() -> None: ...

    g.__module__ = "second"
    between, behind, package = (types.ModuleType(name) for name in ("between", "behind", "package"))
    vars(between)["behind"] = behind
    vars(behind)["g"] = g
    inside = types.ModuleType("package.second")
    vars(package)["second"] = inside
    for module in (between, behind, package, inside):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert leads_to(["between"], ["first", "second"]) == {"second"}
    assert leads_to(["json", "nowhere"], ["first", "second"]) == set()
    assert leads_to(["package"], ["package.second"]) == set(), "no code of the package mentions it"

    def uses() -> object:
        return second  # type: ignore[name-defined]  # noqa: F821

    vars(package)["uses"] = uses
    assert leads_to(["package"], ["package.second"]) == {"package.second"}

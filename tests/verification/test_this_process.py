"""What a verification says of this very process: equal, or what differs, and what kind of difference that is."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import pylivepatch
from pylivepatch.patch import ModulePatch
from pylivepatch.verification import Report

OLD = """\
import functools, re

LIMIT = 5
_cache = {}
PATTERN = re.compile("a+")

def price(quantity, *, tax=1):
    def inner():
        return quantity * LIMIT
    return inner()

def remember(key):
    _cache[key] = True

@functools.lru_cache(maxsize=3)
def cached(x):
    return x

class Shop:
    open = True

    @property
    def owner(self):
        return "old"

    @staticmethod
    def sell(x=(1, 2)):
        return x
"""
NEW = OLD.replace("quantity * LIMIT", "quantity * LIMIT + 1").replace('"old"', '"new"')
NEW = NEW.replace("LIMIT = 5", "LIMIT = 6")


def found(report: Report) -> list[tuple[str, str]]:
    return [(one.symbol, one.what) for one in report.different]


def verify(module: Any) -> Report:
    return pylivepatch.verify(packages=[module.__name__])


def test_a_process_that_runs_what_is_on_disk_is_equal(sources: Any) -> None:
    module = sources.load(OLD)
    report = verify(module)
    assert report.outcome == "equal"
    assert report.compared == (module.__name__,)


def test_a_patched_process_equals_the_new_version_and_then_the_old_one(sources: Any) -> None:
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    assert found(pylivepatch.verify(patch, version="new")) == [
        ("LIMIT", "value"),
        ("price", "code"),
        ("Shop.owner", "get code"),
    ]
    assert pylivepatch.verify(patch).outcome == "equal"
    applied = pylivepatch.load(patch)
    report = pylivepatch.verify(patch)
    assert (report.against, report.different, report.outcome) == ("new", (), "equal")
    assert pylivepatch.verify(patch, version="old").outcome == "different"
    applied.unload()
    report = pylivepatch.verify(patch)
    assert (report.against, report.different, report.outcome) == ("old", (), "equal")


def test_an_applied_patch_is_told_from_the_sources_on_disk(sources: Any) -> None:
    module = sources.load(OLD)
    pylivepatch.load(sources.patch(module, NEW))
    report = verify(module)
    assert report.applied == ("fix",)
    assert found(report) == [("LIMIT", "value"), ("price", "code"), ("Shop.owner", "get code")]
    code = report.different[1]
    assert code.live.startswith(f"<livepatch fix>/{module.__name__}.py:7")
    assert code.fresh.startswith(f"{module.__file__}:7")


def test_files_that_were_upgraded_since_the_start_are_told(sources: Any) -> None:
    module = sources.load(OLD)
    sources.write(NEW + "\ndef more():\n    pass\n", module.__name__)
    changed = [("LIMIT", "value"), ("price", "code"), ("Shop.owner", "get code")]
    assert found(verify(module)) == [*changed, ("more", "name")]


def test_a_comment_that_moved_every_line_is_no_difference_and_is_told(sources: Any) -> None:
    module = sources.load(OLD)
    sources.write("# a comment\n\n" + OLD, module.__name__)
    report = verify(module)
    assert (report.outcome, report.moved) == ("equal", (module.__name__,))


def test_what_a_class_notes_on_itself_while_it_works_is_no_difference(sources: Any) -> None:
    text = "class C:\n    def note(self): type(self).__seen = C\n"
    module = sources.load(text)
    patch = sources.patch(module, text + "def more(): pass\n")
    module.C().note()
    copy.copy(module.C())
    assert {"_C__seen", "__slotnames__"} <= vars(module.C).keys()
    report = verify(module)
    assert (found(report), [one.symbol for one in report.modified]) == ([], ["C._C__seen"])
    pylivepatch.load(patch)
    assert pylivepatch.verify(patch).different == ()
    module.C._seen = C = object()
    assert found(pylivepatch.verify(patch)) == [("C._seen", "name")], C


def test_what_the_object_of_a_bound_method_learned_is_no_difference(sources: Any) -> None:
    text = "class C:\n    def __init__(self): self.seen = set()\n    def see(self, x): self.seen.add(x)\n"
    module = sources.load(text + "c = C()\nsee = c.see\n")
    module.see(1)
    report = verify(module)
    assert (found(report), {one.symbol for one in report.modified}) == ([], {"c", "see"})


MONKEY_PATCHES = {
    "m.price = lambda quantity, *, tax=1: 0": ("price", "name"),
    "m.price.__defaults__ = (7,)": ("price", "signature"),
    "m.price.__kwdefaults__['tax'] = 2": ("price", "keyword defaults"),
    "m.Shop.sell = staticmethod(lambda x: x)": ("Shop.sell", "name"),
    "m.Shop.sell = lambda x: x": ("Shop.sell", "kind"),
    "del m.Shop.owner": ("Shop.owner", "name"),
    "m.Shop.fresh = lambda self: 0": ("Shop.fresh", "name"),
    "m.Shop.open = False": ("Shop.open", "value"),
    "m.LIMIT = 5.0": ("LIMIT", "kind"),
    "m.PATTERN = m.re.compile('a')": ("PATTERN", "value"),
    "m.cached = functools.lru_cache(maxsize=4)(m.cached.__wrapped__)": ("cached", "parameters"),
    "m.price = functools.wraps(m.price)(lambda *a, **k: 0)": ("price", "code"),
    "m.Shop.__doc__ = 'else'": ("Shop", "documentation"),
    "m.Shop.__bases__ = (Other,)": ("Shop", "bases"),
    "m.price = mock.Mock()": ("price", "kind"),
}


def test_what_was_monkey_patched_is_named(sources: Any) -> None:
    modules = {statement: sources.load(OLD.replace("class Shop:", "class Base:\n    pass\n\nclass Shop(Base):"))
               for statement in MONKEY_PATCHES}
    for statement, module in modules.items():
        exec(statement, {"m": module, "functools": functools, "Other": type("Other", (), {}), "mock": mock})
    report = pylivepatch.verify(packages=[module.__name__ for module in modules.values()])
    for statement, (symbol, what) in MONKEY_PATCHES.items():
        those = [(one.symbol, one.what) for one in report.different if one.module == modules[statement].__name__]
        assert (symbol, what) in those, statement
        assert {one for one, _ in those} == {symbol}, statement


def test_what_the_process_did_to_its_data_is_no_difference(sources: Any) -> None:
    module = sources.load(OLD)
    module.remember("a")
    report = verify(module)
    assert report.outcome == "equal"
    assert [(one.symbol, one.live, one.fresh) for one in report.modified] == [("_cache", "{'a': True}", "{}")]


def test_a_global_that_a_function_binds_anew_is_the_state_of_the_process(sources: Any) -> None:
    module = sources.load("started = 0\n\ndef start():\n    global started\n    started += 1\n")
    module.start()
    report = verify(module)
    assert (report.outcome, [one.symbol for one in report.modified]) == ("equal", ["started"])


def test_what_two_fresh_imports_do_not_agree_on_is_no_difference(sources: Any) -> None:
    module = sources.load(
        "import re, time\nSTARTED = time.time()\nWORDS = re.compile('|'.join({'a', 'b', 'c', 'd', 'e', 'f'}))\n"
    )
    report = verify(module)
    assert report.outcome == "equal"
    assert {one.symbol for one in report.varies} >= {"STARTED"}
    assert {one.symbol for one in report.varies} <= {"STARTED", "WORDS"}


def test_a_module_that_cannot_be_imported_again_is_named(sources: Any) -> None:
    module = sources.load("def f():\n    pass\n")
    sources.write("raise OSError('no such device')\n", module.__name__)
    report = verify(module)
    assert report.not_compared == {module.__name__: "OSError: no such device"}
    assert report.outcome == "incomplete"


def test_a_module_that_takes_the_child_with_it_is_named_and_the_others_are_compared(sources: Any) -> None:
    module, other = sources.load("def f():\n    pass\n"), sources.load("def g():\n    pass\n")
    sources.write("import os\nos._exit(3)\n", module.__name__)
    report = pylivepatch.verify(packages=[module.__name__, other.__name__])
    assert "ended with status 3" in report.not_compared[module.__name__]
    assert report.compared == (other.__name__,)


def test_a_second_object_in_the_place_of_one_that_two_modules_share_is_told(sources: Any) -> None:
    one = sources.load("def f():\n    return 1\n\nTABLE = {1: 2}\n")
    other = sources.load(f"from {one.__name__} import f, TABLE\n")
    names = [one.__name__, other.__name__]
    assert pylivepatch.verify(packages=names).outcome == "equal"
    other.f = type(one.f)(one.f.__code__, vars(one))
    other.TABLE = {1: 2}
    report = pylivepatch.verify(packages=names)
    assert found(report) == [("f", "kind"), ("TABLE", "kind")]


def test_a_name_that_is_gone_and_was_left_in_place_is_noted(sources: Any) -> None:
    module = sources.load("def used():\n    return 1\n\ndef unused():\n    return 2\n")
    patch = sources.patch(module, "def used():\n    return 3\n")
    pylivepatch.load(patch)
    report = pylivepatch.verify(patch)
    assert report.outcome == "equal"
    assert [(one.symbol, one.what, one.fresh) for one in report.noted] == [("unused", "name", "")]


def test_nothing_is_compared_in_mid_transition(sources: Any, hold: Any) -> None:
    held = hold(pylivepatch.Patch("held"))
    with pytest.raises(pylivepatch.LivePatchError) as caught:
        pylivepatch.verify(packages=["json"])
    assert caught.value.code == "PLP113"
    held.finish()


def test_what_is_shared_with_a_module_that_cannot_be_compared_is_compared_all_the_same(sources: Any) -> None:
    shared = "from collections.abc import Callable\n"
    one, other, third = (sources.load(shared) for _ in range(3))
    sources.write("import nowhere_to_be_found\n", one.__name__)
    report = pylivepatch.verify(packages=[module.__name__ for module in (one, other, third)])
    assert list(report.not_compared) == [one.__name__]
    assert (report.outcome, report.different) == ("incomplete", ())


def test_a_versions_name_and_what_was_made_of_it_stay_and_are_noted(sources: Any) -> None:
    old = "__version__ = '1.0'\nAGENT = f'fetch/{__version__}'\nLIMIT = 1\n"
    module = sources.load(old)
    new = old.replace("1.0", "1.1").replace("LIMIT = 1", "LIMIT = 2")
    part = ModulePatch(module.__name__, f"{module.__name__}.py", old, new, ())
    report = pylivepatch.verify(pylivepatch.Patch("fix", modules=(part,)), version="new")
    assert [one.symbol for one in report.noted] == ["__version__", "AGENT"]
    assert [one.symbol for one in report.different] == ["LIMIT"]


def test_a_method_that_is_gone_is_a_difference_where_it_hides_another(sources: Any) -> None:
    old = "class Base:\n    def f(self):\n        return 1\n\nclass C(Base):\n{}    def g(self):\n        return 3\n"
    hiding = "    def f(self):\n        return 2\n\n    def unused(self):\n        return 4\n\n"
    module = sources.load(old.format(hiding))
    part = ModulePatch(module.__name__, f"{module.__name__}.py", old.format(hiding), old.format(""), ())
    report = pylivepatch.verify(pylivepatch.Patch("fix", modules=(part,)), version="new")
    assert [one.symbol for one in report.different] == ["C.f"]
    assert [one.symbol for one in report.noted] == ["C.unused"]


def test_a_module_that_only_the_new_version_has_is_compared_with_what_the_patch_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"old": {"__init__": "", "a": "def f():\n    return 1\n"}}
    files["new"] = {"__init__": "", "a": "from grown.b import g\n\ndef f():\n    return g()\n"}
    files["new"]["b"] = "def g():\n    return 2\n"
    for side, modules in files.items():
        (tmp_path / side / "grown").mkdir(parents=True)
        for name, text in modules.items():
            (tmp_path / side / "grown" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("grown.a")
    patch = pylivepatch.build_patch(tmp_path / "old", tmp_path / "new", name="fix")
    try:
        applied = pylivepatch.load(patch)
        assert module.f() == 2
        report = pylivepatch.verify(patch)
        assert (report.outcome, "grown.b" in report.compared) == ("equal", True)
        sys.modules["grown.b"].g = lambda: 3
        assert ("g", "name") in found(pylivepatch.verify(patch))
        sys.modules["grown.b"].g = module.g
        applied.unload()
        assert pylivepatch.verify(patch).outcome == "equal"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "grown"]:
            del sys.modules[name]


def test_functions_with_annotations_that_lie_in_data_are_equal(sources: Any) -> None:
    source = "def f(x: int) -> str: ...\n\nTABLE = {1: [lambda x: x]}\n\n"
    source += "def g(x: int) -> str: ...\n\ndef h(*, y=[g]): ...\nh.inner = [g]\ndel g\n"
    module = sources.load(source)
    vars(module)["TABLE"][1].append(1)
    report = verify(module)
    assert report.different == ()
    assert [one.symbol for one in report.modified] == ["TABLE"]

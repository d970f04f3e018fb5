"""The stack of patches, modules that come later, and patches built from source."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import DataMismatch, NotRemovable


def first() -> str:
    return "first"


def second() -> str:
    return "second"


def third() -> str:
    return "third"


def test_patches_of_one_function_stack_and_come_off_in_order(each_path: str) -> None:
    original = first.__code__
    one = pylivepatch.load(Patch("one").replace(first, second))
    two = pylivepatch.load(Patch("two").replace(first, third))
    assert (first(), [a.name for a in pylivepatch.patches()]) == ("third", ["one", "two"])
    with pytest.raises(NotRemovable) as caught:
        one.unload()
    assert "two" in caught.value.advice
    two.unload()
    assert first() == "second"
    one.unload()
    assert first.__code__ is original


def test_what_another_tool_changed_since_is_not_overwritten(each_path: str) -> None:
    applied = pylivepatch.load(Patch("one").replace(first, second))
    new = first.__code__
    first.__code__ = third.__code__.replace()
    with pytest.raises(NotRemovable):
        applied.unload()
    assert first() == "third"
    first.__code__ = new
    applied.unload()
    assert first() == "first"


SOURCE = """\
import os
LIMIT = 10
class C:
    level = 1
    def method(self): return 'old', self.level
def function(a=1): return 'old', LIMIT, a
"""
NEW = """\
import os
import json
LIMIT = 20
class C:
    level = 2
    def method(self): return 'new', self.level, self.added()
    def added(self): return super().__repr__() and 'added'
def function(a=2): return 'new', LIMIT, helper(a)
def helper(x): return json.dumps(x)
"""


def names_and_codes(module: Any) -> dict[str, Any]:
    return {
        name: getattr(value, "__code__", value)
        for name, value in {**vars(module), **vars(module.C)}.items()
        if not name.startswith("__")
    }


def test_a_patch_from_source_changes_and_adds_and_takes_back(sources: Any, each_path: str) -> None:
    module = sources.load(SOURCE)
    before = names_and_codes(module)
    applied = pylivepatch.load(compile_patch(sources.patch(module, NEW)))
    assert module.C().method() == ("new", 2, "added")
    assert module.function() == ("new", 20, "2")
    assert applied.as_dict()["waiting"] == []
    applied.unload()
    assert names_and_codes(module) == before
    assert module.function() == ("old", 10, 1)
    assert not hasattr(module, "helper")


def test_a_value_changed_since_refuses_the_unload(sources: Any) -> None:
    module = sources.load(SOURCE)
    applied = pylivepatch.load(compile_patch(sources.patch(module, NEW)))
    module.LIMIT = 30
    with pytest.raises(DataMismatch):
        applied.unload()
    module.LIMIT = 20
    applied.unload()


def test_data_that_only_the_patch_has_goes_with_it_whatever_its_functions_made_of_it(sources: Any) -> None:
    old = "def f(): return 0\nclass C:\n    def m(self): return 0\n"
    new = (
        "calls = 0\nclass C:\n    only = None\n"
        "    def m(self):\n        C.only = C.only or self\n        return C.only\n"
        "def f():\n    global calls\n    calls += 1\n    return calls\n"
    )
    module = sources.load(old)
    for mode in ("refcount", "stop-machine"):
        applied = pylivepatch.load(compile_patch(sources.patch(module, new)))
        first = module.C().m()
        assert (module.f(), module.f(), module.C().m()) == (1, 2, first)
        applied.unload(mode=mode)
        assert (module.f(), hasattr(module, "calls"), hasattr(module.C, "only")) == (0, False, False)


def test_a_counter_that_only_the_patch_has_may_count_on_while_it_is_taken_out(sources: Any) -> None:
    module = sources.load("def f(): return 0\ndef g(): yield 1\n")
    new = "calls = 0\ndef f():\n    global calls\n    calls += 1\n    return calls\ndef g():\n    yield 2\n"
    applied = pylivepatch.load(compile_patch(sources.patch(module, new)))
    holder = module.g()
    next(holder)  # the unload waits for it, and the counter counts on
    thread = threading.Thread(target=applied.unload, kwargs={"timeout": 30.0})
    thread.start()
    while thread.is_alive() and pylivepatch.status() is None:
        module.f()
    counted = [module.f(), module.f()]
    holder.close()
    del holder  # it names the code
    thread.join(30)
    assert counted[1] == counted[0] + 1
    assert (module.f(), hasattr(module, "calls"), pylivepatch.patches()) == (0, False, ())


def test_a_cumulative_patch_may_replace_one_whose_own_data_has_changed(sources: Any) -> None:
    module = sources.load("def f(): return 0\n")
    new = "calls = 0\ndef f():\n    global calls\n    calls += 1\n    return calls\n"
    pylivepatch.load(compile_patch(sources.patch(module, new)))
    assert module.f() == 1
    cumulative = sources.patch(module, "def f(): return 'all'\n", "cumulative")
    applied = pylivepatch.load(compile_patch(cumulative), replace=True)
    assert (module.f(), hasattr(module, "calls")) == ("all", False)
    applied.unload()
    assert module.f() == 0


def test_tracebacks_show_the_lines_of_the_version_that_runs(sources: Any) -> None:
    source = "def f():\n    a = 1\n    raise KeyError('old line')\n"
    module = sources.load(source)

    def lines() -> tuple[int | None, str | None]:
        try:
            module.f()
        except KeyError as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return frame.lineno, frame.line
        raise AssertionError

    new = "def f():\n    a = 1\n    b = 2\n    raise KeyError('new line')\n"
    applied = pylivepatch.load(compile_patch(sources.patch(module, new)))
    assert lines() == (4, "raise KeyError('new line')")
    applied.unload()
    assert lines() == (3, "raise KeyError('old line')")


# --- arrivals -----------------------------------------------------------------------------------------------


def test_a_module_is_patched_as_it_is_imported(sources: Any) -> None:
    name = sources.write(SOURCE)
    applied = pylivepatch.load(compile_patch(sources.patch(name, NEW)))
    assert applied.waiting == (name,)
    module = importlib.import_module(name)
    assert module.function() == ("new", 20, "2")
    assert applied.waiting == ()
    assert [type(finder).__module__ for finder in sys.meta_path].count("pylivepatch.arrivals") == 0
    applied.unload()
    assert module.function() == ("old", 10, 1)


def test_a_patch_taken_out_while_it_waits_never_comes(sources: Any) -> None:
    name = sources.write(SOURCE)
    pylivepatch.load(compile_patch(sources.patch(name, NEW))).unload()
    assert importlib.import_module(name).function() == ("old", 10, 1)


def test_two_patches_wait_for_one_module_each_for_itself(sources: Any) -> None:
    name = sources.write("def f(): return 'old'\ndef g(): return 'old'\n")
    one = compile_patch(sources.patch(name, "def f(): return 'new'\ndef g(): return 'old'\n", "one"))
    two = compile_patch(sources.patch(name, "def f(): return 'old'\ndef g(): return 'new'\n", "two"))
    pylivepatch.load(one)
    pylivepatch.load(two).unload()
    module = importlib.import_module(name)
    assert (module.f(), module.g()) == ("new", "old")


def test_a_module_that_is_not_what_was_expected_is_refused(sources: Any) -> None:
    """As the kernel refuses a coming module: else old and new functions of one patch would run together."""
    name = sources.write(SOURCE)
    applied = pylivepatch.load(compile_patch(sources.patch(name, NEW)))
    sources.write(SOURCE.replace("LIMIT, a", "LIMIT, a, a"), name)
    with pytest.raises(ImportError, match="PLP112"):
        importlib.import_module(name)
    assert "PLP112" in applied.failed[name]
    assert name not in sys.modules
    sources.write(SOURCE + " ", name)
    importlib.invalidate_caches()
    assert applied.waiting == (name,)


def test_a_module_whose_file_is_the_new_version_arrives_as_it_is(sources: Any) -> None:
    name = sources.write(SOURCE)
    applied = pylivepatch.load(compile_patch(sources.patch(name, NEW)))
    sources.write(NEW, name)
    module = importlib.import_module(name)
    assert module.function()[0] == "new"
    assert applied.report["arrived_new"] == [name]
    assert applied.waiting == ()


def test_a_module_that_fails_to_import_fails_as_ever(sources: Any) -> None:
    name = sources.write("def f(): return 'old'\n1 // 0\n")
    applied = pylivepatch.load(compile_patch(sources.patch(name, "def f(): return 'new'\n1 // 0\n")))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            importlib.import_module(name)
    assert applied.waiting == (name,)


def test_status_may_be_asked_at_any_moment(counted: None, frequent_switches: None) -> None:
    """From another thread, as the agent does: the books must not be mixed up by it."""
    stop, problems = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                pylivepatch.status()
            except BaseException as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            pylivepatch.load(Patch("p").replace(first, second)).unload()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []


def test_a_module_that_was_executed_again_is_named_and_can_be_cleared_up(sources: Any) -> None:
    source = "LIMIT = 10\ndef f(): return 'old', LIMIT\n"
    module = sources.load(source)
    before = module.f
    applied = pylivepatch.load(sources.patch(module, source.replace("10", "20").replace("old", "new")))
    assert applied.overridden == ()
    importlib.reload(module)
    assert applied.overridden == (f"{module.__name__}:f",)
    assert (module.f(), before()) == (("old", 10), ("new", 10))
    applied.unload()
    assert (module.f(), before(), module.LIMIT) == (("old", 10), ("old", 10), 10)


def test_a_patch_that_another_one_stands_on_is_in_force(each_path: str) -> None:
    one = pylivepatch.load(Patch("one").replace(first, second))
    two = pylivepatch.load(Patch("two").replace(first, third))
    assert (one.overridden, two.overridden) == ((), ())
    two.unload()
    one.unload()

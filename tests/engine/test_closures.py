"""Nested functions: their live instances are found, adopted, or the patch is refused."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import pytest

import pylivepatch
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import UnknownHolders, UnswappableShape

instances: list[Any] = []

SOURCE = """\
def make(a):
    b = a * 10
    def inner(x):
        return 'old', a, b, x
    return inner
def visit(f): return f()
kept = make(1)
registry = {}
class Box: pass
"""
NEW = SOURCE.replace("'old'", "'new'")


def load(sources: Any, module: Any, new: str, **options: Any) -> Any:
    return pylivepatch.load(compile_patch(sources.patch(module, new)), **options)


def test_live_instances_in_the_namespace_are_found(sources: Any, each_path: str) -> None:
    module = sources.load(SOURCE)
    module.registry["x"] = [module.make(2)]
    module.Box.attribute = module.make(3)
    box = module.box = module.Box()
    box.callback = module.make(4)
    everyone = [module.kept, module.registry["x"][0], module.Box.__dict__["attribute"], box.callback]
    code = id(module.kept.__code__)
    applied = load(sources, module, NEW)
    assert [f(0)[:2] for f in everyone] == [("new", 1), ("new", 2), ("new", 3), ("new", 4)]
    later = module.make(5)
    module.registry["later"] = later
    assert later(0) == ("new", 5, 50, 0)
    applied.unload()
    assert [f(0)[:2] for f in everyone] == [("old", 1), ("old", 2), ("old", 3), ("old", 4)]
    assert later(0) == ("old", 5, 50, 0)
    assert all(id(f.__code__) == code for f in [*everyone, later])


def test_hidden_instances_refuse_the_patch_and_advise_the_deep_search(sources: Any, each_path: str) -> None:
    module = sources.load(SOURCE)
    hidden = {object(): (lambda f: [f])(module.make(2))}  # not reachable from the module
    elsewhere = next(iter(hidden.values()))
    with pytest.raises(UnknownHolders) as caught:
        load(sources, module, NEW, timeout=1)
    assert "deep=True" in caught.value.advice
    assert elsewhere[0](0)[0] == module.kept(0)[0] == "old"
    applied = load(sources, module, NEW, deep=True)
    assert applied.report["deep_search"] > 0
    assert elsewhere[0](0) == ("new", 2, 20, 0)
    with_report = applied.unload(deep=True)
    assert with_report["action"] == "unload"
    assert elsewhere[0](0)[0] == module.kept(0)[0] == "old"


def test_instances_born_in_the_transition_take_part(sources: Any, hold: Any) -> None:
    module = sources.load(SOURCE)
    held = hold(sources.patch(module, NEW))
    born = module.registry["born"] = module.make(7)
    assert born(0) == ("old", 7, 70, 0)
    assert held.counted == 0
    held.finish()
    assert born(0) == ("new", 7, 70, 0)
    held.unloading()
    second = module.registry["second"] = module.make(8)
    assert second(0)[0] == "new"
    held.finish()
    assert (born(0)[0], second(0)[0], module.kept(0)[0]) == ("old", "old", "old")


def test_instances_born_in_a_reversed_transition_run_the_old_code(sources: Any, hold: Any) -> None:
    module = sources.load(SOURCE)
    held = hold(sources.patch(module, NEW))
    born = module.make(7)
    held.reverse()
    assert born(0)[0] == "old"
    assert born.__code__ is module.kept.__code__


def test_a_nested_function_in_execution_holds_the_switch(sources: Any) -> None:
    source = "def make(enter):\n    def inner(): enter(); return 'old'\n    return inner\n"
    module = sources.load(source)
    inside, leave, results = threading.Event(), threading.Event(), []

    def enter() -> None:
        inside.set()
        leave.wait(10)

    module.held = module.make(enter)
    thread = threading.Thread(target=lambda: results.append(module.held()), name="in a closure")
    thread.start()
    inside.wait(10)
    patch = compile_patch(sources.patch(module, source.replace("'old'", "'new'")))
    with pytest.raises(pylivepatch.TransitionTimeout) as caught:
        pylivepatch.load(patch, timeout=0.2)
    assert [(h.kind, h.name) for h in caught.value.holders] == [("thread", "in a closure")]
    leave.set()
    thread.join()
    pylivepatch.load(patch)
    assert (results, module.held()) == (["old"], "new")


def test_a_live_instance_without_a_counterpart_refuses_the_patch(sources: Any, each_path: str) -> None:
    module = sources.load(SOURCE)
    with pytest.raises(UnswappableShape):
        load(sources, module, SOURCE.replace("def inner(x)", "def inner(x, y)"), timeout=1)
    assert module.kept(0)[0] == "old"
    module.kept = None
    applied = load(sources, module, SOURCE.replace("def inner(x)", "def inner(x, y)"), timeout=2)
    assert module.make(1)(2, 3)[0] == "old"
    applied.unload()
    assert module.make(1)(2)[0] == "old"


def test_nested_functions_two_deep_and_methods_of_local_classes_follow(sources: Any, hold: Any) -> None:
    source = """\
def outer(a):
    class Local:
        def method(self):
            def deepest(): return 'old', a
            return deepest()
    def middle():
        def leaf(): return ('old', a)
        return leaf
    return Local(), middle, middle()
"""
    module = sources.load(source)
    module.kept = module.outer(1)
    held = hold(sources.patch(module, source.replace("'old'", "'new'")))
    born = module.born = module.outer(2)
    held.finish()
    for number, (local, middle, leaf) in enumerate([module.kept, born], 1):
        assert (local.method(), middle()(), leaf()) == (("new", number),) * 3
    held.unloading().finish()
    for number, (local, middle, leaf) in enumerate([module.kept, born], 1):
        assert (local.method(), middle()(), leaf()) == (("old", number),) * 3


def test_free_variables_are_matched_by_name(each_path: str) -> None:
    def make() -> tuple[Any, Any]:
        a, b = "a", "b"

        def before() -> str:
            return a + b

        def after() -> str:
            first = b
            return first + a + "!"

        return before, after

    before, after = make()
    applied = pylivepatch.load(pylivepatch.Patch("p").replace(before, after))
    assert before() == "ba!"
    applied.unload()
    assert before() == "ab"


def test_a_changed_closure_is_kept_by_a_redirector(each_path: str) -> None:
    c = "c"

    def before(x: int, *rest: int, k: int = 3) -> Any:
        """Old."""
        return ("old", x, rest, k)

    def after(x: int, *rest: int, k: int = 4) -> Any:
        """New."""
        return ("new", c, x, rest, k)

    original = before.__code__
    applied = pylivepatch.load(pylivepatch.Patch("p").replace(before, after))
    assert before(1, 2) == ("new", "c", 1, (2,), 4)
    assert before.__doc__ == "New."
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        before()  # type: ignore[call-arg]
    applied.unload()
    assert before(1, 2) == ("old", 1, (2,), 3)
    assert before.__code__ is original


def test_super_may_be_newly_used(sources: Any, each_path: str) -> None:
    source = "class B:\n    def m(self): return 'base'\nclass C(B):\n    def m(self): return 'old'\nclass D(C): pass\n"
    module = sources.load(source)
    applied = load(sources, module, source.replace("return 'old'", "return super().m() + __class__.__name__"))
    assert module.D().m() == "baseC"
    applied.unload()
    assert module.D().m() == "old"


def test_a_replacement_from_another_module_keeps_its_own_globals(sources: Any, each_path: str) -> None:
    here = sources.load("WORD = 'here'\ndef f(x): return 'old', WORD, x\ndef g(n):\n    yield 'old'\n    yield WORD\n")
    there = sources.load(
        "WORD = 'there'\ndef f(x): return 'new', WORD, x\ndef g(n):\n    yield 'new'\n    yield WORD\n"
    )
    applied = pylivepatch.load(pylivepatch.Patch("p").replace(here.f, there.f).replace(here.g, there.g))
    assert here.f(1) == ("new", "there", 1)
    assert list(here.g(1)) == ["new", "there"]
    suspended = here.g(1)
    next(suspended)
    with pytest.raises(pylivepatch.TransitionTimeout):
        applied.unload(timeout=0.1)
    assert list(suspended) == ["there"]
    del suspended
    applied.unload()
    assert here.f(1) == ("old", "here", 1)
    assert list(here.g(1)) == ["old", "here"]


def test_one_instance_of_several_may_be_replaced(each_path: str) -> None:
    def make(n: int) -> Any:
        def f() -> tuple[str, int]:
            return ("old", n)

        return f

    def make_new(n: int) -> Any:
        def f() -> tuple[str, int]:
            return ("new", n)

        return f

    one, two = make(1), make(2)
    instances[:] = one, two  # where they are found: both have the same code
    applied = pylivepatch.load(pylivepatch.Patch("p").replace(one, make_new(3)))
    assert (one()[0], two()) == ("new", ("old", 2))
    applied.unload()
    assert (one(), two()) == (("old", 1), ("old", 2))
    instances.clear()


def test_cycles_of_nested_patches_leave_nothing_behind(sources: Any, each_path: str) -> None:
    module = sources.load(SOURCE)
    patch = compile_patch(sources.patch(module, NEW))
    kept = module.kept

    def cycle() -> None:
        applied = pylivepatch.load(patch)
        applied.unload()

    for _ in range(3):
        cycle()
    gc.collect()
    before = (sys.getrefcount(kept), sys.getrefcount(kept.__code__), sys.getrefcount(module.make.__code__))
    objects = len(gc.get_objects())
    for _ in range(30):
        cycle()
    gc.collect()
    assert (sys.getrefcount(kept), sys.getrefcount(kept.__code__), sys.getrefcount(module.make.__code__)) == before
    assert abs(len(gc.get_objects()) - objects) < 20


FAMILY = """\
kept = []
def outer(n):
    def inner(): return 'inner 1', n
    return 'outer 1', inner
"""


def test_instances_of_every_version_follow_a_nested_function_that_earlier_patches_left_alone(
    sources: Any, each_path: str
) -> None:
    """Each version of the outer function makes its instances from an equal code object of its own."""
    module = sources.load(FAMILY)
    second = FAMILY.replace("outer 1", "outer 2")

    def answers() -> list[str]:
        return [inner()[0] for inner in module.kept]

    module.kept.append(module.outer(1)[1])
    one = pylivepatch.load(sources.patch(module, second, "one"))
    module.kept.append(module.outer(2)[1])
    (sources.folder / f"{module.__name__}.py").write_text(second)
    two = pylivepatch.load(sources.patch(module, second.replace("inner 1", "inner 3"), "two"))
    module.kept.append(module.outer(3)[1])
    assert answers() == ["inner 3"] * 3
    two.unload()
    one.unload()
    assert answers() == ["inner 1"] * 3
    (sources.folder / f"{module.__name__}.py").write_text(FAMILY)
    three = pylivepatch.load(sources.patch(module, FAMILY.replace("inner 1", "inner 4"), "three"))
    assert answers() == ["inner 4"] * 3
    three.unload()
    assert answers() == ["inner 1"] * 3

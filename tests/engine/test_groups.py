"""Which changes of a patch are switched apart: never a caller from what it calls, by whatever way it comes to it."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylivepatch import groups
from pylivepatch.patch import CodeRef, FunctionChange, ModulePatch, NewImport, Patch, ValueChange


def function_change(name: str) -> FunctionChange:
    return FunctionChange(CodeRef(name, 1), CodeRef(name, 1))


def grouped(old: str, new: str | None = None, *names: str, **others: str) -> set[frozenset[str]]:
    """The groups of a patch of the module ``m`` that changes ``names``: functions, methods; ``=X`` for a value."""
    before, after = textwrap.dedent(old), textwrap.dedent(old if new is None else new)
    changes = tuple(
        ValueChange("", name[1:], 1, None, "1") if name[0] == "=" else function_change(name) for name in names
    )
    modules = [ModulePatch("m", "m.py", before, after, changes)]
    for module, source in others.items():
        changes = (function_change(f"in_{module}"),)
        modules.append(ModulePatch(module, f"{module}.py", source, source, changes))
    found = groups.of_patch(Patch("p", modules=tuple(modules)))
    return {frozenset(name for _, name in group.units) for group in found}


def test_functions_that_have_nothing_in_common_are_apart() -> None:
    assert grouped("def f(x): return len(x)\ndef g(x): return str(x)\n", None, "f", "g") == {
        frozenset({"f"}),
        frozenset({"g"}),
    }


REACH = {
    "a call": "def f(): return g()\ndef g(): return 1",
    "a call through what does not change": "def f(): return h()\ndef h(): return g()\ndef g(): return 1",
    "a method's name": "def f(x): return x.work()\nclass C:\n    def h(self): pass\n    def work(self): return g()\n"
    "def g(): return 1",
    "a name in a string": "def f(x): return getattr(x, 'g')()\ndef g(): return 1",
    "a computed name": "def f(x, n): return getattr(x, n)()\ndef g(): return 1",
    "globals": "def f(n): return globals()[n]()\ndef g(): return 1",
    "a table": "def f(n): return TABLE[n]()\ndef g(): return 1\nTABLE = {'a': g}",
    "a list that was appended to": "HANDLERS = []\ndef f():\n    for h in HANDLERS: h()\ndef g(): return 1\n"
    "HANDLERS.append(g)",
    "what a call puts into another argument": "import heapq\nQUEUE = []\ndef f(): return heapq.heappop(QUEUE)[1]()\n"
    "def g(): return 1\ndef main(): heapq.heappush(QUEUE, (1, g))",
    "a registering decorator": "HANDLERS = []\ndef f():\n    for h in HANDLERS: h()\n"
    "@HANDLERS.append\ndef g(): return 1",
    "an argument": "def f(fn): return fn()\ndef g(): return 1\ndef main(): f(g)",
    "an argument by name": "def f(*, fn): return map(fn, [1])\ndef g(): return 1\ndef main(): f(fn=g)",
    "an argument that was passed on": "def f(fn): return fn()\ndef g(): return 1\ndef by(x): f(x)\ndef main(): by(g)",
    "a partial": "from functools import partial\ndef f(fn): return fn()\ndef g(): return 1\n"
    "def main(): f(partial(g, 1))",
    "an attribute": "class C:\n    def __init__(self, fn): self.fn = fn\ndef f(c): return c.fn()\ndef g(): return 1\n"
    "def main(): return C(g)",
    "a field of a dataclass": "@dataclass\nclass C:\n    fn: object\ndef f(c): return c.fn()\ndef g(): return 1\n"
    "def main(): return C(g)",
    "an alias": "def g(): return 1\nk = g\ndef f(): return k()",
    "an import by another name": "from m import g as k\ndef f(): return k()\ndef g(): return 1",
    "a nested function": "def f():\n    def inner(): return g()\n    return inner\ndef g(): return 1",
    "a closure": "def f():\n    return make(g)\ndef make(fn):\n    class H:\n        def run(self): return fn()\n"
    "    return H()\ndef g(): return 1",
    "a lambda": "f = lambda: g()\ndef g(): return 1\ndef f(): return (lambda: g())()",
    "an operator": "def f(a, b): return a == b\nclass C:\n    def __eq__(self, other): return g()\ndef g(): return 1",
    "making an object": "class C:\n    def __init__(self): g()\ndef f(): return C()\ndef g(): return 1",
    "a base class": "class B:\n    def __init__(self): g()\nclass C(B): pass\ndef f(): return C()\ndef g(): return 1",
    "a class of unknown name": "def f(x): return type(x)()\nclass C:\n    def __init__(self): g()\ndef g(): return 1",
    "a default": "def g(): return 1\ndef f(fn=g): return fn()",
    "an attribute that both set": "def f(x): return x.total\ndef g(x): x.total = 1",
}


@pytest.mark.parametrize("how", REACH)
def test_what_reaches_another_is_in_its_group(how: str) -> None:
    source = REACH[how]
    if how == "an attribute that both set":  # only the new version sets it
        old = source.replace("x.total = 1", "pass")
        assert grouped(old, source, "f", "g") == {frozenset({"f", "g"})}
        return
    assert grouped(source, None, "f", "g") == {frozenset({"f", "g"})}


def test_a_call_of_one_version_is_enough() -> None:
    without, calls = "def f(): return 1\ndef g(): return 1\n", "def f(): return g()\ndef g(): return 1\n"
    assert grouped(without, calls, "f", "g") == grouped(calls, without, "f", "g") == {frozenset({"f", "g"})}


def test_users_of_a_value_that_changes_are_one_group() -> None:
    source = "LIMIT = 1\ndef f(): return LIMIT\ndef g(): return LIMIT\ndef h(): return 1\n"
    assert grouped(source, None, "f", "g", "h", "=LIMIT") == {frozenset({"f", "g", "LIMIT"}), frozenset({"h"})}


def test_users_of_a_value_that_does_not_change_are_apart() -> None:
    source = "LIMIT = 1\ndef f(): return LIMIT\ndef g(): return LIMIT\n"
    assert grouped(source, None, "f", "g") == {frozenset({"f"}), frozenset({"g"})}


def test_a_class_is_never_divided() -> None:
    source = "class C:\n    def one(self): pass\n    def two(self): pass\ndef f(): pass\n"
    assert grouped(source, None, "C.one", "C.two", "f") == {frozenset({"C"}), frozenset({"f"})}


def test_a_variable_that_two_functions_have_each_for_itself_joins_nothing() -> None:
    source = "def f():\n    result = one()\n    return result\n"
    source += "def g():\n    result = 1\n    return result\ndef one(): pass\n"
    assert grouped(source, None, "g", "one") == {frozenset({"g"}), frozenset({"one"})}


def test_calls_lead_from_one_module_of_the_patch_to_another() -> None:
    source = "from other import in_other\ndef f(): return in_other()\ndef g(): return 1\n"
    found = grouped(source, None, "f", "g", other="def in_other(): return 1\n")
    assert found == {frozenset({"f", "in_other"}), frozenset({"g"})}


def test_a_new_import_is_in_the_group_of_who_uses_it() -> None:
    old = "def f(): return 1\ndef g(): return 1\n"
    new = "import json\ndef f(): return json\ndef g(): return 1\n"
    changes = tuple(map(function_change, "fg"))
    module = ModulePatch("m", "m.py", old, new, (NewImport("json", 1, "import json"), *changes))
    found = groups.of_patch(Patch("p", modules=(module,)))
    assert {group.units for group in found} == {(("m", "json"), ("m", "f")), (("m", "g"),)}


def test_a_source_that_cannot_be_read_leaves_one_group() -> None:
    units = [groups.Unit(("m", name), (f"m:{name}",), (name,)) for name in "fg"]
    unreadable = groups.Source("m", file="/nowhere/m.py")
    assert len(groups.find([unreadable], units)) == 1
    assert len(groups.find([groups.Source("m", text="def f(: pass")], units)) == 1


def test_the_modules_outside_the_patch_that_a_group_may_call_into_are_named() -> None:
    source = "import json, elsewhere\nfrom third.party import one\n"
    source += "def f(): return elsewhere.x()\ndef g(): return one()\n"
    changes = tuple(map(function_change, "fg"))
    found = groups.of_patch(Patch("p", modules=(ModulePatch("m", "m.py", source, source, changes),)))
    assert {group.units[0][1]: group.sees for group in found} == {
        "f": ("elsewhere",),
        "g": ("third.party", "third.party.one"),
    }


def test_groups_are_the_same_after_a_journey_as_json() -> None:
    found = (groups.Group((("m", "f"), ("n", "g")), ("elsewhere",)), groups.Group((("m", "h"),)))
    assert groups.from_json(groups.to_json(found)) == found


NAMES = [f"f{n}" for n in range(8)]


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, dict[str, set[str]], list[str]]:
    """A module of functions that call each other at random, who calls whom, and which of them change."""
    calls = {name: draw(st.sets(st.sampled_from(NAMES), max_size=2)) for name in NAMES}
    forms = ["{0}()", "list(map({0}, []))", "x = {0}\n    x()", "getattr(x, '{0}')()", "(lambda: {0}())()"]
    lines = []
    for name, called in calls.items():
        body = [draw(st.sampled_from(forms)).format(other) for other in sorted(called)] or ["return x"]
        lines += [f"def {name}(x=None):", *(f"    {line}" for line in body)]
    return "\n".join(lines), calls, sorted(draw(st.sets(st.sampled_from(NAMES), min_size=2)))


@given(programs())
@settings(max_examples=60, deadline=None)
def test_no_caller_is_ever_apart_from_what_it_calls(program: tuple[str, dict[str, set[str]], list[str]]) -> None:
    source, calls, changed = program
    of = {name: group for group in grouped(source, None, *changed) for name in group}
    for name in changed:
        reached, queue = set(), [name]
        while queue:
            one = queue.pop()
            if one not in reached:
                reached.add(one)
                queue += calls[one]
        for other in reached.intersection(changed):
            assert of[name] == of[other], f"{name} reaches {other}"

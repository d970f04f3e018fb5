"""Instances that were alive before the load meet the new methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch.errors import DataMismatch
from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

OLD = "class C:\n    def __init__(self, a=1):\n        self.a = a\n    def m(self): return self.a\n"


def new(line: str, read: str = "self.b", parameters: str = "self, a=1") -> str:
    init = f"class C:\n    def __init__({parameters}):\n        self.a = a\n        {line}\n"
    return f"{init}    def m(self): return {read}\n"


DEFAULT = ["PLP210 C.__init__", "PLP210 C.m", "PLP215 C.b"]
REFUSED = ["!PLP255 C.b", "PLP210 C.__init__", "PLP210 C.m"]

TABLE: dict[str, tuple[str, list[str]]] = {
    "a literal": (new("self.b = 5"), DEFAULT),
    "a negative one, annotated": (new("self.b: int = -5"), DEFAULT),
    "a tuple": (new("self.b = (1, 'x')"), DEFAULT),
    "a new parameter with a literal default": (new("self.b = b", parameters="self, a=1, *, b=None"), DEFAULT),
    "a parameter that the body binds": (
        new("b = open(b); self.b = b".replace("; ", "\n        "), parameters="self, a=1, b=None"),
        REFUSED,
    ),
    "an old parameter": (new("self.b = a"), REFUSED),
    "a list": (new("self.b = []"), REFUSED),
    "of a parameter whose default is another kind of value now": (
        new("pass", read="self.a", parameters="self, a=None"),
        ["!PLP255 C.a", "PLP210 C.__init__"],
    ),
    "of a parameter whose default is another value now": (
        new("pass", read="self.a", parameters="self, a=2"),
        [".PLP226 C.a", "PLP210 C.__init__"],
    ),
    "under a condition": (new("if a: self.b = 1"), REFUSED),
    "changed by another method": (
        new("self.b = 0") + "    def k(self): self.b += 1\n",
        [*DEFAULT, ".PLP226 C.b", "PLP211 C.k"],
    ),
    "changed from outside": (new("self.b = 0") + "def f(c): c.b = 1\n", [*DEFAULT, ".PLP226 C.b", "PLP211 f"]),
    "deleted from outside": (new("self.b = 0") + "def f(c): del c.b\n", [*REFUSED, "PLP211 f"]),
    "set twice by __init__": (new("self.b = 0\n        if a: self.b = 1"), REFUSED),
    "set by another class on its own": (
        new("self.b = 0") + "class D:\n    def __init__(self): self.b = 3\n",
        ["PLP216 D", *DEFAULT],
    ),
    "nobody reads it": (new("self.b = []", "self.a"), ["PLP210 C.__init__"]),
    "read only where it may be missing": (
        new("self.b = []", "getattr(self, 'b', ())"),
        ["PLP210 C.__init__", "PLP210 C.m"],
    ),
}


@pytest.mark.parametrize("title", TABLE)
def test_a_new_attribute(title: str, tmp_path: Path) -> None:
    after, expected = TABLE[title]
    assert summary(build(tmp_path, OLD, after)) == sorted(expected)


GIVEN = "class B:\n    b = 1\n    t = None\n"
GIVEN += "class C(B):\n    c = None\n    s = 'x'\n    def m(self): return (self.b, self.c)\n"
START = "    def start(self): self.d = 1\n    def n(self): return self.d\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("self.c = 3", ["!PLP255 C.c"]),
        ("self.c = []", ["!PLP255 C.c"]),
        ("self.b = ''", ["!PLP255 C.b"]),
        ("self.c = None", []),
        ("self.b = 2", [".PLP226 C.b"]),
        ("self.b = 1", []),
        ("self.c = open('x')", [".PLP226 C.c"]),
        ("self.s = 5", [".PLP226 C.s"]),  # of another kind, but no code of the tree reads it
        ("self.t = 5", [".PLP226 C.t"]),
        ("self.d = 5", ["PLP215 C.d", ".PLP226 C.d"]),  # another method set it, in some instances
        ("self.d = []", [".PLP226 C.d"]),
    ],
)
def test_init_newly_sets_what_instances_find_elsewhere(tmp_path: Path, lines: str, expected: list[str]) -> None:
    after = f"{GIVEN}{START}    def __init__(self):\n        {lines}\n"
    assert summary(build(tmp_path, GIVEN + START, after)) == sorted([*expected, "PLP211 C.__init__"])


@pytest.mark.parametrize(("value", "told"), [("1", []), ("2", [".PLP226 C.b"])])
def test_init_newly_sets_what_a_bases_init_set_before(tmp_path: Path, value: str, told: list[str]) -> None:
    old = "class B:\n    def __init__(self): self.b = 1\n"
    old += "class C(B):\n    def __init__(self):\n        super().__init__()\n"
    result = build(tmp_path, old, f"{old}        self.b = {value}\n")
    assert summary(result) == [*told, "PLP210 C.__init__"]


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [("1", "2", True), ("None", "a", True), ("a", "3", True), ("a", "a + 1", False)],
)
def test_instances_that_exist_keep_another_initial_value(tmp_path: Path, was: str, now: str, told: bool) -> None:
    old = f"class C:\n    def __init__(self, a=1):\n        self.a = {was}\n    def m(self): return self.a\n"
    result = build(tmp_path, old, old.replace(f"= {was}\n", f"= {now}\n"))
    assert summary(result) == sorted(["PLP210 C.__init__", *[".PLP226 C.a"] * told])


def test_instances_that_exist_keep_the_value_that_the_note_speaks_of(package: Make) -> None:
    pair = package({"m.py": OLD.replace("= a", "= 1")}, {"m.py": OLD.replace("= a", "= 2")})
    module = pair.module("m")
    before = module.C()
    applied = pair.load()
    assert (before.m(), module.C().m()) == (1, 2)
    applied.unload()


def test_an_attribute_of_another_kind(tmp_path: Path) -> None:
    before = "class C:\n    def __init__(self):\n        self.a = []\n    def m(self): return self.a\n"
    result = build(tmp_path, before, before.replace("[]", "{}"))
    assert summary(result) == ["!PLP255 C.a", "PLP210 C.__init__"]


def test_a_property_of_the_class_is_no_state(tmp_path: Path) -> None:
    property_ = "    @property\n    def b(self): return 1\n    @b.setter\n    def b(self, value): pass\n"
    assert summary(build(tmp_path, OLD + property_, new("self.b = 5") + property_)) == DEFAULT[:2]


def test_old_instances_find_the_default_and_new_ones_set_their_own(package: Make) -> None:
    pair = package({"m.py": OLD}, {"m.py": new("self.b = b", parameters="self, a=1, *, b=7")})
    module = pair.module("m")
    before = module.C()
    assert before.m() == 1
    applied = pair.load()
    after = module.C(b=8)
    assert (before.m(), after.m(), module.C().m()) == (7, 8, 7)
    assert "b" not in vars(before)
    applied.unload()
    assert (before.m(), after.m()) == (1, 1)
    assert not hasattr(before, "b")


def test_an_attribute_that_is_counted_up_begins_with_the_default(package: Make) -> None:
    count = "    def k(self):\n        self.b += 1\n        return self.b\n"
    pair = package({"m.py": OLD + count.replace("self.b", "self.a")}, {"m.py": new("self.b = 0") + count})
    module = pair.module("m")
    before, other = module.C(), module.C()
    assert before.k() == 2
    applied = pair.load()
    assert [before.k(), before.k(), before.m()] == [1, 2, 2]
    assert other.m() == 0
    assert module.C().k() == 1
    applied.unload()
    assert before.k() == 3
    assert not hasattr(other, "b")


def test_what_a_base_sets_already_is_no_new_state(tmp_path: Path) -> None:
    base = "class B:\n    def __init__(self): self.b = 1\n"
    old = base + "class C(B):\n    def m(self): return self.b\n"
    after = old.replace("def m(self):", "def m(self):\n        self.b = 2\n       ")
    assert summary(build(tmp_path, old, after)) == ["PLP210 C.m"]


@pytest.mark.parametrize(("value", "expected"), [("3", "PLP215 C.b"), ("[]", "!PLP255 C.b")])
def test_what_a_new_base_sets_is_new_state(tmp_path: Path, value: str, expected: str) -> None:
    mixin = f"class M:\n    def __init__(self):\n        super().__init__()\n        self.b = {value}\n"
    mixin += "    def m(self): return self.b\n"
    base = "class B:\n    def __init__(self): self.a = 1\n"
    result = build(tmp_path, f"{base}class C(B): pass\n", f"{base}{mixin}class C(M, B): pass\n")
    assert summary(result) == sorted([expected, "PLP216 M", "PLP217 C"])


def test_a_property_of_a_foreign_base_is_not_hidden(package: Make) -> None:
    old = OLD.replace("class C", "import threading\nclass C(threading.Thread)")
    after = new("super().__init__(); self.name = 'x'".replace("; ", "\n        "), "self.name")
    pair = package({"m.py": old}, {"m.py": after.replace("class C", "import threading\nclass C(threading.Thread)")})
    pair.module("m")
    with pytest.raises(DataMismatch, match="Thread has a property name"):
        pair.load()
    assert not pylivepatch.patches()


@pytest.mark.parametrize(
    ("use", "refused"),
    [
        ("ONE = C()\n", True),
        ("class D(C): pass\nONE = D()\n", True),
        ("C.one = C()\n", True),
        ("def f(c=C()): return c\n", True),
        ("C()\n", False),
        ("def f(): return C()\n", False),
    ],
)
def test_an_instance_made_at_import_keeps_what_the_old_init_did(tmp_path: Path, use: str, refused: bool) -> None:
    result = build(tmp_path, OLD + use, OLD.replace("self.a = a", "self.a = a + 1") + use)
    assert [finding.code for finding in result.refusals] == (["PLP265"] if refused else [])


def test_an_instance_made_at_import_may_get_a_default(tmp_path: Path) -> None:
    use = "ONE = C()\n"
    assert summary(build(tmp_path, OLD + use, new("self.b = 5") + use)) == DEFAULT


BASES = """
class A:
    def __init__(self): self.b = 1
class B:
    def __init__(self): self.a = 1
"""


@pytest.mark.parametrize(
    ("bases", "head", "call", "is_new"),
    [
        ("A, B", BASES, "super().__init__()", False),
        ("A, B", BASES, "super(C, self).__init__()", False),
        ("A, B", BASES, "B.__init__(self)", True),
        ("A", BASES, "A.__init__(self)", False),
        ("A", BASES, "self.other = A(); self.other.__init__()", True),
        ("A", BASES, "super(A, self).__init__()", True),
        ("A", "import sys\nclass A:\n    if sys.platform == 'none':\n        b = 1\n", "pass", True),
        ("A", BASES.replace("self.b = 1", "self.b = 1; del self.b"), "super().__init__()", True),
    ],
)
def test_only_what_surely_ran_has_set_an_attribute(
    tmp_path: Path, bases: str, head: str, call: str, is_new: bool
) -> None:
    def version(more: str, read: str) -> str:
        init = f"    def __init__(self):\n        {call}\n        {more}\n"
        return f"{head}class C({bases}):\n{init}    def m(self): return {read}\n"

    result = build(tmp_path, version("self.c = 1", "self.c"), version("self.b = 3", "self.b"))
    told = {one.removeprefix("!") for one in summary(result)}
    assert bool(told & {"PLP215 C.b", "PLP255 C.b"}) == is_new

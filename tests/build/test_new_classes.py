"""New classes, and new bases: the class statement is carried out in the live process."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch.errors import DataMismatch, LivePatchError, UnswappableShape
from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

WHOLE = """\
import functools, enum, dataclasses, typing, collections
LIMIT = 7

def double(x): return 2 * x

class Wrong(ValueError):
    def __init__(self, text, limit=LIMIT):
        super().__init__(text)
        self.limit = limit

class Base:
    tag: typing.ClassVar[str] = 'base'
    def name(self): return 'base'

class Child(Base):
    LIMIT = LIMIT
    doubled = staticmethod(double)
    class Inner:
        depth = 2
        def m(self): return self.depth
    def name(self): return super().name() + ' child'
    @functools.cached_property
    def cached(self): return [__class__.__name__]
    @property
    def size(self): return self._size
    @size.setter
    def size(self, value): self._size = value
    @classmethod
    def make(cls): return cls()

@dataclasses.dataclass(order=True)
class Point:
    x: int = 1
    tags: list = dataclasses.field(default_factory=list, compare=False)

class Color(enum.Enum):
    RED = enum.auto()
    BLUE = enum.auto()

class Pair(typing.NamedTuple):
    a: int
    b: int = LIMIT

def use():
    child = Child.make()
    child.size = 3
    return child.name(), child.LIMIT, child.doubled(4), child.Inner().m(), child.size, child.cached, Point(), Pair(1)
"""


def test_new_classes_of_many_kinds_work_as_in_a_fresh_process(package: Make) -> None:
    pair = package({"m.py": "def use(): return 'old'\n"}, {"m.py": WHOLE})
    module = pair.module("m")
    applied = pair.load()
    space: dict[str, object] = {"__name__": module.__name__}
    exec(compile(WHOLE, "fresh", "exec", dont_inherit=True), space)
    assert repr(module.use()) == repr(space["use"]())  # type: ignore[operator]
    for name in ("Wrong", "Base", "Child", "Point", "Color", "Pair"):
        live, fresh = vars(module)[name], space[name]
        assert (live.__module__, live.__qualname__) == (module.__name__, name)
        assert [one.__name__ for one in live.__mro__] == [one.__name__ for one in fresh.__mro__]  # type: ignore[attr-defined]
        assert sorted(vars(live)) == sorted(vars(fresh))
    assert module.Child.name.__globals__ is vars(module)
    with pytest.raises(module.Wrong) as caught:
        raise module.Wrong("no")
    assert (str(caught.value), caught.value.limit) == ("no", 7)
    for thing in (module.Point(3), module.Color.BLUE, module.Pair(1), module.Wrong("x")):
        assert repr(pickle.loads(pickle.dumps(thing))) == repr(thing)
    del caught, thing, live
    applied.unload()
    assert not {"Wrong", "Base", "Child", "Point", "Color", "Pair"} & set(vars(module))
    assert module.use() == "old"


def test_a_new_exception_is_raised_here_and_caught_there(package: Make) -> None:
    pair = package(
        {
            "errors.py": "class Failed(Exception): pass\n",
            "m.py": "def f(): return 1\n",
            "n.py": "def g(f): return f()\n",
        },
        {
            "errors.py": "class Failed(Exception): pass\n\nclass Late(Failed):\n    '''Too late.'''\n    code = 4\n",
            "m.py": "from .errors import Late\ndef f(): raise Late('now')\n",
            "n.py": "from . import errors\ndef g(f):\n    try: return f()\n"
            "    except errors.Late as e: return e.code, str(e)\n",
        },
    )
    m, n, errors = pair.module("m"), pair.module("n"), pair.module("errors")
    applied = pair.load()
    assert n.g(m.f) == (4, "now")
    assert m.Late is errors.Late
    assert issubclass(m.Late, errors.Failed)
    applied.unload()
    assert n.g(m.f) == 1
    assert not hasattr(m, "Late")
    assert not hasattr(errors, "Late")


def test_nothing_is_bound_where_the_load_is_refused(package: Make) -> None:
    pair = package({"m.py": "X = 1\n"}, {"m.py": "X = 2\nclass C: pass\n"})
    module = pair.module("m")
    module.X = 5
    with pytest.raises(DataMismatch):
        pair.load()
    assert not hasattr(module, "C")


def test_somebody_inside_a_method_of_a_new_class_holds_the_unload(package: Make) -> None:
    source = "class C:\n    def walk(self):\n        yield 1\n        yield 2\n"
    pair = package({"m.py": "x = 1\n"}, {"m.py": "x = 1\n" + source})
    module = pair.module("m")
    applied = pair.load()
    walking = module.C().walk()
    next(walking)
    with pytest.raises(LivePatchError):
        applied.unload(timeout=0.05)
    assert list(walking) == [2]
    applied.unload()


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("@app.register\nclass C: pass\n", "decorator app.register"),
        ("class C:\n    x = open('f')\n", "open('f')"),
        ("class C:\n    print(1)\n", "`print(1)` runs"),
        ("class C(make()): pass\n", "base make()"),
        ("class B:\n    def __init_subclass__(cls): pass\nclass C(B): pass\n", "__init_subclass__ of B"),
        ("class M(type): pass\nclass C(metaclass=M): pass\n", "metaclass=M"),
        ("class C:\n    @app.route('/')\n    def m(self): pass\n", "decorator app.route('/') of m"),
        ("class C:\n    if x: y = 1\n", "runs when the class is created"),
        ("import sqlalchemy.orm\nclass C(sqlalchemy.orm.Base): pass\n", "sqlalchemy.orm.Base"),
    ],
)
def test_a_class_that_might_do_more_than_exist_is_refused(tmp_path: Path, new: str, expected: str) -> None:
    (refusal,) = build(tmp_path, "x = 1\n", "x = 1\n" + new).refusals
    assert refusal.code == "PLP250"
    assert expected in refusal.message


@pytest.mark.parametrize(
    ("config", "body", "refused"),
    [
        ("LIMIT = 1\n", "import {0}.config\nclass C:\n    x = {0}.config.LIMIT\n", True),
        ("LIMIT = 1\n", "from {0}.config import LIMIT\nclass C:\n    x = LIMIT\n", False),
        ("TABLE = [1]\n", "from {0}.config import TABLE\nclass C:\n    x = tuple(TABLE)\n", True),
        ("LIMIT = 1\n", "from {0} import config\nclass C:\n    def x(self): return config.LIMIT\n", False),
    ],
)
def test_what_the_patch_changes_elsewhere_is_not_read_as_it_was(
    package: Make, config: str, body: str, refused: bool
) -> None:
    pair = package({"config.py": config, "m.py": ""}, {"config.py": config.replace("1", "2"), "m.py": ""})
    (pair.new / pair.name / "m.py").write_text(body.format(pair.name))
    result = pair.examine()
    assert [finding.code for finding in result.refusals] == (["PLP250"] if refused else [])
    if not refused:
        module = pair.module("m")
        pair.module("config")
        pair.load()
        assert module.C.x == 2 if "def" not in body else module.C().x() == 2


def test_a_metaclass_from_elsewhere_is_refused_by_the_process(package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Meta(type):
        def __init__(cls, name: str, *_: object) -> None:
            made.append(name)

    class Foreign(metaclass=Meta):
        pass

    foreign = type(sys)("foreign_of_test")
    foreign.Foreign = Foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "foreign_of_test", foreign)
    text = "from foreign_of_test import Foreign\n"
    pair = package({"m.py": text}, {"m.py": text + "class C(Foreign): pass\n"})
    pair.module("m")
    made.clear()
    with pytest.raises(UnswappableShape, match=r"metaclass .*Meta would run"):
        pair.load()
    assert made == []


# --- bases --------------------------------------------------------------------------------------------------

BASES = """\
class Root:
    def name(self): return 'root'
class Other:
    def name(self): return 'other ' + super().name()
class C(Root):
    def name(self): return 'c ' + super().name()
class D(C):
    def name(self): return 'd ' + super().name()
"""
MIXIN = BASES.replace(
    "class C(Root)", "class Mixin:\n    def name(self): return 'mixin ' + super().name()\nclass C(Mixin, Root)"
)


def test_a_new_mixin_comes_into_the_bases_and_leaves_again(package: Make) -> None:
    pair = package({"m.py": BASES}, {"m.py": MIXIN})
    module = pair.module("m")
    c, d, kind, bases = module.C(), module.D(), module.C, module.C.__bases__
    text = pickle.dumps(d)
    applied = pair.load()
    assert (c.name(), d.name()) == ("c mixin root", "d c mixin root")
    assert module.C is kind
    assert isinstance(d, module.Mixin)
    assert isinstance(d, module.C)
    assert pickle.loads(text).name() == d.name()
    assert kind in module.Mixin.__subclasses__()
    applied.unload()
    assert (c.name(), d.name()) == ("c root", "d c root")
    assert module.C.__bases__ is bases
    assert module.Root.__subclasses__() == [module.C]


def test_a_base_of_the_module_comes_and_another_goes(package: Make) -> None:
    pair = package({"m.py": BASES}, {"m.py": BASES.replace("class C(Root)", "class C(Other, Root)")})
    module = pair.module("m")
    d = module.D()
    applied = pair.load()
    assert d.name() == "d c other root"
    applied.unload()
    assert d.name() == "d c root"


def test_an_order_that_a_subclass_contradicts_is_refused_before_anything_is_touched(package: Make) -> None:
    old = BASES + "class E(C, Root, Other): pass\n"
    pair = package({"m.py": old}, {"m.py": old.replace("class C(Root)", "class C(Other, Root)")})
    module = pair.module("m")
    with pytest.raises(UnswappableShape, match=r"no consistent order for E"):
        pair.load()
    assert module.C.__bases__ == (module.Root,)
    assert module.Root.__subclasses__() == [module.C, module.E]


def test_another_layout_is_refused_in_cpythons_words(package: Make) -> None:
    old = "class A:\n    __slots__ = ('a',)\nclass B:\n    __slots__ = ('b',)\nclass C(A): pass\n"
    pair = package({"m.py": old}, {"m.py": old.replace("C(A)", "C(B)")})
    module = pair.module("m")
    with pytest.raises(UnswappableShape, match="layout differs"):
        pair.load()
    assert module.C.__bases__ == (module.A,)
    assert not pylivepatch.patches()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("class C: pass", "class C(dict): pass", "object alone"),
        ("class C(B): pass", "class C: pass", "object alone"),
        ("class C(B): pass", "class C(make()): pass", "no plain names"),
        (
            "class C(B): pass",
            "class N:\n def __init_subclass__(cls): pass\nclass C(N, B): pass",
            "__init_subclass__ of N",
        ),
    ],
)
def test_bases_that_cannot_change_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    result = build(tmp_path, f"class B: pass\n{old}\n", f"class B: pass\n{new}\n")
    assert [line for line in summary(result) if line.startswith("!")] == ["!PLP252 C"]
    assert expected in result.refusals[0].message

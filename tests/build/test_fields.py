"""Fields of dataclasses, attrs classes and named tuples: what was made of them is made anew in the live class."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch.errors import DataMismatch
from tests.build.conftest import Package
from tests.build.test_edits import build, summary
from tests.conftest import PATIENCE

Make = Callable[..., Package]

OLD = """\
from dataclasses import dataclass, field
import typing

@dataclass
class Plain:
    x: int
    y: int = 1
    tags: list = field(default_factory=list, repr=False)
    def total(self): return self.x + self.y
    @classmethod
    def make(cls): return cls(5)

@dataclass(order=True, frozen=True)
class Frozen:
    x: int = 1

class Pair(typing.NamedTuple):
    a: int
    b: int = 1
"""
NEW = (
    OLD.replace("    y: int = 1\n", "    z: str = 'z'\n    y: int = 1\n")
    .replace("return self.x + self.y", "return self.z * (self.x + self.y)")
    .replace("    x: int = 1\n", "    x: float = 1\n")
    .replace("    b: int = 1\n", "    b: int = 2\n")
)


def portrait(cls: type) -> object:
    names = sorted(set(vars(cls)) - {"__annotations_cache__", "__slotnames__"})  # made when they are asked for
    return names, inspect.signature(cls), cls.__doc__, getattr(cls, "__match_args__", ()), inspect.get_annotations(cls)


def test_a_class_with_other_fields_is_that_of_a_fresh_process_and_goes_back(package: Make) -> None:
    pair = package({"m.py": OLD}, {"m.py": NEW})
    module = pair.module("m")
    old, frozen, two = module.Plain(2), module.Frozen(), module.Pair(1)
    before = [portrait(cls) for cls in (module.Plain, module.Frozen, module.Pair)]
    kinds = module.Plain, module.Frozen, module.Pair
    texts = [pickle.dumps(thing) for thing in (old, frozen, two)]
    applied = pair.load()
    fresh: dict[str, object] = {"__name__": module.__name__}
    exec(compile(NEW, "fresh", "exec", dont_inherit=True), fresh)
    assert (module.Plain, module.Frozen, module.Pair) == kinds
    assert [portrait(cls) for cls in kinds] == [portrait(fresh[cls.__name__]) for cls in kinds]  # type: ignore[arg-type]
    assert repr(old) == repr(module.Plain(2)) == "Plain(x=2, z='z', y=1)"
    assert old == module.Plain(2)
    assert old.total() == "zzz"
    assert module.Plain.make().z == "z"
    assert [one.name for one in dataclasses.fields(old)] == ["x", "z", "y", "tags"]
    assert dataclasses.replace(old, z="a") == module.Plain(2, "a")
    assert module.Frozen.__dataclass_fields__["x"].type is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.other = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.x = 1
    assert hash(frozen) == hash(module.Frozen())
    assert (module.Pair(1), module.Pair(1)._replace(a=2), two) == ((1, 2), (2, 2), (1, 1))
    assert [pickle.loads(text) for text in texts] == [old, frozen, two]
    late = module.Plain(1, "q")
    applied.unload()
    assert [portrait(cls) for cls in kinds] == before
    assert (repr(old), repr(late)) == ("Plain(x=2, y=1)", "Plain(x=1, y=1)")
    assert (old.total(), module.Pair(1)) == (3, (1, 1))
    assert not hasattr(old, "z")


def test_a_field_that_is_gone(package: Make) -> None:
    pair = package({"m.py": OLD}, {"m.py": OLD.replace("    y: int = 1\n", "").replace(" + self.y", "")})
    module = pair.module("m")
    old = module.Plain(2, 3)
    applied = pair.load()
    assert (repr(old), old == module.Plain(2), old.total()) == ("Plain(x=2)", True, 2)
    assert not hasattr(module.Plain, "y")
    applied.unload()
    assert (repr(old), old.total(), module.Plain.y) == ("Plain(x=2, y=3)", 5, 1)


def test_somebody_inside_the_old_init_holds_the_load(package: Make) -> None:
    source = "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int = 1\n"
    source += "    def __post_init__(self): wait()\ndef wait(): pass\n"
    pair = package({"m.py": source}, {"m.py": source.replace("x: int = 1", "x: int = 1\n    y: int = 2")})
    module = pair.module("m")
    inside, leave = threading.Event(), threading.Event()
    made = []

    def wait() -> None:
        inside.set()
        assert leave.wait(PATIENCE)

    module.wait = wait
    thread = threading.Thread(target=lambda: made.append(module.C(7)))
    thread.start()
    assert inside.wait(PATIENCE)
    with pytest.raises(pylivepatch.errors.TransitionTimeout, match=r"C\.__init__"):
        pylivepatch.load(pair.examine().patch, timeout=0.05)  # type: ignore[arg-type]
    assert not hasattr(module.C, "y")
    leave.set()
    thread.join()
    pair.load()
    assert repr(made[0]) == "C(x=7, y=2)"


def test_a_class_whose_fields_are_not_those_of_the_old_source_is_refused(package: Make) -> None:
    pair = package({"m.py": OLD}, {"m.py": OLD.replace("    y: int = 1\n", "    y: int = 2\n")})
    module = pair.module("m")
    module.Plain = dataclasses.make_dataclass("Plain", ["q"])
    with pytest.raises(DataMismatch, match="no field"):
        pylivepatch.load(pair.examine().patch)  # type: ignore[arg-type]


D = "from dataclasses import dataclass, field\nimport typing\n"
TABLE: dict[str, tuple[str, str, list[str]]] = {
    "a default": (
        D + "@dataclass\nclass C:\n x: int = 1\n",
        D + "@dataclass\nclass C:\n x: int = 2\n",
        [".PLP226 C.x", "PLP218 C"],
    ),
    "a new field without a default": (
        D + "@dataclass\nclass C:\n x: int\n",
        D + "@dataclass\nclass C:\n x: int\n y: int\n",
        ["!PLP255 C.y", "PLP218 C"],
    ),
    "a new field with a factory": (
        D + "@dataclass\nclass C:\n x: int\n",
        D + "@dataclass\nclass C:\n x: int\n y: list = field(default_factory=list)\n",
        ["!PLP255 C.y", "PLP218 C"],
    ),
    "a new field by field()": (
        D + "@dataclass\nclass C:\n x: int\n",
        D + "@dataclass\nclass C:\n x: int\n y: int = field(default=3, repr=False)\n",
        ["PLP215 C.y", "PLP218 C"],
    ),
    "a field in slots": (
        D + "@dataclass(slots=True)\nclass C:\n x: int\n",
        D + "@dataclass(slots=True)\nclass C:\n x: int\n y: int = 1\n",
        ["!PLP253 C"],
    ),
    "a default in slots": (
        D + "@dataclass(slots=True)\nclass C:\n x: int = 1\n",
        D + "@dataclass(slots=True)\nclass C:\n x: int = 2\n",
        [".PLP226 C.x", "PLP218 C"],
    ),
    "what instances are hashed by": (
        D + "@dataclass(frozen=True)\nclass C:\n x: int\n",
        D + "@dataclass(frozen=True)\nclass C:\n x: int\n y: int = 1\n",
        ["!PLP253 C"],
    ),
    "a place of a named tuple": (
        D + "class C(typing.NamedTuple):\n x: int\n",
        D + "class C(typing.NamedTuple):\n x: int\n y: int = 1\n",
        ["!PLP253 C"],
    ),
    "a base of a class with fields": (
        D + "@dataclass\nclass C:\n x: int\n@dataclass\nclass E(C):\n z: int = 0\n",
        D + "@dataclass\nclass C:\n x: int\n y: int = 1\n@dataclass\nclass E(C):\n z: int = 0\n",
        ["!PLP253 C"],
    ),
    "an instance made at import with another default": (
        D + "@dataclass\nclass C:\n x: int = 1\nONE = C()\n",
        D + "@dataclass\nclass C:\n x: int = 2\nONE = C()\n",
        ["!PLP265 C"],
    ),
    "an instance made at import without the field": (
        D + "@dataclass\nclass C:\n x: int = 1\nONE = C()\n",
        D + "@dataclass\nclass C:\n x: int = 1\n y: int = 2\nONE = C()\n",
        ["PLP215 C.y", "PLP218 C"],
    ),
    "a class variable": (
        D + "@dataclass\nclass C:\n x: int = 1\n y: typing.ClassVar[int] = 1\n",
        D + "@dataclass\nclass C:\n x: int = 1\n y: typing.ClassVar[int] = 2\n",
        ["PLP212 C.y"],
    ),
    "a class that does more": (
        D + "@dataclass\nclass C:\n x: int = 1\n y = [print]\n z = open\n print()\n",
        D + "@dataclass\nclass C:\n x: int = 2\n y = [print]\n z = open\n print()\n",
        ["!PLP253 C"],
    ),
    "a field of attrs": (
        "import attr\n@attr.s\nclass C:\n x = attr.ib(default=1)\n",
        "import attr\n@attr.s\nclass C:\n x = attr.ib(default=1)\n y = attr.ib(default=None)\n",
        ["PLP215 C.y", "PLP218 C"],
    ),
    "a slot of attrs": (
        "import attrs\n@attrs.define\nclass C:\n x: int = 1\n",
        "import attrs\n@attrs.define\nclass C:\n x: int = 1\n y: int = 2\n",
        ["!PLP253 C"],
    ),
    "a base of an enumeration": (
        D + "import enum\n@dataclass\nclass C:\n x: int\nclass E(C, enum.Enum):\n A = 1\n",
        D + "import enum\n@dataclass(repr=False)\nclass C:\n x: int\nclass E(C, enum.Enum):\n A = 1\n",
        ["!PLP252 C"],
    ),
    "a method that was read at import": (
        D + "@dataclass\nclass C:\n x: int = 1\nshow = C.__repr__\n",
        D + "@dataclass(repr=False)\nclass C:\n x: int = 1\nshow = C.__repr__\n",
        ["!PLP252 C"],
    ),
    "a method of the fields that was read at import": (
        D + "@dataclass\nclass C:\n x: int = 1\nmake = C.__init__\n",
        D + "@dataclass\nclass C:\n x: int = 1\n y: int = 1\nmake = C.__init__\n",
        ["!PLP253 C"],
    ),
    "a method that is made where the class has none": (
        D + "@dataclass\nclass C:\n x: int = 1\n def __repr__(self): return 'C'\n",
        D + "@dataclass\nclass C:\n x: int = 1\n",
        ["!PLP236 C.__repr__"],
    ),
    "an annotation of a slot of attrs": (
        "import attr\n@attr.s(auto_attribs=True, frozen=True, slots=True)\nclass C:\n x: int\n",
        "import attr\n@attr.s(auto_attribs=True, frozen=True, slots=True)\nclass C:\n x: float\n",
        ["PLP218 C"],
    ),
}


@pytest.mark.parametrize("title", TABLE)
def test_what_becomes_of_other_fields(title: str, tmp_path: Path) -> None:
    old, new, expected = TABLE[title]
    assert summary(build(tmp_path, old, new)) == expected


def test_the_class_that_was_made_aside_leaves_no_trace(package: Make) -> None:
    base = "class Base: pass\n"
    old, new = (base + text.replace("class Plain:", "class Plain(Base):") for text in (OLD, NEW))
    pair = package({"m.py": old}, {"m.py": new})
    module = pair.module("m")
    pair.load()
    assert module.Base.__subclasses__() == [module.Plain]
    for name in ("__setattr__", "__delattr__"):
        known = [cell.cell_contents for cell in vars(module.Frozen)[name].__closure__ or ()]
        assert [one for one in known if getattr(one, "__name__", "") == "Frozen"] == [module.Frozen]


@pytest.mark.parametrize("setting", ["attr.s", "attr.s(auto_attribs=True, frozen=True, slots=True)", "attrs.define"])
def test_classes_of_attrs_follow_where_attrs_is(package: Make, setting: str) -> None:
    pytest.importorskip("attr")
    slots = setting != "attr.s"
    field = "x: int = 1" if slots else "x = attr.ib(default=1)"
    changed = "x: float = 2" if slots else "x = attr.ib(default=2)\n    y = attr.ib(default='y')"
    source = f"import attr, attrs\n@{setting}\nclass C:\n    {field}\n    def m(self): return __class__\n"
    pair = package({"m.py": source}, {"m.py": source.replace(field, changed)})
    module = pair.module("m")
    old = module.C()
    applied = pair.load()
    assert repr(old) == ("C(x=1)" if slots else "C(x=1, y='y')")
    assert repr(module.C()) == ("C(x=2)" if slots else "C(x=2, y='y')")
    assert old == module.C(1)
    assert pickle.loads(pickle.dumps(module.C())) == module.C()
    assert old.m() is module.C
    applied.unload()
    assert repr(module.C()) == repr(old) == "C(x=1)"




def test_match_args_go_with_fields_of_a_base_or_by_keyword(package: Make) -> None:
    base = D + "@dataclass\nclass B:\n a: int = 1\n"
    body = "class C(B):\n b: int = 2\n c: int = field(default=3, kw_only=True)\n"
    body += " d: int = field(default=4, init=False)\n"
    old, new = (f"{base}@dataclass{setting}\n{body}" for setting in ("", "(match_args=False)"))
    pair = package({"m.py": old}, {"m.py": new})
    cls = pair.module("m").C
    applied = pair.load()
    assert cls.__match_args__ == ("a",)
    applied.unload()
    assert cls.__match_args__ == ("a", "b")

"""A process that is patched already: v1→v3 takes the place of v1→v2, or v2→v3 stands on it. All built from source."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import pylivepatch
from pylivepatch.build import build_patch
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import NotRemovable, PrepareError

_numbers = itertools.count()

V1 = """
    LIMIT = 10
    NAMES = ["a"]
    class Shop:
        rate = 1
        def __init__(self):
            self.items = []
        def add(self, item):
            self.items.append(item)
            return self.total()
        def total(self):
            return len(self.items) * self.rate
    def f(x, y=1):
        return x + y
    def make():
        def inner():
            return "inner 1"
        return inner
"""
V2 = """
    import math
    LIMIT = 20
    NAMES = ["a", "b"]
    EXTRA = (1, 2)
    class Shop:
        rate = 2
        def __init__(self):
            self.items = []
            self.open = True
        def add(self, item):
            self.items.append(item)
            return self.total() + helper(0)
        def total(self):
            return len(self.items) * self.rate
        def closed(self):
            return not self.open
    def helper(x):
        return math.floor(x)
    def f(x, y=2):
        return x + y + LIMIT
    def make():
        def inner():
            return "inner 2"
        return inner
"""
V3 = """
    import math
    LIMIT = 30
    NAMES = ["a", "b", "c"]
    class Shop:
        rate = 2
        def __init__(self):
            self.items = []
            self.open = True
        def add(self, item):
            self.items.append(item)
            return self.total() + helper(0.5)
        def total(self):
            return len(self.items) * self.rate * 100
        def closed(self):
            return not self.open
        def more(self):
            return "more"
    def helper(x):
        return math.ceil(x)
    def f(x, y=1):
        return x * y * LIMIT
    def make():
        def inner():
            return "inner 3"
        return inner
"""


class Program:
    """A module whose first version runs, with an instance, an alias and a closure from its first days."""

    def __init__(self, folder: Path, versions: Mapping[int, str]) -> None:
        self.name = f"upgraded_{next(_numbers)}"
        self.write(folder, versions)
        self.shop, self.alias, self.closure = self.module.Shop(), self.module.f, self.module.make()
        self.names = self.module.NAMES

    def write(self, folder: Path, versions: Mapping[int, str]) -> None:
        """Write every version, and import the first one."""
        self.folders = {}
        for number, text in versions.items():
            self.folders[number] = folder / str(number)
            self.folders[number].mkdir(parents=True)
            (self.folders[number] / f"{self.name}.py").write_text(dedent(text))
        sys.path.insert(0, str(self.folders[1]))
        self.module = importlib.import_module(self.name)

    def load(self, old: int, new: int, **options: Any) -> pylivepatch.Applied:
        patch = build_patch(self.folders[old], self.folders[new], name=f"{self.name}-{old}-{new}")
        return pylivepatch.load(compile_patch(patch), deep=True, **options)

    def state(self) -> dict[str, Any]:
        """What can be seen of the version that runs, by the old objects and by new ones."""
        shop = self.module.Shop()
        found: dict[str, Any] = {"f": (self.alias(3), self.module.f(3))}
        found["inner"] = (self.closure(), self.module.make()())
        found["added"] = (self.shop.add("x"), shop.add("x"))
        self.shop.items.clear()
        found["names"] = {name for name in vars(self.module) if not name.startswith("__")}
        found["class"] = {name for name in vars(self.module.Shop) if not name.startswith("__")} - {"open"}
        found["values"] = (self.module.LIMIT, list(self.names), self.module.NAMES is self.names, self.module.Shop.rate)
        found["open"] = getattr(self.shop, "open", None)
        return found


def fresh(folder: Path, text: str) -> dict[str, Any]:
    """The same of a program that was never patched."""
    folder.mkdir()
    program = Program(folder, {1: text})
    try:
        return program.state()
    finally:
        forget(program)


def forget(program: Program) -> None:
    sys.modules.pop(program.name, None)
    sys.path.remove(str(program.folders[1]))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Program(tmp_path, {1: V1, 2: V2, 3: V3})
    yield made
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    forget(made)


@pytest.fixture
def versions(tmp_path: Path) -> list[dict[str, Any]]:
    return [fresh(tmp_path / f"fresh-{number}", text) for number, text in enumerate((V1, V2, V3), 1)]


def test_a_cumulative_patch_built_from_the_first_version_takes_the_place_of_the_one_before(
    program: Program, versions: list[dict[str, Any]]
) -> None:
    assert program.state() == versions[0]
    program.load(1, 2)
    assert program.state() == versions[1]
    third = program.load(1, 3, replace=True)
    assert program.state() == versions[2]
    assert [applied.name for applied in pylivepatch.patches()] == [third.name]
    third.unload(deep=True)
    assert program.state() == versions[0]


def test_a_cumulative_patch_also_leads_back_to_the_version_before(
    program: Program, versions: list[dict[str, Any]]
) -> None:
    program.load(1, 3)
    second = program.load(1, 2, replace=True)
    assert program.state() == versions[1]
    second.unload(deep=True)
    assert program.state() == versions[0]


def test_a_patch_built_from_the_second_version_stands_on_the_first_patch(
    program: Program, versions: list[dict[str, Any]]
) -> None:
    second = program.load(1, 2)
    third = program.load(2, 3)
    assert program.state() == versions[2] | {"names": versions[2]["names"] | {"EXTRA"}}  # left in place: PLP222
    with pytest.raises(NotRemovable):
        second.unload()
    third.unload(deep=True)
    assert program.state() == versions[1]
    second.unload(deep=True)
    assert program.state() == versions[0]


def test_a_cumulative_patch_takes_the_place_of_a_whole_stack(
    program: Program, versions: list[dict[str, Any]]
) -> None:
    program.load(1, 2)
    program.load(2, 3)
    whole = program.load(1, 3, replace=True)
    assert program.state() == versions[2]
    whole.unload(deep=True)
    assert program.state() == versions[0]


def test_a_patch_for_another_version_than_the_process_runs_is_refused_and_touches_nothing(
    program: Program, versions: list[dict[str, Any]]
) -> None:
    with pytest.raises(PrepareError):
        program.load(2, 3)
    assert program.state() == versions[0]
    program.load(1, 2)
    with pytest.raises(PrepareError):
        program.load(1, 3)  # not cumulative
    with pytest.raises(PrepareError):
        program.load(2, 3, replace=True)  # cumulative, but not built from the first version
    assert program.state() == versions[1]


FIELDS = """
    from dataclasses import dataclass
    @dataclass
    class Item:
        x: int = 1{fields}
        def show(self):
            return repr(self)
    class A:
        def who(self):
            return "A"{new}
    class B({base}):
        def f(self):
            return self.who() + "{number}"
    MAP = {map}
    def use(name):
        return MAP.get(name, 0) + {number}
"""
NEW_CLASS = """
    class New(A):
        def who(self):
            return "New {0}"
"""
CLASSES = {
    1: FIELDS.format(fields="", new="", base="A", number=1, map="{'a': 1}"),
    2: FIELDS.format(
        fields="\n        y: int = 2", new=NEW_CLASS.format(2), base="New", number=2, map="{'a': 1, 'b': 2}"
    ),
    3: FIELDS.format(
        fields="\n        y: int = 2\n        z: int = 3",
        new=NEW_CLASS.format(3),
        base="New",
        number=3,
        map="{'a': 1, 'b': 2, 'c': 3}",
    ),
}


class WithClasses(Program):
    """The same with fields of a dataclass, new classes, other bases and a container that changes in place."""

    def __init__(self, folder: Path, versions: Mapping[int, str]) -> None:
        self.name = f"upgraded_{next(_numbers)}"
        self.write(folder, versions)
        self.item, self.b, self.map = self.module.Item(), self.module.B(), self.module.MAP

    def state(self) -> dict[str, Any]:
        module = self.module
        return {
            "shown": (self.item.show(), module.Item().show(), self.item == module.Item()),
            "annotations": list(module.Item.__annotations__),
            "b": (self.b.f(), module.B().f(), [cls.__name__ for cls in module.B.__mro__]),
            "used": [module.use(name) for name in "abc"],
            "names": sorted(name for name in vars(module) if not name.startswith("__")),
            "map": (dict(self.map), module.MAP is self.map),
        }


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Program, list[dict[str, Any]]]]:
    """A program of three versions, and what fresh processes of each would say."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    states = []
    for number, text in CLASSES.items():
        alone = WithClasses(tmp_path / f"fresh-{number}", {1: text})
        states.append(alone.state())
        forget(alone)
    made = WithClasses(tmp_path / "live", CLASSES)
    yield made, states
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    forget(made)


@pytest.mark.parametrize(
    "steps",
    [
        [(1, 2, False), (1, 3, True)],
        [(1, 3, False), (1, 2, True)],
        [(1, 2, False), (2, 3, False)],
        [(1, 2, False), (2, 3, False), (1, 3, True)],
    ],
    ids=lambda steps: " ".join(f"{old}-{new}{'!' if replace else ''}" for old, new, replace in steps),
)
def test_classes_and_their_fields_follow_too(
    classes: tuple[Program, list[dict[str, Any]]], steps: list[tuple[int, int, bool]]
) -> None:
    program, states = classes
    for old, new, replace in steps:
        program.load(old, new, replace=replace)
        assert program.state() == states[new - 1]
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    assert program.state() == states[0]


def test_what_was_computed_from_another_modules_value_follows_when_a_patch_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"upgraded_{next(_numbers)}"
    for number in (1, 2, 3):
        folder = tmp_path / str(number) / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "consts.py").write_text(f"SIZE = {number}\n")
        (folder / "m.py").write_text(
            "from .consts import SIZE\nTABLE = {key: SIZE for key in 'ab'}\ndef f(a=SIZE): return a, TABLE['b']\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path / "1"))
    module = importlib.import_module(f"{name}.m")
    table = module.TABLE
    for new, replace in ((2, False), (3, True)):
        patch = build_patch(tmp_path / "1", tmp_path / str(new), name=f"{name}-{new}")
        applied = pylivepatch.load(compile_patch(patch), replace=replace)
        assert (module.f(), table, module.TABLE is table) == ((new, new), {"a": new, "b": new}, True)
    applied.unload()
    assert (module.f(), table) == ((1, 1), {"a": 1, "b": 1})
    for one in ("", ".m", ".consts"):
        del sys.modules[name + one]

"""Modules that only the new version has: importable from the switch on, and gone after the unload."""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
import threading
from collections.abc import Callable

import pytest

import pylivepatch
from pylivepatch.build import examine
from pylivepatch.errors import DataMismatch, PrepareError, TransitionTimeout
from tests.build.conftest import Package

Make = Callable[..., Package]

OLD = {"m.py": "def f(x): return x\n", "consts.py": "SIZE = 1\n"}
NEW = {
    "m.py": "from .new import helper\nfrom . import new\ndef f(x): return helper(x), new.CONST\n",
    "new.py": "CONST = 5\ndef helper(x):\n    return x + CONST\n",
}


def names_of(pair: Package, name: str = "new") -> tuple[bool, bool]:
    """Whether it is in ``sys.modules``, and an attribute of the package."""
    return f"{pair.name}.{name}" in sys.modules, hasattr(pair.module(), name)


def test_a_changed_module_imports_a_new_one(package: Make) -> None:
    pair = package(OLD, NEW)
    module = pair.module("m")
    finders = list(sys.meta_path)
    applied = pair.load()
    assert module.f(1) == (6, 5)
    assert names_of(pair) == (True, True)
    assert pair.module("new") is module.new is pair.module().new
    applied.unload()
    assert module.f(1) == 1
    assert names_of(pair) == (False, False)
    assert sys.meta_path == finders
    with pytest.raises(ModuleNotFoundError):
        pair.module("new")
    pair.load()  # and once more
    assert module.f(1) == (6, 5)


def test_a_function_and_anybody_else_may_import_it_later(package: Make) -> None:
    late = "def f(x):\n    from .new import helper\n    return helper(x)\n"
    pair = package(OLD, {"m.py": late, "new.py": NEW["new.py"]})
    module = pair.module("m")
    applied = pair.load()
    assert names_of(pair) == (False, False)
    assert importlib.import_module(f"{pair.name}.new").helper(0) == 5
    assert module.f(1) == 6
    applied.unload()
    assert names_of(pair) == (False, False)
    assert module.f(1) == 1


def test_a_patch_may_bring_nothing_but_a_module(package: Make) -> None:
    pair = package(OLD, {"new.py": NEW["new.py"]})
    applied = pair.load()
    assert pair.module("new").helper(1) == 6
    applied.unload()
    assert names_of(pair) == (False, False)


def test_one_patch_takes_the_place_of_another_that_brought_the_module(package: Make) -> None:
    pair = package(OLD, NEW)
    module = pair.module("m")
    pair.load()
    (pair.new / pair.name / "new.py").write_text("CONST = 9\ndef helper(x): return -x\n")
    result = examine(pair.old, pair.new, name="second")
    assert result.patch is not None
    second = pylivepatch.load(result.patch, replace=True)
    assert module.f(1) == (-1, 9)
    assert pair.module("new") is module.new
    second.unload()
    assert module.f(1) == 1
    assert names_of(pair) == (False, False)


def test_its_source_is_shown(package: Make) -> None:
    pair = package(OLD, NEW)
    pair.module("m")
    applied = pair.load()
    module = pair.module("new")
    assert inspect.getsource(module) == NEW["new.py"]
    assert inspect.getsource(module.helper) == "def helper(x):\n    return x + CONST\n"
    assert linecache.getline(module.__file__, 1) == "CONST = 5\n"
    assert importlib.reload(module).helper(1) == 6
    applied.unload()


def test_new_modules_import_each_other_and_what_the_patch_changes(package: Make) -> None:
    files = {
        "m.py": "from .sub.one import ONE, pair\ndef f(x): return ONE, pair()\n",
        "consts.py": "SIZE = 7\nADDED = 'added'\n",
        "sub/__init__.py": "from .two import TWO\nALL = (TWO,)\n",
        "sub/one.py": "from ..consts import SIZE, ADDED\nfrom . import two, ALL\nimport json as text\n"
        "ONE = (SIZE, ADDED, two.TWO, ALL)\ndef pair(): return text.dumps([SIZE])\n",
        "sub/two.py": "from .. import consts\nTWO = consts.SIZE * 2\n"
        "def late():\n    from .one import ONE\n    return ONE\n",
    }
    pair = package(OLD, files)
    module = pair.module("m")
    pair.module("consts")
    applied = pair.load()
    expected = (7, "added", 14, (14,))
    assert module.f(0) == (expected, "[7]")
    assert pair.module("sub.two").late() == expected
    assert pair.module("sub.one").two is pair.module("sub.two") is pair.module("sub").two
    applied.unload()
    assert [name for name in sys.modules if name.startswith(f"{pair.name}.sub")] == []
    assert not hasattr(pair.module(), "sub")


def test_a_dataclass_whose_annotations_are_text(package: Make) -> None:
    new = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    new += "@dataclass\nclass D:\n    x: int = 3\n"
    pair = package(OLD, {"m.py": "from .new import D\ndef f(x): return D(x), D()\n", "new.py": new})
    module = pair.module("m")
    applied = pair.load()
    assert repr(module.f(1)) == "(D(x=1), D(x=3))"
    applied.unload()


def test_nothing_is_seen_of_it_where_the_load_fails(package: Make) -> None:
    pair = package(OLD, {**NEW, "new.py": "seen = []\nraise OSError('no')\n"})
    module = pair.module("m")
    finders = list(sys.meta_path)
    with pytest.raises(PrepareError, match="no"):
        pair.load()
    assert names_of(pair) == (False, False)
    assert sys.meta_path == finders
    assert module.f(1) == 1


def test_it_is_not_seen_before_the_switch(package: Make) -> None:
    pair = package({"m.py": "def f(go): go()\n"}, {**NEW, "m.py": "from .new import helper\ndef f(go): helper(go)\n"})
    module = pair.module("m")
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=module.f, args=[stay])
    thread.start()
    inside.wait(30)
    patch = pair.examine().patch
    assert patch is not None
    with pytest.raises(TransitionTimeout):
        pylivepatch.load(patch, timeout=0.3)
    assert names_of(pair) == (False, False)
    leave.set()
    thread.join()


def test_nobody_may_be_inside_its_functions_at_the_unload(package: Make) -> None:
    pair = package(OLD, {**NEW, "new.py": "CONST = 1\ndef helper(go): go()\n"})
    pair.module("m")
    applied = pair.load()
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        leave.wait(30)

    thread = threading.Thread(target=pair.module("new").helper, args=[stay])
    thread.start()
    inside.wait(30)
    with pytest.raises(TransitionTimeout, match="helper"):
        applied.unload(timeout=0.3)
    assert names_of(pair) == (True, True)
    leave.set()
    thread.join()
    applied.unload()
    assert names_of(pair) == (False, False)


def test_another_module_of_that_name_refuses_the_load(package: Make) -> None:
    pair = package(OLD, NEW)
    pair.module("m")
    patch = pair.examine().patch
    assert patch is not None
    (pair.old / pair.name / "new.py").write_text("CONST = 'another'\n")
    importlib.invalidate_caches()
    pair.module("new")
    with pytest.raises(DataMismatch, match="its source is not that of the new version"):
        pylivepatch.load(patch)


def test_a_folder_without_init_is_a_package_all_the_same(package: Make) -> None:
    pair = package(OLD, {"m.py": "from .deep.down import x\ndef f(y): return x\n", "deep/down.py": "x = 'x'\n"})
    module = pair.module("m")
    applied = pair.load()
    assert module.f(1) == "x"
    applied.unload()


REFUSED: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "it was looked for": (
        {"m.py": "try:\n    from . import new\nexcept ImportError:\n    new = None\n"},
        {"new.py": ""},
    ),
    "it runs what changes": (
        {"m.py": "def f(): return 1\n"},
        {"m.py": "def f(): return 2\n", "new.py": "from .m import f\nX = f()\n"},
    ),
    "it takes all names": (
        {"m.py": "X = 1\n"},
        {"m.py": "X = 2\n", "new.py": "from .m import *\n"},
    ),
}


@pytest.mark.parametrize("title", REFUSED)
def test_a_module_that_would_not_be_that_of_a_fresh_process_is_refused(package: Make, title: str) -> None:
    refusals = package(*REFUSED[title]).examine().refusals
    assert {finding.code for finding in refusals} == {"PLP281"}


def test_a_renamed_module_with_classes_is_refused(package: Make) -> None:
    pair = package({"a.py": "class C: ...\n"}, {"b.py": "class C: ...\n"})
    (pair.new / pair.name / "a.py").unlink()
    assert {finding.code for finding in pair.examine().refusals} == {"PLP281"}

"""Names that are gone, and parts of properties that come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import pylivepatch
from pylivepatch.errors import LivePatchError
from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

BASE = "class B:\n    limit = 'base'\n    def m(self): return 'base'\n"
C = BASE + "class C(B):\n    limit = 3\n    def m(self): return 'c'\n    def __len__(self): return 5\n    kept = 1\n"
X = "class C:\n    @property\n    def x(self): return vars(self).get('v', 0)\n"
SETTER = "    @x.setter\n    def x(self, v): vars(self)['v'] = v + 1\n"
DELETER = "    @x.deleter\n    def x(self): vars(self).pop('v', None)\n"
USE = "def use(c):\n    out = []\n    for do in DOES:\n        try: out.append(do(c))\n"
USE += "        except (AttributeError, TypeError) as e: out.append(type(e).__name__)\n    return out\n"
DOES = "DOES = (lambda c: c.x, lambda c: setattr(c, 'x', 4), lambda c: c.x, lambda c: delattr(c, 'x'), lambda c: c.x)\n"

PAIRS: dict[str, tuple[str, str, str]] = {
    # title: old, new, expression over the module and an object made before
    "a method that a base has": (C, C.replace("    def m(self): return 'c'\n", ""), "(c.m(), C().m())"),
    "a class attribute that a base has": (C, C.replace("    limit = 3\n", ""), "(c.limit, C.limit)"),
    "a special method": (C, C.replace("    def __len__(self): return 5\n", ""), "(hasattr(c, '__len__'), bool(c))"),
    "a function that hid a builtin": (
        "class C: pass\ndef len(x): return -1\ndef f(): return len('ab')\n",
        "class C: pass\ndef f(): return len('ab')\n",
        "f()",
    ),
    "a value that hid a builtin": (
        "class C: pass\nmax = min\ndef f(): return max(1, 2)\n",
        "class C: pass\ndef f(): return max(1, 2)\n",
        "f()",
    ),
    "an inner class": (
        "class C:\n    class I: pass\n    a = 1\n",
        "class C:\n    a = 1\n",
        "(hasattr(c, 'I'), c.a)",
    ),
    "a setter comes": (X + USE + DOES, X + SETTER + USE + DOES, "use(c)"),
    "a setter and a deleter come": (X + USE + DOES, X + SETTER + DELETER + USE + DOES, "use(c)"),
    "a setter goes": (X + SETTER + DELETER + USE + DOES, X + DELETER + USE + DOES, "use(c)"),
    "all goes but the getter": (X + SETTER + DELETER + USE + DOES, X + USE + DOES, "use(c)"),
    "a setter comes, and the getter changes": (
        X + USE + DOES,
        X.replace("'v', 0", "'v', 9") + SETTER + USE + DOES,
        "use(c)",
    ),
    "a property with a setter comes": (
        "class C:\n    pass\n" + USE + DOES,
        X + SETTER + USE + DOES,
        "use(c)",
    ),
}


def outcome(expression: str, space: object, c: object) -> str:
    return repr(eval(expression, {**vars(space), "c": c}))


@pytest.mark.parametrize("title", PAIRS)
def test_a_live_process_is_as_a_fresh_one_and_goes_back(package: Make, title: str) -> None:
    old, new, expression = PAIRS[title]
    pair = package({"m.py": old}, {"m.py": new})
    module = pair.module("m")
    c = module.C()
    was, names = outcome(expression, module, module.C()), set(vars(module.C))
    applied = pair.load()
    fresh: dict[str, object] = {"__name__": module.__name__}
    exec(compile(new, "fresh", "exec", dont_inherit=True), fresh)
    expected = outcome(expression, SimpleNamespace(**fresh), fresh["C"]())  # type: ignore[operator]
    assert outcome(expression, module, c) == expected
    assert set(vars(module.C)) == set(vars(fresh["C"]))  # type: ignore[call-overload]
    vars(c).clear()
    applied.unload()
    assert outcome(expression, module, c) == was
    assert set(vars(module.C)) == names


def test_somebody_inside_a_method_that_goes_holds_the_load(package: Make) -> None:
    old = BASE + "class C(B):\n    def m(self):\n        yield 1\n        yield 2\n"
    pair = package({"m.py": old}, {"m.py": BASE + "class C(B): pass\n"})
    module = pair.module("m")
    walking = module.C().m()
    next(walking)
    result = pair.examine()
    assert result.patch is not None
    with pytest.raises(LivePatchError):
        pylivepatch.load(result.patch, timeout=0.05)
    assert list(walking) == [2]
    del walking
    pair.load()
    assert module.C().m() == "base"


ABSTRACT = "import abc\nclass A(abc.ABC):\n @abc.abstractmethod\n def m(self): pass\n"
TABLE: dict[str, tuple[str, str, list[str]]] = {
    "an attribute that instances get instead": (
        "class C:\n a = 1\n def __init__(self): pass\n def m(self): return self.a\n",
        "class C:\n def __init__(self): self.a = 1\n def m(self): return self.a\n",
        [".PLP222 C.a", "PLP210 C.__init__"],
    ),
    "an __eq__": (
        BASE + "class C(B):\n def __eq__(self, o): return True\n",
        BASE + "class C(B): pass\n",
        ["!PLP236 C.__eq__"],
    ),
    "an implementation of an abstract method": (
        ABSTRACT + "class C(A):\n def m(self): return self.m\n",
        ABSTRACT + "class C(A): pass\n",
        ["!PLP236 C.m"],
    ),
    "under a condition": (
        "x = 1\nif x:\n def len(): pass\ndef f(): return len\n",
        "x = 1\nif x:\n pass\ndef f(): return len\n",
        ["!PLP236 len"],
    ),
    "a setter of a property that another class extended": (
        X + SETTER + "class D(C):\n    @C.x.setter\n    def x(self, v): pass\n",
        X + "class D(C):\n    @C.x.setter\n    def x(self, v): pass\n",
        ["!PLP236 C.x"],
    ),
}


@pytest.mark.parametrize("title", TABLE)
def test_what_becomes_of_what_is_gone(title: str, tmp_path: Path) -> None:
    old, new, expected = TABLE[title]
    assert summary(build(tmp_path, old, new)) == sorted(expected)

"""Functions whose decorators or kind changed: another object takes the old one's names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import pylivepatch
from pylivepatch.errors import CodeMismatch, LivePatchError, UnswappableShape
from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

IMPORTS = "import contextlib, functools\ncalls = []\n"
PLAIN = "def f(x):\n    calls.append(x)\n    return x\n"

PAIRS: dict[str, tuple[str, str, str]] = {
    # title: old, new, expression over the module
    "a cache comes": (PLAIN, f"@functools.lru_cache\n{PLAIN}", "(m.f(1), m.f(1), len(m.calls))"),
    "a cache goes": (f"@functools.lru_cache\n{PLAIN}", PLAIN, "(m.f(1), m.f(1), len(m.calls))"),
    "a cache is another": (
        f"@functools.lru_cache(maxsize=1)\n{PLAIN}",
        f"@functools.cache\n{PLAIN}",
        "(m.f(1), m.f(2), m.f(1), len(m.calls))",
    ),
    "a context manager": (
        "def f(x): return contextlib.nullcontext(x)\n",
        "@contextlib.contextmanager\ndef f(x):\n    yield x + 1\n",
        "m.f(1).__enter__()",
    ),
    "a generator": ("def f(x): return [x]\n", "def f(x): yield x\n", "list(m.f(1))"),
    "a coroutine function": ("def f(x): return x\n", "async def f(x): return x\n", "run(m.f(1))"),
    "a static method of an instance": (
        "class C:\n    @staticmethod\n    def g(x): return x\ndef f(x): return C.g(x)\n",
        "class C:\n    def g(self, x): return [self.__class__.__name__, x]\ndef f(x): return C().g(x)\n",
        "m.f(1)",
    ),
    "a method of a property": (
        "class C:\n    def g(self): return 1\ndef f(x): return C().g()\n",
        "class C:\n    @property\n    def g(self): return 1 + __class__.two\n    two = 2\ndef f(x): return C().g\n",
        "m.f(1)",
    ),
}


def run(coroutine: object) -> object:
    if not inspect.iscoroutine(coroutine):
        return coroutine
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError


def outcome(expression: str, module: object) -> str:
    return repr(eval(expression, {"m": module, "run": run}))


@pytest.mark.parametrize("title", PAIRS)
def test_the_new_function_takes_all_names_of_the_old_one_and_gives_them_back(package: Make, title: str) -> None:
    old, new, expression = PAIRS[title]
    user = "from .m import f\nfrom .m import f as g\nclass U:\n    f = f\ndef same():\n    from . import m\n"
    user += "    return f is g is vars(U)['f'] is m.f\n"
    pair = package({"m.py": IMPORTS + old, "n.py": user}, {"m.py": IMPORTS + new})
    module, other = pair.module("m"), pair.module("n")
    before = outcome(expression, module)
    module.calls.clear()
    applied = pair.load()
    fresh: dict[str, object] = {"__name__": module.__name__}
    exec(compile(IMPORTS + new, "fresh", "exec", dont_inherit=True), fresh)
    assert outcome(expression, module) == outcome(expression, SimpleNamespace(**fresh))
    assert other.same()
    applied.unload()
    module.calls.clear()
    assert other.same()
    if "cache" not in title:
        assert outcome(expression, module) == before


def test_the_kind_that_inspect_sees_is_the_new_one(package: Make) -> None:
    pair = package({"m.py": "def f(): return 1\n"}, {"m.py": "async def f(): return 2\n"})
    module = pair.module("m")
    applied = pair.load()
    assert inspect.iscoroutinefunction(module.f)
    applied.unload()
    assert not inspect.iscoroutinefunction(module.f)
    assert module.f() == 1


def test_a_container_that_holds_the_old_function_refuses_the_load(package: Make) -> None:
    pair = package({"m.py": IMPORTS + PLAIN}, {"m.py": f"{IMPORTS}@functools.cache\n{PLAIN}"})
    module = pair.module("m")
    table = [module.f]
    with pytest.raises(UnswappableShape, match=r"1 reference to the function"):
        pair.load()
    assert module.f is table.pop()
    pair.load()


def test_a_tools_wrapper_is_not_thrown_away(package: Make) -> None:
    pair = package({"m.py": IMPORTS + PLAIN}, {"m.py": f"{IMPORTS}@functools.cache\n{PLAIN}"})
    module = pair.module("m")
    inner = module.f

    @functools.wraps(inner)
    def traced(x: object) -> object:
        return inner(x)

    module.f = traced
    with pytest.raises(CodeMismatch, match="wrapped or replaced"):
        pair.load()
    assert module.f is traced


def test_a_saved_method_refuses_the_load(package: Make) -> None:
    old = "class C:\n    @staticmethod\n    def g(x): return x\n"
    pair = package({"m.py": old}, {"m.py": "class C:\n    def g(self, x): return x\n"})
    module = pair.module("m")
    saved = [module.C.g]
    with pytest.raises(UnswappableShape):
        pair.load()
    saved.clear()
    pair.load()
    assert module.C().g(4) == 4


def test_a_suspended_generator_of_the_old_kind_holds_the_load(package: Make) -> None:
    pair = package({"m.py": "def f():\n    yield 1\n    yield 2\n"}, {"m.py": "def f():\n    return [3]\n"})
    module = pair.module("m")
    walking = module.f()
    next(walking)
    with pytest.raises(LivePatchError):
        pylivepatch.load(pair.examine().patch, timeout=0.05)  # type: ignore[arg-type]
    assert list(walking) == [2]
    del walking
    pair.load()
    assert module.f() == [3]


TABLE: dict[str, tuple[str, str, list[str]]] = {
    "an unknown decorator goes": ("import app\n@app.go\ndef f(): pass\n", "import app\ndef f(): pass\n", ["!PLP231 f"]),
    "an unknown decorator comes": (
        "import app\ndef f(): pass\n",
        "import app\n@app.go\ndef f(): pass\n",
        ["!PLP234 f"],
    ),
    "it was read at import": (
        "import functools\ndef f(): pass\nT = [f]\n",
        "import functools\n@functools.cache\ndef f(): pass\nT = [f]\n",
        ["!PLP231 f"],
    ),
    "a generator read at import": ("def f(): return 1\nT = [f]\n", "def f(): yield 1\nT = [f]\n", ["!PLP230 f"]),
    "a cached property becomes a method": (
        "import functools\nclass C:\n @functools.cached_property\n def f(self): pass\n",
        "import functools\nclass C:\n def f(self): pass\n",
        ["!PLP231 C.f"],
    ),
    "a property with a setter": (
        "class C:\n @property\n def f(self): pass\n @f.setter\n def f(self, v): pass\n",
        "class C:\n @classmethod\n def f(self): pass\n @f.setter\n def f(self, v): pass\n",
        ["!PLP231 C.f"],
    ),
}


@pytest.mark.parametrize("title", TABLE)
def test_what_cannot_take_the_names_is_refused(title: str, tmp_path: Path) -> None:
    old, new, expected = TABLE[title]
    assert [line for line in summary(build(tmp_path, old, new)) if line.startswith("!")] == expected

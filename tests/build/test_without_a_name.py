"""Functions that no name leads to: lambdas in values, and those that a registry keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

LAMBDAS: dict[str, tuple[str, str, list[str]]] = {
    "a module's": ("f = lambda x: x\n", "f = lambda x: x + 1\n", ["PLP210 f"]),
    "a class's": ("class C:\n f = lambda self: 1\n", "class C:\n f = lambda self: 2\n", ["PLP210 C.f"]),
    "in a table": (
        "T = {'a': lambda x: x,\n 'b': lambda x: x}\n",
        "T = {'a': lambda x: x,\n 'b': lambda x: x + 1}\n",
        ["PLP210 T"],
    ),
    "that only moved": ("f = lambda x: x\n", "\n\nf = lambda x: x\n", []),
    "two of a line": (
        "T = [lambda x: x, lambda x: -x]\n",
        "T = [lambda x: x, lambda x: +x]\n",
        ["!PLP260 T"],
    ),
    "other parameters": ("f = lambda x: x\n", "f = lambda x, y=1: x\n", ["!PLP260 f"]),
    "another default": ("f = lambda x=1: x\n", "f = lambda x=2: x\n", ["!PLP260 f"]),
    "a generator": ("f = lambda: 1\n", "f = lambda: (yield 1)\n", ["!PLP260 f"]),
    "called at once": ("x = (lambda: 1)()\n", "x = (lambda: 2)()\n", ["!PLP260 x"]),
    "used by a call at import": (
        "x = sorted([1], key=lambda x: x)\n",
        "x = sorted([1], key=lambda x: -x)\n",
        ["!PLP260 x"],
    ),
    "called at import by name": (
        "f = lambda: 1\nx = f()\n",
        "f = lambda: 2\nx = f()\n",
        ["!PLP265 f"],
    ),
    "kept by a partial": (
        "import functools\nf = functools.partial(lambda x: x, 1)\n",
        "import functools\nf = functools.partial(lambda x: -x, 1)\n",
        ["PLP210 f"],
    ),
    "and another item of the table": (
        "T = [lambda x: x,\n 1]\n",
        "T = [lambda x: -x,\n 2]\n",
        ["!PLP260 T"],
    ),
}


@pytest.mark.parametrize("title", LAMBDAS)
def test_a_lambda(title: str, tmp_path: Path) -> None:
    old, new, expected = LAMBDAS[title]
    assert summary(build(tmp_path, old, new)) == expected


def test_lambdas_are_patched_wherever_they_are_held(package: Make) -> None:
    old = """
        import functools
        f = lambda x: ("old f", x)
        TABLE = {"a": lambda x: ("old a", x),
                 "b": [lambda x: ("b", x)]}
        class C:
            m = lambda self: ("old m", self.__class__.__name__)
            s = staticmethod(lambda x: ("old s", x))
        part = functools.partial(lambda x, y: ("old part", x, y), 1)
    """
    pair = package({"m.py": old}, {"m.py": "\n" + old.replace("old ", "new ")})
    module = pair.module("m")
    kept, bound = module.f, module.C().m

    def seen() -> list[object]:
        table = module.TABLE
        calls = kept(1), table["a"](1), table["b"][0](1), bound(), module.C.s(1), module.part(2)
        return [call[0] for call in calls]

    applied = pair.load()
    assert seen() == ["new f", "new a", "b", "new m", "new s", "new part"]
    applied.unload()
    assert seen() == ["old f", "old a", "b", "old m", "old s", "old part"]


DISPATCH = """
import functools
@functools.singledispatch
def show(x): return "any"
@show.register
def _(x: int): return "int"
@show.register(str)
def _(x): return "str"
@show.register
def _(x: bytes): return "bytes"
"""
METHODS = """
import functools
class C:
    @functools.singledispatchmethod
    def show(self, x): return "any"
    @show.register
    def _(self, x: int): return "int"
    @show.register
    def _(self, x: str): return "str"
"""


@pytest.mark.parametrize("source", [DISPATCH, METHODS])
def test_functions_registered_under_one_name_are_patched(package: Make, source: str) -> None:
    new = "# moved\n" + source.replace('"int"', '"new int"').replace('return "str"', 'return "new str"')
    pair = package({"m.py": source}, {"m.py": new})
    module = pair.module("m")
    show = module.show if source is DISPATCH else module.C().show
    assert (show(1), show("x")) == ("int", "str")
    applied = pair.load()
    assert (show(1), show("x"), show(b""), show(1.0)) == (
        "new int",
        "new str",
        "bytes" if source is DISPATCH else "any",
        "any",
    )
    applied.unload()
    assert (show(1), show("x")) == ("int", "str")


def test_a_function_registered_in_another_module_is_patched(package: Make) -> None:
    user = 'from .a import show\n@show.register\ndef _(x: int): return "int"\n@show.register\ndef _(x: str): return 1\n'
    base = "import functools\n@functools.singledispatch\ndef show(x): return 'any'\n"
    pair = package({"a.py": base, "m.py": user}, {"m.py": user.replace('"int"', '"new"')})
    pair.module("m")
    show = pair.module("a").show
    applied = pair.load()
    assert (show(1), show("x"), show(1.0)) == ("new", 1, "any")
    applied.unload()
    assert show(1) == "int"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def _(x: int)", "def _(x: float)"),
        ("def _(x: bytes)", "def _(x: bytearray)"),
    ],
)
def test_a_function_registered_for_another_type_takes_the_place(tmp_path: Path, before: str, after: str) -> None:
    assert summary(build(tmp_path, DISPATCH, DISPATCH.replace(before, after))) == ["PLP209 _"]


def test_a_name_that_is_taken_over_elsewhere_is_still_refused(tmp_path: Path) -> None:
    source = "import atexit\n@atexit.register\ndef _(): return 1\ndef _(): return 2\n"
    assert summary(build(tmp_path, source, source.replace("1", "3"))) == ["!PLP237 _"]

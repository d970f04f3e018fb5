"""``a = b = 1``: each name is a value by itself, where the names share nothing that can change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.build.conftest import Package
from tests.build.test_edits import summary

Make = Callable[..., Package]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a = b = 1", "a = b = 2", ["PLP212 a", "PLP212 b"]),
        ("a = b = (1, -1)", "a = b = (1, -2)", ["PLP212 a", "PLP212 b"]),
        ("a = b = 1", "a = 1\nb = 1", []),
        ("a = b = 1", "a = b = c = 1", ["PLP213 c"]),
        ("a = b = 1", "a = 1", [".PLP222 b"]),
        ("if True:\n    a = b = 1", "if True:\n    a = b = 2", ["!PLP235 a", "!PLP235 b"]),
        ("class C:\n    a = b = 1", "class C:\n    a = b = 2", ["PLP212 C.a", "PLP212 C.b"]),
        ("a = b = []", "a = b = [1]", ["!PLP280 "]),
        ("a = b = object()", "a = b = object", ["!PLP280 "]),
        ("a = (b, c) = (1, 2)", "a = (b, c) = (1, 3)", ["!PLP280 "]),
        ("class O: pass\nO.a = b = 1", "class O: pass\nO.a = b = 2", ["!PLP280 "]),
        ("def f():\n    a = b = 1\n    return a", "def f():\n    a = b = 2\n    return a", ["PLP210 f"]),
    ],
)
def test_what_a_difference_becomes(package: Make, old: str, new: str, expected: list[str]) -> None:
    assert summary(package({"m.py": old + "\n"}, {"m.py": new + "\n"}).examine()) == expected


def test_what_was_computed_from_either_name_follows(package: Make) -> None:
    source = "__version__ = version = '1.0'\nTEXT = 'v' + version\ndef f(v=__version__): return v, version, TEXT\n"
    pair = package({"m.py": source}, {"m.py": source.replace("1.0", "1.1")})
    module = pair.module("m")
    applied = pair.load()
    assert (module.f(), module.__version__) == (("1.1", "1.1", "v1.1"), "1.1")
    applied.unload()
    assert (module.f(), module.__version__) == (("1.0", "1.0", "v1.0"), "1.0")


@pytest.mark.parametrize("indent", ["", "class C:\n    "])
def test_both_names_have_one_object(package: Make, indent: str) -> None:
    pair = package({"m.py": indent + "a = b = 'a text'\n"}, {"m.py": indent + "a = b = c = 'a new text', 1.5\n"})
    module = pair.module("m")
    scope = module.C if indent else module
    was = scope.a
    applied = pair.load()
    assert scope.a == ("a new text", 1.5)
    assert scope.a is scope.b is scope.c
    applied.unload()
    assert scope.a is scope.b is was


def test_equal_lists_of_one_line_are_two(package: Make) -> None:
    pair = package({"m.py": "\n"}, {"m.py": "a = [1]; b = [1]\n"})
    module = pair.module("m")
    applied = pair.load()
    assert module.a == module.b
    assert module.a is not module.b
    applied.unload()

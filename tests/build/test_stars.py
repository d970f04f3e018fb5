"""Star imports that ran already, of modules that get new public names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.build.conftest import Package
from tests.build.test_edits import summary

Make = Callable[..., Package]

STAR = "from .other import *\n"
HAS = "def f(): return 1\n"


def test_a_new_public_name_is_bound_where_all_names_were_copied(package: Make) -> None:
    files = {"m.py": STAR, "top.py": "from .m import *\n", "other.py": HAS}
    pair = package(files, {"other.py": HAS + "def g(): return 2\nLIMIT = 3\n_own = 4\n"})
    modules = [pair.module(name) for name in ("m", "top", "other")]
    applied = pair.load()
    for one in modules:
        assert (one.g(), one.LIMIT) == (2, 3)
    assert not hasattr(modules[0], "_own")
    applied.unload()
    for one in modules:
        assert not hasattr(one, "g")
        assert not hasattr(one, "LIMIT")


def test_what_a_module_says_it_exports_is_followed(package: Make) -> None:
    old = "__all__ = ['f']\n" + HAS + "def shown(): return 2\n"
    new = old.replace("['f']", "['f', 'shown']") + "def g(): return 3\n"
    pair = package({"m.py": STAR, "other.py": old}, {"other.py": new})
    module = pair.module("m")
    applied = pair.load()
    assert module.shown() == 2
    assert not hasattr(module, "g")
    applied.unload()
    assert not hasattr(module, "shown")


def test_a_new_import_of_what_the_module_that_copied_has_already_is_none_of_its_business(package: Make) -> None:
    pair = package({"m.py": "import re\n" + STAR, "other.py": HAS}, {"other.py": "import re\n" + HAS})
    assert summary(pair.examine()) == ["PLP214 re"]


@pytest.mark.parametrize(
    ("importer", "head", "expected"),
    [
        (STAR, "", ["PLP211 g", "PLP214 g"]),
        (STAR + "def g(): return 3\n", "", ["PLP211 g"]),
        ("def g(): return 3\n" + STAR, "", ["!PLP271 g", "PLP211 g"]),
        ("import abc as g\n" + STAR, "", ["!PLP271 g", "PLP211 g"]),
        (STAR + "def h(): return g()\n", "", ["!PLP271 g", "PLP211 g"]),
        (STAR, "__all__ = names()\n", [".PLP226 g", "PLP211 g"]),
        (STAR, "__all__ = ['f']\n__all__ += names()\n", [".PLP226 g", "PLP211 g"]),
        ("try:\n    from .other import *\nexcept ImportError:\n    pass\n", "", [".PLP226 g", "PLP211 g"]),
    ],
)
def test_a_new_name_of_a_module_whose_names_are_copied(
    package: Make, importer: str, head: str, expected: list[str]
) -> None:
    old = "from nowhere import names\n" + head + HAS
    pair = package({"m.py": importer, "other.py": old}, {"other.py": old + "def g(): return 2\n"})
    assert summary(pair.examine()) == expected

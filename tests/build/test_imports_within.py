"""New imports of what the same patch brings to another module."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pylivepatch
from pylivepatch.errors import PrepareError
from tests.build.conftest import Package

Make = Callable[..., Package]

USER = "def g(): return 'old'\n"


@pytest.mark.parametrize("first", ["a", "z"])  # the giver's name sorts before or after the taker's
def test_a_new_function_of_another_module_is_imported(package: Make, first: str) -> None:
    pair = package(
        {f"{first}.py": "", "m.py": USER},
        {
            f"{first}.py": "def helper(): return 'new'\n",
            "m.py": f"from .{first} import helper as h\ndef g(): return h()\n",
        },
    )
    giver, taker = pair.module(first), pair.module("m")
    applied = pair.load()
    assert taker.g() == "new"
    assert taker.h is giver.helper
    applied.unload()
    assert taker.g() == "old"
    assert not hasattr(taker, "h")
    assert not hasattr(giver, "helper")


def test_it_may_be_used_in_a_default_of_the_importing_module(package: Make) -> None:
    pair = package(
        {"z.py": "", "m.py": "def g(n=1): return n\n"},
        {"z.py": "LIMIT = 7\n", "m.py": "from .z import LIMIT\ndef g(n=LIMIT): return n\n"},
    )
    pair.module("z")
    taker = pair.module("m")
    applied = pair.load()
    assert taker.g() == 7
    applied.unload()
    assert taker.g() == 1


def test_it_may_pass_through_a_third_module(package: Make) -> None:
    pair = package(
        {"z.py": "", "y.py": "", "m.py": USER},
        {
            "z.py": "def helper(): return 'new'\n",
            "y.py": "from .z import helper\n",
            "m.py": "from . import y\nfrom .y import helper\ndef g(): return helper()\n",
        },
    )
    modules = [pair.module(name) for name in "zym"]
    pair.load()
    assert modules[2].g() == "new"
    assert modules[2].helper is modules[0].helper


def test_a_changed_constant_is_imported_with_its_new_value(package: Make) -> None:
    pair = package(
        {"z.py": "LIMIT = 1\n", "m.py": "def g(): return 0\n"},
        {"z.py": "LIMIT = 2\n", "m.py": "from .z import LIMIT\ndef g(): return LIMIT\n"},
    )
    pair.module("z")
    taker = pair.module("m")
    pair.load()
    assert taker.g() == 2


def test_a_module_that_is_imported_later_gets_the_name(package: Make) -> None:
    pair = package(
        {"z.py": "", "m.py": USER},
        {"z.py": "def helper(): return 'new'\n", "m.py": "from .z import helper\ndef g(): return helper()\n"},
    )
    pair.module("z")
    applied = pair.load()
    assert applied.waiting == (f"{pair.name}.m",)
    assert pair.module("m").g() == "new"


def test_a_giver_that_is_not_imported_yet_refuses_with_nothing_changed(package: Make) -> None:
    pair = package(
        {"z.py": "", "m.py": USER},
        {"z.py": "def helper(): return 'new'\n", "m.py": "from .z import helper\ndef g(): return helper()\n"},
    )
    taker = pair.module("m")
    with pytest.raises(PrepareError, match="load the patch again"):
        pair.load()
    assert taker.g() == "old"
    assert not hasattr(taker, "helper")
    pair.load()
    assert taker.g() == "new"


def test_two_modules_that_give_to_each_other_are_refused(package: Make) -> None:
    pair = package(
        {"a.py": USER, "b.py": USER},
        {
            "a.py": "from .b import two\ndef one(): return two()\n" + USER,
            "b.py": "from .a import one\ndef two(): return one()\n" + USER,
        },
    )
    assert {(finding.code, finding.symbol) for finding in pair.examine().refusals} == {
        ("PLP274", "one"),
        ("PLP274", "two"),
    }


def test_a_name_that_the_patch_cannot_bring_is_refused(package: Make) -> None:
    pair = package(
        {"a.py": "", "m.py": USER},
        {"a.py": "import os\ncurrent = os.getcwd()\n", "m.py": "from .a import current\n" + USER},
    )
    result = pair.examine()
    assert [finding.code for finding in result.refusals] == ["PLP260", "PLP274"]
    assert not [finding for finding in result.changes if finding.symbol == "current"]


def test_nothing_is_left_of_a_patch_that_was_taken_out(package: Make) -> None:
    import gc
    import weakref

    pair = package(
        {"z.py": "", "m.py": USER, "later.py": USER},
        {
            "z.py": "def helper(): return 'new'\n",
            "m.py": "from .z import helper\ndef g(): return helper()\n",
            "later.py": "def g(): return 'new'\n",
        },
    )
    giver = pair.module("z")
    pair.module("m")
    applied = pair.load()
    helper = weakref.ref(giver.helper)
    applied.unload()
    del applied
    gc.collect()
    assert helper() is None
    assert not pylivepatch.patches()

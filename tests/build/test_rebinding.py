"""Names that come from elsewhere now, and names that depend on the process: what the live process gets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pylivepatch
from pylivepatch.errors import DataMismatch, TargetNotFound
from tests.build.conftest import Package

Make = Callable[..., Package]

SOURCES = {"a.py": "def x(): return 'a'\n", "b.py": "def x(): return 'b'\n"}


def test_a_name_from_elsewhere_is_bound_at_the_switch(package: Make) -> None:
    user = "from .a import x\ndef f(): return x()\n"
    pair = package({**SOURCES, "m.py": user}, {"m.py": user.replace(".a", ".b")})
    module = pair.module("m")
    applied = pair.load()
    assert (module.f(), module.x) == ("b", pair.module("b").x)
    applied.unload()
    assert (module.f(), module.x) == ("a", pair.module("a").x)


def test_a_name_that_was_set_at_run_time_refuses_the_load(package: Make) -> None:
    user = "from .a import x\ndef f(): return x()\n"
    pair = package({**SOURCES, "m.py": user}, {"m.py": user.replace(".a", ".b")})
    module = pair.module("m")
    module.x = lambda: "mine"
    with pytest.raises(DataMismatch, match="which the old source does not import"):
        pair.load()
    assert module.f() == "mine"


def test_a_new_import_does_not_overwrite_what_somebody_put_there(package: Make) -> None:
    pair = package({"m.py": "def f(): return 1\n"}, {"m.py": "import json\ndef f(): return json\n"})
    module = pair.module("m")
    module.json = "mine"
    with pytest.raises(DataMismatch, match="which the old source does not bind"):
        pair.load()
    assert module.json == "mine"


def test_a_name_that_another_module_copied_is_refused(package: Make) -> None:
    user = "from .a import x\n"
    pair = package({**SOURCES, "m.py": user, "n.py": "from .m import x\n"}, {"m.py": user.replace(".a", ".b")})
    assert [finding.code for finding in pair.examine().refusals] == ["PLP270"]


def test_a_name_that_another_module_used_at_import_is_refused(package: Make) -> None:
    user = "from .a import x\n"
    pair = package({**SOURCES, "m.py": user, "n.py": "from . import m\ny = m.x\n"}, {"m.py": user.replace(".a", ".b")})
    assert [finding.code for finding in pair.examine().refusals] == ["PLP270"]


def test_a_literal_that_is_imported_now_stays_where_it_is_the_same(package: Make) -> None:
    old = {"a.py": "", "m.py": "LIMIT = 7\ndef f(): return LIMIT\n"}
    new = "from .a import LIMIT\ndef f(): return LIMIT + 1\n"
    pair = package(old, {"a.py": "LIMIT = 7\n", "m.py": new})
    module = pair.module("m")
    pair.module("a")
    applied = pair.load()
    assert module.f() == 8
    applied.unload()
    assert (module.f(), module.LIMIT) == (7, 7)
    other = package(old, {"a.py": "LIMIT = 8\n", "m.py": new})
    assert [finding.code for finding in other.examine().refusals] == ["PLP238"]


def test_a_new_conditional_name_is_what_this_process_makes_of_it(package: Make) -> None:
    new = """
        import sys
        try:
            import surely_not_installed as fast
        except ImportError:
            fast = None
        if sys.version_info >= (3, 0):
            import json as codec
        else:
            only_before = 1
        def f(): return fast, codec.dumps([1])
    """
    pair = package({"m.py": "def f(): return 'old'\n"}, {"m.py": new})
    module = pair.module("m")
    applied = pair.load()
    assert module.f() == (None, "[1]")
    assert not hasattr(module, "only_before")
    applied.unload()
    assert module.f() == "old"
    assert not {"fast", "codec"} & vars(module).keys()
    assert not pylivepatch.patches()


def test_a_conditional_import_of_the_same_package_is_refused(package: Make) -> None:
    new = "try:\n    from .a import y\nexcept ImportError:\n    y = None\n"
    pair = package({**SOURCES, "m.py": ""}, {"a.py": SOURCES["a.py"] + "y = 1\n", "m.py": new})
    assert {finding.code for finding in pair.examine().refusals} == {"PLP235", "PLP280"}


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ("def g(socket): socket.connect()\n", False),
        ("def g(c):\n    try: c.connect()\n    except OSError: pass\n", False),
        ("def g(c):\n    try: c.connect()\n    except AttributeError: pass\n", True),
        ("def g(c, E):\n    try: c.connect()\n    except E: pass\n", True),
        ("import contextlib\ndef g(c, E):\n    with contextlib.suppress(E): c.connect()\n", True),
        ("def g(c): return hasattr(c, 'connect')\n", True),
        ("class D:\n    def g(self): self.connect()\n", True),
        ("class D:\n    def __getattr__(self, name): return 1\ndef g(c): return c.connect()\n", True),
    ],
)
def test_a_removed_method_stays_where_nobody_can_tell(package: Make, use: str, told: bool) -> None:
    old = f"class C:\n    def connect(self): return 1\n    def m(self): return 1\n{use}"
    pair = package({"m.py": old}, {"m.py": old.replace("    def connect(self): return 1\n", "")})
    result = pair.examine()
    assert not result.refusals
    assert [finding.code for finding in result.changes] == (["PLP208"] if told else ["PLP222"])


CONDITIONAL = """
import sys
if sys.flags.optimize > 90:
    class Fast:
        def m(self): return 1
    def helper(): return 1
else:
    def other(): return 1
def f(): return 1
"""


def test_what_a_process_does_not_have_is_left_out(package: Make) -> None:
    pair = package({"m.py": CONDITIONAL}, {"m.py": CONDITIONAL.replace("return 1", "return 2")})
    module = pair.module("m")
    applied = pair.load()
    assert (module.f(), module.other()) == (2, 2)
    assert not {"Fast", "helper"} & vars(module).keys()
    applied.unload()
    assert (module.f(), module.other()) == (1, 1)


def test_what_a_process_lost_is_missed(package: Make) -> None:
    pair = package({"m.py": CONDITIONAL}, {"m.py": CONDITIONAL.replace("return 1", "return 2")})
    module = pair.module("m")
    del module.f
    with pytest.raises(TargetNotFound):
        pair.load()
    assert module.other() == 1

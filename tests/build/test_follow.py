"""What was computed at import from a value that changed: after the load it is what a fresh import computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch.errors import DataMismatch
from tests.build.conftest import Package

Make = Callable[..., Package]


def asked(pair: Package, side: Path, expression: str) -> str:
    """The expression over the module ``m`` in a fresh process of one version."""
    program = f"import importlib; m = importlib.import_module('{pair.name}.m'); print(repr({expression}))"
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(command, cwd=side, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


CONSTS = "SIZE = 1\nNAMES = ['a']\nTABLE = {'a': 1}\nKINDS = {1}\nclass K:\n    LIMIT = 5\n"

CASES: dict[str, tuple[str, str]] = {
    # title: the module m, which imports what changes; and what is asked of it
    "a constant in another": ("from .consts import SIZE\nX = SIZE * 2\nY = X + 1\n", "(m.SIZE, m.X, m.Y)"),
    "an attribute of a module": ("from . import consts\nX = consts.SIZE + 1\n", "m.X"),
    "a class attribute": ("from .consts import K\nX = [K.LIMIT, 1]\n", "m.X"),
    "an attribute of a class": ("from .consts import SIZE\nclass C:\n    a = SIZE\n    b = (a, a)\n", "(m.C.a, m.C.b)"),
    "a default": ("from .consts import SIZE\ndef f(a, b=SIZE, *, c=3): return a, b, c\n", "m.f(0)"),
    "a keyword default": ("from .consts import SIZE\ndef f(a, b=2, *, c=SIZE): return a, b, c\n", "m.f(0)"),
    "a default of a method": (
        "class C:\n    limit = 3\n    def f(self, n=limit): return n\nfrom .consts import SIZE\nC2 = (C, SIZE)\n",
        "(m.C().f(), m.C2[1])",
    ),
    "an f-string": ("from .consts import SIZE\nX = f'<{SIZE:>3}>'\n", "m.X"),
    "a regular expression": (
        "import re\nfrom .consts import NAMES\nX = re.compile('|'.join(map_ for map_ in NAMES), re.I | re.M)\n",
        "m.X",
    ),
    "a comprehension": ("from .consts import TABLE\nX = {v: k.upper() for k, v in TABLE.items() if v}\n", "m.X"),
    "a frozenset": ("from .consts import NAMES\nX = frozenset(n.lower() for n in NAMES)\n", "sorted(m.X)"),
    "a list made of a list": ("from .consts import NAMES\nX = NAMES + ['z']\nY = len(X)\n", "(m.X, m.Y)"),
    "what keeps the list itself": (
        "from . import consts\nfrom .consts import NAMES as N\nX = (N, {'n': N})\n",
        "(m.X, m.X[0] is m.X[1]['n'] is m.N is m.consts.NAMES)",
    ),
    "a default that is the list itself": (
        "from .consts import NAMES\nfrom . import consts\ndef f(a=NAMES): return a, a is consts.NAMES\n",
        "m.f()",
    ),
    "a star import": ("from .consts import *\n", "(m.SIZE, m.NAMES)"),
    "a copy of a copy": ("from .between import SIZE as S\nX = S + 1\n", "(m.S, m.X)"),
    "an annotation": ("from .consts import SIZE\ndef f(a: SIZE): return a\n", "m.f.__annotations__"),
    "a condition": ("import sys\nfrom .consts import SIZE\nX = SIZE if sys.maxsize > 5 else None\n", "m.X"),
}


@pytest.mark.parametrize("title", CASES)
def test_it_follows_and_goes_back(package: Make, title: str) -> None:
    source, expression = CASES[title]
    new = "SIZE = 7\nNAMES = ['b', 'c']\nTABLE = {'a': 2, 'b': 3}\nKINDS = {2}\nclass K:\n    LIMIT = 6\n"
    files = {"consts.py": CONSTS, "between.py": "from .consts import SIZE\n", "m.py": source}
    pair = package(files, {"consts.py": new, "m.py": source.replace("limit = 3", "limit = 4")})
    module = pair.module("m")
    before = repr(eval(expression, {"m": module}))
    applied = pair.load()
    assert repr(eval(expression, {"m": module})) == asked(pair, pair.new, expression) != before
    applied.unload()
    assert repr(eval(expression, {"m": module})) == before == asked(pair, pair.old, expression)


@pytest.mark.parametrize(("old", "new"), [("[1, 2]", "[3]"), ("{'a': [1]}", "{'b': 2}"), ("{1, 2}", "{3}")])
def test_a_container_keeps_its_identity_and_gets_new_content(package: Make, old: str, new: str) -> None:
    pair = package({"m.py": f"X = {old}\n"}, {"m.py": f"X = {new}\n"})
    held = pair.module("m").X
    inner = held["a"] if isinstance(held, dict) else None
    applied = pair.load()
    assert pair.module("m").X is held
    assert held == eval(new)
    applied.unload()
    assert held == eval(old)
    assert inner is None or held["a"] is inner


def test_what_did_not_change_in_a_dict_stays_the_same_object(package: Make) -> None:
    pair = package({"m.py": "X = {'a': [1], 'b': 2}\n"}, {"m.py": "X = {'a': [1], 'b': 3}\n"})
    held = pair.module("m").X["a"]
    pair.load()
    assert pair.module("m").X == {"a": [1], "b": 3}
    assert pair.module("m").X["a"] is held


@pytest.mark.parametrize(
    ("old", "new", "rest", "action"),
    [
        ("[1]", "[5]", "", lambda m: m.X.append(2)),
        ("{}", "{5: 5}", "def f(): X['a'] = 1\n", lambda m: m.f()),
        ("1", "5", "def f():\n    global X\n    X += 1\n", lambda m: m.f()),
    ],
)
def test_what_was_changed_at_run_time_refuses_the_load(
    package: Make, old: str, new: str, rest: str, action: Callable[[Any], None]
) -> None:
    pair = package({"m.py": f"X = {old}\n{rest}"}, {"m.py": f"X = {new}\n{rest}"})
    module = pair.module("m")
    applied = pair.load()  # as long as it is as the source has it
    applied.unload()
    action(module)
    changed = repr(module.X)
    with pytest.raises(DataMismatch, match="m:X"):
        pair.load()
    assert repr(module.X) == changed


def test_an_unload_does_not_lose_what_was_put_into_a_container_since(package: Make) -> None:
    pair = package({"m.py": "X = [1]\n"}, {"m.py": "X = [2]\n"})
    applied = pair.load()
    pair.module("m").X.append(3)
    with pytest.raises(DataMismatch, match="changed after the patch had bound it"):
        applied.unload()
    pair.module("m").X.remove(3)
    applied.unload()
    assert pair.module("m").X == [1]


def test_a_module_that_is_imported_after_the_load_goes_back_too(package: Make) -> None:
    user = "from .consts import SIZE, KINDS\nfrom . import consts\nX = SIZE * 2\nY = consts.SIZE + 1\n"
    user += "def f(a=SIZE): return a\n"
    pair = package({"consts.py": "SIZE = 1\nKINDS = (1,)\n", "m.py": user}, {"consts.py": "SIZE = 5\nKINDS = (2,)\n"})
    pair.module("consts")
    applied = pair.load()
    module = pair.module("m")
    assert (module.SIZE, module.X, module.Y, module.KINDS, module.f()) == (5, 10, 6, (2,), 5)
    applied.unload()
    assert (module.SIZE, module.X, module.Y, module.KINDS, module.f()) == (1, 2, 2, (1,), 1)


def test_one_patch_replaces_another_that_filled_the_same_container(package: Make, tmp_path: Path) -> None:
    first = package({"m.py": "X = [1]\nY = len(X)\n"}, {"m.py": "X = [2, 2]\nY = len(X)\n"})
    module = first.module("m")
    held = module.X
    first.load()
    (first.new / first.name / "m.py").write_text("X = [3, 3, 3]\nY = len(X)\n")
    result = pylivepatch.build.examine(first.old, first.new, name="second")  # type: ignore[attr-defined]
    second = pylivepatch.load(result.patch, replace=True)
    assert (held, module.Y) == ([3, 3, 3], 3)
    second.unload()
    assert (held, module.Y, module.X is held) == ([1], 1, True)


def test_one_patch_replaces_another_that_bound_a_copy_anew(package: Make) -> None:
    consts = "import re\nWORD = re.compile('a')\n"
    user = "from .consts import WORD\nTEXT = [WORD, 1]\ndef f(): return WORD.pattern, TEXT[0].pattern\n"
    pair = package({"consts.py": consts, "m.py": user}, {"consts.py": consts.replace("'a'", "'b'")})
    module = pair.module("m")
    pair.load()
    assert module.f() == ("b", "b")
    (pair.new / pair.name / "consts.py").write_text(consts.replace("'a'", "'c'"))
    result = pylivepatch.build.examine(pair.old, pair.new, name="second")  # type: ignore[attr-defined]
    second = pylivepatch.load(result.patch, replace=True)
    assert module.f() == ("c", "c")
    second.unload()
    assert module.f() == ("a", "a")


REFUSED: dict[str, str] = {
    "a decorator": "from .consts import SIZE\ndef d(n): return lambda f: f\n@d(SIZE)\ndef f(): ...\n",
    "a call of who knows what": "import os\nfrom .consts import SIZE\nX = os.strerror(SIZE)\n",
    "a default beside one that has state": "from .consts import SIZE\ndef f(a=SIZE, b=[]): return a, b\n",
    "import-time code": "from .consts import SIZE\nif SIZE > 3:\n    import json\n",
    "a base class": "from .consts import K\nclass C(K if K.LIMIT else object): ...\n",
    "an operator on who knows what": "import os\nfrom .consts import SIZE\nX = os.environ | {SIZE: 1}\n",
}


@pytest.mark.parametrize("title", REFUSED)
def test_what_cannot_be_evaluated_again_is_refused(package: Make, title: str) -> None:
    new = CONSTS.replace("SIZE = 1", "SIZE = 7").replace("LIMIT = 5", "LIMIT = 6")
    pair = package({"consts.py": CONSTS, "m.py": REFUSED[title]}, {"consts.py": new})
    refusals = pair.examine().refusals
    assert {finding.code for finding in refusals} == {"PLP261"}
    assert all("m.py:" in finding.message for finding in refusals)


BRANCHES = """
    import sys
    if sys.version_info >= (3, 0):
        X = ('a',)
    else:
        X = ('b',)
    Y = [1]
    Y = {'a': Y + [len(Y)]}['a']
    if sys.platform == 'nowhere':
        Y = None
    def f(): return X, Y
"""


def test_the_last_assignment_and_the_branch_of_this_process_count(package: Make) -> None:
    new = BRANCHES.replace("('a',)", "('c',)").replace("('b',)", "('d',)").replace("Y = [1]", "Y = [4, 4]")
    pair = package({"m.py": BRANCHES}, {"m.py": new})
    module = pair.module("m")
    applied = pair.load()
    assert module.f() == (("c",), [4, 4, 2])
    applied.unload()
    assert module.f() == (("a",), [1, 1])


def test_what_read_an_earlier_assignment_is_refused(package: Make) -> None:
    source = "X = 1\ndef f(a=X): return a\nX = 2\n"
    pair = package({"m.py": source}, {"m.py": source.replace("X = 2", "X = 3")})
    assert [(one.code, "m.py:2 (default of f)" in one.message) for one in pair.examine().refusals] == [("PLP261", True)]


@pytest.mark.parametrize(
    "source",
    [
        "X = 1\nif print('hi'):\n    X = <2|3>\n",
        "X = 1\ntry:\n    X = <2|3>\nexcept KeyError: pass\n",
        "X = 1\nfor X in (1, 2): pass\nX = <2|3>\n",
        "import sys\nif sys.maxsize > 5:\n    X = <2|3>\nelif sys.maxsize > 4:\n    X = 4\n",
    ],
)
def test_an_assignment_that_may_be_the_live_one_or_not_is_refused(package: Make, source: str) -> None:
    old, new = source.replace("<2|3>", "2"), source.replace("<2|3>", "3")
    assert package({"m.py": old}, {"m.py": new}).examine().patch is None


def test_methods_of_patterns_are_compared_by_their_patterns(package: Make) -> None:
    import re

    source = "import re\nX = [(re.compile(p, re.I).match, k) for p, k in [('a<|b>', int), ('c', str)]]\n"
    old, new = source.replace("<|b>", ""), source.replace("<|b>", "b")
    pair = package({"m.py": old}, {"m.py": new})
    module = pair.module("m")
    re.purge()
    applied = pair.load()
    assert [pattern("AB") is not None for pattern, _ in module.X] == [True, False]
    assert module.X[0][0]("A") is None
    applied.unload()
    assert module.X[0][0]("A")


RETRY = """
    class Retry:
        NAMES = frozenset(['A'])
        limit: int
        def __init__(self, total=3, *, names=NAMES, redirect=None):
            self.total = total
            if redirect is False or total is False:
                redirect = 0
            self.redirect: object = redirect
            self.names = frozenset(n.lower() for n in names)
            self.other = self.total or ()
        def n(self): return sorted(self.names), self.total, self.redirect
    Retry.DEFAULT = Retry(4, redirect=False)
    held = [Retry.DEFAULT]
    again = Retry()
"""


def test_an_object_that_a_quiet_constructor_made_gets_its_new_attributes(package: Make) -> None:
    pair = package({"m.py": RETRY}, {"m.py": RETRY.replace("['A']", "['A', 'B']")})
    module = pair.module("m")
    question = "(m.held[0].n(), m.Retry.DEFAULT.n(), m.again.n(), m.Retry().n())"
    before, same = eval(question, {"m": module}), module.held[0]
    applied = pair.load()
    assert repr(eval(question, {"m": module})) == asked(pair, pair.new, question)
    assert module.held[0] is module.Retry.DEFAULT is same
    applied.unload()
    assert eval(question, {"m": module}) == before


def test_an_object_that_was_set_up_otherwise_since_refuses_the_load(package: Make) -> None:
    pair = package({"m.py": RETRY}, {"m.py": RETRY.replace("['A']", "['A', 'B']")})
    module = pair.module("m")
    module.Retry.DEFAULT.total = 9
    with pytest.raises(DataMismatch, match="not what the old constructor gives"):
        pair.load()
    assert module.Retry.DEFAULT.n() == (["a"], 9, 0)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("self.total = total\n", "self.total = total; print(total)\n"),
        ("class Retry:", "class Retry(dict):"),
        ("Retry(4, redirect=False)", "Retry(len(globals()))"),
        ("self.names = frozenset", "self.names = tuple.__new__"),
        ("def n(self)", "def __setattr__(self, k, v): self.__dict__[k] = v\n        def n(self)"),
        ("again = Retry()", "again = Retry().n()"),
        ("again = Retry()", "again = Retry.DEFAULT.total + 1"),
    ],
)
def test_an_object_of_a_constructor_that_does_more_is_refused(package: Make, was: str, now: str) -> None:
    source = RETRY.replace(was, now)
    assert source != RETRY
    pair = package({"m.py": source}, {"m.py": source.replace("['A']", "['A', 'B']")})
    assert [finding.code for finding in pair.examine().refusals] == ["PLP261"]

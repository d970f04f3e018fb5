"""What was done once, at import or when a class was created: where it would differ now is refused or told.

A case is one text for both versions: ``<1|2>`` stands for ``1`` in the old one and for ``2`` in the new one.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pylivepatch.build import BuildResult, examine

Files = dict[str, str]


def result_of(tmp_path: Path, files: str | Files) -> BuildResult:
    for number, side in enumerate(("old", "new"), 1):
        for name, text in ({"mod.py": files} if isinstance(files, str) else files).items():
            path = tmp_path / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"<([^|<>]*)\|([^|<>]*)>", rf"\{number}", text))
    return examine(tmp_path / "old", tmp_path / "new", name="fix")


def summary(result: BuildResult) -> list[str]:
    marks = {"applied": "", "applied-with-note": ".", "needs-author": "!", "refused": "!"}
    every = (*result.changes, *result.refusals)
    return sorted(f"{marks[one.verdict]}{one.code} {one.symbol}" for one in every)


F = "def f(): return <1|2>\n"
K = "class K:\n @staticmethod\n def make(): return [<1|2>]\n def __init__(self): self.x = 1\n"
INIT = "class K:\n def __init__(self, n=0): self.x = <1|2>\n"

FUNCTIONS: dict[str, tuple[str | Files, list[str]]] = {
    # --- results that are kept
    "a static method": (K + "T = K.make()\n", ["!PLP265 K.make"]),
    "an instance": (INIT + "T = K()\n", ["!PLP265 K.__init__"]),
    "an instance of a subclass": (INIT + "class L(K): pass\nT = [L()]\n", ["!PLP265 K.__init__"]),
    "an instance of a subclass that calls up": (
        INIT + "class L(K):\n def __init__(self): super().__init__(3)\nT = L()\n",
        ["!PLP265 K.__init__"],
    ),
    "an instance by a class method": (
        INIT + " @classmethod\n def make(cls): return cls()\nT = K.make()\n",
        ["!PLP265 K.__init__"],
    ),
    "a method of an instance": ("class K:\n def m(self): return <1|2>\nk = K()\nT = k.m()\n", ["!PLP265 K.m"]),
    "a method of a fresh instance": ("class K:\n def m(self): return <1|2>\nT = K().m()\n", ["!PLP265 K.m"]),
    "a property of an instance": (
        "class K:\n @property\n def p(self): return <1|2>\nk = K()\nT = k.p\n",
        ["!PLP265 K.p"],
    ),
    "a method by self": (
        "class K:\n def __init__(self): self.x = self._one()\n def _one(self): return <1|2>\nT = K()\n",
        ["!PLP265 K._one"],
    ),
    "a called instance": ("class K:\n def __call__(self): return <1|2>\nk = K()\nT = k()\n", ["!PLP265 K.__call__"]),
    "a function that the called one calls": (F + "def g(): return f()\nT = g()\n", ["!PLP265 f"]),
    "a long way": (F + "def g(): return f()\ndef h(x): return g()\nT = {1: h(2)}\n", ["!PLP265 f"]),
    "in another module": (
        {"a.py": F, "b.py": "from a import f as g\ndef h(): return g()\n", "c.py": "import b\nT = b.h()\n"},
        ["!PLP265 f"],
    ),
    "by map": ("def f(x): return x + <1|2>\nT = list(map(f, [1]))\n", ["!PLP265 f"]),
    "by sorted": ("def f(x): return x * <1|-1>\nT = sorted([1, 2], key=f)\n", ["!PLP265 f"]),
    "by a lambda": (F + "T = (lambda: f())()\n", ["!PLP265 f"]),
    "by another name": (F + "g = f\nT = g()\n", ["!PLP265 f"]),
    "in a chain of assignments": (F + "a = b = f()\n", ["!PLP265 f"]),
    "in a tuple": (F + "a, b = f(), 3\n", ["!PLP265 f"]),
    "in an item": (F + "L = {}\nL['a'] = f()\n", ["!PLP265 f"]),
    "in a loop": (F + "L = []\nfor i in range(2): L.append(f())\n", ["!PLP265 f"]),
    "in a condition": (F + "if f() > 1:\n x = 1\n", ["!PLP265 f"]),
    "a function that was made and called": (
        "def make():\n def inner(): return <1|2>\n return inner\nT = make()()\n",
        ["!PLP265 make"],
    ),
    "a function that was made, kept and called": (
        "def make():\n def inner(): return <1|2>\n return inner\nm = make()\nT = m()\n",
        ["!PLP265 make"],
    ),
    "an inner function that the decorator called": (
        "def d(f):\n def helper(): return <1|2>\n f.x = helper()\n return f\n@d\ndef g(): return 1\n",
        ["!PLP265 d"],
    ),
    "the work of a decorator with arguments": (
        "def d(n):\n def wrap(f):\n  f.x = <1|2>\n  return f\n return wrap\n@d(3)\ndef g(): return 1\n",
        ["!PLP265 d"],
    ),
    "the wrapper of a function that was called": (
        "def d(f):\n def w(): return f() + <1|2>\n return w\n@d\ndef g(): return 1\nT = g()\n",
        ["!PLP265 d"],
    ),
    "an attribute of a local class": (
        "def make():\n class C:\n  a = <1|2>\n return C\nC = make()\n",
        ["!PLP265 make"],
    ),
    "an attribute of a local class that was not made at import": (
        "def make():\n class C:\n  a = <1|2>\n return C\n",
        [".PLP226 make", "PLP210 make"],
    ),
    "a default": ("def f(n=<1|2>): return n\nT = f()\n", ["!PLP265 f"]),
    "a new method in a base's place": (
        "class B:\n def m(self): return 1\nclass K(B):\n x = 1\n<| def m(self): return 2\n>k = K()\nT = k.m()\n",
        ["!PLP265 K.m"],
    ),
    # --- what follows, or is not kept
    "the wrapper of a decorator with arguments": (
        "def d(n):\n def wrap(f):\n  def w(): return f() + <1|2>\n  return w\n return wrap\n"
        "@d(3)\ndef g(): return 1\n",
        ["PLP210 d"],
    ),
    "the method of a local class": (
        "def make():\n class C:\n  def m(self): return <1|2>\n return C\nC = make()\n",
        ["PLP210 make"],
    ),
    "a local class in another line": (
        "<|\n>def make():\n def inner(): return <1|2>\n class C:\n  a = 1\n  def m(self): self.b = 1\n"
        " return inner, C\nC = make()\n",
        ["PLP210 make"],
    ),
    "a docstring": ("def f():\n '<a|b>'\n return 1\nT = f()\n", ["PLP210 f"]),
    "a method that nobody called": (K + "T = K()\n", ["PLP210 K.make"]),
    "a function that is only kept": (F + "T = {'f': f}\n", ["PLP210 f"]),
    "a local name that is the same": (F + "def g(f): return f()\nT = g(len)\n", ["PLP210 f"]),
    "a call in a function": (F + "def g(): return f()\n", ["PLP210 f"]),
    "a call for scripts only": (F + "if __name__ == '__main__':\n T = f()\n", ["PLP210 f"]),
    "a call of which nothing was kept": (F + "def g(): f()\ng()\n", [".PLP224 f", "PLP210 f"]),
    # --- perhaps
    "under a condition": (F + "def g(x): return f() if x else 0\nT = g(0)\n", [".PLP226 f", "PLP210 f"]),
    "handed to somebody": ("import app\n" + F + "T = app.add(f)\n", [".PLP226 f", "PLP210 f"]),
    "in a subclass": (
        "class B:\n def __init__(self): self.m()\n def m(self): pass\n"
        "class K(B):\n def m(self): return <1|2>\nT = K()\n",
        [".PLP226 K.m", "PLP210 K.m"],
    ),
}

VALUES: dict[str, tuple[str | Files, list[str]]] = {
    "in a function": ("X = <1|2>\ndef f(): return X * 2\nT = f()\n", ["!PLP261 X"]),
    "in a constructor": ("X = [<1|2>]\nclass K:\n def __init__(self): self.x = X\nT = K()\n", ["!PLP261 X"]),
    "in a lambda": ("X = <1|2>\nT = (lambda: X)()\n", ["!PLP261 X"]),
    "by its text": ("X = <1|2>\nT = globals()['X']\n", ["!PLP261 X"]),
    "by getattr": ("import sys\nX = <1|2>\nT = getattr(sys.modules[__name__], 'X')\n", ["!PLP261 X"]),
    "by an import in a class": ({"a.py": "X = <1|2>\n", "b.py": "class K:\n from a import X\n"}, ["!PLP261 X"]),
    "by an import in a function": (
        {"a.py": "X = <1|2>\n", "b.py": "def g():\n from a import X\n return X\nT = g()\n"},
        ["!PLP261 X"],
    ),
    "an attribute by self": (
        "class K:\n x = <1|2>\n def __init__(self): self.y = self.x\nT = K()\n",
        ["!PLP261 K.x"],
    ),
    "perhaps": ("X = <1|2>\ndef f(a): return X if a else 0\nT = f(1)\n", [".PLP226 X", "PLP212 X"]),
    "its name's text alone": ("X = <1|2>\n__all__ = ['X']\n", ["PLP212 X"]),
    "a function's own name": ("X = <1|2>\ndef f():\n X = 3\n return X\nT = f()\n", ["PLP212 X"]),
    "a version": (
        {"a.py": "__version__ = '<1|2>'\n", "b.py": "def f():\n import a\n return a.__version__\nT = f()\n"},
        [".PLP222 __version__"],
    ),
}

ORDER: dict[str, tuple[str, list[str]]] = {
    "two functions": ("def f(): return <1|2>\ndef f(): return <2|1>\n", ["!PLP285 f"]),
    "two imports": ("from <os.path|ntpath> import join as x\nfrom <ntpath|os.path> import join as x\n", ["!PLP285 x"]),
    "a function and a value": ("<def f(): return 1\n|>f = len\n<|def f(): return 1\n>", ["!PLP285 f"]),
    "a second function above": ("<|def f(): return 2\n>def f(): return 1\n", ["!PLP285 f", "PLP211 f"]),
    "a statement over a definition": (
        "L = []\ndef f(): return 1\n<L.append(f())\n|>def f(): return 2\n<|L.append(f())\n>",
        ["!PLP285 f"],
    ),
    "a call over what the function reads": (
        "X = 1\ndef g(): return X\n<T = g()\n|>X = 2\n<|T = g()\n>",
        ["!PLP285 X"],
    ),
    "a value and a statement": (
        "L = []\nM = 1\n<T = list(L)\n|>L.append(1)\n<|T = list(L)\n>",
        ["!PLP285 T"],
    ),
    "the fields of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n <a|b>: int\n <b|a>: int\n",
        ["PLP218 C"],
    ),
    "the members of an enum": ("import enum\nclass C(enum.Enum):\n <A = 1|B = 2>\n <B = 2|A = 1>\n", ["!PLP253 C.A"]),
    "two that register": ("import app\n@app.go\ndef <f|g>(): pass\n@app.go\ndef <g|f>(): pass\n", [".PLP226 g"]),
    # --- no matter
    "a getter's setters": (
        "class C:\n @property\n def x(self): return 1\n"
        "<| @x.deleter\n def x(self): pass\n> @x.setter\n def x(self, v): pass\n"
        "< @x.deleter\n def x(self): pass\n|>",
        [],
    ),
    "submodules": ("import <os.path|xml.dom>\nimport <xml.dom|os.path>\n", []),
    "imports": ("import <os|re>\nimport <re|os>\nX = re.compile('a')\n", []),
    "values": ("A = <1|1>\n<B = 2\n|>C = A\n<|B = 2\n>", []),
    "methods": ("class C:\n def <a|b>(self): pass\n def <b|a>(self): pass\n", []),
    "generic implementations": (
        "import functools\n@functools.singledispatch\ndef f(x): pass\n"
        "@f.register(<int|str>)\ndef _(x): pass\n@f.register(<str|int>)\ndef _(x): pass\n",
        [],
    ),
}

ABC = "import abc\nclass A(abc.ABC):\n @abc.abstractmethod\n def f(self): ...\n"
DATA = "from dataclasses import dataclass\n@dataclass\nclass D:\n x: int = 1\n"
ENUM = "import enum\nclass E(enum.Enum):\n A = 1\n"
HOOK = "R = {}\nclass Base:\n def __init_subclass__(cls): R[cls.key] = cls\n"
META = "R = {}\nclass M(type):\n def __init__(cls, name, bases, body): R[name] = sorted(k for k in body if k > 'a')\n"
FILTERED = "class M(type):\n def __new__(m, n, b, d):\n  r = [k for k, v in d.items() if isinstance(v, int)]\n"
FILTERED += "  return super().__new__(m, n, b, d)\n"

CLASSES: dict[str, tuple[str, list[str]]] = {
    "a __post_init__": (DATA + "<| def __post_init__(self): self.y = 2\n>", ["!PLP239 D.__post_init__"]),
    "a __post_init__ of a plain class": ("class C:\n x = 1\n<| def __post_init__(self): pass\n>",
                                         ["PLP211 C.__post_init__"]),
    "a __post_init__ over another": (
        "class B:\n def __post_init__(self): pass\n" + DATA.replace("D:", "D(B):") + "<| def __post_init__(self): 1\n>",
        ["PLP211 D.__post_init__"],
    ),
    "a __repr__ of a dataclass": (DATA + "<| def __repr__(self): return 'D'\n>", ["PLP211 D.__repr__"]),
    "an abstract method's implementation": (
        ABC + "class B(A):\n def g(self): pass\n<| def f(self): return 1\n>",
        ["!PLP239 B.f"],
    ),
    "an abstract method's implementation for another": (
        ABC + "class Mixin:\n x = 1\n<| def f(self): return 1\n>class B(A, Mixin): pass\n",
        ["PLP211 Mixin.f"],
    ),
    "an abstract method's implementation in the middle": (
        ABC + "class B(A):\n x = 1\n<| def f(self): return 1\n>class C(B): pass\n",
        ["!PLP239 B.f"],
    ),
    "an abstract method of the standard library": (
        "from collections.abc import Sized\nclass C(Sized):\n x = 1\n<| def __len__(self): return 1\n>",
        ["!PLP239 C.__len__"],
    ),
    "another implementation": (
        ABC + "class B(A):\n def f(self): return 0\nclass C(B):\n x = 1\n<| def f(self): return 1\n>",
        ["PLP211 C.f"],
    ),
    "an enum's __new__": (ENUM + "<| def __new__(cls, v): return object.__new__(cls)\n>", ["!PLP239 E.__new__"]),
    "an enum's __init__": (ENUM + "<| def __init__(self, v): self.w = 2\n>", ["!PLP239 E.__init__"]),
    "an enum's changed __init__": (ENUM + " def __init__(self, v): print(<1|2>)\n", ["!PLP265 E.__init__"]),
    "an enum's _missing_": (ENUM + "<| @classmethod\n def _missing_(cls, v): return cls.A\n>", ["PLP211 E._missing_"]),
    "a member of a checked protocol": (
        "from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass P(Protocol):\n"
        " def a(self): ...\n<| def b(self): ...\n>",
        ["!PLP239 P.b"],
    ),
    "a member of another protocol": (
        "from typing import Protocol\nclass P(Protocol):\n def a(self): ...\n<| def b(self): ...\n>",
        ["PLP211 P.b"],
    ),
    "a comparison that total_ordering would use": (
        "import functools\n@functools.total_ordering\nclass C:\n __hash__ = None\n def __eq__(self, o): return True\n"
        " def __gt__(self, o): return True\n<| def __lt__(self, o): return False\n>",
        ["!PLP239 C.__lt__"],
    ),
    "what __init_subclass__ read": (HOOK + "class P(Base):\n key = '<a|b>'\n", ["!PLP261 P.key"]),
    "what __init_subclass__ read of a mixin": (
        HOOK + "class Mixin:\n key = '<a|b>'\nclass P(Mixin, Base): pass\n",
        ["!PLP261 Mixin.key"],
    ),
    "what __init_subclass__ did not read": (HOOK + "class P(Base):\n key = 'a'\n x = <1|2>\n", ["PLP212 P.x"]),
    "an __init_subclass__ that ran": (
        "class Base:\n def __init_subclass__(cls): cls.x = <1|2>\nclass P(Base): pass\n",
        ["!PLP265 Base.__init_subclass__"],
    ),
    "an __init_subclass__ of no known class": (
        "class Base:\n def __init_subclass__(cls): cls.x = <1|2>\n",
        [".PLP226 Base.__init_subclass__", "PLP210 Base.__init_subclass__"],
    ),
    "a __set_name__ that ran": (
        "class D:\n def __set_name__(self, o, n): self.n = n + '<a|b>'\nclass P:\n d = D()\n",
        ["!PLP265 D.__set_name__"],
    ),
    "what a class decorator read": (
        "R = {}\ndef reg(c): R[c.key] = c; return c\n@reg\nclass P:\n key = '<a|b>'\n",
        ["!PLP261 P.key"],
    ),
    "what a class decorator did not read": (
        "R = []\ndef reg(c): R.append(c); return c\n@reg\nclass P:\n key = '<a|b>'\n",
        ["PLP212 P.key"],
    ),
    "what an unknown class decorator may have read": (
        "import app\n@app.reg\nclass P:\n key = '<a|b>'\n",
        [".PLP226 P.key", "PLP212 P.key"],
    ),
    "a name that a metaclass lists": (
        META + "class P(metaclass=M):\n def do_a(self): pass\n<| def do_b(self): pass\n>",
        ["!PLP239 P.do_b"],
    ),
    "a name that a metaclass may list": (
        FILTERED + "class B(metaclass=M): pass\nclass P(B):\n x = 1\n<| def m(self): pass\n>",
        [".PLP226 P.m", "PLP211 P.m"],
    ),
    "a metaclass that ran": (
        "class M(type):\n def __init__(cls, n, b, d): cls.x = <1|2>\nclass P(metaclass=M): pass\n",
        ["!PLP265 M.__init__"],
    ),
    "a metaclass's new __init__": (
        "class M(type):\n x = 1\n<| def __init__(cls, n, b, d): cls.x = 2\n>class P(metaclass=M): pass\n",
        ["!PLP239 M.__init__"],
    ),
    "a method's body under all of them": (
        META + "def reg(c): return c\n@reg\nclass P(metaclass=M):\n def do_a(self): return <1|2>\n",
        ["PLP210 P.do_a"],
    ),
}  # fmt: skip

READS = "import inspect\ndef d(f):\n f.count = len(inspect.signature(f).parameters)\n return f\n"
WRAPS = "import functools\ndef d(f):\n @functools.wraps(f)\n def w(*a): return f(*a)\n return w\n"

DECORATED: dict[str, tuple[str, list[str]]] = {
    "a signature that was read": (READS + "@d\ndef f(a<|, b=1>): return a\n", ["!PLP231 f"]),
    "a signature that was read with arguments": (
        "def d(n):\n def wrap(f):\n  f.a = f.__annotations__\n  return f\n return wrap\n"
        "@d(1)\ndef f(a: <int|str>): return a\n",
        ["!PLP231 f"],
    ),
    "a body under it": (READS + "@d\ndef f(a): return <1|2>\n", ["PLP210 f"]),
    "a signature that the wrapper reads": (
        "def d(f):\n def w(): return f(*f.__defaults__)\n return w\n@d\ndef f(a=<1|2>): return a\n",
        ["PLP210 f"],
    ),
    "a signature that may have been read": (
        "import app\n@app.get('/')\ndef f(a: <int|str>): return a\n",
        [".PLP226 f", "PLP210 f"],
    ),
    "a cached function's signature": (
        "import functools\n@functools.cache\ndef f(a, b=<1|2>): return a\n",
        ["PLP210 f"],
    ),
    "a docstring under wraps": (WRAPS + "@d\ndef f(x):\n '<a|b>'\n", [".PLP221 f", "PLP210 f"]),
    "a property's docstring": ("class C:\n @property\n def p(self):\n  '<a|b>'\n", [".PLP221 C.p", "PLP210 C.p"]),
    "a class method's docstring": ("class C:\n @classmethod\n def p(cls):\n  '<a|b>'\n", ["PLP210 C.p"]),
}

TABLES = {"call": FUNCTIONS, "value": VALUES, "order": ORDER, "class": CLASSES, "decorator": DECORATED}
EVERY = {
    f"{name}: {title}": case
    for name, table in TABLES.items()
    for title, case in table.items()  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("title", EVERY)
def test_what_was_done_once_gives_exactly_these_findings(title: str, tmp_path: Path) -> None:
    files, expected = EVERY[title]
    result = result_of(tmp_path, files)
    assert summary(result) == sorted(expected)
    for finding in result.refusals:
        assert finding.advice
        assert finding.new_line or finding.old_line


def test_a_refusal_names_the_place_and_the_way_there(tmp_path: Path) -> None:
    source = F + "def g():\n return f()\nclass K:\n x = [g()]\n"
    (refusal,) = result_of(tmp_path, source).refusals
    assert "mod.py:5 (value of K.x, through g)" in refusal.message

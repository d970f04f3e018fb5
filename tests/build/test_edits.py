"""Small modules before and after: each with the exact changes, notes or refusals that it gives."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from pylivepatch.build import BuildResult, examine
from pylivepatch.patch import FunctionChange, NewFunction, NewImport, ValueChange


def build(tmp_path: Path, old: str, new: str) -> BuildResult:
    for side, text in (("old", old), ("new", new)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "mod.py").write_text(dedent(text))
    return examine(tmp_path / "old", tmp_path / "new", name="fix")


def summary(result: BuildResult) -> list[str]:
    """``code symbol`` of every finding, ``!`` before the refused ones, ``.`` before what is only told."""
    marks = {"applied": "", "applied-with-note": ".", "needs-author": "!", "refused": "!"}
    return sorted(
        f"{marks[finding.verdict]}{finding.code} {finding.symbol}"
        for finding in (*result.changes, *result.refusals)
    )


CLASS = "class C:\n    def m(self):\n        return 1\n"

TABLE: dict[str, tuple[str, str, list[str]]] = {
    # --- nothing changed
    "equal": ("x = 1\n", "x = 1\n", []),
    "a moved line": ("def f():\n    return 1\n", "\n\n\ndef f():\n    return 1\n", []),
    "a changed comment": ("def f():\n    return 1  # a\n", "def f():\n    # b\n    return 1\n", []),
    "reformatted": ("def f(a,b):\n  return (a+b)\n", "def f(\n    a,\n    b,\n):\n    return a + b\n", []),
    "other quotes": ("x = 'a'\n", 'x = "a"\n', []),
    "a negation moved inwards": (
        "def f(a, b): return not a in b\n",
        "def f(a, b): return a not in b\n",
        [],
    ),
    "a local annotation": ("def f():\n x = 1\n return x\n", "def f():\n x: int = 1\n return x\n", []),
    "order of functions": (
        "def f(): return 1\ndef g(): return 2\n",
        "def g(): return 2\ndef f(): return 1\n",
        [],
    ),
    "a redundant pass": ("def f():\n    return 1\n", "pass\ndef f():\n    return 1\n", []),
    # --- functions
    "a body": ("def f():\n    return 1\n", "def f():\n    return 2\n", ["PLP210 f"]),
    "1 is not True": ("def f():\n    return 1\n", "def f():\n    return True\n", ["PLP210 f"]),
    "0.0 is not -0.0": ("def f():\n    return 0.0\n", "def f():\n    return -0.0\n", ["PLP210 f"]),
    "a docstring": ('def f():\n    "a"\n', 'def f():\n    "b"\n', ["PLP210 f"]),
    "a method": (CLASS, CLASS.replace("1", "2"), ["PLP210 C.m"]),
    "a method of an inner class": (
        "class A:\n  class B:\n    def m(self): return 1\n",
        "class A:\n  class B:\n    def m(self): return 2\n",
        ["PLP210 A.B.m"],
    ),
    "a cached property": (
        "import functools\nclass C:\n @functools.cached_property\n def p(self): return 1\n",
        "import functools\nclass C:\n @functools.cached_property\n def p(self): return 2\n",
        [".PLP226 C.p", "PLP210 C.p"],
    ),
    "a nested function": (
        "def f():\n    def g(): return 1\n    return g\n",
        "def f():\n    def g(): return 2\n    return g\n",
        ["PLP210 f"],
    ),
    "a new parameter": ("def f(a): return a\n", "def f(a, b=2): return a\n", ["PLP210 f"]),
    "a renamed parameter": ("def f(a): return a\n", "def f(b): return b\n", ["PLP210 f"]),
    "a default": ("def f(a=1): return a\n", "def f(a=2): return a\n", ["PLP210 f"]),
    "an unsafe default": (
        "def f(a=1): return a\n",
        "def f(a=open('x')): return a\n",
        ["!PLP232 f"],
    ),
    "an annotation": ("def f(a: int): return a\n", "def f(a: str): return a\n", ["PLP210 f"]),
    "an annotation that cannot be found": (
        "def f(a: int): return a\n",
        "def f(a: Missing): return a\n",
        ["!PLP233 f"],
    ),
    "what __debug__ hides": (
        "def f():\n    if not __debug__: return 1\n    return 0\n",
        "def f():\n    if not __debug__: return 2\n    return 0\n",
        ["PLP210 f"],
    ),
    "a function becomes a generator": ("def f(): return 1\n", "def f(): yield 1\n", ["PLP209 f"]),
    "a function becomes a coroutine": ("def f(): return 1\n", "async def f(): return 1\n", ["PLP209 f"]),
    "a generator becomes an async one": (
        "def f(): yield 1\n",
        "async def f(): yield 1\n",
        ["PLP209 f"],
    ),
    "a decorator": (
        "import functools\ndef f(): return 1\n",
        "import functools\n@functools.cache\ndef f(): return 1\n",
        ["PLP209 f"],
    ),
    "a body under a decorator": (
        "import functools\n@functools.cache\ndef f(): return 1\n",
        "import functools\n@functools.cache\ndef f(): return 2\n",
        ["PLP210 f"],
    ),
    "a property's setter": (
        "class C:\n @property\n def x(self): return 1\n @x.setter\n def x(self, v): self.v = v\n",
        "class C:\n @property\n def x(self): return 1\n @x.setter\n def x(self, v): self.v = v + 1\n",
        ["PLP210 C.x"],
    ),
    "one branch of an if": (
        "import sys\nif sys.platform == 'a':\n def f(): return 1\nelse:\n def f(): return 2\n",
        "import sys\nif sys.platform == 'a':\n def f(): return 1\nelse:\n def f(): return 3\n",
        ["PLP210 f"],
    ),
    "a shadowed function": (
        "def f(): return 1\ndef f(): return 2\n",
        "def f(): return 3\ndef f(): return 2\n",
        ["!PLP237 f"],
    ),
    "an overload": (
        "from typing import overload\n@overload\ndef f(a: int) -> int: ...\ndef f(a): return a\n",
        "from typing import overload\n@overload\ndef f(a: str) -> str: ...\ndef f(a): return a\n",
        [".PLP220 f"],
    ),
    "a function beside a TypeVar": (
        "from typing import TypeVar\nT = TypeVar('T')\ndef f(a): return a\n",
        "from typing import TypeVar\nT = TypeVar('T')\ndef f(a): return [a]\n",
        ["PLP210 f"],
    ),
    "a removed function that is used": (
        "def f(): return 1\ndef g(): return f()\n",
        "def g(): return f()\n",
        ["!PLP236 f"],
    ),
    "a removed function that nobody misses": (
        "def f(): return 1\ndef g(): return f()\n",
        "def g(): return 2\n",
        [".PLP222 f", "PLP210 g"],
    ),
    "a removed method": (
        "class B: pass\nclass C(B):\n def m(self): return 1\n",
        "class B: pass\nclass C(B):\n pass\n",
        ["PLP208 C.m"],
    ),
    "a removed special method": (
        "class C:\n def __len__(self): return 1\n",
        "class C:\n pass\n",
        ["PLP208 C.__len__"],
    ),
    "a function in a loop": (
        "for n in (1, 2):\n def f(): return 1\n",
        "for n in (1, 2):\n def f(): return 2\n",
        ["!PLP280 "],
    ),
    # --- new functions
    "a new function": ("x = 1\n", "x = 1\ndef f(a, b=2): return a\n", ["PLP211 f"]),
    "a new method": (CLASS, CLASS + "    def n(self): return self.m()\n", ["PLP211 C.n"]),
    "a new static method": (CLASS, CLASS + "    @staticmethod\n    def n(): return 1\n", ["PLP211 C.n"]),
    "a new property": (CLASS, CLASS + "    @property\n    def n(self): return 1\n", ["PLP211 C.n"]),
    "a new cached function": (
        "from functools import lru_cache\n",
        "from functools import lru_cache\n@lru_cache(maxsize=4)\ndef f(): return 1\n",
        ["PLP211 f"],
    ),
    "a new function with an unknown decorator": (
        "import app\n",
        "import app\n@app.route('/')\ndef f(): return 1\n",
        ["!PLP234 f"],
    ),
    "a decorator that only looks known": (
        "def property(f): return f\n" + CLASS,
        "def property(f): return f\n" + CLASS + "    @property\n    def n(self): return 1\n",
        ["!PLP234 C.n"],
    ),
    "a new function under a condition": (
        "import sys\nif sys.flags.debug:\n x = 1\n",
        "import sys\nif sys.flags.debug:\n x = 1\n def f(): return 1\n",
        ["!PLP235 f"],
    ),
    "a new abstract method": (
        "import abc\n" + CLASS,
        "import abc\n" + CLASS + "    @abc.abstractmethod\n    def n(self): ...\n",
        ["!PLP239 C.n"],
    ),
    "a new __init_subclass__": (
        CLASS,
        CLASS + "    def __init_subclass__(cls): pass\n",
        ["!PLP239 C.__init_subclass__"],
    ),
    "a new __eq__ alone": (CLASS, CLASS + "    def __eq__(self, o): return True\n", ["!PLP239 C.__eq__"]),
    "a new setter of an old property": (
        "class C:\n @property\n def x(self): return 1\n",
        "class C:\n @property\n def x(self): return 1\n @x.setter\n def x(self, v): pass\n",
        ["PLP211 C.x"],
    ),
    "a new overload": (
        "from typing import overload\ndef f(a): return a\n",
        "from typing import overload\n@overload\ndef f(a: int) -> int: ...\ndef f(a): return a\n",
        [".PLP220 f"],
    ),
    "a value becomes a function": ("f = 1\n", "def f(): return 1\n", ["!PLP238 f"]),
    # --- classes
    "a new class": ("x = 1\n", "x = 1\nclass C: pass\n", ["PLP216 C"]),
    "a new class within one": ("class A:\n x = 1\n", "class A:\n x = 1\n class B: pass\n", ["PLP216 A.B"]),
    "a new class under a condition": ("x = 1\n", "x = 1\nif x:\n class C: pass\n", ["!PLP235 C", "!PLP280 "]),
    "other bases, of the module": (
        "class A: pass\nclass B: pass\nclass C(A): pass\n",
        "class A: pass\nclass B: pass\nclass C(B, A): pass\n",
        ["PLP217 C"],
    ),
    "a removed class": (CLASS, "", [".PLP222 C"]),
    "a removed class that is still named": (CLASS + "x = 1\n", "x = 1\ndef f(): return C\n", ["!PLP251 C", "PLP211 f"]),
    "a removed class within one": (
        "class A:\n class B: pass\n x = 1\n",
        "class A:\n x = 1\n",
        ["PLP208 A.B"],
    ),
    "other bases": ("class C: pass\n", "class C(dict): pass\n", ["!PLP252 C"]),
    "another metaclass": ("class C: pass\n", "class C(metaclass=type): pass\n", ["!PLP252 C"]),
    "a class decorator": (
        "import enum\nclass C: pass\n",
        "import enum\n@enum.unique\nclass C: pass\n",
        ["!PLP252 C"],
    ),
    "a field of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n x: int = 1\n",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n x: int = 2\n",
        [".PLP226 C.x", "PLP218 C"],
    ),
    "a new field of a dataclass": (
        "from dataclasses import dataclass as d\n@d\nclass C:\n x: int\n",
        "from dataclasses import dataclass as d\n@d\nclass C:\n x: int\n y: int\n",
        ["!PLP255 C.y", "PLP218 C"],
    ),
    "a method of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n x: int\n def m(self): return 1\n",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n x: int\n def m(self): return 2\n",
        ["PLP210 C.m"],
    ),
    "an annotation under a base of the standard library": (
        "import asyncio\nclass C(asyncio.Protocol):\n x: int\n",
        "import asyncio\nclass C(asyncio.Protocol):\n y: int\n",
        [".PLP220 C.x", ".PLP220 C.y"],
    ),
    "an annotation under a base that is not known": (
        "import app\nclass C(app.Model):\n x: int\n",
        "import app\nclass C(app.Model):\n y: int\n",
        ["!PLP253 C.x", "!PLP253 C.y"],
    ),
    "an enum's member": (
        "import enum\nclass C(enum.Enum):\n A = 1\n",
        "import enum\nclass C(enum.Enum):\n A = 2\n",
        ["!PLP253 C.A"],
    ),
    "a member of an enum by inheritance": (
        "import enum\nclass B(enum.IntEnum): pass\nclass C(B):\n A = 1\n",
        "import enum\nclass B(enum.IntEnum): pass\nclass C(B):\n A = 1\n D = 2\n",
        ["!PLP253 C.D"],
    ),
    "slots": ("class C:\n __slots__ = ('a',)\n", "class C:\n __slots__ = ('b',)\n", ["!PLP253 C.__slots__"]),
    "a removed class attribute": ("class C:\n a = 1\n b = 2\n", "class C:\n a = 1\n", ["PLP208 C.b"]),
    "a class attribute": ("class C:\n a = 1\n", "class C:\n a = 2\n", ["PLP212 C.a"]),
    "a new class attribute": ("class C:\n a = 1\n", "class C:\n a = 1\n b = 2\n", ["PLP213 C.b"]),
    "a class attribute made of another": (
        "class C:\n a = 1\n b = (a,)\n",
        "class C:\n a = 2\n b = (a,)\n",
        ["PLP212 C.a", "PLP212 C.b"],
    ),
    "code in a class body": ("class C:\n a = 1\n", "class C:\n a = 1\n print(a)\n", ["!PLP280 C"]),
    "a class's docstring": ('class C:\n "a"\n', 'class C:\n "b"\n', [".PLP221 C.__doc__"]),
    # --- values
    "a constant": ("x = 1\n", "x = 2\n", ["PLP212 x"]),
    "a new constant": ("x = 1\n", "x = 1\ny = (2, 'a')\n", ["PLP213 y"]),
    "a dict": ("x = {'a': [1]}\n", "x = {'a': [1, 2]}\n", ["PLP212 x"]),
    "a regular expression": (
        "import re\nx = re.compile('a', re.I)\n",
        "import re\nx = re.compile('b', re.I | re.M)\n",
        ["PLP212 x"],
    ),
    "a new sentinel": ("x = 1\n", "x = 1\ny = object()\n", ["PLP213 y"]),
    "__all__": ("__all__ = ['a']\n", "__all__ = ['a', 'b']\n", ["PLP212 __all__"]),
    "a computed value": ("import os\nx = os.getcwd()\n", "import os\nx = os.getpid()\n", ["!PLP260 x"]),
    "a new computed value": ("import os\n", "import os\nx = os.getpid()\n", ["!PLP260 x"]),
    "a lambda": ("f = lambda: 1\n", "f = lambda: 2\n", ["PLP210 f"]),
    "a constant in a default": (
        "X = 1\ndef f(a=X): return a\n",
        "X = 2\ndef f(a=X): return a\n",
        ["PLP210 f", "PLP212 X"],
    ),
    "a constant in another": ("X = 1\nY = X + 1\n", "X = 2\nY = X + 1\n", ["PLP212 X", "PLP212 Y"]),
    "a constant in what calls": (
        "import os\nX = 1\nY = os.listdir(X)\n",
        "import os\nX = 2\nY = os.listdir(X)\n",
        ["!PLP261 X"],
    ),
    "a constant in a class body": (
        "X = 1\nclass C:\n a = X\n",
        "X = 2\nclass C:\n a = X\n",
        ["PLP212 C.a", "PLP212 X"],
    ),
    "a constant in a decorator": (
        "import app\nX = 1\n@app.go(X)\ndef f(): return 1\n",
        "import app\nX = 2\n@app.go(X)\ndef f(): return 1\n",
        ["!PLP261 X"],
    ),
    "a constant in a body only": (
        "X = 1\ndef f(): return X\n",
        "X = 2\ndef f(): return X\n",
        ["PLP212 X"],
    ),
    "a counter": (
        "n = 0\ndef f():\n global n\n n += 1\n",
        "n = 1\ndef f():\n global n\n n += 1\n",
        ["PLP212 n"],
    ),
    "a value that a loop binds too": (
        "n = 0\nfor n in (1, 2): pass\n",
        "n = 1\nfor n in (1, 2): pass\n",
        ["!PLP262 n"],
    ),
    "assigned twice": ("x = 1\nx = 2\n", "x = 1\nx = 3\n", ["PLP212 x"]),
    "a value under a condition": (
        "import sys\nif sys.flags.debug:\n x = 1\n",
        "import sys\nif sys.flags.debug:\n x = 2\n",
        ["!PLP235 x"],
    ),
    "a removed constant in use": ("X = 1\ndef f(): return X\n", "def f(): return X\n", ["!PLP264 X"]),
    "a removed constant": (
        "X = 1\ndef f(): return X\n",
        "def f(): return 1\n",
        [".PLP222 X", "PLP210 f"],
    ),
    "a value made by a changed function": (
        "def f(): return 1\nX = f()\n",
        "def f(): return 2\nX = f()\n",
        ["PLP210 f", "PLP212 X"],
    ),
    "a value made by a changed function of what it is given": (
        "def f(n): return n\nX = f(1)\n",
        "def f(n): return n + 1\nX = f(1)\n",
        ["!PLP265 f"],
    ),
    "a value made by a changed function in several steps": (
        "def f():\n n = 1\n return n\nX = f()\n",
        "def f():\n n = 2\n return n\nX = f()\n",
        ["!PLP265 f"],
    ),
    "a value made by a changed function, whose names a loop hides": (
        "n = 5\ndef f(): return n\nX = [f() for n in (1, 2)]\n",
        "n = 5\ndef f(): return n + 1\nX = [f() for n in (1, 2)]\n",
        ["!PLP265 f"],
    ),
    "a value made by a changed function under another name": (
        "def f(): return 1\ng = f\nX = g()\n",
        "def f(): return 2\ng = f\nX = g()\n",
        ["!PLP265 f"],
    ),
    "closures made by a function of which only the inner one changed": (
        "def make(k):\n def inner(x): return x + k\n return inner\nlive = make(5)\n",
        "def make(k):\n def inner(x): return x + k + 1\n return inner\nlive = make(5)\n",
        ["PLP210 make"],
    ),
    "a value that an inner function computed at import": (
        "def table():\n def row(): return [1]\n return row()\nTABLE = table()\n",
        "def table():\n def row(): return [2]\n return row()\nTABLE = table()\n",
        ["!PLP265 table"],
    ),
    "a changed function that ran at import": (
        "def f(): return 1\nf()\n",
        "def f(): return 2\nf()\n",
        [".PLP224 f", "PLP210 f"],
    ),
    "a wrapper made by a decorator": (
        "def d(f):\n def w(): return f()\n return w\n@d\ndef g(): return 1\n",
        "def d(f):\n def w(): return f() + 1\n return w\n@d\ndef g(): return 1\n",
        ["PLP210 d"],
    ),
    "a decorator's own work": (
        "def d(f):\n f.a = 1\n return f\n@d\ndef g(): return 1\n",
        "def d(f):\n f.a = 2\n return f\n@d\ndef g(): return 1\n",
        ["!PLP265 d"],
    ),
    "an annotation of a value": ("x: int = 1\n", "x: float = 1\n", [".PLP220 x"]),
    "an annotation without a value": ("x = 1\n", "x = 1\ny: int\n", [".PLP220 y"]),
    # --- imports
    "a new import": ("import os\n", "import os\nimport re\n", ["PLP214 re"]),
    "a new from import": ("import os\n", "import os\nfrom re import sub as s, compile\n",
                          ["PLP214 compile", "PLP214 s"]),
    "a submodule": ("import os\n", "import os\nimport os.path\n", ["PLP214 os"]),
    "an import for type checkers": (
        "from typing import TYPE_CHECKING\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import re\n",
        [".PLP220 re"],
    ),
    "an import under a condition": (
        "try:\n    import a\nexcept ImportError:\n    a = None\n",
        "try:\n    import a\n    import b\nexcept ImportError:\n    a = None\n",
        ["!PLP235 b"],
    ),
    "another source of a name": ("from a import x\n", "from b import x\n", ["PLP214 x"]),
    "another source of a name that was used at import": (
        "from a import x\ny = x\n",
        "from b import x\ny = x\n",
        ["!PLP270 x"],
    ),
    "another source of a name that is state": (
        "from a import x\ndef f():\n global x\n x = 1\n",
        "from b import x\ndef f():\n global x\n x = 1\n",
        ["!PLP270 x"],
    ),
    "another exception caught around an import": (
        "try:\n    import a\nexcept ImportError:\n    a = None\n",
        "try:\n    import a\nexcept ModuleNotFoundError:\n    a = None\n",
        [".PLP224 "],
    ),
    "another exception caught, and another value": (
        "try:\n    import a\nexcept ImportError:\n    a = None\n",
        "try:\n    import a\nexcept ModuleNotFoundError:\n    a = 1\n",
        ["!PLP235 a", "!PLP280 "],
    ),
    "another exception caught around code": (
        "try:\n    run()\nexcept ImportError:\n    pass\n",
        "try:\n    run()\nexcept ModuleNotFoundError:\n    pass\n",
        ["!PLP280 "],
    ),
    "a new conditional import": (
        "x = 1\n",
        "x = 1\ntry:\n    import simplejson\nexcept ImportError:\n    simplejson = None\n",
        ["PLP214 simplejson"],
    ),
    "a new value by the version of Python": (
        "import sys\n",
        "import sys\nif sys.version_info >= (3, 12):\n    new = True\nelse:\n    new = False\n",
        ["PLP214 new"],
    ),
    "a new value by what a library says": (
        "from m import __version__\n",
        "from m import __version__\n"
        "try:\n    one = int(__version__.split('.')[0]) == 1\nexcept TypeError:\n    one = True\n",
        ["PLP214 one"],
    ),
    "a new conditional value of a name that was there": (
        "import sys\nx = 1\n",
        "import sys\nx = 1\nif sys.flags.debug:\n    x = 2\n",
        ["!PLP260 x", "!PLP280 "],
    ),
    "a new condition that does something": (
        "import sys\n",
        "import sys\nif sys.stdin.read():\n    x = 1\n",
        ["!PLP235 x", "!PLP280 "],
    ),
    "a new conditional value that does something": (
        "import sys\n",
        "import sys\nif sys.flags.debug:\n    x = open('x')\n",
        ["!PLP235 x", "!PLP280 "],
    ),
    "under a flag of the module's own, not of typing": (
        "TYPE_CHECKING = True\nif TYPE_CHECKING:\n    x = 1\n",
        "TYPE_CHECKING = True\nif TYPE_CHECKING:\n    x = 2\n",
        ["!PLP235 x"],
    ),
    "under a flag from elsewhere": (
        "from flags import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1\n",
        "from flags import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 2\n",
        ["!PLP235 x"],
    ),
    "under a flag of another module": (
        "import flags\nif flags.TYPE_CHECKING:\n    x = 1\n",
        "import flags\nif flags.TYPE_CHECKING:\n    x = 2\n",
        ["!PLP235 x"],
    ),
    "under the flag of typing by another name": (
        "import typing as t\nif t.TYPE_CHECKING:\n    x = 1\n",
        "import typing as t\nif t.TYPE_CHECKING:\n    x = 2\n",
        [".PLP220 x"],
    ),
    "under a flag that is false": (
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    x = 1\n",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    x = 2\n",
        [".PLP220 x"],
    ),
    "a new star import": ("import a\n", "import a\nfrom a import *\n", ["!PLP271 from a import *"]),
    "a __future__ import": (
        "def f(): pass\nx = 1\n",
        "from __future__ import annotations\ndef f(): pass\nx = 1\n",
        ["!PLP272 from __future__ import annotations"],
    ),
    "a __future__ import that is gone": (
        "from __future__ import annotations\nclass C: pass\n",
        "class C: pass\n",
        ["!PLP272 from __future__ import annotations"],
    ),
    "a __future__ import and what compiles text": (
        "exec('def f(): pass')\n",
        "from __future__ import annotations\nexec('def f(): pass')\n",
        ["!PLP272 from __future__ import annotations"],
    ),
    "a __future__ import where no code is made": (
        "x = 1\n",
        "from __future__ import annotations\nx = 1\n",
        ["PLP214 annotations"],
    ),
    "a __future__ import that is gone where no code is made": (
        "from __future__ import annotations\nx = 1\n",
        "x = 1\n",
        [".PLP222 annotations"],
    ),
    "a removed import": ("import os\nx = 1\n", "x = 1\n", [".PLP222 os"]),
    "a removed import that uncovers a builtin": (
        "from io import open\ndef f(): return open\n",
        "def f(): return open\n",
        ["PLP208 open"],
    ),
    # --- the module
    "code at import": ("x = 1\n", "x = 1\nprint(x)\n", ["!PLP280 "]),
    "changed code at import": ("print(1)\n", "print(2)\n", ["!PLP280 "]),
    "a condition": (
        "import sys\nif sys.flags.debug:\n x = 1\n",
        "import sys\nif sys.flags.verbose:\n x = 1\n",
        ["!PLP235 x", "!PLP280 "],
    ),
    "code for scripts only": (
        "if __name__ == '__main__':\n    print(1)\n",
        "if __name__ == '__main__':\n    print(2)\n",
        [".PLP223 ", ".PLP223 "],
    ),
    "a module's docstring": ('"a"\nx = 1\n', '"b"\nx = 1\n', [".PLP221 __doc__"]),
}  # fmt: skip


@pytest.mark.parametrize("title", TABLE)
def test_an_edit_gives_exactly_these_findings(title: str, tmp_path: Path) -> None:
    old, new, expected = TABLE[title]
    result = build(tmp_path, old, new)
    assert summary(result) == sorted(expected)
    carried = any(not line.startswith((".", "!")) for line in expected)
    refused = any(line.startswith("!") for line in expected)
    assert result.outcome == ("refused" if refused else "built" if carried else "unchanged")


def changes(result: BuildResult) -> tuple[object, ...]:
    assert result.patch is not None, result.refusals
    return result.patch.modules[0].changes


def test_a_changed_signature_carries_its_defaults_and_annotations(tmp_path: Path) -> None:
    old = "def f(a, *, k=1): return a\n"
    new = "X = 3\ndef f(a: int, b=X, *, k=2) -> 'str': return a\n"
    value, change = changes(build(tmp_path, old, new))
    assert isinstance(value, ValueChange)
    assert isinstance(change, FunctionChange)
    assert (change.old.line, change.new.line, change.new.qualname) == (1, 2, "f")
    assert change.defaults == "(X,)"
    assert change.kwdefaults == "{'k': 2}"
    assert change.annotations == "{'a': int, 'return': 'str'}"


def test_what_did_not_change_in_a_signature_is_not_sent(tmp_path: Path) -> None:
    (change,) = changes(build(tmp_path, "def f(a=[]): return a\n", "def f(a=[]): return [a]\n"))
    assert isinstance(change, FunctionChange)
    assert (change.defaults, change.kwdefaults, change.annotations) == (None, None, None)


def test_annotations_under_the_future_import_are_strings(tmp_path: Path) -> None:
    head = "from __future__ import annotations\n"
    (change,) = changes(build(tmp_path, head + "def f(a): ...\n", head + "def f(a: Missing[int]): ...\n"))
    assert isinstance(change, FunctionChange)
    assert change.annotations == "{'a': 'Missing[int]'}"


def test_defaults_that_went_away_are_empty_displays(tmp_path: Path) -> None:
    (change,) = changes(build(tmp_path, "def f(a: int = 1, *, k=2): ...\n", "def f(a, *, k): ...\n"))
    assert isinstance(change, FunctionChange)
    assert (change.defaults, change.kwdefaults, change.annotations) == ("()", "{}", "{}")


def test_private_parameters_are_mangled_as_the_compiler_does(tmp_path: Path) -> None:
    old = "class _C:\n    def m(self, *, __k=1): return __k\n"
    (change,) = changes(build(tmp_path, old, old.replace("=1", "=2")))
    assert isinstance(change, FunctionChange)
    assert change.kwdefaults == "{'_C__k': 2}"


def test_the_line_of_a_decorated_function_is_its_first_decorator(tmp_path: Path) -> None:
    old = "import functools\n@functools.cache\n@functools.wraps(len)\ndef f(): return 1\n"
    (change,) = changes(build(tmp_path, old, "\n" + old.replace("return 1", "return 2")))
    assert isinstance(change, FunctionChange)
    assert (change.old.line, change.new.line) == (2, 3)


def test_a_property_getter_and_setter_are_told_apart_by_line(tmp_path: Path) -> None:
    old = "class C:\n @property\n def x(self): return 1\n @x.setter\n def x(self, v): self.v = v\n"
    new = old.replace("return 1", "return 2").replace("self.v = v", "self.v = v + 1")
    getter, setter = changes(build(tmp_path, old, new))
    assert isinstance(getter, FunctionChange)
    assert isinstance(setter, FunctionChange)
    assert (getter.old.line, setter.old.line) == (2, 4)


def test_a_new_function_says_all_that_is_needed_to_make_it(tmp_path: Path) -> None:
    new = "class C:\n    @classmethod\n    def n(cls, a: int = 1, *, k=2): return cls\n"
    (change,) = changes(build(tmp_path, "class C:\n    pass\n", new))
    assert change == NewFunction(change.new, "(1,)", "{'k': 2}", "{'a': int}", ("classmethod",))  # type: ignore[attr-defined]


def test_a_new_dunder_new_is_static_as_in_a_class_statement(tmp_path: Path) -> None:
    (change,) = changes(build(tmp_path, CLASS, CLASS + "    def __new__(cls): return object.__new__(cls)\n"))
    assert isinstance(change, NewFunction)
    assert change.decorators == ("staticmethod",)


def test_each_bound_name_of_an_import_is_a_change_of_its_own(tmp_path: Path) -> None:
    result = changes(build(tmp_path, "x = 1\n", "from a.b import c, d as e\nx = 1\n"))
    assert result == (
        NewImport("c", 1, "from a.b import c"),
        NewImport("e", 1, "from a.b import d as e"),
    )


def test_changes_come_in_the_order_of_the_new_source(tmp_path: Path) -> None:
    new = "import re\nX = 1\ndef f(): return X\nY = (X,)\n"
    kinds = [type(change).__name__ for change in changes(build(tmp_path, "", new))]
    assert kinds == ["NewImport", "ValueChange", "NewFunction", "ValueChange"]


def test_a_finding_names_the_nested_functions_that_differ(tmp_path: Path) -> None:
    old = "def f():\n    def g(): return 1\n    def h(): return 1\n    return g, h\n"
    result = build(tmp_path, old, old.replace("def g(): return 1", "def g(): return 2"))
    assert result.changes[0].nested == ("f.<locals>.g",)


def test_a_finding_shows_the_first_difference_in_source_order(tmp_path: Path) -> None:
    old = "def f(x):\n    if x > 3:\n        return 1\n    return 2\n"
    new = old.replace("> 3", ">= 3").replace("return 2", "return 4")
    finding = build(tmp_path, old, new).changes[0]
    assert finding.difference == "line 2: `x > 3` became `x >= 3`"
    assert finding.as_dict()["class"] == "applied"


def test_a_refusal_names_every_place_that_copied_the_value(tmp_path: Path) -> None:
    old = "X = [1]\n@tell(len(X))\ndef f(): ...\nclass C:\n    b = tell(len(X))\n"
    (refusal,) = build(tmp_path, old, old.replace("[1]", "[2]")).refusals
    assert "mod.py:2 (decorator of f)" in refusal.message
    assert "mod.py:5 (value of C.b)" in refusal.message
    assert refusal.advice


@pytest.mark.skipif("sys.version_info < (3, 12)", reason="type parameters are a syntax of 3.12")
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def f[T](a: T) -> T: return a\n", "def f[T](a: T) -> T: return (a)[0]\n", ["PLP210 f"]),
        ("def f[T](a): return a\n", "def f[T, U](a): return a\n", ["!PLP240 f"]),
        ("", "def f[T](a): return a\n", ["!PLP240 f"]),
        ("class C[T]:\n def m(self): return 1\n", "class C[T]:\n def m(self): return 2\n", ["PLP210 C.m"]),
        ("class C[T]: pass\n", "class C[U]: pass\n", ["!PLP252 C"]),
        ("type A = int\n", "type A = str\n", ["!PLP280 "]),
    ],
)
def test_type_parameters_are_no_obstacle_where_they_stay(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert summary(build(tmp_path, old, new)) == expected


def test_two_alternatives_that_changed_at_once_are_refused(tmp_path: Path) -> None:
    old = "import sys\nif sys.flags.debug:\n def f(): return 1\nelse:\n def f(): return 2\n"
    result = build(tmp_path, old, old.replace("return", "return 1 +"))
    assert [finding.code for finding in result.refusals] == ["PLP235"]


def test_a_new_property_may_have_a_setter_but_a_setter_needs_a_property(tmp_path: Path) -> None:
    new = "class C:\n @property\n def x(self): return 1\n @x.setter\n def x(self, v): pass\n"
    assert summary(build(tmp_path, "class C:\n pass\n", new)) == ["PLP211 C.x", "PLP211 C.x"]
    (tmp_path / "more").mkdir()
    result = build(tmp_path / "more", "class C:\n pass\n", new.replace("@property", "@staticmethod"))
    assert [finding.code for finding in result.refusals] == ["PLP241"]

"""Small modules before and after, patched while they are loaded: what they do then is what the new source does."""

from __future__ import annotations

import importlib
import inspect
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import patchfile
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import CompileError, PatchFileError, UnswappableShape
from pylivepatch.patch import CodeRef, FunctionChange, ModulePatch, NewImport, Patch, ValueChange

GENERIC = """\
import functools
@functools.singledispatch
def f(x): return 'any 1'
@f.register
def _(x: int): return 'int 1'
@f.register(str)
def _(x): return 'str 1'
"""
GENERIC_METHOD = """\
import functools
class C:
    @functools.singledispatchmethod
    def f(self, x): return 'any 1'
    @f.register
    def _(self, x: int): return 'int 1'
    @f.register(str)
    def _(self, x): return 'str 1'
f = C().f
"""
METHODS = "class C:\n def f(self): return 1\nf = C().f\n"

CASES: dict[str, tuple[str, str, str, Any]] = {
    # title: old, new, expression over the module m, its value in the new version
    "every implementation of a generic function": (
        GENERIC,
        GENERIC.replace("1'", "2'"),
        "[m.f(x) for x in (None, 1, 'a')]",
        ["any 2", "int 2", "str 2"],
    ),
    "every implementation of a generic method": (
        GENERIC_METHOD,
        GENERIC_METHOD.replace("1'", "2'"),
        "[m.f(x) for x in (None, 1, 'a')]",
        ["any 2", "int 2", "str 2"],
    ),
    "a new import in a new method's decorator": (
        METHODS,
        "import functools\nclass C:\n"
        " @functools.cached_property\n def q(self): return 8\n def f(self): return self.q\nf = C().f\n",
        "m.f()",
        8,
    ),
    "a new constant in a new method's default": (
        METHODS,
        "N = 5\nclass C:\n def f(self): return self.g()\n def g(self, n=N): return n\nf = C().f\n",
        "m.f()",
        5,
    ),
    "a new import in a new method's annotation": (
        METHODS,
        "import decimal\nclass C:\n"
        " def f(self): return self.g()\n def g(self, n: decimal.Decimal = 3): return n\nf = C().f\n",
        "(m.f(), m.C.g.__annotations__['n'].__name__)",
        (3, "Decimal"),
    ),
    "annotations": (
        "def f(x: int) -> int: return x\n",
        "def f(x: str) -> list[str]: return [x]\n",
        "(m.f('a'), m.f.__annotations__)",
        (["a"], {"x": str, "return": list[str]}),
    ),
    "annotations that went away": ("def f(x: int): return x\n", "def f(x): return x\n", "m.f.__annotations__", {}),
    "annotations that are text": (
        "from __future__ import annotations\ndef f(x: int): return x\n",
        "from __future__ import annotations\ndef f(x: Missing): return x\n",
        "m.f.__annotations__",
        {"x": "Missing"},
    ),
}


def outcome(expression: str, module: Any) -> str:
    try:
        return repr(eval(expression, {"m": module}))
    except Exception as error:
        return repr(error)


@pytest.mark.parametrize("title", CASES)
def test_the_live_module_does_what_the_new_source_does_and_back(sources: Any, title: str) -> None:
    old, new, expression, expected = CASES[title]
    module = sources.load(old)
    before = outcome(expression, module)
    applied = pylivepatch.load(sources.patch(module, new))
    fresh = importlib.import_module(sources.write(new))
    assert outcome(expression, module) == outcome(expression, fresh) == repr(expected)
    applied.unload()
    assert outcome(expression, module) == before


@pytest.mark.skipif("sys.version_info < (3, 14)", reason="annotations have formats since 3.14")
def test_new_annotations_can_be_read_in_every_format(sources: Any) -> None:
    import annotationlib  # type: ignore[import-not-found, unused-ignore]

    module = sources.load("def f(x: int): return x\n")
    pylivepatch.load(sources.patch(module, "def f(x: str | None): return x\n"))
    formats = annotationlib.Format
    assert annotationlib.get_annotations(module.f, format=formats.STRING) == {"x": "str | None"}
    assert annotationlib.get_annotations(module.f, format=formats.FORWARDREF) == {"x": str | None}
    assert inspect.signature(module.f).parameters["x"].annotation == str | None


@pytest.mark.parametrize(("was", "now"), [("y", "y=2"), ("*, y", "*, y=2"), ("y=1", "y")])
def test_a_live_nested_function_that_lacks_a_default_refuses_the_load(sources: Any, was: str, now: str) -> None:
    # Its instance would keep the defaults that it was made with, and the callers count on the new ones.
    source = f"def make():\n    def inner(x, {was}): return x, y\n    return inner\nkept = []\n"
    module = sources.load(source)
    module.kept.append(module.make())
    patch = sources.patch(module, source.replace(f"(x, {was})", f"(x, {now})"))
    with pytest.raises(UnswappableShape):
        pylivepatch.load(patch)
    module.kept.clear()
    pylivepatch.load(patch).unload()


def test_a_live_nested_function_keeps_the_value_of_its_default(sources: Any) -> None:
    source = "def make():\n    def inner(x=1): return 'old', x\n    return inner\nkept = []\n"
    module = sources.load(source)
    module.kept.append(module.make())
    pylivepatch.load(sources.patch(module, source.replace("'old'", "'new'").replace("x=1", "x=2")))
    assert (module.kept[0](), module.make()()) == (("new", 1), ("new", 2))


# --- patch files whose expressions are none -----------------------------------------------------------------

REF = CodeRef("f", 1)
BAD = {
    "a value": (ValueChange("", "X", 1, "1", "1 +"), "changes[0].new is no expression"),
    "an empty value": (ValueChange("", "X", 1, "1", ""), "changes[0].new is empty"),
    "a value that only parses": (ValueChange("", "X", 1, "1", "(yield)"), "changes[0].new is no expression"),
    "an old value": (ValueChange("", "X", 1, ")", "1"), "changes[0].old is no expression"),
    "a null byte": (ValueChange("", "X", 1, "1", "'\0'"), "changes[0].new is no expression"),
    "a statement": (ValueChange("", "X", 1, "1", "x = 1"), "changes[0].new is no expression"),
    "a nest": (ValueChange("", "X", 1, "1", "-" * 100_000 + "1"), "changes[0].new is no expression"),
    "defaults": (FunctionChange(REF, REF, "(1", None, None), "changes[0].defaults is no expression"),
    "defaults that are no tuple": (FunctionChange(REF, REF, "1", None, None), "changes[0].defaults is no tuple"),
    "keyword defaults": (FunctionChange(REF, REF, None, "()", None), "changes[0].kwdefaults is no dict"),
    "annotations": (FunctionChange(REF, REF, None, None, "{'a': }"), "changes[0].annotations is no expression"),
    "an import": (NewImport("re", 1, "import"), "changes[0].statement is no statement"),
    "an import of another name": (NewImport("re", 1, "import os"), "changes[0].statement binds os, not re"),
    "an import and more": (NewImport("re", 1, "import re; re.purge()"), "is no import statement of one name"),
}


def patch_of(change: Any) -> Patch:
    source = "def f(): return 1\n"
    return Patch("fix", "", (ModulePatch("mod", "mod.py", source, source, (change,)),))


@pytest.mark.parametrize("title", BAD)
def test_a_file_whose_expressions_are_none_is_refused_when_it_is_read(title: str, tmp_path: Path) -> None:
    change, message = BAD[title]
    path = tmp_path / "bad.plp"
    patchfile.write(patch_of(change), path)
    with pytest.raises(PatchFileError) as caught:
        patchfile.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_decorator_that_is_no_expression_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.plp"
    new = {"qualname": "f", "line": 1, "index": 0}
    change = {"kind": "new_function", "new": new, "defaults": "", "kwdefaults": "", "annotations": ""}
    patchfile.write(patch_of(ValueChange("", "X", 1, "1", "2")), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries["manifest.json"])
    manifest["modules"][0]["changes"] = [{**change, "decorators": ["property", "@x"]}]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**entries, "manifest.json": json.dumps(manifest)}.items():
            archive.writestr(name, data)
    with pytest.raises(PatchFileError, match=r"changes\[0\]\.decorators\[1\] is no expression"):
        patchfile.read(path)


@pytest.mark.parametrize("title", [title for title in BAD if "only" not in title and "another" not in title])
def test_a_patch_whose_expressions_are_none_is_an_error_of_compiling(title: str) -> None:
    change, message = BAD[title]
    if "is no expression" in message or "is no statement" in message:
        with pytest.raises(CompileError, match="cannot compile"):
            compile_patch(patch_of(change))


def test_what_new_code_made_of_a_new_name_goes_with_the_name(package: Any) -> None:
    old = "class C:\n    def get(self): return 1\n"
    new = (
        "class C:\n    one = None\n    def get(self): return self.made()\n"
        "    @classmethod\n    def made(cls):\n        if cls.one is None: cls.one = 2\n        return cls.one\n"
    )
    pair = package({"m.py": old}, {"m.py": new})
    made = pair.module("m").C()
    applied = pair.load()
    assert (made.get(), type(made).one) == (2, 2)
    applied.unload()
    assert made.get() == 1
    assert not hasattr(type(made), "one")

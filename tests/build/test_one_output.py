"""A build says and makes the same each time: neither the seed of hashes nor what else changed decides on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pylivepatch.build import Finding
from pylivepatch.build.builder import examine_files
from pylivepatch.build.tree import arrange

SHOWN = """\
import sys
from pylivepatch.build import examine
for pair in zip(sys.argv[1::2], sys.argv[2::2]):
    result = examine(*pair, name="fix")
    print(*result.refusals, *result.changes, result.patch, sep="\\n")
"""
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def needed(version: int) -> dict[str, str]:
    """A module that imports what the patch brings to six others."""
    files = {name: "LIMIT = 1\n" * version + f"def f_{name}(): return {version}\n" for name in NAMES}
    imports = "".join(f"from {name} import LIMIT as {name}\n" for name in NAMES)
    return {**files, "a_user": imports * version + f"def use(): return {version}\n"}


def bound_twice(version: int) -> dict[str, str]:
    """Six names, each bound by a function and a value, of which another is the last one."""
    pairs = [[f"def {name}(): return 1\n", f"{name} = len\n"] for name in NAMES]
    return {"bound": "".join(line for pair in pairs for line in (pair[::-1] if version else pair))}


def remade(version: int) -> dict[str, str]:
    """A dataclass that makes fewer methods, of which two were read at import."""
    maker = "@dataclass(repr=False, match_args=False)\n" if version else "@dataclass\n"
    text = f"from dataclasses import dataclass\n{maker}class C:\n    x: int = 1\n"
    return {"remade": f"{text}kept = [C.__repr__, C.__match_args__]\n"}


def registered_twice(version: int) -> dict[str, str]:
    """Two modules with an implementation for each of six classes, which are imported in another order."""
    types = ("int", "str", "bytes", "list", "dict", "tuple")
    own = "".join(f"@f.register({one})\ndef f_{one}(x): pass\n" for one in types)
    return {
        "generic": "from functools import singledispatch\n@singledispatch\ndef f(x): pass\n",
        "one": f"from generic import f\n{own}",
        "two": f"from generic import f\n{own}",
        "user": "import two, one\n" if version else "import one, two\n",
    }


@pytest.mark.parametrize("files", [needed, bound_twice, remade, registered_twice])
def test_all_seeds_give_one_output(files: object, tmp_path: Path) -> None:
    assert callable(files)
    trees = [str(write(tmp_path / str(version), files(version))) for version in (0, 1)]

    def shown(seed: int) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", SHOWN, *trees]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout

    first, *others = map(shown, range(1, 6))
    assert "PLP2" in first
    assert all(other == first for other in others)


def told(old: Mapping[str, str], new: Mapping[str, str], symbol: str) -> list[Finding]:
    """What is said of one symbol."""
    before, after = ({f"{name}.py": text.encode() for name, text in files.items()} for files in (old, new))
    result = examine_files(arrange(before), arrange(after), name="fix")
    return [one for one in (*result.refusals, *result.changes) if one.name == symbol]


def test_what_is_said_of_a_function_does_not_depend_on_the_changes_before_it() -> None:
    # `user` has no word of `helper`: it was looked at only when something else led there.
    source = "def helper(): return {}\nalso = helper\n"
    both = {"user": "from source import also\nMADE = also()\ndef other(): return 1\n"}
    for first in ("def other(): return {}\n", "def unlike(): return {}\n"):
        old, new = ({"a": first.format(n), "source": source.format(n), **both} for n in (1, 2))
        (finding,) = told(old, new, "source:helper")
        assert finding.code == "PLP265"
        assert "user.py:2 (value of MADE)" in finding.message


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("class K:\n    def __call__(self): return {}\nk = K()\n", "from source import k as other\nMADE = other()\n"),
        (
            "class K:\n    @staticmethod\n    def make(): return {}\nof_it = K.make\n",
            "import source as s\nMADE = s.of_it()\n",
        ),
        ("def f(): return {}\none = f\ntwo = one\n", "from source import two\nMADE = two()\n"),
    ],
)
def test_calls_by_the_name_of_a_value_are_seen(source: str, use: str) -> None:
    old, new = ({"source": source.format(n), "user": use} for n in (1, 2))
    symbol = "source:K.__call__" if "__call__" in source else "source:K.make" if "make" in source else "source:f"
    (finding,) = told(old, new, symbol)
    assert "user.py:2 (value of MADE)" in finding.message

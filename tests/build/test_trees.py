"""Which modules a tree holds, what is beside them, and how the modules of a tree hang together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pylivepatch.build import BuildResult, build_patch, examine
from pylivepatch.errors import BuildError, BuildRefused, NothingChanged, SourceError
from pylivepatch.patch import ValueChange

BEFORE, AFTER = "def f(): return 1\n", "def f(): return 2\n"


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def compare(tmp_path: Path, old: Mapping[str, str | bytes], new: Mapping[str, str | bytes]) -> BuildResult:
    return examine(write(tmp_path / "old", old), write(tmp_path / "new", {**old, **new}), name="fix")


def modules(result: BuildResult) -> list[tuple[str, str]]:
    assert result.patch is not None, result.refusals
    return [(module.name, module.path) for module in result.patch.modules]


LAYOUTS = {
    "a module": ({"mod.py": BEFORE}, "mod.py", ("mod", "mod.py")),
    "a package": ({"p/__init__.py": "", "p/m.py": BEFORE}, "p/m.py", ("p.m", "p/m.py")),
    "a package's __init__": ({"p/__init__.py": BEFORE}, "p/__init__.py", ("p", "p/__init__.py")),
    "a namespace package": ({"n/p/m.py": BEFORE}, "n/p/m.py", ("n.p.m", "n/p/m.py")),
    "a src folder": (
        {"pyproject.toml": "", "src/p/__init__.py": "", "src/p/m.py": BEFORE},
        "src/p/m.py",
        ("p.m", "p/m.py"),
    ),
}


@pytest.mark.parametrize("title", LAYOUTS)
def test_a_module_gets_its_import_name(title: str, tmp_path: Path) -> None:
    old, path, expected = LAYOUTS[title]
    assert modules(compare(tmp_path, old, {path: AFTER})) == [expected]


def test_a_package_folder_as_root_counts_with_its_name(tmp_path: Path) -> None:
    for side, text in (("old", BEFORE), ("new", AFTER)):
        write(tmp_path / side, {"p/__init__.py": "", "p/q/__init__.py": "", "p/q/m.py": text})
    result = examine(tmp_path / "old/p/q", tmp_path / "new/p/q", name="fix")
    assert modules(result) == [("p.q.m", "p/q/m.py")]


def test_two_package_folders_of_different_names_are_an_error(tmp_path: Path) -> None:
    for side in ("old", "new"):
        write(tmp_path / side, {"__init__.py": ""})
    with pytest.raises(BuildError, match="different packages: old and new"):
        examine(tmp_path / "old", tmp_path / "new", name="fix")


def test_two_files_are_compared_under_the_old_one_s_name(tmp_path: Path) -> None:
    write(tmp_path, {"mod.py": BEFORE, "mod_fixed.py": AFTER})
    assert modules(examine(tmp_path / "mod.py", tmp_path / "mod_fixed.py", name="fix")) == [("mod", "mod.py")]


def test_a_missing_tree_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no such file"):
        examine(tmp_path / "none", tmp_path, name="fix")


def test_a_folder_and_a_file_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"mod.py": BEFORE})
    with pytest.raises(BuildError, match="one is a folder"):
        examine(tmp_path, tmp_path / "mod.py", name="fix")


def test_a_bad_name_is_an_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="letters, digits"):
        examine(tmp_path, tmp_path, name="a b")


FILES = {
    "a data file": ("p/data.json", "{}", "!PLP283"),
    "an extension module": ("p/fast.cpython-312.so", b"\x7fELF", "!PLP283"),
    "a new module": ("p/new.py", "x = 1\n", ".PLP219"),
    "a path that cannot be imported": ("my-tools/x.py", "x = 1\n", "!PLP284"),
    "a type stub": ("p/m.pyi", "x: int\n", ".PLP223"),
}


@pytest.mark.parametrize("title", FILES)
def test_a_file_that_is_no_known_module_is_told(title: str, tmp_path: Path) -> None:
    path, content, expected = FILES[title]
    result = compare(tmp_path, {"p/__init__.py": ""}, {path: content})
    found = [
        f"{'!' if one.stops else '.'}{one.code}" for one in (*result.changes, *result.refusals)
    ]
    assert found == [expected]
    assert (*result.changes, *result.refusals)[0].file == path


def test_a_removed_module_that_is_imported_is_refused(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"p/__init__.py": "import p.m\n", "p/m.py": BEFORE})
    new = write(tmp_path / "new", {"p/__init__.py": "import p.m\n"})
    assert [finding.code for finding in examine(old, new, name="fix").refusals] == ["PLP282"]


def test_tests_of_a_checkout_are_outside(tmp_path: Path) -> None:
    result = compare(
        tmp_path,
        {"pyproject.toml": "", "p/__init__.py": BEFORE, "tests/test_p.py": BEFORE},
        {"p/__init__.py": AFTER, "tests/test_p.py": "class New: pass\n"},
    )
    assert result.outcome == "built"
    assert modules(result) == [("p", "p/__init__.py")]


def test_release_metadata_is_no_part_of_a_tree(tmp_path: Path) -> None:
    result = compare(tmp_path, {"p-1.dist-info/RECORD": "a", "m.py": BEFORE}, {"p-1.dist-info/RECORD": "b"})
    assert result.outcome == "unchanged"
    assert not result.changes


def test_nothing_changed_is_raised_by_the_building_call(tmp_path: Path) -> None:
    write(tmp_path, {"a/m.py": BEFORE, "b/m.py": "# moved\n" + BEFORE})
    with pytest.raises(NothingChanged):
        build_patch(tmp_path / "a", tmp_path / "b", name="fix")


def test_a_refusal_is_raised_with_everything_that_was_found(tmp_path: Path) -> None:
    write(tmp_path, {"a/m.py": BEFORE, "b/m.py": AFTER + "class C(make()): pass\nprint(1)\n"})
    with pytest.raises(BuildRefused) as caught:
        build_patch(tmp_path / "a", tmp_path / "b", name="fix")
    assert sorted(finding.code for finding in caught.value.refusals) == ["PLP250", "PLP280"]
    assert [finding.code for finding in caught.value.changes] == ["PLP210"]
    assert "m:C (m.py:2)" in str(caught.value)
    assert len(caught.value.as_dict()["details"]["refusals"]) == 2


# --- what one module means for another ----------------------------------------------------------------------


def test_an_imported_literal_is_rebound_in_the_importer_too(tmp_path: Path) -> None:
    result = compare(
        tmp_path,
        {"p/__init__.py": "from .version import __version__ as v\n", "p/version.py": "__version__ = '1'\n"},
        {"p/version.py": "__version__ = '2'\n"},
    )
    assert result.patch is not None
    assert {module.name: module.changes for module in result.patch.modules} == {
        "p": (ValueChange("", "v", 1, "'1'", "'2'"),),
        "p.version": (ValueChange("", "__version__", 1, "'1'", "'2'"),),
    }


def test_a_copy_under_a_condition_is_refused_with_the_importer_s_line(tmp_path: Path) -> None:
    user = "try:\n    from a import X\nexcept ImportError: pass\n"
    result = compare(tmp_path, {"a.py": "X = (1,)\n", "b.py": user}, {"a.py": "X = (2,)\n"})
    (refusal,) = result.refusals
    assert refusal.code == "PLP261"
    assert "b.py:2 (from a import X)" in refusal.message


def test_a_value_that_another_module_s_decorator_reads_is_refused(tmp_path: Path) -> None:
    user = "import a\n@tell(a.X)\ndef f(x): ...\n"
    result = compare(tmp_path, {"a.py": "X = 1\n", "b.py": user}, {"a.py": "X = 2\n"})
    assert [finding.code for finding in result.refusals] == ["PLP261"]


def test_a_copy_for_type_checkers_is_no_copy(tmp_path: Path) -> None:
    user = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import X\n"
    result = compare(tmp_path, {"a.py": "X = [1]\n", "b.py": user}, {"a.py": "X = [2]\n"})
    assert result.outcome == "built"


def test_a_version_that_was_worked_on_at_import_stays(tmp_path: Path) -> None:
    result = compare(
        tmp_path,
        {"a.py": "VERSION = (1, 2)\nTEXT = told(VERSION)\n" + BEFORE},
        {"a.py": "VERSION = (1, 3)\nTEXT = told(VERSION)\n" + AFTER},
    )
    assert result.outcome == "built"
    assert {finding.code for finding in result.changes} == {"PLP222", "PLP210"}


def test_a_new_name_that_a_star_import_should_bring_is_refused(tmp_path: Path) -> None:
    result = compare(
        tmp_path,
        {"a.py": BEFORE, "b.py": "from a import *\ndef g(): return f()\n"},
        {"a.py": BEFORE + "def h(): ...\n", "b.py": "from a import *\ndef g(): return h()\n"},
    )
    assert [finding.code for finding in result.refusals] == ["PLP271"]


def test_a_field_is_seen_through_a_base_of_another_module(tmp_path: Path) -> None:
    base = "import enum\nclass Base(enum.Enum): pass\n"
    user = "from a import Base\nclass C(Base):\n    A = 1\n"
    result = compare(tmp_path, {"a.py": base, "b.py": user}, {"b.py": user.replace("1", "2")})
    assert [finding.code for finding in result.refusals] == ["PLP253"]


# --- odd source ---------------------------------------------------------------------------------------------


ODD = {
    "a syntax error": (b"def f(:\n", "does not parse", "m.py:1"),
    "a null byte": (b"x = 1\n\0\n", "null byte", "m.py:2"),
    "bytes that are no UTF-8": (b"x = 1\n# \xff\n", "not utf-8", "m.py:2"),
    "an unknown coding": (b"# coding: klingon\nx = 1\n", "coding is unknown", "m.py:1"),
    "a coding that does not fit": (b"# coding: ascii\nx = '\xc3\xa4'\n", "not ascii", "m.py:2"),
    "brackets without end": (b"x = " + b"(" * 5000 + b")" * 5000, "m.py", "m.py"),
    "operators without end": (b"x = " + b"-" * 300_000 + b"1\n", "m.py", "m.py"),
    "an unknown indent": (b"if x:\n  a\n b\n", "does not parse", "m.py:3"),
    "a return outside a function": (b"return 1\n", "m.py", "m.py:1"),
}


@pytest.mark.parametrize("title", ODD)
def test_odd_source_is_an_error_that_names_file_and_line(title: str, tmp_path: Path) -> None:
    content, message, where = ODD[title]
    with pytest.raises(SourceError) as caught:
        compare(tmp_path, {"m.py": BEFORE}, {"m.py": content + AFTER.encode()})
    assert message in str(caught.value)
    assert caught.value.where.startswith(where)


def test_odd_source_that_did_not_change_is_left_alone(tmp_path: Path) -> None:
    assert compare(tmp_path, {"m.py": BEFORE, "bad.py": b"\0"}, {"m.py": AFTER}).outcome == "built"


def test_a_coding_cookie_is_followed(tmp_path: Path) -> None:
    text = "# coding: latin-1\ndef f(): return 'ä'\n"
    result = compare(
        tmp_path, {"m.py": text.encode("latin-1")}, {"m.py": text.replace("ä", "ö").encode("latin-1")}
    )
    assert result.patch is not None
    assert "ö" in result.patch.modules[0].new_source


def test_the_source_is_never_executed(tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'trap')!r}, 'w')\n"
    assert compare(tmp_path, {"m.py": trap + BEFORE}, {"m.py": trap + AFTER}).outcome == "built"
    assert not (tmp_path / "trap").exists()

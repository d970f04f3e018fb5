"""Which Python a patch is for, and what errors of the builder say to do."""

from __future__ import annotations

import ast
import sys
import zipfile
from pathlib import Path

import pytest

from pylivepatch import patchfile
from pylivepatch.build import build_from_diff, build_patch
from pylivepatch.build.builder import compare_releases
from pylivepatch.build.releases import Release, read_wheel
from pylivepatch.build.requires import compare_needs, needs_of_metadata
from pylivepatch.compiled import check_requirement
from pylivepatch.errors import BuildError, PatchFileError, WrongPython
from pylivepatch.patch import Patch
from pylivepatch.requirement import unmet

ROOT = Path(__file__).resolve().parents[2]
MINOR, NEXT = (f"{sys.version_info[0]}.{sys.version_info[1] + more}" for more in (0, 1))
ERRORS = {"BuildError", "DiffError", "SourceError", "ReleaseError", "PatchFileError"}


def trees(tmp_path: Path, requires: str) -> tuple[Path, Path]:
    for side, number in (("old", 1), ("new", 2)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "mod.py").write_text(f"def f(): return {number}\n")
        (tmp_path / side / "pyproject.toml").write_text(f'[project]\nname = "x"\nrequires-python = "{requires}"\n')
    return tmp_path / "old", tmp_path / "new"


def test_the_requirement_of_a_checkout_goes_into_the_patch_and_its_file(tmp_path: Path) -> None:
    patch = build_patch(*trees(tmp_path, ">=3.8, <4"), name="fix")
    assert patch.requires_python == ">=3.8, <4"
    patchfile.write(patch, tmp_path / "fix.plp")
    assert patchfile.read(tmp_path / "fix.plp").requires_python == ">=3.8, <4"


def test_a_diff_of_a_checkout_has_its_requirement(tmp_path: Path) -> None:
    old, _ = trees(tmp_path, ">=3.8")
    diff = "--- a/mod.py\n+++ b/mod.py\n@@ -1 +1 @@\n-def f(): return 1\n+def f(): return 2\n"
    assert build_from_diff(diff, old, name="fix").requires_python == ">=3.8"


@pytest.mark.parametrize("requires", [f">={NEXT}", f"<{MINOR}", f"!={MINOR}.*"])
def test_another_python_does_not_build(tmp_path: Path, requires: str) -> None:
    with pytest.raises(BuildError, match="the new version needs Python") as caught:
        build_patch(*trees(tmp_path, requires), name="fix")
    assert caught.value.code == "PLP200"
    with pytest.raises(WrongPython):
        check_requirement(requires, "fix")


def test_a_requirement_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not understood"):
        build_patch(*trees(tmp_path, "a new one"), name="fix")
    with pytest.raises(PatchFileError, match="requires_python"):
        patchfile.load(patchfile.dump(Patch("fix", requires_python="a new one")), "fix.plp")


def test_a_wheel_tells_its_requirement_and_no_other_metadata(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("x/__init__.py", "")
        wheel.writestr("x-1.dist-info/METADATA", "Name: x\nRequires-Python: >=3.9\n\nRequires-Python: none\n")
    release = read_wheel(tmp_path / "x.whl", "x 1")
    assert (release.requires_python, list(release.files)) == (">=3.9", ["x/__init__.py"])


@pytest.mark.parametrize(
    ("requirement", "version", "clause"),
    [
        ("", (3, 11, 0), ""),
        (">=3.11", (3, 11, 0), ""),
        (">=3.11.4", (3, 11, 0), ">=3.11.4"),
        (">3.11, <3.14", (3, 11, 1), ""),
        ("<=3.12", (3, 12, 1), "<=3.12"),
        ("==3.12.*", (3, 12, 1), ""),
        ("==3.12", (3, 12, 1), "==3.12"),
        ("!=3.12.*", (3, 12, 1), "!=3.12.*"),
        ("~=3.11", (3, 14, 0), ""),
        ("~=3.11", (4, 0, 0), "~=3.11"),
        ("~=3.11.2", (3, 12, 0), "~=3.11.2"),
    ],
)
def test_clauses(requirement: str, version: tuple[int, int, int], clause: str) -> None:
    assert unmet(requirement, version) == clause


@pytest.mark.parametrize("text", ["3.11", ">=x", "===3.11", "~=3", ">= 3.11 or 2"])
def test_what_is_no_clause(text: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        unmet(text, (3, 11, 0))


def test_every_error_of_the_builder_and_of_patch_files_says_what_to_do() -> None:
    package = ROOT / "pylivepatch"
    of_files = (package / name for name in ("patchfile.py", "manifest.py", "jsonfields.py"))
    silent = [
        f"{path.name}:{node.lineno}"
        for path in (*(package / "build").glob("*.py"), *of_files)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS
        if not any(keyword.arg == "advice" for keyword in node.keywords)
    ]
    assert silent == []


OLD_NEEDS = """\
Name: shop
Requires-Dist: Shop.Core==1.4
Requires-Dist: click (>=8.0)
Requires-Dist: gone
Requires-Dist: same>=1 ; python_version < "4"
Requires-Dist: pytest>=7; extra == 'test'
"""
NEW_NEEDS = """\
Name: shop
Requires-Dist: shop-core==1.5
Requires-Dist: click>=8.1
Requires-Dist: same >=1; python_version < '4'
Requires-Dist: added
Requires-Dist: pytest>=8; extra == 'test'
"""


def test_other_requirements_are_told_and_another_pinned_release_is_for_the_author() -> None:
    found = compare_needs(needs_of_metadata(OLD_NEEDS), needs_of_metadata(NEW_NEEDS))
    assert [(one.code, one.symbol, one.difference) for one in found] == [
        ("PLP286", "shop-core", "shop-core==1.4 became shop-core==1.5"),
        ("PLP227", "click", "click>=8.0 became click>=8.1"),
        ("PLP227", "added", "added is new"),
    ]
    assert [one.stops for one in found] == [True, False, False]


def test_two_releases_of_which_the_new_one_is_for_another_core_are_not_built() -> None:
    def release(number: int) -> Release:
        return Release({"shop.py": f"def f(): return {number}\n".encode()}, "", {"core": f"=={number}"})

    assert compare_releases(release(1), release(1), name="fix", description="").outcome == "unchanged"
    found = compare_releases(release(1), release(2), name="fix", description="")
    assert [finding.code for finding in found.refusals] == ["PLP286"]
    assert found.patch is None

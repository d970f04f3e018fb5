"""The standard library against itself and against reformatted copies of itself; and real releases."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from pathlib import Path

import pytest

from pylivepatch import patchfile
from pylivepatch.build import build_from_releases, examine
from pylivepatch.errors import ReleaseError
from pylivepatch.patch import FunctionChange

STDLIB = Path(sysconfig.get_path("stdlib"))
MODULES = [
    "argparse",
    "dataclasses",
    "typing",
    "enum",
    "functools",
    "inspect",
    "tarfile",
    "subprocess",
    "zipfile",
    "ast",
]
PACKAGES = ["json", "email", "http", "asyncio", "unittest", "logging", "collections", "concurrent"]


def copy(folder: Path, *, reformat: bool) -> Path:
    for name in MODULES + PACKAGES:
        root = STDLIB / name if (STDLIB / name).is_dir() else STDLIB / f"{name}.py"
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            target = folder / path.relative_to(STDLIB)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.write_text(ast.unparse(ast.parse(text)) if reformat else text, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("reformat", [False, True])
def test_the_standard_library_against_its_copy_is_unchanged(tmp_path: Path, reformat: bool) -> None:
    result = examine(
        copy(tmp_path / "old", reformat=False),
        copy(tmp_path / "new", reformat=reformat),
        name="fix",
    )
    found = [str(finding) for finding in (*result.refusals, *result.changes)]
    assert found == []
    assert result.outcome == "unchanged"


@pytest.mark.network
def test_the_fix_of_cve_2023_46136_builds_from_the_releases(tmp_path: Path) -> None:
    patch = build_from_releases("werkzeug", "3.0.0", "3.0.1")
    ((module, change),) = patch.changes()
    assert module.name == "werkzeug.sansio.multipart"
    assert isinstance(change, FunctionChange)
    patchfile.write(patch, tmp_path / "fix.plp")
    assert patchfile.read(tmp_path / "fix.plp") == patch


@pytest.mark.network
def test_a_release_that_does_not_exist_is_said_clearly() -> None:
    with pytest.raises(ReleaseError, match="pip could not get the release"):
        build_from_releases("werkzeug", "3.0.0", "3.0.999")


@pytest.mark.parametrize(
    "release", [("--help", "1", "2"), ("a b", "1", "2"), ("a", "-r x", "2"), ("a", "1 @ file:///", "2")]
)
def test_a_release_is_a_name_and_a_version_only(release: tuple[str, str, str]) -> None:
    with pytest.raises(ReleaseError, match="nothing else"):
        build_from_releases(*release, name="fix")

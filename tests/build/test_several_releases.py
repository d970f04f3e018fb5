"""Several distributions in one patch."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pylivepatch.build import BuildResult, build_from_releases, examine_releases
from pylivepatch.errors import BuildError, ReleaseError


def wheel(folder: Path, dist: str, version: str, files: dict[str, str], needs: str = "") -> None:
    info = f"{dist}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{needs}"
    with zipfile.ZipFile(folder / f"{dist}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pip finds: ``lower`` and ``upper`` 1 and 2; the latter has a copy of the former's constant."""
    for version in "12":
        wheel(tmp_path, "lower", version, {"lower.py": f"SIZE = {version}\ndef f(): return SIZE + {version}\n"})
        upper = {"upper.py": f"from lower import SIZE\ndef g(): return SIZE * {version}\n"}
        needs = f"Requires-Dist: lower=={version}\nRequires-Python: >=3.{version}\n"
        wheel(tmp_path, "upper", version, upper, needs)
        wheel(tmp_path, "clash", version, {"lower.py": f"SIZE = -{version}\n"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def codes(result: BuildResult) -> list[str]:
    return sorted(f"{one.code} {one.name}" for one in (*result.changes, *result.refusals))


@pytest.mark.slow
def test_two_distributions_become_one_patch_and_see_each_other(index: Path) -> None:
    result = examine_releases("lower", "1", "2", ("upper", "1", "2"))
    assert codes(result) == ["PLP210 lower:f", "PLP210 upper:g", "PLP212 lower:SIZE", "PLP212 upper:SIZE"]
    assert result.patch is not None
    assert result.patch.name == "lower-1-2+upper-1-2"
    assert result.patch.requires_python == ">=3.2"
    alone = examine_releases("upper", "1", "2")  # which is for another lower than the process has
    assert [one.code for one in alone.refusals] == ["PLP286"]


@pytest.mark.slow
def test_distributions_that_have_the_same_file_are_refused(index: Path) -> None:
    with pytest.raises(BuildError, match="different files of this path") as caught:
        examine_releases("lower", "1", "2", ("clash", "1", "2"))
    assert caught.value.where == "lower.py"
    with pytest.raises(ReleaseError):
        build_from_releases("lower", "1", "2", ("none", "1", "2"))

"""The release that is installed, beside what the process runs: told, named in a refusal, or the reason of one."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import installed, patchfile
from pylivepatch.errors import CodeMismatch
from pylivepatch.patch import ModulePatch, NewImport

OLD = "def f():\n    return 'old'\n"
NEW = "def f():\n    return 'new'\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where modules are looked for first, to put ``.dist-info`` folders in."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def for_release(patch: pylivepatch.Patch) -> pylivepatch.Patch:
    return dataclasses.replace(patch, distributions=(("Some.Thing", "1.0", "1.1"),))


def test_the_version_is_that_of_the_first_folder_by_any_spelling(site: Path) -> None:
    (site / "some_thing-1.0.dist-info").mkdir()
    assert installed.installed("Some.Thing") == installed.installed("some-thing") == "1.0"
    assert installed.installed("thing") == ""
    assert installed.installed("pytest") == pytest.__version__


@pytest.mark.parametrize(("version", "told"), [("1.0.0", []), ("1.1", ["1.1"]), (None, [])])
def test_files_that_were_upgraded_since_are_told_where_the_code_is_the_old_one(
    sources: Any, site: Path, version: str | None, told: list[str]
) -> None:
    module = sources.load(OLD)
    if version is not None:
        (site / f"some_thing-{version}.dist-info").mkdir()
    applied = pylivepatch.load(for_release(sources.patch(module, NEW)))
    assert module.f() == "new"
    assert [one["installed"] for one in applied.report["distributions"]] == told


def test_a_refusal_names_both_versions(sources: Any, site: Path) -> None:
    module = sources.load(OLD.replace("old", "another release"))
    (site / "some_thing-0.9.dist-info").mkdir()
    patch = sources.patch(sources.load(OLD), NEW)
    part = dataclasses.replace(patch.modules[0], name=module.__name__)
    with pytest.raises(CodeMismatch, match=r"the patch is for Some\.Thing 1\.0, and 0\.9 is installed") as caught:
        pylivepatch.load(for_release(dataclasses.replace(patch, modules=(part,))))
    assert caught.value.details["distributions"] == [{"name": "Some.Thing", "built_for": "1.0", "installed": "0.9"}]
    assert module.f() == "another release"


def test_where_nothing_tells_what_the_process_runs_another_release_is_refused(sources: Any, site: Path) -> None:
    module = sources.load(OLD)
    new = "import json\n" + OLD
    change = NewImport("json", 1, "import json")
    part = ModulePatch(module.__name__, f"{module.__name__}.py", OLD, new, (change,))
    patch = for_release(pylivepatch.Patch("fix", modules=(part,)))
    (site / "some_thing-0.9.dist-info").mkdir()
    with pytest.raises(CodeMismatch, match="nothing that the patch changes tells"):
        pylivepatch.load(patch)
    assert not hasattr(module, "json")
    (site / "some_thing-0.9.dist-info").rename(site / "some_thing-1.0.dist-info")
    pylivepatch.load(patch)
    assert hasattr(module, "json")


def test_a_patch_file_keeps_the_distributions(sources: Any) -> None:
    patch = for_release(sources.patch(sources.load(OLD), NEW))
    assert patchfile.load(patchfile.dump(patch), "here") == patch

"""Two revisions of a git repository become a patch; what is missing is named."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pylivepatch import patchfile
from pylivepatch.build import build_from_diff, build_from_git, examine_git
from pylivepatch.errors import BuildError, BuildRefused, NothingChanged

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

OLD = "def f():\n    return 1\n"
NEW = OLD.replace("1", "2")


class Repository:
    """A repository of its own, which knows nothing of the user's settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **settings, **who}
        ).stdout

    def commit(self, tag: str, **files: str) -> None:
        """Commit these files (``__`` for ``/``) under a tag."""
        for name, text in files.items():
            path = self.folder / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", tag)
        self.git("tag", tag)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    (made.folder / "src/pkg/inner").mkdir(parents=True)
    for package in ("src/pkg", "src/pkg/inner"):
        (made.folder / package / "__init__.py").write_text("")
    (made.folder / "pyproject.toml").write_text("[project]\nname = 'pkg'\n")
    made.commit("v1", src__pkg__inner__mod=OLD, tests__test_mod="x = 1\n")
    made.commit("v2", src__pkg__inner__mod=NEW, tests__test_mod="x = 2\n")
    return made


def test_two_revisions_become_a_patch_and_what_is_not_installed_is_told(repository: Repository) -> None:
    result = examine_git(repository.folder, "v1", "v2", name="fix")
    assert result.patch is not None
    assert [(one.name, one.new_source) for one in result.patch.modules] == [("pkg.inner.mod", NEW)]
    assert [(one.code, one.file) for one in result.changes] == [
        ("PLP210", "pkg/inner/mod.py"),
        ("PLP223", "tests/test_mod.py"),
    ]


@pytest.mark.parametrize("folder", ["src", "src/pkg", "src/pkg/inner"])
def test_a_folder_of_the_repository_will_do(repository: Repository, folder: str) -> None:
    patch = build_from_git(repository.folder / folder, "v1", "v2", name="fix")
    assert [one.name for one in patch.modules] == ["pkg.inner.mod"]


def test_the_working_tree_and_the_environment_of_a_git_hook_do_not_matter(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.folder / "src/pkg/inner/mod.py").write_text("not committed")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert build_from_git(repository.folder, "v1", "main", name="fix").modules[0].new_source == NEW


def test_what_the_attributes_leave_out_of_archives_is_read(repository: Repository) -> None:
    (repository.folder / ".gitattributes").write_text("*.py export-ignore export-subst\n")
    repository.commit("v3", src__pkg__inner__mod=NEW + "# $Format:%H$\ndef g(): pass\n")
    assert (
        build_from_git(repository.folder, "v2", "v3", name="fix").modules[0].new_source.startswith(NEW + "# $Format:")
    )


def test_a_patch_from_revisions_is_the_one_from_their_diff(repository: Repository, tmp_path: Path) -> None:
    diff = repository.git("diff", "v1", "v2", "--", "src")
    tree = tmp_path / "tree"
    shutil.copytree(repository.folder / "src", tree)
    (tree / "pkg/inner/mod.py").write_text(OLD)
    patch = build_from_git(repository.folder / "src", "v1", "v2", name="fix", description="x")
    assert build_from_diff(diff, tree, name="fix", description="x") == patch


def test_revisions_go_both_ways_and_a_rename_is_named(repository: Repository) -> None:
    assert build_from_git(repository.folder, "v2", "v1", name="fix").modules[0].new_source == OLD
    with pytest.raises(NothingChanged):
        build_from_git(repository.folder, "v2", "main", name="fix")
    repository.commit("v3", src__pkg__inner__mod="import app\n@app.go\n" + NEW)
    with pytest.raises(BuildRefused, match="PLP234"):
        build_from_git(repository.folder, "v2", "v3", name="fix")


def test_what_is_missing_is_named(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(folder: Path, old: str = "v1", new: str = "v2") -> str:
        with pytest.raises(BuildError) as caught:
            examine_git(folder, old, new, name="fix")
        assert caught.value.advice
        return str(caught.value)

    assert "no such folder" in message(tmp_path / "none")
    (tmp_path / "plain").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert "not a git repository" in message(tmp_path / "plain")
    assert "no revision 'v9'" in message(repository.folder, new="v9")
    assert "no revision '--all'" in message(repository.folder, old="--all")
    (repository.folder / "later").mkdir()
    repository.commit("v3", later__mod=OLD)
    assert "nothing in the folder 'later/'" in message(repository.folder / "later", "v1", "v3")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git cannot be run" in message(repository.folder)


def test_a_file_whose_name_is_no_utf_8_does_not_keep_the_patch_from_being_written(repository: Repository) -> None:
    try:
        (repository.folder / "tests" / os.fsdecode(b"b\xff.txt")).write_text("x")
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    repository.commit("v3", src__pkg__inner__mod=NEW.replace("2", "3"))
    patch = build_from_git(repository.folder, "v2", "v3", name="fix")
    assert patchfile.load(patchfile.dump(patch), "fix.plp") == patch
    assert any("b\\udcff.txt" in told.place for told in patch.told)

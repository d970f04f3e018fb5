"""A module in two versions and a hooks file: the old one imported, to be patched live."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import pylivepatch
from pylivepatch import patchfile
from pylivepatch.build import BuildResult, examine
from pylivepatch.compiled import CompiledPatch, compile_patch

_numbers = itertools.count()


class Case:
    """``NAME`` in the texts stands for the module's name. The patch goes through a file, as it does in life."""

    def __init__(self, folder: Path, old: str, new: str, hooks: str) -> None:
        self.folder, self.name = folder, f"hooked_{next(_numbers)}"
        for side, text in (("old", old), ("new", new)):
            path = folder / f"{self.name}-{side}" / f"{self.name}.py"
            path.parent.mkdir()
            path.write_text(dedent(text))
        self.hooks = folder / self.name / "hooks.py"
        self.hooks.parent.mkdir()
        self.hooks.write_text(dedent(hooks).replace("NAME", self.name))
        self.old, self.new = (folder / f"{self.name}-{side}" for side in ("old", "new"))

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(self.name)

    def examine(self, name: str = "") -> BuildResult:
        return examine(self.old, self.new, name=name or self.name, hooks=self.hooks)

    def codes(self) -> list[str]:
        """``code class`` of every finding."""
        result = self.examine()
        return sorted(f"{one.code} {one.verdict}" for one in (*result.changes, *result.refusals))

    def build(self, name: str = "") -> Path:
        result = self.examine(name)
        assert result.patch is not None, result.refusals
        path = self.folder / f"{self.name}.plp"
        patchfile.write(result.patch, path)
        assert patchfile.read(path) == result.patch
        return path

    def load(self, name: str = "", **options: bool) -> pylivepatch.Applied:
        """By the bytes that an agent gets, compiled here: a helper process for each test would take long."""
        compiled = compile_patch(patchfile.read(self.build(name)))
        return pylivepatch.load(CompiledPatch.from_bytes(compiled.to_bytes()), **options)  # type: ignore[arg-type]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], Case]]:
    """``case(old, new, hooks)``: see :class:`Case`. The old version can be imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: list[Case] = []

    def make(old: str, new: str, hooks: str) -> Case:
        one = Case(tmp_path, old, new, hooks)
        monkeypatch.syspath_prepend(str(one.old))
        made.append(one)
        return one

    yield make
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    for one in made:
        sys.modules.pop(one.name, None)

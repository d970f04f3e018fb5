"""Packages in two versions: the old one imported, to be patched live with what the builder makes of both."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import pylivepatch
from pylivepatch.build import BuildResult, examine

_numbers = itertools.count()


class Package:
    """A package of its own name: ``files`` are its modules by path; ``new`` holds those that change."""

    def __init__(self, folder: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        self.name = f"pair_{next(_numbers)}"
        for side, files in (("old", {"__init__.py": "", **old}), ("new", {"__init__.py": "", **old, **new})):
            for path, text in files.items():
                target = folder / f"{self.name}-{side}" / self.name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(dedent(text))
        self.old, self.new = (folder / f"{self.name}-{side}" for side in ("old", "new"))

    def examine(self) -> BuildResult:
        return examine(self.old, self.new, name=self.name)

    def load(self) -> pylivepatch.Applied:
        """Build and load; the builder must not refuse anything."""
        result = self.examine()
        assert result.patch is not None, result.refusals
        return pylivepatch.load(result.patch)

    def module(self, name: str = "") -> ModuleType:
        return importlib.import_module(f"{self.name}.{name}" if name else self.name)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Package]]:
    """``package(old, new)``: see :class:`Package`. The old version can be imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: list[Package] = []

    def make(old: Mapping[str, str], new: Mapping[str, str]) -> Package:
        one = Package(tmp_path, old, new)
        monkeypatch.syspath_prepend(str(one.old))
        made.append(one)
        return one

    yield make
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    for one in made:
        for name in [name for name in sys.modules if name.partition(".")[0] == one.name]:
            del sys.modules[name]

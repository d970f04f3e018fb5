"""The pairs of releases, and what the builder says of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pylivepatch.build import BuildResult
from pylivepatch.build.builder import compare_releases
from tests.releases.wheels import release, unpack_need

HERE = Path(__file__).parent
TABLES = {"fixes": "releases.tsv", "further": "further.tsv"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two releases of a distribution. ``module`` is its import name."""

    dist: str
    old: str
    new: str
    module: str
    note: str

    def __str__(self) -> str:
        return f"{self.dist} {self.old} → {self.new}"

    @property
    def key(self) -> str:
        return f"{self.dist}-{self.new}"


def pairs(table: str | None = None) -> list[Pair]:
    """The releases that fixed something, and those that were chosen by a rule; or one table of the two."""
    return [Pair(*row) for name in ([table] if table else TABLES) for row in _rows(TABLES[name])]


@cache
def result(pair: Pair) -> BuildResult:
    """What the builder says of a pair. Raises ``ReleaseError`` where a release has no wheel for this Python."""
    return _compare(pair, None)


def with_hooks(pair: Pair) -> BuildResult | None:
    """The same with the author's part of ``tests/releases/hooks``, where there is one."""
    file = HERE / "hooks" / f"{re.sub('[.-]', '_', pair.key)}.py"
    return _compare(pair, file) if file.exists() else None


def _compare(pair: Pair, hooks: Path | None) -> BuildResult:
    old, new = release(pair.dist, pair.old), release(pair.dist, pair.new)
    return compare_releases(old, new, name=pair.key, description=f"{pair.dist} {pair.old} to {pair.new}", hooks=hooks)


def unpack_needs(pair: Pair, target: Path) -> Path:
    """What the releases need to be imported and used."""
    target.mkdir(exist_ok=True)
    for need in dict(_rows("needs.tsv")).get(pair.dist, "").split():  # type: ignore[arg-type]
        unpack_need(*need.split("=="), target)
    return target


def _rows(name: str) -> list[list[str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]

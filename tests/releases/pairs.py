"""The pairs of releases, what each gives, and where their wheels are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pylivepatch.build import BuildResult
from pylivepatch.build.builder import examine_files
from pylivepatch.build.releases import Release, fetch, read_wheel
from pylivepatch.build.tree import arrange

TABLE = Path(__file__).parent / "releases.tsv"
CACHE = Path(os.environ.get("PYLIVEPATCH_WHEELS", Path.home() / ".cache" / "pylivepatch" / "wheels"))

# What each old release needs to be imported; only their Python files are used.
NEEDS: dict[str, tuple[str, ...]] = {
    "werkzeug": ("markupsafe==3.0.2",),
    "jinja2": ("markupsafe==3.0.2",),
    "mako": ("markupsafe==3.0.2",),
    "flask": (
        "markupsafe==3.0.2",
        "werkzeug==3.0.6",
        "jinja2==3.1.6",
        "itsdangerous==2.2.0",
        "click==8.1.7",
        "blinker==1.8.2",
    ),
    "requests": ("urllib3==2.2.3", "idna==3.7", "certifi==2024.7.4", "charset-normalizer==3.4.0"),
    "starlette": ("anyio==4.4.0", "sniffio==1.3.1", "idna==3.7", "typing-extensions==4.12.2"),
    "django": ("asgiref==3.8.1", "sqlparse==0.5.1", "typing-extensions==4.12.2"),
}


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


def pairs() -> list[Pair]:
    lines = TABLE.read_text().splitlines()
    return [Pair(*line.split("\t")) for line in lines if line and not line.startswith("#")]


@cache
def release(dist: str, version: str) -> Release:
    """One release, from the cache or from the package index."""
    folder = CACHE / dist
    kept = list((folder / version).glob("*.whl")) if dist != "aiohttp" else []  # one wheel a version of Python
    if len(kept) == 1:
        return read_wheel(kept[0], f"{dist} {version}")
    if dist != "aiohttp":
        return fetch(dist, version, folder, timeout=300)
    with tempfile.TemporaryDirectory() as temporary:
        return fetch(dist, version, Path(temporary), timeout=300)


@cache
def result(pair: Pair) -> BuildResult:
    """What the builder says of a pair."""
    before, after = release(pair.dist, pair.old), release(pair.dist, pair.new)
    trees = arrange(before.files), arrange(after.files)
    return examine_files(*trees, name=pair.key, description=pair.note, requires_python=after.requires_python)


def unpack(dist: str, version: str, target: Path) -> Path:
    """The release's files in a folder."""
    _write(release(dist, version), target)
    return target


def unpack_needs(pair: Pair, target: Path) -> None:
    """The Python files of what the old release needs, whichever Python the wheels are for."""
    target.mkdir(exist_ok=True)
    for need in NEEDS.get(pair.dist, ()):
        folder = CACHE / "needs" / need.replace("==", "-")
        if not list(folder.glob("*.whl")):
            platforms = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")
            chosen = [part for platform in platforms for part in ("--platform", platform)]
            command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
            command += ["--only-binary", ":all:", "--python-version", "3.12", *chosen, "--dest", str(folder), need]
            subprocess.run(command, check=True, timeout=300, stdin=subprocess.DEVNULL)
        (wheel,) = folder.glob("*.whl")
        _write(read_wheel(wheel, need), target)


def _write(release: Release, target: Path) -> None:
    for path, data in release.files.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

"""The wheels of the releases, and of what they need: got by pip once, kept, and unpacked."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

from pylivepatch.build.releases import Release, fetch, read_wheel
from pylivepatch.errors import ReleaseError

CACHE = Path(os.environ.get("PYLIVEPATCH_WHEELS", Path.home() / ".cache" / "pylivepatch" / "wheels"))


def wheel_of(dist: str, version: str) -> Path:
    """The wheel for this Python. Raises ``ReleaseError`` where the package index has none."""
    folder = CACHE / dist / version
    with _locked(folder):
        if not (kept := _fitting(folder)):
            fetch(dist, version, folder / ".new", timeout=300)
            for got in (folder / ".new" / version).glob("*.whl"):
                got.replace(folder / got.name)
            kept = _fitting(folder)
    return kept[0]


@cache
def release(dist: str, version: str) -> Release:
    return read_wheel(wheel_of(dist, version), f"{dist} {version}")


def unpack(dist: str, version: str, target: Path) -> Path:
    """The release's files in a folder, its metadata with them."""
    with zipfile.ZipFile(wheel_of(dist, version)) as wheel:
        wheel.extractall(target)
    return target


def unpack_need(dist: str, version: str, target: Path) -> None:
    """As :func:`unpack`; where there is none for this Python, the Python files of one for another."""
    try:
        unpack(dist, version, target)
    except ReleaseError:
        folder = CACHE / dist / version / "3.12"
        with _locked(folder):
            if not list(folder.glob("*.whl")):
                command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
                command += ["--only-binary", ":all:", "--python-version", "3.12", "--platform", "manylinux_2_17_x86_64"]
                command += ["--platform", "manylinux2014_x86_64", "--platform", "any", "--dest", str(folder)]
                command += [f"{dist}=={version}"]
                subprocess.run(command, check=True, timeout=300, stdin=subprocess.DEVNULL)
        (found,) = folder.glob("*.whl")
        with zipfile.ZipFile(found) as wheel:
            wheel.extractall(target)


def _fitting(folder: Path) -> list[Path]:
    here = set(sys_tags())
    return [path for path in sorted(folder.glob("*.whl")) if parse_wheel_filename(path.name)[3] & here]


class _locked:
    """One process at a time gets a wheel: several pairs may need the same."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        self.file = self.path.open("w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self.file.close()

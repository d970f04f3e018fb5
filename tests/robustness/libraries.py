"""The standard libraries that are on this machine, in units that the builder can be given one by one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pylivepatch-ci"  # where CI unpacks Pythons


def libraries() -> dict[str, Path]:
    """Version → its standard library, for those that are here."""
    return {version: path for version in VERSIONS if (path := _library(version)) is not None}


def _library(version: str) -> Path | None:
    if version == "{}.{}".format(*sys.version_info):
        return Path(sysconfig.get_path("stdlib"))
    places = [*Path.home().glob(f".pyenv/versions/{version}.*/lib/python{version}")]
    places.append(_CACHE / f"pythons/usr/lib/python{version}")
    command = shutil.which(f"python{version}")
    if command:
        ask = [command, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        places.append(Path(done.stdout.strip() or "/none"))
    return next((place for place in places if (place / "os.py").is_file()), None)


def units(library: Path, *, tests: bool) -> dict[str, list[str]]:
    """Name → the files of one top-level module or package. Of the package ``test`` each file or folder is one."""
    found: dict[str, list[str]] = {}
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        parts = relative.parts
        inner_tests = {"test", "tests"} & set(parts[:-1])
        if "site-packages" in parts or "__pycache__" in parts or (inner_tests and not tests):
            continue
        if not path.is_file():  # a link that leads nowhere
            continue
        if parts[0].startswith(("config-", "__phello__")) or not parts[0].removesuffix(".py").isidentifier():
            continue
        unit = "/".join(parts[:2]) if parts[0] == "test" else parts[0]
        found.setdefault(unit, []).append(relative.as_posix())
    return found

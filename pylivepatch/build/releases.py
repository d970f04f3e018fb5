"""Releases from the package index: the wheel of one, as pip finds it, read without being installed.

Only wheels: getting a source distribution would run its build script.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pylivepatch.build.requires import needs_of_metadata, of_metadata
from pylivepatch.errors import BuildError, ReleaseError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


@dataclass(frozen=True, slots=True)
class Release:
    """The files of a release by path below ``site-packages``, without its metadata; and what that says it needs."""

    files: dict[str, bytes]
    requires_python: str
    needs: dict[str, str] = field(default_factory=dict)


def fetch(dist: str, version: str, folder: Path, *, timeout: float) -> Release:
    """Get one release. Raises ``ReleaseError``."""
    release = f"{dist} {version}"
    if not _NAME.fullmatch(dist) or not _VERSION.fullmatch(version):
        raise ReleaseError(
            "a release is a distribution's name and a version, nothing else",
            where=release,
            advice="such as: werkzeug 3.0.0",
        )
    target = folder / version
    target.mkdir(parents=True, exist_ok=True)
    # -P: what lies in the current folder is not imported as pip.
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(target), f"{dist}=={version}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise ReleaseError(
            f"pip did not get the release within {timeout:g} s",
            where=release,
            advice="allow more time, or get both releases yourself and compare the two folders",
        ) from problem
    except OSError as problem:
        raise ReleaseError(
            f"pip cannot be run: {problem}",
            where=release,
            advice=f"mend {sys.executable}, or get both releases yourself and compare the two folders",
        ) from problem
    wheels = list(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise _failed(release, done.stderr.strip() or done.stdout.strip())
    return read_wheel(wheels[0], release)


def together(releases: Sequence[Release]) -> Release:
    """Releases of several distributions as one. Raises ``BuildError`` where two have different files of one path."""
    files: dict[str, bytes] = {}
    needs: dict[str, str] = {}
    for release in releases:
        for path, data in release.files.items():
            if files.setdefault(path, data) != data:
                raise BuildError(
                    "two of the distributions have different files of this path",
                    where=path,
                    advice="build a patch of one of them, and another of the other",
                )
        for dist, wanted in release.needs.items():
            has = needs.get(dist, wanted)
            needs[dist] = has if has == wanted else f"{has} and {wanted}"
    clauses = [release.requires_python for release in releases if release.requires_python]
    return Release(files, ", ".join(dict.fromkeys(clauses)), needs)


def _failed(release: str, said: str) -> ReleaseError:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("[notice]")]
    message = " ".join(lines[-3:])[:600] or "it gave no wheel and no reason"
    if "No module named pip" in said:
        advice = (
            f"install pip for {sys.executable}, or get both releases yourself and compare the two folders"
        )
    elif "No matching distribution" in said or "Could not find a version" in said:
        advice = (
            "check name and version; a release without a wheel for this Python has to be unpacked by hand, "
            "and the two "
            "folders compared, since building it here would run its code"
        )
    else:
        advice = "run pip by hand to see why, or get both releases yourself and compare the two folders"
    return ReleaseError(f"pip could not get the release: {message}", where=release, advice=advice)


def read_wheel(path: Path, release: str) -> Release:
    """What a wheel installs. Raises ``ReleaseError``."""
    found: dict[str, bytes] = {}
    requires = ""
    needs: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                top, _, rest = info.filename.partition("/")
                if top.endswith(".dist-info") and rest == "METADATA":
                    metadata = wheel.read(info).decode("utf-8", "replace")
                    requires, needs = of_metadata(metadata), needs_of_metadata(metadata)
                if info.is_dir() or top.endswith((".dist-info", ".egg-info")):
                    continue
                name = info.filename
                if top.endswith(".data"):
                    scheme, _, inner = rest.partition("/")
                    name = inner if scheme in ("purelib", "platlib") else f"{scheme}/{inner}"
                found[name] = wheel.read(info)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as problem:
        raise ReleaseError(
            f"the wheel cannot be read: {problem}",
            where=release,
            advice="try again; if it stays so, the index has a broken file: use another version",
        ) from problem
    return Release(found, requires, needs)

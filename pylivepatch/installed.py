"""Which release of a distribution lies on disk, where the process looks for modules.

It is no proof of what the process runs: files may have been upgraded since it started. The live code decides. But where
that is not what the patch was built against, the release that is installed most often says why.

``importlib.metadata`` tells the same, and brings the ``email`` package into a process that asks it. The name of a
``.dist-info`` folder holds both name and version, by the specification of wheels.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pylivepatch.activeness.pace import paced
from pylivepatch.errors import CodeMismatch, DataMismatch, TargetNotFound

_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py[^-]*)?\.(dist|egg)-info")
_SLICE = 200  # names of files looked at between two offers of the GIL


def installed(name: str) -> str:
    """The version of the distribution that an import would find first, ``""`` where there is none."""
    wanted = _normalized(name)
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or gone
            continue
        for entry in paced(names, _SLICE):
            match = _FOLDER.fullmatch(entry) if entry.endswith("-info") else None
            if match is not None and _normalized(match["name"]) == wanted:
                return match["version"]
    return ""


def others(distributions: Iterable[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Those of which another release is installed than the patch is for: ``name``, ``built_for``, ``installed``."""
    found = []
    for name, old, _new in distributions:
        version = installed(name)
        if version and _release(version) != _release(old):
            found.append({"name": name, "built_for": old, "installed": version})
    return found


def told(those: Sequence[dict[str, str]]) -> str:
    """For people; ``""`` for none."""
    one = "the patch is for {name} {built_for}, and {installed} is installed"
    return ", ".join(one.format(**each) for each in those)


@contextmanager
def named_in_refusals(distributions: Sequence[tuple[str, str, str]]) -> Iterator[None]:
    """Say in an error about the live code, or values, which releases do not belong together."""
    try:
        yield
    except (CodeMismatch, DataMismatch, TargetNotFound) as error:
        those = others(distributions)
        if those:
            error.message = f"{error.message}; {told(those)}"
            error.args = (error.message,)
            error.details["distributions"] = those
            error.advice = f"build a patch for the release that the process runs, or: {error.advice}"
        raise


def check_telling(distributions: Sequence[tuple[str, str, str]], *, verified: bool) -> None:
    """Refuse where nothing in the patch was ``verified`` against the live process and another release is installed.

    Raises :class:`CodeMismatch`.
    """
    those = [] if verified else others(distributions)
    if those:
        raise CodeMismatch(
            f"{told(those)}; nothing that the patch changes tells which of them the process runs",
            where=those[0]["name"],
            advice="build a patch for the release that is installed",
            details={"distributions": those},
        )


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _release(version: str) -> str:
    """Equal for ``1.0`` and ``1.0.0``, and for both ways to write a local version."""
    return re.sub(r"(\.0)+$", "", version.replace("_", "-").lower())

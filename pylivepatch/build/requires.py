"""What a new version is for: which Python (read from its metadata, kept in the patch, and met by the Python that
builds), and which releases of other distributions."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from email.parser import HeaderParser

from pylivepatch.build import codes
from pylivepatch.build.findings import Finding, Report
from pylivepatch.build.tree import File
from pylivepatch.errors import BuildError
from pylivepatch.requirement import unmet

_NEED = re.compile(r"([A-Za-z0-9._-]*)\s*(.*)", re.S)


def of_project(tree: Mapping[str, File]) -> str:
    """``requires-python`` of the tree's ``pyproject.toml``; ``""`` where it says none."""
    file = tree.get("pyproject.toml")
    try:
        project = tomllib.loads(file.data.decode()).get("project", {}) if file else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BuildError(
            f"the project's metadata cannot be read: {problem}", where="pyproject.toml", advice="mend the file"
        ) from problem
    found = project.get("requires-python", "") if isinstance(project, dict) else ""
    return found if isinstance(found, str) else ""


def of_metadata(text: str) -> str:
    """``Requires-Python`` of a distribution's ``METADATA``."""
    return (HeaderParser().parsestr(text, headersonly=True).get("Requires-Python") or "").strip()


def needs_of_metadata(text: str) -> dict[str, str]:
    """``Requires-Dist`` of a ``METADATA``, by normalised name: what stands behind it. Without those of extras."""
    needs: dict[str, str] = {}
    for line in HeaderParser().parsestr(text, headersonly=True).get_all("Requires-Dist", []):
        name, rest = _NEED.fullmatch(line.strip()).groups()  # type: ignore[union-attr]  # it matches any text
        rest = re.sub(r"[\s()]", "", rest).replace('"', "'")
        if "extra==" not in rest:
            key = normalized(name)
            needs[key] = f"{needs[key]} {rest}" if key in needs else rest
    return needs


def normalized(dist: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def compare_needs(old: Mapping[str, str], new: Mapping[str, str]) -> list[Finding]:
    """What the new release asks for and the old one did not. A requirement that went is none any more."""
    report = Report("", "METADATA")
    for name, wanted in new.items():
        had = old.get(name)
        if wanted == had:
            continue
        difference = f"{name}{had} became {name}{wanted}" if had is not None else f"{name}{wanted} is new"
        if had is not None and had.startswith("==") and wanted.startswith("=="):
            advice = codes.TABLE[codes.PINNED].way_out
            message = "The process runs the other release of it."
            report.refused(codes.PINNED, name, message, advice, difference=difference)
        else:
            message = "The process keeps the release of it that it runs."
            report.note(codes.NEEDS_CHANGED, name, message, difference=difference)
    return report.findings


def check_requirement(requirement: str, where: str) -> str:
    """The requirement, once it is clear that this Python meets it: it compiles both versions to compare them.

    Raises ``BuildError`` where it does not, or where it is not understood.
    """
    try:
        clause = unmet(requirement, sys.version_info[:3])
    except ValueError as problem:
        raise BuildError(
            f"the requirement {requirement!r} of the new version is not understood: {problem}",
            where=where,
            advice="write it as clauses like >=3.11 or <3.14, with commas between",
        ) from problem
    if clause:
        raise BuildError(
            f"the new version needs Python {clause}, and this is {sys.version.split()[0]}",
            where=where,
            advice="build with the Python that the process runs",
        )
    return requirement

"""Which Python a new version is for: read from its metadata, kept in the patch, and met by the Python that builds."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from email.parser import HeaderParser

from pylivepatch.build.tree import File
from pylivepatch.errors import BuildError
from pylivepatch.patchfile import unmet


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

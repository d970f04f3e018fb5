"""Where old and new first differ, for findings that a comparison of lines is enough for.

Most findings come with the first difference between two syntax trees (``same.describe_difference``). Those of
something that only one version has, or that are found from elsewhere, get here what their own lines show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pylivepatch.build.findings import Finding

_WIDTH = 70


def with_point(finding: Finding, old: Sequence[str], new: Sequence[str]) -> Finding:
    """The finding with its ``difference``, if it has none and its lines tell. ``old`` and ``new`` are the lines of the
    module's two versions.
    """
    if finding.difference:
        return finding
    before, after = _line(old, finding.old_line), _line(new, finding.new_line)
    if before and after:
        return replace(finding, difference=_first(old, new, finding.old_line, finding.new_line))
    if after and after not in {line.strip() for line in old}:
        return replace(finding, difference=f"line {finding.new_line}: {_show(after)} is new")
    if before and before not in {line.strip() for line in new}:
        return replace(finding, difference=f"line {finding.old_line}: {_show(before)} is gone")
    return finding


def _first(old: Sequence[str], new: Sequence[str], old_line: int, new_line: int) -> str:
    """The first lines that differ, from the two places on."""
    for number, (before, after) in enumerate(zip(old[old_line - 1 :], new[new_line - 1 :], strict=False)):
        if before.strip() != after.strip():
            return f"line {new_line + number}: {_show(before.strip())} became {_show(after.strip())}"
    return ""


def _line(lines: Sequence[str], number: int) -> str:
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _show(text: str) -> str:
    return f"`{text}`" if len(text) <= _WIDTH else f"`{text[: _WIDTH - 1]}…`"

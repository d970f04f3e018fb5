"""A finding shows the first point where old and new differ, also where only one of them has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylivepatch.build import examine

ENUM = "import enum\nclass C(enum.Enum):\n"
POINTS = {
    "only the new version has it": ("A = 1\n", "A = 1\nB = open('x')\n", "line 2: `B = open('x')` is new"),
    "only the old version has it": (ENUM + " x = 1\n y = 2\n", ENUM + " x = 1\n", "line 4: `y = 2` is gone"),
}


@pytest.mark.parametrize("title", POINTS)
def test_what_one_version_has_is_shown(tmp_path: Path, title: str) -> None:
    old, new, expected = POINTS[title]
    (tmp_path / "old.py").write_text(old)
    (tmp_path / "new.py").write_text(new)
    result = examine(tmp_path / "old.py", tmp_path / "new.py", name="fix")
    assert [finding.difference for finding in result.refusals] == [expected]
    assert all(f"First difference: {expected}." in str(finding) for finding in result.refusals)

"""The page of codes says something about every code, in order."""

from __future__ import annotations

import re
from pathlib import Path

from pylivepatch.build import codes

ROOT = Path(__file__).resolve().parents[2]


def test_every_code_has_a_section_in_order() -> None:
    text = (ROOT / "docs" / "edits.md").read_text()
    assert re.findall(r"^### (PLP\d+): ", text, re.M) == list(codes.ALL)


def test_every_refusal_but_none_of_the_applied_has_a_way_out() -> None:
    text = (ROOT / "docs" / "edits.md").read_text()
    sections = re.split(r"^### ", text, flags=re.M)[1:]
    assert [part[:6] for part in sections if "**The way out.**" in part] == [
        code for code in codes.ALL if code >= "PLP230"
    ]


def test_every_code_is_used_by_the_builder() -> None:
    source = "".join(path.read_text() for path in (ROOT / "pylivepatch" / "build").glob("*.py"))
    assert [name for name in codes.ALL.values() if f"codes.{name}" not in source] == []


def test_the_codes_are_in_order_and_distinct() -> None:
    assert list(codes.ALL) == sorted(codes.ALL)

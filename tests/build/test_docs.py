"""The page of codes says of every code what the table says, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pylivepatch.build import codes

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    part[:6]: part
    for part in re.split(r"^##+ ", (ROOT / "docs" / "edits.md").read_text(), flags=re.M)
    if re.match(r"PLP\d+: ", part)
}


def test_every_code_has_a_section_in_order() -> None:
    assert list(SECTIONS) == list(codes.TABLE)


@pytest.mark.parametrize("row", codes.TABLE.values(), ids=lambda row: row.code)
def test_a_section_has_the_title_the_class_and_the_way_out_of_its_row_and_an_example(row: codes.Code) -> None:
    section = SECTIONS[row.code]
    title, _, text = section.partition("\n\n")
    assert title == f"{row.code}: {row.title}"
    assert text.startswith(f"`{row.verdict}`. ")
    assert "```diff\n" in text
    way_out = re.search(r"^\*\*The way out\.\*\* (.*)$", text, re.M)
    assert (way_out[1] if way_out else "") == row.way_out


def test_there_is_a_way_out_wherever_nothing_is_applied() -> None:
    for row in codes.TABLE.values():
        assert bool(row.way_out) is (row.verdict in ("needs-author", "refused")), row.code


def test_an_anchor_is_the_one_that_the_page_gets() -> None:
    assert codes.TABLE["PLP272"].anchor == "docs/edits.md#plp272-a-__future__-import"
    assert codes.TABLE["PLP221"].anchor == "docs/edits.md#plp221-a-modules-or-classs-docstring"


def test_every_code_is_used_by_the_builder() -> None:
    source = "".join(path.read_text() for path in (ROOT / "pylivepatch" / "build").glob("*.py"))
    assert [name for name in codes.ALL.values() if f"codes.{name}" not in source] == []


def test_the_codes_are_in_order_and_each_has_a_name() -> None:
    assert list(codes.TABLE) == sorted(codes.TABLE) == list(codes.ALL)

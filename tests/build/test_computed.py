"""A class attribute that is found by a computed name: what instances made of the old value is not known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pylivepatch
from pylivepatch.build import build_patch
from tests.build.conftest import Package

Make = Callable[..., Package]

BASE = """
    import re
    class Base:
        def __init__(self):
            self.found = {name: re.compile(getattr(self, f"RULE_{name}")) for name in ("BOLD",)}
        def rule(self, name): return self.found[name]
"""
PARSER = """
    from .base import Base
    class Parser(Base):
        RULE_BOLD = r"<b>.*</b>"
        LIMIT = 10
        def bold(self, text): return len(text) < self.LIMIT and self.rule("BOLD").match(text)
"""


def codes(package: Package) -> list[tuple[str, str]]:
    found = package.examine()
    return [(one.code, one.symbol) for one in found.refusals]


def test_an_attribute_that_only_a_computed_name_finds_is_left_to_the_author(package: Make) -> None:
    pair = package({"base.py": BASE, "m.py": PARSER}, {"m.py": PARSER.replace("<b>.*</b>", "<b>[^<]*</b>")})
    assert codes(pair) == [("PLP266", "Parser.RULE_BOLD")]


def test_an_attribute_that_is_read_by_its_name_is_carried(package: Make) -> None:
    pair = package({"base.py": BASE, "m.py": PARSER}, {"m.py": PARSER.replace("10", "20")})
    assert codes(pair) == []


def test_where_no_class_of_the_family_looks_up_by_a_computed_name_it_is_carried(package: Make) -> None:
    base = BASE.replace('getattr(self, f"RULE_{name}")', "name")
    pair = package({"base.py": base, "m.py": PARSER}, {"m.py": PARSER.replace("<b>.*</b>", "<b>[^<]*</b>")})
    assert codes(pair) == []


def test_the_authors_word_lets_the_value_be_carried(package: Make, tmp_path: Path) -> None:
    pair = package({"base.py": BASE, "m.py": PARSER}, {"m.py": PARSER.replace("<b>.*</b>", "<b>[^<]*</b>")})
    hooks = tmp_path / "hooks.py"
    hooks.write_text(f'from pylivepatch.hooks import safe\nsafe("PLP266", "{pair.name}.m:Parser.RULE_BOLD", "it is")\n')
    patch = build_patch(pair.old, pair.new, name="fix", hooks=hooks)
    pair.module("m")
    pylivepatch.load(patch)
    assert pair.module("m").Parser.RULE_BOLD == "<b>[^<]*</b>"

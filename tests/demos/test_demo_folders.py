"""What every demo owes the person who looks for one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

DEMOS = sorted(path for path in (Path(__file__).parents[2] / "demo_apps").iterdir() if path.is_dir())


def test_there_are_demos() -> None:
    assert "web_cve" in [demo.name for demo in DEMOS]


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_demo_has_a_readme_that_opens_with_its_name(demo: Path) -> None:
    assert (demo / "README.md").read_text().startswith(f"# {demo.name}")


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_demo_says_in_one_line_what_it_shows(demo: Path) -> None:
    docstring = ast.get_docstring(ast.parse((demo / "__main__.py").read_text()))
    assert docstring is not None
    line = docstring.splitlines()[0]
    assert line.endswith(".")
    assert 20 < len(line) <= 110

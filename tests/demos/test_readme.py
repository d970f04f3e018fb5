"""The README keeps its word: its example runs, its links lead somewhere, CI finds its two commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README)))


def test_the_python_example_runs_as_it_stands(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "example.py"
    path.write_text(example)
    command = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", command, ROOT, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).is_file()


@pytest.mark.parametrize("name", ["first command", "second command"])
def test_each_command_is_one_line_that_ci_can_find(name: str) -> None:
    block = re.search(rf"^<!-- {name} -->\n```sh\n(.*?)```$", README, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert len(block[1].splitlines()) == 1
    assert f"command_of_readme '{name}'" in (ROOT / ".ci" / "run").read_text()

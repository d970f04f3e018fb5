"""Each example of the guide for authors is built and run as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch import patchfile
from pylivepatch.build import examine

GUIDE = Path(__file__).parents[2] / "docs" / "author-guide.md"
_BLOCK = re.compile(r"^```(python|console)(?: ([\w/.]+))?\n(.*?)^```$", re.M | re.S)
EXAMPLES = {
    title: _BLOCK.findall(text)
    for title, _, text in (part.partition("\n") for part in re.split(r"^### ", GUIDE.read_text(), flags=re.M)[1:])
}


def test_each_concern_of_the_guide_but_two_has_an_example() -> None:
    concerns = re.split(r"^## ", GUIDE.read_text(), flags=re.M)[1:]
    without = [part.partition("\n")[0] for part in concerns if "```python session" not in part]
    assert without == ["What the engine promises, and what it cannot", "The author's part", "What never to patch"]


def test_every_block_belongs_to_an_example() -> None:
    assert len(_BLOCK.findall(GUIDE.read_text())) == sum(map(len, EXAMPLES.values()))
    assert GUIDE.read_text().count("```") == 2 * sum(map(len, EXAMPLES.values()))


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_builds_and_runs(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: text for kind, name, text in EXAMPLES[title] if kind == "python"}
    session = files.pop("session")
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shown = {code for kind, _, text in EXAMPLES[title] if kind == "console" for code in re.findall(r"PLP\d+", text)}
    alone = examine("old", "new", name="fix")
    assert {finding.code for finding in alone.refusals} == shown
    result = examine("old", "new", name="fix", hooks="hooks.py" if "hooks.py" in files else None)
    assert result.patch is not None, result.refusals
    patchfile.write(result.patch, "fix.plp")
    modules = [Path(name).stem for name in files]
    try:
        exec(compile(session, f"{GUIDE} ({title})", "exec"), {"__name__": "session"})
        assert pylivepatch.patches() == ()
    finally:
        for applied in reversed(pylivepatch.patches()):
            applied.unload(deep=True)
        for name in modules:
            sys.modules.pop(name, None)

"""Code that runs at import and has an effect elsewhere: each kind is named, and nothing is built behind its back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylivepatch.build import examine
from pylivepatch.errors import SourceError

HEAD = """\
import atexit, logging.config, sys
import app
HANDLERS = {}
def register(f): HANDLERS[f.__name__] = f; return f
def f(): return 1
"""

NEW: dict[str, tuple[str, set[str]]] = {
    # title: what the new version has at its end, and the codes of what stops the build
    "a call": ("print(f)\n", {"PLP280"}),
    "a registration": ("HANDLERS['f'] = f\n", {"PLP280"}),
    "a call of a method": ("HANDLERS.update(f=f)\n", {"PLP280"}),
    "atexit": ("atexit.register(f)\n", {"PLP280"}),
    "logging": ("logging.config.dictConfig({'version': 1})\n", {"PLP280"}),
    "another module's attribute": ("app.handler = f\n", {"PLP280"}),
    "setattr": ("setattr(app, 'handler', f)\n", {"PLP280"}),
    "del": ("del HANDLERS\n", {"PLP280", "PLP285"}),
    "an augmented assignment": ("sys.path += ['x']\n", {"PLP280"}),
    "a loop": ("for name in ('a', 'b'): HANDLERS[name] = f\n", {"PLP280"}),
    "a while loop": ("while app.more(): pass\n", {"PLP280"}),
    "a block with a context": ("with app.lock: app.go()\n", {"PLP280"}),
    "an assertion": ("assert app.ready\n", {"PLP280"}),
    "a value that is made by who knows what": ("X = app.connect()\n", {"PLP260"}),
    "a decorator that registers": ("@register\ndef g(): ...\n", {"PLP234"}),
    "a decorator from elsewhere": ("@app.route('/')\ndef g(): ...\n", {"PLP234"}),
    "a default that does something": ("def g(x=app.connect()): ...\n", {"PLP232"}),
    "a condition that asks somebody": ("if app.ready():\n    Y = 1\n", {"PLP235", "PLP280"}),
    "a try that does something": ("try:\n    app.go()\nexcept OSError: pass\n", {"PLP280"}),
    "a class that does something": ("class K:\n    app.go()\n", {"PLP250"}),
}


def codes(folder: Path, old: str, new: str) -> set[str]:
    for side, text in (("old", old), ("new", new)):
        (folder / side).mkdir()
        (folder / side / "mod.py").write_text(text)
    result = examine(folder / "old", folder / "new", name="fix")
    assert (result.patch is None) == bool(result.refusals)
    return {finding.code for finding in result.refusals}


@pytest.mark.parametrize("title", NEW)
def test_it_is_named_where_it_is_new(title: str, tmp_path: Path) -> None:
    text, expected = NEW[title]
    assert codes(tmp_path, HEAD, HEAD + text) == expected


@pytest.mark.parametrize("title", [title for title, (_, expected) in NEW.items() if expected == {"PLP280"}])
def test_it_is_named_where_it_is_gone(title: str, tmp_path: Path) -> None:
    assert "PLP280" in codes(tmp_path, HEAD + NEW[title][0], HEAD)


@pytest.mark.parametrize(
    "text",
    [
        "if sys.platform == 'win32':\n    WIDE = True\nelse:\n    WIDE = False\n",
        "try:\n    import json as codec\nexcept ImportError:\n    codec = None\n",
        "NAMES = [n.lower() for n in ('A', 'B')]\nTEXT = f'{NAMES[0]}-{len(NAMES)}'\n",
    ],
)
def test_what_only_binds_pure_things_is_carried(text: str, tmp_path: Path) -> None:
    assert codes(tmp_path, HEAD, HEAD + text) == set()


def test_an_expression_that_is_nested_too_deeply_is_a_clear_error(tmp_path: Path) -> None:
    deep = "X = " + "+".join(["f.a"] * 2000)
    with pytest.raises(SourceError, match="nested too deeply"):
        codes(tmp_path, HEAD + f"{deep}\n", HEAD + f"{deep} + 1\n")

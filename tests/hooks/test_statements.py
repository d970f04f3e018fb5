"""The author's word: read from the hooks file, never executed, and heard only where it is the author's to say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hooks.conftest import Case

from pylivepatch.build import codes
from pylivepatch.errors import HooksError

Make = Callable[[str, str, str], Case]

OLD = "SIZE = [1]\ndef keep(it): return [id(it)] and list(it)\nTABLE = keep(SIZE)\ndef f(): return SIZE\n"
NEW = OLD.replace("[1]", "[2]")
WHY = 'from pylivepatch.hooks import safe\nsafe("PLP261", "NAME:SIZE", "TABLE is not used")\n'


def test_without_the_authors_word_the_finding_stops_the_build(case: Make) -> None:
    assert case(OLD, NEW, "").codes() == ["PLP261 needs-author"]


def test_the_word_makes_it_a_note_and_the_patch_carries_the_change(case: Make) -> None:
    one = case(OLD, NEW, WHY)
    assert set(one.codes()) == {"PLP212 applied", "PLP261 applied-with-note"}
    note = next(finding for finding in one.examine().changes if finding.code == "PLP261")
    assert note.message.endswith("The author: TABLE is not used")
    module = one.module
    with_patch = one.load()
    assert (module.f(), module.TABLE) == ([2], [1])
    with_patch.unload()
    assert module.f() == [1]


# One difference for each code that needs the author → what the patch does once it is said to be safe.
WORDS: dict[str, tuple[str, str, str, list[str]]] = {
    "PLP232": ("def f(): pass\n", "def f(a=len(str(print))): pass\n", ":f", ["PLP210 applied"]),
    "PLP234": (
        "import atexit\n",
        "import atexit\n@atexit.register\ndef f(): pass\n",
        ":f",
        ["PLP211 applied"],
    ),
    "PLP236": (
        "def f(): pass\nx = 'f'\ndef g(): return 1\n",
        "x = 'f'\ndef g(): return f\n",
        ":f",
        ["PLP210 applied"],
    ),
    "PLP239": (
        "class C: pass\n",
        "class C:\n def __init_subclass__(cls): pass\n",
        ":C.__init_subclass__",
        ["PLP211 applied"],
    ),
    "PLP251": ("class C: pass\ndef g(): return 1\n", "def g(): return C\n", ":C", ["PLP210 applied"]),
    "PLP254": (
        "from dataclasses import dataclass\n@dataclass\nclass C:\n x = 1\n y: int = 0\n",
        "from dataclasses import dataclass\n@dataclass\nclass C:\n y: int = 0\n",
        ":C.x",
        [],
    ),
    "PLP255": (
        "class C:\n def m(self): return 1\n",
        "class C:\n def n(self): self.x = 1\n def m(self): return self.x\n",
        ":C.x",
        ["PLP210 applied", "PLP211 applied"],
    ),
    "PLP260": ("X = 1\n", "X = 1\nY = open\nZ = len(repr(Y))\n", ":Z", ["PLP213 applied", "PLP213 applied"]),
    "PLP261": (OLD, NEW, ":SIZE", ["PLP212 applied"]),
    "PLP262": ("N = 0\nfor N in range(3): pass\n", "N = 1\nfor N in range(3): pass\n", ":N", ["PLP212 applied"]),
    "PLP264": ("X = 3\ndef f(): return 1\n", "def f(): return X\n", ":X", ["PLP210 applied"]),
    "PLP265": ("def f(n): return [n]\nX = f(1)\n", "def f(n): return [n, n]\nX = f(1)\n", ":f", ["PLP210 applied"]),
    "PLP273": (
        "from io import StringIO\ndef f(): return 1\n",
        "def f(): return StringIO\n",
        ":StringIO",
        ["PLP210 applied"],
    ),
    "PLP280": ("def f(): return 1\n", "def f(): return 2\nprint(1)\n", "", ["PLP210 applied"]),
}


@pytest.mark.parametrize("code", WORDS)
def test_each_code_for_the_author_is_overruled_by_code_and_symbol(case: Make, code: str) -> None:
    old, new, symbol, carried = WORDS[code]
    without = case(old, new, "")
    assert f"{code} needs-author" in without.codes()
    one = case(
        old, new, f'from pylivepatch import hooks\nhooks.safe("{code}", "NAME{symbol}", "it is known")\n'
    )
    found = one.codes()
    assert [finding for finding in found if finding.endswith(" applied")] == carried
    assert {finding for finding in found if not finding.endswith(" applied")} == {f"{code} applied-with-note"}


def test_every_code_for_the_author_can_be_overruled() -> None:
    of_files = {"PLP282", "PLP283", "PLP286"}  # nothing is carried for these, with or without the word
    elsewhere = {"PLP266"}  # tests/build/test_computed.py
    needs = {code for code, row in codes.TABLE.items() if row.verdict == "needs-author"}
    assert WORDS.keys() | of_files | elsewhere == needs


def test_the_word_on_modules_and_files(case: Make) -> None:
    text = 'from pylivepatch.hooks import safe\nsafe("PLP282", "NAME_gone", "a")\nsafe("PLP283", "page.html", "b")\n'
    one = case(OLD, OLD.replace("def f", "import NAME_gone\ndef f"), text)
    for side, page in ((one.old, "a"), (one.new, "b")):
        (side / "page.html").write_text(page)
        (side / f"{one.name}.py").write_text((side / f"{one.name}.py").read_text().replace("NAME", one.name))
    (one.old / f"{one.name}_gone.py").write_text("x = 1\n")
    assert {"PLP282 applied-with-note", "PLP283 applied-with-note"} < set(one.codes())


def test_a_statement_for_another_symbol_changes_nothing_and_is_told(case: Make) -> None:
    found = case(OLD, NEW, WHY.replace("NAME:SIZE", "NAME:SISE")).codes()
    assert found == ["PLP228 applied-with-note", "PLP261 needs-author"]


BAD = {
    "a refused code": ('safe("PLP230", "m:f", "why")', "not for the author to overrule: it is refused"),
    "an unknown code": ('safe("PLP299", "m:f", "why")', "there is no code PLP299"),
    "no reason": ('safe("PLP261", "m:f", " ")', "three literal texts"),
    "no literal": ('safe("PLP261", "m:" + "f", "why")', "three literal texts"),
    "not at the top": ('if 1:\n    safe("PLP261", "m:f", "why")', "at the file's top level"),
    "no syntax": ("safe(", "no Python"),
    "no attribute": ('@transform("m:f")\ndef g(x): ...', "module:Class.attribute"),
    "a target that is computed": ("@transform(NAMES[0])\ndef g(x): ...", "module:Class.attribute"),
}


@pytest.mark.parametrize("title", BAD)
def test_a_mistake_in_the_file_is_told_with_its_line(case: Make, title: str) -> None:
    text, message = BAD[title]
    one = case(OLD, NEW, text)
    with pytest.raises(HooksError, match=message) as caught:
        one.examine()
    assert caught.value.where.startswith(f"{one.hooks}:{2 if title == 'not at the top' else 1}")


def test_reading_the_file_runs_nothing_of_it(case: Make) -> None:
    one = case(OLD, NEW, WHY + "raise SystemExit('it ran')\n")
    one.build()

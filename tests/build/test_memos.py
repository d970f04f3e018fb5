"""Which dicts of instances are memos, that may be forgotten: those of which the source shows it, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_edits import build, summary

OLD = """import re
COUNT = [0]
class Made:
    def __init__(self, text): self.text = text
    def use(self): return self.text
class Base:
    LEFT = 1
    made_by = Made
    def __init__(self, start=None):
        self.memo = {}
        self.start = start
        self.other = []
    def look(self, name): return getattr(self, f"RULE_{name}")
    def rule(self, name):
        if name not in self.memo:
            self.memo[name] = self.made_by(self.look(name))
        return self.memo[name]
    def use(self, name):
        made = self.rule(name)
        return made.use()
class Child(Base):
    RULE_ONE = 1
"""
FORGOTTEN = ["PLP207 Base.memo", "PLP212 Child.RULE_ONE"]
LEFT = ["!PLP266 Child.RULE_ONE"]


def changed(*pairs: tuple[str, str]) -> str:
    text = OLD
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def found(tmp_path: Path, old: str) -> list[str]:
    return summary(build(tmp_path, old, old.replace("RULE_ONE = 1", "RULE_ONE = 2")))


METHOD = "    def use(self, name)"
SHOWN = {
    "as it is": OLD,
    "looked up with get": changed(
        (
            "        if name not in self.memo:\n    ",
            "        made = self.memo.get(name)\n        if made is None:\n    ",
        )
    ),
    "looked up and caught": changed(
        (
            "        if name not in self.memo:\n            self.memo[name]",
            "        try:\n            return self.memo[name]\n        except KeyError:\n            self.memo[name]",
        )
    ),
    "a key that is put together": changed(
        ("        if name not in self.memo", "        key = 'k' + name\n        if key not in self.memo"),
        ("self.memo[name] =", "self.memo[key] ="),
        ("return self.memo[name]", "return self.memo[key]"),
    ),
    "looked up in the method itself": changed(
        ("self.made_by(self.look(name))", 're.compile(getattr(self, "RULE_" + name))')
    ),
    "given on by another method": changed((METHOD, "    def give(self, name): return self.rule(name)\n" + METHOD)),
    "another lookup, which cannot find it": changed(
        (METHOD, '    def do(self, name): return getattr(self, "do_" + name)\n' + METHOD)
    ),
}


@pytest.mark.parametrize("title", SHOWN)
def test_a_memo_is_forgotten(title: str, tmp_path: Path) -> None:
    assert found(tmp_path, SHOWN[title]) == FORGOTTEN


NOT_SHOWN = {
    # the dict has another use
    "read elsewhere": changed((METHOD, "    def size(self): return self.memo['x']\n" + METHOD)),
    "looped over": changed((METHOD, "    def names(self): return [one for one in self.memo]\n" + METHOD)),
    "counted": changed((METHOD, "    def size(self): return len(self.memo)\n" + METHOD)),
    "handed out": changed((METHOD, "    def all(self): return self.memo\n" + METHOD)),
    "filled by a method that does not look": changed((METHOD, "    def put(self, n, v): self.memo[n] = v\n" + METHOD)),
    "filled from outside": OLD + "def fill(child): child.memo['x'] = 1\n",
    "found by its name": OLD + "def all(child): return getattr(child, 'memo')\n",
    "filled by the constructor": changed(("        self.start", "        self.memo['x'] = 1\n        self.start")),
    "made under a condition": changed(("        self.memo = {}", "        if start: self.memo = {}")),
    "not made empty": changed(("self.memo = {}", "self.memo = {'ONE': 1}")),
    "a class's": changed(("    LEFT = 1", "    memo = {}")),
    "all of the object": changed((METHOD, "    def all(self): return vars(self)\n" + METHOD)),
    # what is made is not made of the key and the object alone
    "made of another argument": changed(
        ("def rule(self, name)", "def rule(self, name, more=1)"), ("self.look(name))", "self.look(name), more)")
    ),
    "made of what is counted": changed(("self.look(name))", "self.look(name), next(COUNTER))"))
    + "COUNTER = iter([1])\n",
    "made with an effect": changed(("        if name not in", "        self.start = name\n        if name not in")),
    "made of what is used up": changed(("self.look(name))", "self.look(name) + self.other.pop())")),
    "made by what is not known": changed(("self.made_by(", "print(")),
    "made by a class that keeps it": changed(("self.text = text", "COUNT.append(text)")),
    "made by whatever the object was given": changed(("        self.other = []", "        self.made_by = start")),
    "made by a decorated method": changed(("    def look", "    @property\n    def look")),
    "made later": changed(("self.made_by(self.look(name))", "(self.look(n) for n in name)")),
    "made where there is one": changed(("        if name not in self.memo:", "        if name in self.memo:")),
    "made only sometimes": changed(("        if name not in self.memo:", "        if self.start:")),
    # something else keeps it
    "the value is kept, too": changed((METHOD, "    def keep(self): self.start = self.look('ONE')\n" + METHOD)),
    "the value is handed to somebody": changed(
        (METHOD, "    def keep(self): self.other.append(self.look('X'))\n" + METHOD)
    ),
    "the value is asked for from outside": OLD + "def ask(child): return child.look('ONE')\n",
    "what is made is kept, too": changed(("        return made.use()", "        self.start = made")),
    "what is made is handed to somebody": changed(("        return made.use()", "        self.other.append(made)")),
    "what is made is kept by a function": changed(("        return made.use()", "        return lambda: made.use()")),
    "looked up from outside": OLD + "def ask(child, name): return getattr(child, name)\n",
}


@pytest.mark.parametrize("title", NOT_SHOWN)
def test_what_is_not_shown_to_be_one_is_left_to_the_author(title: str, tmp_path: Path) -> None:
    assert found(tmp_path, NOT_SHOWN[title]) == LEFT


def test_a_memo_whose_use_changes_is_left_to_the_author(tmp_path: Path) -> None:
    new = changed(("RULE_ONE = 1", "RULE_ONE = 2"), ("return self.memo[name]", "return self.memo[name] or None"))
    assert "!PLP266 Child.RULE_ONE" in summary(build(tmp_path, OLD, new))

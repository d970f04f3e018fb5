"""The cases of the corpus, and how they are written.

    === a body                      a case's title
    builds PLP210                   what the builder says: ``builds`` with the codes of its findings, or ``refuses``
    --- old                         the module before, ``main.py`` of a package of its own
    def f(): return 1
    --- new                         and after
    def f(): return 2
    --- made                        what runs in the process before the load; its names stay for the questions
    kept = f
    --- ask                         an expression, its answer before, and the one after the load where that differs
    f()     => 1 -> 2
    kept()  => 1 -> 2

``--- old helper.py`` names another module of the package, ``--- both helper.py`` one that does not change. An
answer is what ``repr`` gives, or the name of the error. After the unload it must be the first one again. With ``~>``
the second answer is only a fresh process's: the builder tells that the live one stays as it was.

Besides the outcome the head may hold ``since 3.12`` (what the syntax needs), ``load refuses PLP115`` (the patch is
built, and what was made before keeps the process from taking it), ``differs main:X`` (names that are not what a
fresh import of the new version has; by default there are none) and, beside ``refuses``, ``may build``: the codes are
those of the day, and should the builder learn to carry it, it is held to the questions all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
_HEADS = ("builds", "refuses", "may build", "load refuses", "since", "differs")


@dataclass(frozen=True)
class Question:
    expression: str
    before: str
    after: str
    fresh: str


@dataclass
class Case:
    title: str
    head: dict[str, list[str]] = field(default_factory=dict)
    old: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    made: str = ""
    questions: list[Question] = field(default_factory=list)

    @property
    def since(self) -> tuple[int, ...]:
        return tuple(map(int, self.head["since"][0].split("."))) if "since" in self.head else (3, 11)


def read_all() -> dict[str, Case]:
    """``topic: title`` → the case. Raises ``ValueError`` for what is not written as said above."""
    found: dict[str, Case] = {}
    for path in sorted(CORPUS.glob("*.txt")):
        for block in path.read_text().split("\n=== ")[1:]:
            case = _read(block)
            name = f"{path.stem}: {case.title}"
            if name in found:
                raise ValueError(f"{name}: there are two")
            found[name] = case
    return found


def _read(block: str) -> Case:
    title, *lines = block.splitlines()
    case, section, sections = Case(title), "", {"": ""}
    for line in lines:
        if line.startswith("--- "):
            section = line[4:].strip()
            if section in sections:
                raise ValueError(f"{title}: {section!r} comes twice")
            sections[section] = ""
        else:
            sections[section] += line + "\n"
    for section, text in sections.items():
        kind, _, path = section.partition(" ")
        if kind in ("old", "new", "both"):
            text = text.rstrip("\n") + "\n"
            for side, files in (("old", case.old), ("new", case.new)):
                if kind in (side, "both"):
                    files[path or "main.py"] = text
        elif section == "made":
            case.made = text
        elif section == "ask":
            case.questions += [_question(title, line) for line in text.splitlines() if line.strip()]
        elif section == "":
            case.head = dict(_head(title, line) for line in text.splitlines() if line.strip())
        else:
            raise ValueError(f"{title}: there is no section {section!r}")
    if not case.head.keys() & {"builds", "refuses"}:
        raise ValueError(f"{title}: does it build, or not?")
    return case


def _head(title: str, line: str) -> tuple[str, list[str]]:
    for head in _HEADS:
        if line.startswith(f"{head} ") or line == head:
            return head, line[len(head) :].split()
    raise ValueError(f"{title}: {line!r} is none of {', '.join(_HEADS)}")


def _question(title: str, line: str) -> Question:
    expression, arrow, answers = line.partition(" => ")
    if not arrow:
        raise ValueError(f"{title}: {line!r} has no answer")
    before, stays, fresh = answers.partition(" ~> ")
    if stays:
        return Question(expression.strip(), before.strip(), before.strip(), fresh.strip())
    before, _, after = answers.partition(" -> ")
    after = (after or before).strip()
    return Question(expression.strip(), before.strip(), after, after)

"""What the builder says about a difference, and what it hands back: findings and the result of a build."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pylivepatch.build.codes import TABLE, Verdict
from pylivepatch.build.word import Word, how_to_say
from pylivepatch.patch import Patch, Told


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the old and the new source, and what becomes of it.

    ``verdict`` (the key ``class`` in JSON) is that of the code's row in ``codes``. ``carried`` is false for an
    applied finding that the patch has nothing to do for, such as a changed type stub. ``old_line`` and
    ``new_line`` are 0 where there is none. ``difference`` is the first point where the two differ;
    ``nested`` names the changed functions inside a function (``f.<locals>.g``).
    """

    code: str
    verdict: Verdict
    module: str
    symbol: str
    file: str
    old_line: int
    new_line: int
    difference: str
    message: str
    advice: str = ""
    carried: bool = True
    nested: tuple[str, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether no patch is built because of it: it is refused, or needs the author's word."""
        return self.verdict in ("needs-author", "refused")

    @property
    def name(self) -> str:
        """``module:symbol``, or as much of it as there is, or the file: what a ``safe`` statement calls it."""
        return f"{self.module}:{self.symbol}" if self.symbol else self.module or self.file

    @property
    def place(self) -> str:
        """``module:symbol (file:line)``."""
        name = ":".join(filter(None, (self.module, self.symbol)))
        line = self.new_line or self.old_line
        spot = f"{self.file}:{line}" if line else self.file
        return f"{name} ({spot})" if name else spot

    def __str__(self) -> str:
        text = f"{self.code} {self.verdict}: {self.place}: {self.message}"
        if self.difference:
            text += f" First difference: {self.difference}."
        if self.advice:
            text += f" What to do: {self.advice}"
        return text

    def told(self) -> Told:
        """What a patch file keeps of it."""
        line = self.new_line or self.old_line
        place = f"{self.file}:{line}" if line else self.file
        texts = self.code, self.verdict, self.name, place, self.message
        # A path that is no UTF-8 has its bytes as lone surrogates, which no file can hold.
        return Told(*(text.encode(errors="backslashreplace").decode() for text in texts))

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that ``pylivepatch build --json`` prints."""
        return {
            "code": self.code,
            "class": self.verdict,
            "module": self.module,
            "symbol": self.symbol,
            "file": self.file,
            "old_line": self.old_line,
            "new_line": self.new_line,
            "difference": self.difference,
            "message": self.message,
            "advice": self.advice,
            "carried": self.carried,
            "nested": list(self.nested),
        }


def heeding(finding: Finding, word: Word) -> Finding:
    """The finding, or the note that the author's word makes of it."""
    if finding.verdict != "needs-author":
        return finding
    why = word.on(finding.code, finding.name)
    if not why:
        return replace(finding, advice=f"{finding.advice}. {how_to_say(finding.code, finding.name)}")
    return replace(finding, verdict="applied-with-note", message=f"{finding.message}. {why}", advice="")


@dataclass(frozen=True, slots=True)
class BuildResult:
    """Everything that was found. ``patch`` is ``None`` where something was refused, needs the author, or nothing
    changed; ``refusals`` are the findings that stop it, of either class.
    """

    patch: Patch | None
    changes: tuple[Finding, ...]
    refusals: tuple[Finding, ...]

    @property
    def outcome(self) -> Literal["built", "refused", "unchanged"]:
        if self.refusals:
            return "refused"
        return "built" if self.patch is not None else "unchanged"

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that ``pylivepatch build --json`` prints."""
        return {
            "outcome": self.outcome,
            "name": self.patch.name if self.patch else None,
            "changes": [finding.as_dict() for finding in self.changes],
            "refusals": [finding.as_dict() for finding in self.refusals],
        }


@dataclass(slots=True)
class Report:
    """Collects the findings of one module (or of the files beside the modules)."""

    module: str
    file: str
    findings: list[Finding] = field(default_factory=list)
    word: Word = field(default_factory=Word)

    def refusals(self) -> bool:
        """Whether anything of the module stops the patch."""
        return any(finding.stops for finding in self.findings)

    def applied(
        self,
        code: str,
        symbol: str,
        message: str,
        *,
        old_line: int = 0,
        new_line: int = 0,
        difference: str = "",
        carried: bool = True,
        nested: tuple[str, ...] = (),
    ) -> None:
        self.findings.append(
            Finding(
                code,
                "applied" if carried else "applied-with-note",
                self.module,
                symbol,
                self.file,
                old_line,
                new_line,
                difference,
                message,
                carried=carried,
                nested=nested,
            )
        )

    def note(
        self,
        code: str,
        symbol: str,
        message: str,
        *,
        old_line: int = 0,
        new_line: int = 0,
        difference: str = "",
    ) -> None:
        """A difference that the patch does nothing for, told all the same."""
        self.applied(
            code, symbol, message, old_line=old_line, new_line=new_line, difference=difference, carried=False
        )

    def refused(
        self,
        code: str,
        symbol: str,
        message: str,
        advice: str,
        *,
        old_line: int = 0,
        new_line: int = 0,
        difference: str = "",
    ) -> bool:
        """A difference that stops the build: refused or for the author, as the code's row says.

        Returns whether it does: the author's word makes it a note, and the difference is to be carried as far as it
        can be.
        """
        finding = Finding(
            code,
            TABLE[code].verdict,
            self.module,
            symbol,
            self.file,
            old_line,
            new_line,
            difference,
            message,
            advice,
            carried=False,
        )
        finding = heeding(finding, self.word)
        self.findings.append(finding)
        return finding.stops

    def stopped(self, since: int = 0) -> bool:
        """Whether anything stops the build, among the findings from the number ``since`` on."""
        return any(finding.stops for finding in self.findings[since:])

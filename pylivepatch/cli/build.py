"""``pylivepatch build``: from a difference to a patch file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.live import Live
from rich.text import Text

from pylivepatch import patchfile
from pylivepatch.build import BuildResult, Finding, examine, examine_diff, examine_git, examine_releases
from pylivepatch.cli.output import Output

BUILT, REFUSED, UNCHANGED = 0, 2, 3
_STATUS = {"built": BUILT, "refused": REFUSED, "unchanged": UNCHANGED}


@dataclass(frozen=True)
class Options:
    """What the command was given: exactly one of ``dist``, ``git``, ``diff`` with ``source``, ``old`` with ``new``."""

    dist: tuple[tuple[str, str, str], ...]
    git: tuple[str, str, str] | None
    diff: tuple[str, ...]
    source: str | None
    old: str | None
    new: str | None
    output: str | None
    name: str | None
    description: str
    hooks: str | None

    def check(self) -> None:
        """Raise ``click.UsageError`` where the sources do not make one of the four ways."""
        ways = [bool(self.dist), bool(self.git), bool(self.diff or self.source), bool(self.old or self.new)]
        if sum(ways) != 1:
            raise click.UsageError(
                "give one of --dist NAME OLD NEW, --git FOLDER OLD NEW, --diff FILE --source DIR, --from OLD --to NEW"
            )
        if bool(self.diff) != bool(self.source):
            raise click.UsageError("--diff and --source belong together")
        if bool(self.old) != bool(self.new):
            raise click.UsageError("--from and --to belong together")
        if not self.dist and not self.name and not self.output:
            raise click.UsageError("name the patch with --name, or its file with -o")

    @property
    def patch_name(self) -> str | None:
        """The name asked for, or the output file's stem; for releases the builder knows a default."""
        if self.name:
            return self.name
        return Path(self.output).stem if self.output else None

    def examine(self) -> BuildResult:
        """What comes of the comparison, on all cores where it is a big one."""
        name = self.patch_name
        if self.dist:
            first, *more = self.dist
            return examine_releases(
                *first, *more, name=name, description=self.description, hooks=self.hooks, spread=True
            )
        assert name is not None
        given: dict[str, Any] = {"name": name, "description": self.description, "hooks": self.hooks, "spread": True}
        if self.git:
            return examine_git(*self.git, **given)
        if self.source:
            return examine_diff([Path(diff) for diff in self.diff], self.source, **given)
        assert self.old is not None
        assert self.new is not None
        return examine(self.old, self.new, **given)


def build(out: Output, options: Options) -> int:
    """Build, write, say what was found. Returns the exit status.

    :raises pylivepatch.errors.BuildError: the difference could not be examined
    :raises pylivepatch.errors.PatchFileError: the file could not be written
    """
    options.check()
    # Nothing that turns: it would take a thread, and a process with threads is not forked.
    with Live(Text("comparing …"), console=out.errors, auto_refresh=False, transient=True):
        result = options.examine()
    path = ""
    if result.patch is not None:
        path = os.path.abspath(options.output or f"{result.patch.name}.plp")
        patchfile.write(result.patch, path)
    shape: dict[str, Any] = {**result.as_dict(), "file": path or None}
    if result.outcome == "refused":
        count = len(result.refusals)
        shape["error"] = {
            "error": "BuildRefused",
            "code": "PLP204",
            "message": f"{count} difference{'s' if count != 1 else ''} cannot be made into a safe patch",
            "where": "",
            "advice": "`pylivepatch explain CODE` says what can be done about each",
            "details": {},
        }
    elif result.outcome == "unchanged":
        shape["error"] = {
            "error": "NothingChanged",
            "code": "PLP205",
            "message": "the two versions do not differ in anything that a running process executes",
            "where": "",
            "advice": "",
            "details": {},
        }
    out.object(shape)
    _tell(out, result, path)
    return _STATUS[result.outcome]


def _tell(out: Output, result: BuildResult, path: str) -> None:
    if result.changes:
        out.table("changes", ["code", "where", "what"], [_row(finding) for finding in result.changes])
    if result.refusals:
        out.say()
        out.table(
            "refused, or for the author",
            ["code", "where", "why, and what to do"],
            [_row(finding) for finding in result.refusals],
        )
        out.say()
        out.say(
            f"Refused: {len(result.refusals)} of these cannot be made into a safe patch; nothing was written. "
            "`pylivepatch explain CODE` says more."
        )
    elif result.patch is None:
        out.say(
            "Nothing changed: the two versions do not differ in anything that a running process executes."
        )
    else:
        out.say()
        out.say(f"Built {result.patch.name}: {path}")


def _row(finding: Finding) -> list[str]:
    what = finding.message
    if finding.difference:
        what += f"\nFirst difference: {finding.difference}"
    if finding.advice:
        what += f"\nWhat to do: {finding.advice}"
    where = f"{finding.module}:{finding.symbol}" if finding.symbol else finding.module or finding.file
    line = finding.new_line or finding.old_line
    return [f"{finding.code}\n{finding.verdict}", f"{where}\n{finding.file}:{line}" if line else where, what]

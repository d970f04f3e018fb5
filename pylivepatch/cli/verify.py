"""``pylivepatch verify``: does the process run what it should?"""

from __future__ import annotations

from collections.abc import Sequence

import click

from pylivepatch import patchfile
from pylivepatch.agent.client import Client
from pylivepatch.cli.output import Output
from pylivepatch.verification import Difference, Report, check, scope

EQUAL, DIFFERENT, INCOMPLETE = 0, 2, 3
_STATUS = {"equal": EQUAL, "different": DIFFERENT, "incomplete": INCOMPLETE}
_AGAINST = {"disk": "the sources on disk", "new": "the new version of {}", "old": "the old version of {}"}


def verify(out: Output, client: Client, file: str | None, version: str | None, packages: Sequence[str]) -> int:
    """Portray, import afresh, compare, say what was found. Returns the exit status.

    :raises pylivepatch.errors.VerifyError: no child could be run
    :raises pylivepatch.errors.TargetBusy: a patch is being loaded or unloaded
    """
    if file is None and version is not None:
        raise click.UsageError("--old and --new are the versions of a patch: give its file")
    if file is not None and packages:
        raise click.UsageError("--package is for the sources on disk; with a patch its own packages are compared")
    patch = patchfile.read(file) if file is not None else None
    names, tops = scope(patch) if patch is not None else ([], packages or None)
    with out.errors.status("comparing …"):
        report = check(client.portrait(names, tops), patch, version)
    out.object({"pid": client.pid or client.info().get("pid"), **report.as_dict()})
    tell(out, report)
    return _STATUS[report.outcome]


def tell(out: Output, report: Report) -> None:
    """For people: every difference, what it means, and what was left out."""
    for title, those in (
        ("different", report.different),
        ("modified at run time (neither version gives it)", report.modified),
        ("left as it was, as `pylivepatch build` told", report.noted),
        ("not the same in two fresh imports", report.varies),
    ):
        if those:
            out.table(title, ["where", "what", "live", "fresh"], [_row(one) for one in those])
            out.say()
    if report.moved:
        out.say(f"Other comments or layout than in the file: {', '.join(report.moved)}")
    if report.not_compared:
        rows = [[name, why] for name, why in report.not_compared.items()]
        out.table("not compared", ["module", "why"], rows)
        out.say()
    if report.opaque:
        out.say(f"Of {report.opaque} values only the type could be compared.")
    if report.applied:
        out.say(f"Patches applied: {', '.join(report.applied)}")
    against = _AGAINST[report.against].format(report.patch)
    count = f"{len(report.compared)} module{'s' if len(report.compared) != 1 else ''}"
    if report.outcome == "equal":
        out.say(f"Equal: {count}, compared with {against}.")
    elif report.outcome == "different":
        out.say(f"Different: {len(report.different)} in {count}, compared with {against}.")
    else:
        out.say(f"No difference in {count}, compared with {against}; but not all could be compared.")


def _row(one: Difference) -> list[str]:
    where = f"{one.module}:{one.symbol}" if one.symbol else one.module
    return [where, one.what, one.live or "(none)", one.fresh or "(none)"]

"""``pylivepatch explain``: what a code means, from the builder's table and the errors' own words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from pylivepatch import errors
from pylivepatch.build.codes import TABLE
from pylivepatch.cli.output import Output

# What the command line says for itself, without an exception of its own.
_COMMAND = {
    "PLP410": ("UsageError", "The command was called wrongly."),
    "PLP411": ("Interrupted", "The command was interrupted."),
    "PLP412": ("AgentError", "There is no such demo."),
}


def explain(out: Output, code: str | None) -> None:
    """Explain ``code``, or list every code.

    :raises click.UsageError: there is no such code
    """
    known = rows()
    if code is None:
        out.object({"codes": list(known.values())})
        out.table(
            "",
            ["code", "class", "what it is"],
            [[row["code"], row["class"], f"{row['title']}\n{row['meaning']}"] for row in known.values()],
        )
        return
    row = known.get(code.upper())
    if row is None:
        raise click.UsageError(f"there is no code {code!r}; `pylivepatch explain` lists them all")
    out.object(row)
    out.say(f"{row['code']}: {row['title']} ({row['class']})")
    out.say(row["meaning"])
    if row["way_out"]:
        out.say(f"What to do: {row['way_out']}")
    out.say(f"More: {row['anchor']}")


def rows() -> dict[str, dict[str, str]]:
    """Code → what is known of it, in order."""
    found = {}
    for kind in _errors():
        meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())
        found[kind.code] = _row(kind.code, "error", kind.__name__, meaning, "", "docs/operators.md#errors")
    for code, (title, meaning) in _COMMAND.items():
        found[code] = _row(code, "error", title, meaning, "", "docs/operators.md#errors")
    for row in TABLE.values():
        found[row.code] = _row(row.code, row.verdict, row.title, row.meaning, row.way_out, row.anchor)
    return dict(sorted(found.items()))


def _row(code: str, kind: str, title: str, meaning: str, way_out: str, anchor: str) -> dict[str, str]:
    return {
        "code": code,
        "class": kind,
        "title": title,
        "meaning": meaning,
        "way_out": way_out,
        "anchor": anchor,
    }


def _errors() -> Iterator[type[errors.LivePatchError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.LivePatchError):
            yield value

"""What the command prints: for people, with rich, or one JSON object.

For people, results go to standard output, errors and hints to standard error. Tables fit 80 columns; lines
that a program may want (paths, messages) are never broken.
"""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pylivepatch.errors import LivePatchError, TransitionTimeout


class Output:
    """Prints for people, or with ``json`` one object. ``say`` and tables print nothing then."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.console = Console(quiet=json, highlight=False)
        self.errors = Console(stderr=True, highlight=False, quiet=json)

    def object(self, value: Mapping[str, Any]) -> None:
        """Print the command's one JSON object, if JSON is wanted."""
        if self.json:
            sys.stdout.write(json_module.dumps(value, indent=2, default=str) + "\n")

    def line(self, value: Mapping[str, Any]) -> None:
        """Print one of several JSON objects, a line each, if JSON is wanted."""
        if self.json:
            sys.stdout.write(json_module.dumps(value, default=str) + "\n")
            sys.stdout.flush()

    def say(self, text: str | Text = "") -> None:
        """Print a line as it is: what looks like markup in it is none."""
        self.console.print(Text(text) if isinstance(text, str) else text, soft_wrap=True)

    def hint(self, text: str) -> None:
        self.errors.print(Text(text), style="dim", soft_wrap=True)

    def error(self, error: LivePatchError) -> None:
        """Print what was refused, where, why and what to do; holders as a table."""
        shape = error.as_dict()
        self.object({"error": shape})
        message = error.message
        held = error.holders if isinstance(error, TransitionTimeout) else ()
        if held:
            message = message.partition("; held by")[0]
        line = Text.assemble((f"{error.code} ", "bold red"), (type(error).__name__, "bold"), f": {message}")
        self.errors.print(line, soft_wrap=True)
        if error.where:
            self.errors.print(Text.assemble(("  where: ", "bold"), error.where), soft_wrap=True)
        if held:
            self.errors.print(holders([h if isinstance(h, Mapping) else h.as_dict() for h in held]))
        if error.advice:
            self.errors.print(Text.assemble(("  what to do: ", "bold"), error.advice), soft_wrap=True)

    def usage(self, message: str, hint: str) -> None:
        """The command was called wrongly."""
        shape = {"error": "UsageError", "code": "PLP410", "message": message, "where": "", "advice": hint}
        self.object({"error": {**shape, "details": {}}})
        self.errors.print(Text.assemble(("usage: ", "bold red"), message), soft_wrap=True)
        self.errors.print(Text(f"  see {hint}"), soft_wrap=True)

    def interrupted(self, message: str, **details: Any) -> None:
        shape = {"error": "Interrupted", "code": "PLP411", "message": message, "where": "", "advice": ""}
        self.object({"error": {**shape, "details": details}})
        self.errors.print(Text(message), style="yellow", soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.console.print(table(title, columns, rows))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose cells are text as it is. Long cells fold; nothing is cut off."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", header_style="bold", justify="left")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def holders(found: Sequence[Mapping[str, Any]], title: str = "held by") -> Table:
    """Who holds a transition, or waits at its gate: two lines each, for room for names and places at 80 columns."""
    rows = []
    for holder in found:
        since = holder.get("since")
        who = f"{holder.get('kind', '?')} {holder.get('name', '')}".rstrip()
        where = f"{holder.get('function', '?')}\n{holder.get('file', '?')}:{holder.get('line', '?')}"
        rows.append([who, where, seconds(max(0.0, time.time() - since)) if since else ""])
    return table(title, ["who", "where", "for"], rows)


def gate_waits(gate: Mapping[str, Any] | None) -> Iterator[str]:
    """Who waited at the gate, in a line, where it was closed."""
    if gate and gate.get("tries"):
        longest = f", the longest for {seconds(float(gate['longest_wait']))}" if gate.get("waits") else ""
        yield f"gate: {gate['tries']} tries, {gate['waits']:,} callers waited{longest}"


def seconds(value: float) -> str:
    """A time for people: ``12.3 s``, ``4.5 ms``, ``67 µs``."""
    if value >= 1:
        return f"{value:.1f} s"
    return f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"

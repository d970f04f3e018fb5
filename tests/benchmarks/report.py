"""What the benchmarks share: each is a command with options, prints tables, and writes JSON and SVG plots if asked to.

A benchmark is a function from options to rows; its tables and its plots are made of the rows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """``options`` are the keywords of ``run``, with their defaults; each becomes an option of the command.

    ``quick`` are those that bring it down to about a second. ``draw`` is given the rows and an empty figure.
    """

    name: str
    what: str
    options: Mapping[str, int | float | tuple[float, ...]]
    quick: Mapping[str, Any]
    run: Callable[..., list[Row]]
    tables: Callable[[list[Row]], list[Table]]
    draw: Callable[[list[Row], Any], None]

    def main(self, arguments: Sequence[str] | None = None) -> None:
        parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{self.name}", description=self.what)
        for name, default in self.options.items():
            several = isinstance(default, tuple)
            shown = ",".join(f"{item:g}" for item in default) if isinstance(default, tuple) else f"{default:g}"
            kind = numbers if several else type(default)
            parser.add_argument(f"--{name}", type=kind, default=default, help=f"{shown} by default")
        add_outputs(parser)
        given = vars(parser.parse_args(arguments))
        path, folder = given.pop("json"), given.pop("plots")
        if folder is not None:
            need_matplotlib(parser)
        rows = self.run(**given)
        show(self.tables(rows))
        if path is not None:
            path.write_text(json.dumps({"benchmark": self.name, **machine(), "options": given, "rows": rows}, indent=1))
        if folder is not None:
            self.plot(rows, folder / f"{self.name}.svg")

    def plot(self, rows: list[Row], path: Path) -> None:
        """Draw the rows into an SVG (or what the path's suffix says). Needs matplotlib."""
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams |= _STYLE
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        self.draw(rows, figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        without_date = {"Date": None} if path.suffix == ".svg" else None  # the same numbers give the same file
        figure.savefig(path, metadata=without_date, dpi=110)


_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pylivepatch",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.facecolor": "white",
}

COLOURS = {
    "idle": "#8a8a8a",
    "refcount": "#0072b2",
    "refcount, counted": "#56b4e9",
    "refcount, gate": "#009e73",
    "per-task": "#e69f00",
    "stop-machine": "#d55e00",
}
"""One colour a mode, the same in each plot; told apart by the colour-blind, too."""


def logarithmic(axis: Any) -> None:
    """A logarithmic axis with plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the numbers to this file, too")
    parser.add_argument("--plots", type=Path, default=None, metavar="DIR", help="draw them into this folder, as SVG")


def need_matplotlib(parser: argparse.ArgumentParser) -> None:
    """Say so before the long work, not after it."""
    if find_spec("matplotlib") is None:
        parser.error("--plots needs matplotlib: pip install -e '.[bench]'")


def numbers(text: str) -> tuple[float, ...]:
    """``1,10,100``: whole ones as int."""
    return tuple(int(item) if item.isdecimal() else float(item) for item in text.split(",") if item)


def machine() -> Row:
    """What the numbers depend on."""
    return {"python": sys.version.split()[0], "machine": platform.machine(), "cpus": os.cpu_count(), "load": _load()}


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def show(tables: Iterable[Table]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables:
        console.print(table)


def make_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> Table:
    """The first column is text, the others are numbers."""
    result = Table(title=f"{title} (Python {sys.version.split()[0]})", caption=caption or None, title_justify="left")
    for number, heading in enumerate(headings):
        result.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        result.add_row(*row)
    return result


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass
class Series:
    """Numbers that belong to one line of a table, as they come."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.values.setdefault(name, []).append(number)

    def __getitem__(self, name: str) -> list[float]:
        return self.values.get(name, [])

"""What a person sees: each step while it runs, with the users' counters, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from measure import Run, checks
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


class Step:
    """A step under way. What it says appears below its line when it is done."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.said: list[str] = []

    def say(self, *lines: str) -> None:
        self.said += lines


class Screen:
    """The terminal. With ``quiet`` it shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(quiet=quiet, highlight=False)
        self._watched: object | None = None

    def open(self) -> None:
        self.console.print(
            Panel(
                "A service on Werkzeug 3.0.0 has a hole: a few uploads keep it busy for "
                "seconds each (CVE-2023-46136). Release 3.0.1 mends it. Here the mend goes into the running "
                "process, under load and without a restart, and out again.",
                title="pylivepatch: patch a web service under load",
                border_style="cyan",
            )
        )

    def watch(self, counters: object) -> None:
        """Show ``str(counters)`` beside every step from now on."""
        self._watched = counters

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title)
        begin = time.monotonic()
        with self.console.status(_Live(self, title, begin)):
            yield step
        took = time.monotonic() - begin
        self.console.print(f"[green]✓[/] [bold]{escape(title)}[/] [dim]{took:.1f} s[/]")
        for line in step.said:
            self.console.print(Padding(escape(line), (0, 0, 0, 4), expand=False))

    def close(self, run: Run) -> None:
        """The closing tables: what the users felt, what the attack cost, what held."""
        users = Table(title="What the ordinary users felt", title_style="bold")
        for heading in ("", "served", "failed", "median", "99 of 100", "longest"):
            users.add_column(heading, justify="left" if not heading else "right")
        titles = {
            "before": "quiet times",
            "attack before": "under attack",
            "load": "loading the patch",
            "after": "quiet times, patched",
            "attack patched": "under attack, patched",
            "unload": "unloading it",
            "attack unpatched": "under attack, unpatched",
        }
        for name, title in titles.items():
            seen = run.figures(name)
            users.add_row(
                title,
                f"{seen.served:,}",
                f"{seen.failed}",
                *(f"{seconds * 1000:.1f} ms" for seconds in (seen.median, seen.p99, seen.longest)),
                style="bold cyan" if name in ("load", "unload") else None,
            )
        attacks = Table(title=f"What one upload of {run.megabytes} MB cost the service", title_style="bold")
        for heading in ("", "processor time", "answered after"):
            attacks.add_column(heading, justify="left" if not heading else "right")
        for name, title in (
            ("before", "unpatched"),
            ("patched", "patched"),
            ("unpatched", "unpatched again"),
        ):
            attack = run.attacks[name]
            attacks.add_row(title, f"{attack.cpu_seconds * 1000:,.0f} ms", f"{attack.seconds * 1000:,.0f} ms")
        self.console.print(users, attacks, sep="\n")
        results = checks(run)
        text = Text()
        for check in results:
            mark, style = ("✓", "green") if check.passed else ("✗", "bold red")
            text.append(f"{mark} ", style).append(f"{check.name}: ").append(f"{check.measured}\n", "bold")
        passed = all(check.passed for check in results)
        text.rstrip()
        title, style = ("pass", "green") if passed else ("fail", "red")
        self.console.print(Panel(text, title=title, border_style=style, expand=False))

    def fail(self, message: str) -> None:
        self.console.print(f"[bold red]✗ the demo could not go on:[/] {escape(message)}")


class _Live:
    """A status line that is drawn anew several times a second."""

    def __init__(self, screen: Screen, title: str, begin: float) -> None:
        self.screen = screen
        self.title = title
        self.begin = begin

    def __rich__(self) -> Text:
        text = Text.assemble((self.title, "bold"), (f"  {time.monotonic() - self.begin:.0f} s", "dim"))
        if self.screen._watched is not None:
            text.append(f"  {self.screen._watched}", "cyan")
        return text

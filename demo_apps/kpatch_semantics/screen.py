"""What a person sees, at most 80 columns wide; and the pace at which it comes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was measured of it."""

    name: str
    passed: bool
    measured: str


class Screen:
    """The terminal. With ``quiet`` it shows nothing and never waits; with ``step`` it waits for Enter."""

    def __init__(self, *, quiet: bool, step: bool) -> None:
        self.quiet, self.step = quiet, step
        console = Console(quiet=quiet, highlight=False)
        self.console = Console(quiet=quiet, highlight=False, width=min(80, console.width))

    def title(self, letter: str, title: str, slide: str) -> None:
        self.console.print(f"\n[bold cyan]({letter}) {escape(title)}[/]")
        self.console.print(f'    [dim]slide: "{escape(slide)}"[/]')

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self.console.print(Text("    " + line))

    def show(self, text: str) -> None:
        """Output of the library, as it is."""
        for line in text.splitlines():
            self.console.print(Text("    " + line, style="yellow"), soft_wrap=True)

    def check(self, check: Check) -> None:
        mark, style = ("✓", "green") if check.passed else ("✗", "bold red")
        self.console.print(f"    [{style}]{mark}[/] {escape(check.name)}: [bold]{escape(check.measured)}[/]")

    def beat(self, seconds: float) -> None:
        """Give the reader time."""
        if self.quiet:
            return
        if self.step and sys.stdin.isatty():
            input("    [Enter] ")
        else:
            time.sleep(seconds)

    def close(self, checks: list[Check]) -> None:
        passed = [check for check in checks if check.passed]
        lines = [f"{len(passed)} of {len(checks)} checks held", *(f"✗ {c.name}" for c in checks if not c.passed)]
        title, style = ("pass", "green") if len(passed) == len(checks) else ("fail", "red")
        self.console.print()
        self.console.print(Panel(Text("\n".join(lines)), title=title, border_style=style, expand=False))

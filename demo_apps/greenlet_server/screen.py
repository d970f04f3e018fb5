"""What a person sees, at most 80 columns wide."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was measured of it."""

    name: str
    passed: bool
    measured: str


class Screen:
    """The terminal. With ``quiet`` it shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(quiet=quiet, highlight=False)
        self.console = Console(quiet=quiet, highlight=False, width=min(80, console.width))

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self.console.print(Text(line))

    def close(self, checks: list[Check]) -> None:
        text = Text()
        for check in checks:
            mark, style = ("✓", "green") if check.passed else ("✗", "bold red")
            text.append(f"{mark} ", style).append(f"{check.name}: ").append(f"{check.measured}\n", "bold")
        text.rstrip()
        title, style = ("pass", "green") if all(check.passed for check in checks) else ("fail", "red")
        self.console.print()
        self.console.print(Panel(text, title=title, border_style=style, expand=False))

"""The stages of a transition as they happen: live on a terminal, else a line each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from pylivepatch.cli.output import Output, holders, seconds

STAGES = {
    "prepare": "find and verify every target",
    "enable": "put the trampolines in",
    "drain": "wait for those inside old functions",
    "release": "wait for the counter to reach 0",
    "gate": "keep new callers for a moment, as the functions are never idle",
    "commit": "switched",
    "move": "wait until each thread and task has moved",
    "move back": "wait until those who moved are out of new functions",
    "stop": "stop everybody and look",
    "reverse": "taken back, nothing has changed",
}


class Progress:
    """Shows events. A context manager: the display is gone, or complete, when it is left."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began = time.monotonic()
        self._done: list[tuple[str, float]] = []
        self._stage = ""
        self._holders: list[Mapping[str, Any]] = []
        self._live = Live(
            console=out.console, get_renderable=self._render, transient=True, refresh_per_second=10
        )
        self._by_groups = False
        self._terminal = out.console.is_terminal and not out.json

    def __enter__(self) -> Progress:
        if self._terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._live.stop()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take one event of the agent's stream."""
        kind = str(event.get("event"))
        if kind == "groups":
            self._by_groups = True
            self._out.say(f"{len(event.get('groups') or [])} groups, each switched as soon as it is idle")
        elif kind == "group":
            self._out.say(f"{event.get('action')}: {event.get('group')}")
        elif kind in STAGES and self._by_groups:  # of one try of one group: it may well be taken back, and tried again
            self._stage = kind
        elif kind in STAGES:
            if self._stage:
                self._done.append((self._stage, time.monotonic() - self._began))
            self._stage, self._began, self._holders = kind, time.monotonic(), []
            if not self._terminal:
                self._out.say(f"{kind}: {STAGES[kind]}")
        elif kind == "holders":
            before = {describe(holder) for holder in self._holders}
            self._holders = list(event.get("holders") or [])
            if not self._terminal:
                for line in sorted({describe(holder) for holder in self._holders} - before):
                    self._out.say(f"  held by {line}")

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [
            Text.assemble(("✓ ", "green"), f"{name:<8} {seconds(took):>8}  ", (STAGES[name], "dim"))
            for name, took in self._done
        ]
        if self._stage:
            label = f"{self._stage:<8} {seconds(time.monotonic() - self._began):>8}  {STAGES[self._stage]}"
            parts.append(Spinner("dots", Text(label)))
        else:
            parts.append(Spinner("dots", Text("compiling the patch")))
        if self._holders:
            parts.append(holders(self._holders))
        return Group(*parts)


def describe(holder: Mapping[str, Any]) -> str:
    """A holder in one line."""
    return (
        f"{holder.get('kind', '?')} {holder.get('name', '')} in {holder.get('function', '?')} "
        f"({holder.get('file', '?')}:{holder.get('line', '?')})"
    )

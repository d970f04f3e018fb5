"""``pylivepatch top``: a process as it is now, again and again, and keys to act on its transition.

On a terminal a live view that fits it; elsewhere a block of plain lines for each look.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from pylivepatch.agent.client import Client
from pylivepatch.cli.output import Output, gate_waits, holders, seconds, table
from pylivepatch.cli.progress import STAGES
from pylivepatch.errors import LivePatchError

KEYS = "r reverse   f force   u unload the newest   q quit"
_LONGEST_WATCH = 60.0  # seconds that an agent's ticker is asked for at most
_PLAIN = 60  # lines of a block where there is no terminal


@dataclass
class View:
    """What is shown: one look at the process, and what the last key did."""

    client: Client
    interval: float = 1.0
    greenlets: bool = False  # whether they may be looked for
    info: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    patches: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    about: Mapping[str, Any] = field(default_factory=dict)  # the greenlets
    asks: str = ""  # the key that waits for "y"
    said: str = ""

    def look(self) -> None:
        """Ask the process. Raises what :class:`Client` raises."""
        ticks_for = min(_LONGEST_WATCH, 2 * self.interval + 2)  # it ends by itself when nobody looks any more
        self.status, self.patches = self.client.status(watch=ticks_for), self.client.patches()
        found = self.client.everyone(greenlets=self.greenlets)
        self.tasks, self.about = found["tasks"], found.get("greenlets") or {}
        self.info = self.info or self.client.info()

    def as_dict(self) -> dict[str, Any]:
        rows = [{**task, "patch_state": self.patch_state(task)} for task in self.tasks]
        about = {"greenlets": self.about} if self.about else {}
        seen = {**self.status, "patches": self.patches, "tasks": rows, **about}
        return {"time": time.time(), "pid": self.info.get("pid"), **seen}

    def patch_state(self, task: Mapping[str, Any]) -> int:
        """As in ``/proc/PID/patch_state``: -1 where no transition is under way, else whether it runs new functions."""
        transition = self.status.get("transition")
        if not transition:
            return -1
        for known in transition.get("patch_state") or ():  # mode per-task: each by itself
            if (known["kind"], known["name"]) == (task["kind"], task["name"]):
                return int(known["patch_state"])
        return 0

    # --- keys ---

    def press(self, key: str) -> bool:
        """Do what the key says; whether to go on. What cannot be undone is asked for first."""
        if self.asks:
            asked, self.asks = self.asks, ""
            self.said = self._do(asked) if key == "y" else "nothing was done"
        elif key == "q":
            return False
        elif key == "r":
            self.said = self._do("reverse")
        elif key == "f":
            self.asks = "force"
            self.said = "force: old functions go on beside new ones, the patch stays. y does it"
        elif key == "u" and self.patches:
            self.asks = f"unload {self.patches[-1]['name']}"
            self.said = f"{self.asks}? y does it"
        return True

    def _do(self, what: str) -> str:
        try:
            if what == "reverse":
                self.client.reverse()
            elif what == "force":
                self.client.force()
            else:
                self.client.unload(what.removeprefix("unload "))
        except LivePatchError as error:
            return f"{what}: {error.code} {error.message}"
        return f"{what}: done" if what.startswith("unload") else f"{what}: asked"

    # --- what it looks like ---

    def render(self, height: int) -> RenderableType:
        """As many rows of threads and tasks as fit into ``height`` lines."""
        parts: list[RenderableType] = [
            Text.assemble(
                (f"pid {self.info.get('pid')}", "bold"),
                f"  Python {self.info.get('python')}  {time.strftime('%H:%M:%S')}  ",
                (", ".join(self._counts()), "dim"),
            )
        ]
        parts += [Text(line, style="dim") for line in (*_delay(self.status.get("ticker")), *self._of_greenlets())]
        transition = self.status.get("transition")
        if transition:
            stage = str(transition.get("stage"))
            since = seconds(max(0.0, time.time() - float(transition.get("since") or time.time())))
            text = f"{transition['action']} of {transition['patch']}: {stage}, counter {transition['counter']}, {since}"
            parts.append(Text.assemble((text, "bold yellow"), f"  ({STAGES.get(stage, stage)})"))
            parts += [Text(line) for line in gate_waits(transition.get("gate"))]
            if transition.get("holders"):
                parts.append(holders(transition["holders"][:8]))
        else:
            parts.append(Text("no transition is under way", style="dim"))
        if self.patches:
            rows = [[p["name"], str(len(p["functions"])), _marks(p)] for p in self.patches]
            parts.append(table("", ["patch", "functions", ""], rows))
        for line in (f"tainted: {taint['reason']} ({taint['patch']})" for taint in self.status.get("taints") or ()):
            parts.append(Text(line, style="red"))
        if self.said:
            parts.append(Text(self.said, style="cyan"))
        held = len((transition or {}).get("holders") or ())
        used = len(parts) + 4 + (len(self.patches) + 1) * bool(self.patches) + (2 * min(held, 8) + 2) * bool(held)
        parts.append(self._rows(max(3, height - used)))
        return Group(*parts, Text(KEYS, style="dim"))

    def _rows(self, most: int) -> RenderableType:
        untold = self.about.get("asleep", 0) - self._counted("greenlet") if self.greenlets else 0
        shown = sorted(self.tasks, key=lambda task: (self.patch_state(task), task["kind"], task["name"]))
        rows = [
            [f"{task['kind']} {task['name']}"[:26], str(self.patch_state(task)), _place(task)] for task in shown[:most]
        ]
        if (more := max(0, len(shown) - most) + max(0, untold)) > 0:
            rows.append([f"… and {more:,} more", "", ""])
        return table("", ["who", "patch_state", "where"], rows)

    def _counted(self, kind: str) -> int:
        return sum(task["kind"] == kind for task in self.tasks)

    def _counts(self) -> Iterator[str]:
        for kind in ("thread", "task"):
            if found := self._counted(kind):
                yield f"{found:,} {kind}{'s' if found != 1 else ''}"

    def _of_greenlets(self) -> Iterator[str]:
        if not self.about:
            return
        if not self.about["readable"]:
            yield f"greenlets: those of greenlet {self.about['version']} cannot be read safely"
        elif not self.greenlets:
            yield "greenlets: not looked for (--greenlets; the look holds every thread for a while)"
        else:
            asleep, held = self.about["asleep"], seconds(self.about["held"])
            yield f"greenlets: {asleep:,} switched out; the look for them held every thread for {held}"


def _delay(ticker: Mapping[str, Any] | None) -> Iterator[str]:
    if ticker and ticker["ticks"]:
        at = time.strftime("%H:%M:%S", time.localtime(ticker["at"]))
        each = seconds(ticker["interval"])
        yield f"ticker: worst delay {seconds(ticker['worst'])}, at {at} ({ticker['ticks']:,} ticks, one each {each})"


def _marks(patch: Mapping[str, Any]) -> str:
    return ", ".join(mark for mark in ("partial", "forced", "tainted") if patch.get(mark))


def _place(task: Mapping[str, Any]) -> str:
    return f"{task['function']}:{task['line']}"


def top(out: Output, client: Client, *, interval: float, count: int | None, greenlets: bool) -> None:
    """Look at the process every ``interval`` seconds, ``count`` times or until ``q`` or Ctrl-C.

    ``greenlets``: look for those that are switched out too.
    """
    view = View(client, interval, greenlets)
    view.look()
    if out.json or not (out.console.is_terminal and sys.stdin.isatty()):
        for number in _looks(count):
            if number:
                time.sleep(interval)
                view.look()
            if out.json:
                out.line(view.as_dict())
            else:
                out.console.print(view.render(_PLAIN))
                out.say()
        return
    with _keys(), Live(console=out.console, screen=True, auto_refresh=False) as live:
        for _ in _looks(count):
            live.update(view.render(out.console.height), refresh=True)
            key = _key(interval)
            if key and not view.press(key):
                return
            view.look()


def _looks(count: int | None) -> Iterator[int]:
    number = 0
    while count is None or number < count:
        yield number
        number += 1


@contextmanager
def _keys() -> Iterator[None]:
    """Keys as they are pressed, without Enter."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(patience: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], patience)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""

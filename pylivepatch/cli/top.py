"""``pylivepatch top``: a process as it is now, again and again, and keys to act on its transition.

On a terminal a live view that fits it; elsewhere a block of plain lines for each look.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pylivepatch.agent.client import Client
from pylivepatch.cli.output import Output, gate_waits, holders, seconds, table
from pylivepatch.cli.progress import STAGES
from pylivepatch.errors import LivePatchError
from pylivepatch.report.picture import natural

KEYS = "r reverse   f force   u unload the newest   q quit"
_LONGEST_WATCH = 60.0  # seconds that an agent's ticker is asked for at most
_PLAIN = 60  # lines of a block where there is no terminal
_WHO = 26  # characters of a name
_HOLDERS = 8  # at most so many are shown
_FEWEST = 6  # lines that are left to the threads and tasks, and to their heading


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
            if key == "y":
                self._do(asked)
            else:
                self.said = "nothing was done"
        elif key == "q":
            return False
        elif key == "r":
            self._do("reverse")
        elif key == "f":
            self.asks = "force"
            self.said = "force: old functions go on beside new ones, the patch stays. y does it"
        elif key == "u" and self.patches:
            self.asks = f"unload {self.patches[-1]['name']}"
            self.said = f"{self.asks}? y does it"
        return True

    def _do(self, what: str) -> None:
        self.said = f"{what}: asked"
        if what.startswith("unload "):  # aside: it may take long, and is to be watched, and reversed, meanwhile
            threading.Thread(target=self._unload, args=(what,), daemon=True).start()
            return
        try:
            self.client.reverse() if what == "reverse" else self.client.force()
        except LivePatchError as error:
            self.said = _failed(what, error)

    def _unload(self, what: str) -> None:
        try:
            self.client.unload(what.removeprefix("unload "))
            self.said = f"{what}: done"
        except LivePatchError as error:
            self.said = _failed(what, error)

    # --- what it looks like ---

    def render(self, console: Console, height: int, *, keys: bool = True) -> RenderableType:
        """``height`` lines at most, where they can hold what must be said; ``keys``: with what may be pressed."""
        above, below = list(self._head()), list(self._below(keys))
        if held := (self.status.get("transition") or {}).get("holders"):
            rest = height - _FEWEST - _lines(console, [*above, *below])
            above.append(self._held(console, held, rest))
        if self.patches:
            most = max(1, height - _FEWEST - _lines(console, [*above, *below]))
            above.append(self._stack(most, console.width))
        return Group(*above, self._rows(max(1, height - _lines(console, [*above, *below]) - 2), console.width), *below)

    def _head(self) -> Iterator[RenderableType]:
        yield Text.assemble(
            (f"pid {self.info.get('pid')}", "bold"),
            f"  Python {self.info.get('python')}  {time.strftime('%H:%M:%S')}  ",
            (", ".join(self._counts()), "dim"),
        )
        yield from (Text(line, style="dim") for line in (*_delay(self.status.get("ticker")), *self._of_greenlets()))
        transition = self.status.get("transition")
        if not transition:
            yield Text("no transition is under way", style="dim")
            return
        stage = str(transition.get("stage"))
        since = seconds(max(0.0, time.time() - float(transition.get("since") or time.time())))
        text = f"{transition['action']} of {transition['patch']}: {stage}, counter {transition['counter']}, {since}"
        yield Text.assemble((text, "bold yellow"), f"  ({STAGES.get(stage, stage)})")
        yield from map(Text, gate_waits(transition.get("gate")))
        if kept := transition.get("at_gate"):
            names = ", ".join(sorted((f"{one['kind']} {one['name']}" for one in kept), key=natural))
            text = f"{len(kept):,} wait{'s' if len(kept) == 1 else ''} at the gate: {names}"
            yield Text(text, no_wrap=True, overflow="ellipsis")

    def _below(self, keys: bool) -> Iterator[RenderableType]:
        for taint in self.status.get("taints") or ():
            yield Text(f"tainted: {taint['reason']} ({taint['patch']})", style="red")
        if self.said:
            yield Text(self.said, style="cyan")
        if keys:
            yield Text(KEYS, style="dim")

    def _held(self, console: Console, held: Sequence[Mapping[str, Any]], most: int) -> RenderableType:
        """Those who hold it, in ``most`` lines; the first of them in any case, the others counted."""
        for count in range(min(len(held), _HOLDERS), 0, -1):
            more = [Text(f"… and {len(held) - count:,} more hold it")] if count < len(held) else []
            shown = Group(holders(held[:count]), *more)
            if _lines(console, [shown]) <= most:
                break
        return shown

    def _stack(self, most: int, width: int) -> RenderableType:
        """The newest ``most`` patches, in their order; a line each."""
        older = max(0, len(self.patches) - most)
        rows = [[f"… {older:,} older", "", ""]] if older else []
        rows += [
            [_begin(p["name"], width - 38), str(len(p["functions"])), _marks(p)] for p in self.patches[older:]
        ]
        return table("", ["patch", "functions", ""], rows)

    def _rows(self, most: int, width: int) -> RenderableType:
        """A line for each thread and task, ``most`` of them."""
        untold = self.about.get("asleep", 0) - self._counted("greenlet") if self.greenlets else 0
        shown = sorted(self.tasks, key=lambda task: (self.patch_state(task), task["kind"], natural(task["name"])))
        rows = [
            [
                _begin(f"{task['kind']} {task['name']}", _WHO),
                str(self.patch_state(task)),
                _end(_place(task), width - _WHO - 15),
            ]
            for task in shown[:most]
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


def _failed(what: str, error: LivePatchError) -> str:
    return f"{what}: {error.code} {error.message.partition('; held by')[0]}"  # the holders were on the screen


def _lines(console: Console, parts: Sequence[RenderableType]) -> int:
    """How many lines they take there."""
    return len(console.render_lines(Group(*parts), pad=False)) if parts else 0


def _begin(text: str, most: int) -> str:
    """As much of it as goes into ``most`` characters."""
    most = max(2, most)
    return text if len(text) <= most else text[: most - 1] + "…"


def _end(text: str, most: int) -> str:
    """As :func:`_begin`, with its end: that of a place tells more."""
    most = max(2, most)
    return text if len(text) <= most else "…" + text[1 - most :]


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
                out.console.print(view.render(out.console, _PLAIN, keys=False))
                out.say()
        return
    with _keys(), Live(console=out.console, screen=True, auto_refresh=False) as live:
        for _ in _looks(count):
            live.update(view.render(out.console, out.console.height), refresh=True)
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

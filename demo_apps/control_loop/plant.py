"""The process under repair: a lift, and the thread that controls it every millisecond. Run as ``plant.py WAY``.

``WAY`` is how the fix comes in: ``reload``, ``stop-machine``, ``refcount``, or ``restart``, where the process ends when
it would change, and is started a second time as ``restarted``, with the lift's position and the time of the last tick.
Prints one JSON object: how late each tick was, before and from the change on, and what became of law and state.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from typing import Any

import controller

import pylivepatch

TARGET = 10.0  # metres
WEIGHT = 3.0  # what pulls the lift down
PERIOD = 0.001  # seconds
QUIET, AFTER = 1.5, 1.5  # seconds that are measured before the change, and from its beginning on
OBJECTS = 800_000  # what the process keeps in memory


class Loop:
    """The thread that controls the lift. ``ticks`` are the time of each, and how late it was (seconds)."""

    def __init__(self, position: float, since: float) -> None:
        self.law = controller.Controller(TARGET)
        self.position = position
        self.ticks: list[tuple[float, float]] = []
        self._force = 0.0
        self._before = since  # of the last tick; nothing holds the lift until the next
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name="controller")

    def _run(self) -> None:
        due = self._before + PERIOD
        while not self._stopping:
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self.ticks.append((now, now - due))
            self._move(now)
            due = max(due, now) + PERIOD  # what was missed is not made up for

    def _move(self, now: float) -> None:
        """The lift goes as it was pushed since the last tick, and never below the ground."""
        self.position = max(0.0, self.position + (self._force - WEIGHT) * min(now - self._before, 1.0))
        self._before = now
        self._force = self.law.step(self.position, PERIOD)

    def stop(self) -> None:
        self._stopping = True
        self.thread.join()


def change(way: str, patch: pylivepatch.Patch | None) -> dict[str, Any]:
    """Bring the fix into this process. Returns the report, where there is one."""
    if way == "reload":
        importlib.reload(controller)
    elif patch is not None:
        return pylivepatch.load(patch, mode=way, timeout=60).report
    return {}


def main(way: str, position: float = TARGET - 0.4, since: float = 0.0) -> dict[str, Any]:
    patch = None
    if way in ("stop-machine", "refcount"):
        patch = pylivepatch.build_patch("controller.py", "controller_fixed.py", name="control-law")
    memory = [[number] for number in range(OBJECTS)]
    loop = Loop(position, since or time.monotonic())
    loop.law.integral = 0.0 if since else WEIGHT  # it has run for a while, or is started anew
    result: dict[str, Any] = {"integral": {"before": loop.law.integral}}
    loop.thread.start()
    report: dict[str, Any] = {}
    begin = since
    if way != "restarted":
        time.sleep(0.2)  # the thread's start is no tick
        quiet = time.monotonic()
        time.sleep(QUIET)
        begin = time.monotonic()
        result["quiet"] = [late for at, late in loop.ticks if quiet <= at < begin]
        result["integral"]["before"] = loop.law.integral
        if way == "reload":
            with open("controller_fixed.py", encoding="utf-8") as fixed, open("controller.py", "w") as old:
                old.write(fixed.read())
        report = change(way, patch)
    result["integral"]["after"] = loop.law.integral
    result["took"] = time.monotonic() - begin
    if way != "restart":
        time.sleep(AFTER)
    loop.stop()
    memory.clear()
    return result | {
        "late": [late for at, late in loop.ticks if at >= begin],
        "fixed": loop.law.error(TARGET - 0.25) == 0.25,
        "last": loop.ticks[-1][0],
        "position": loop.position,
        "report": {key: report[key] for key in ("longest_hold", "stood") if key in report},
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(float, sys.argv[2:]))))

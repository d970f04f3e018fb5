"""The four ways to bring the fix in, each in a process of its own, and what each did to the loop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WAYS = ("restart", "reload", "stop-machine", "refcount")
PERIOD = 0.001  # seconds
EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the histogram's bins, in seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the loop. ``late`` and ``quiet`` are how late each tick was, in seconds."""

    way: str
    late: list[float]
    quiet: list[float]
    fixed: bool  # the running controller has the new law
    kept: bool  # it still has its state
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        return max(self.late)

    @property
    def missed(self) -> int:
        """Deadlines that passed without a tick."""
        return missed(self.late)

    @property
    def histogram(self) -> list[int]:
        return histogram(self.late)

    def as_dict(self) -> dict[str, Any]:
        return {
            "way": self.way,
            "fixed": self.fixed,
            "state_kept": self.kept,
            "missed": self.missed,
            "missed_in_quiet_times": missed(self.quiet),
            "worst": self.worst,
            "histogram": self.histogram,
            **self.report,
        }


def missed(late: list[float]) -> int:
    return sum(int(one / PERIOD) for one in late)


def histogram(late: list[float]) -> list[int]:
    """How many ticks are in each bin: below the first of :data:`EDGES`, between two, above the last."""
    bins = [0] * (len(EDGES) + 1)
    for one in late:
        bins[sum(one >= edge for edge in EDGES)] += 1
    return bins


def measure(way: str) -> Outcome:
    """Run the controller, bring the fix in this way, and look at what happened.

    Raises :class:`subprocess.CalledProcessError`, with the output, where the process failed.
    """
    with tempfile.TemporaryDirectory(prefix="pylivepatch-demo-") as name:
        folder = Path(name)
        for file in ("plant.py", "controller.py", "controller_fixed.py"):
            shutil.copy(HERE / file, folder)
        seen = _run(folder, way)
        quiet = seen["quiet"]
        if way == "restart":
            shutil.copy(folder / "controller_fixed.py", folder / "controller.py")
            seen = _run(folder, "restarted", seen["position"], seen["last"])
        before, after = (float(seen["integral"][when]) for when in ("before", "after"))
        kept = way != "restart" and after > 0.5 * before > 0
        return Outcome(way, seen["late"], quiet, seen["fixed"], kept, seen["report"])


def _run(folder: Path, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, folder / "plant.py", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result

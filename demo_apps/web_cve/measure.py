"""From what was measured to a verdict. Pure: no process, no clock.

Every bound is a ratio between two measurements of the same run, so that the verdict is the same on a fast
machine and on a slow one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CURE = 5.0  # the patched attack must be cheaper by at least this factor
DELAY = 10.0  # the longest request during a switch, over the longest in quiet times, may be at most this


@dataclass(frozen=True, slots=True)
class Request:
    """One request of an ordinary user. Times are ``time.monotonic()`` in seconds.

    ``error`` is ``None`` for a right answer.
    """

    begin: float
    end: float
    kind: str
    pid: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """All that the ordinary users saw. ``connects`` over ``connections`` means that connections broke."""

    connections: int
    connects: int
    requests: Sequence[Request]

    @classmethod
    def read(cls, path: Path) -> Traffic:
        """Read what ``traffic.py`` wrote."""
        data = json.loads(path.read_text())
        return cls(data["connections"], data["connects"], [Request(*record) for record in data["records"]])


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the run, in ``time.monotonic()`` seconds."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The requests that were under way in a window. Times in seconds, 0 where there were none."""

    seconds: float
    served: int
    failed: int
    median: float
    p99: float
    longest: float


def figures(window: Window, requests: Iterable[Request]) -> Figures:
    inside = [request for request in requests if request.end >= window.begin and request.begin <= window.end]
    times = sorted(request.end - request.begin for request in inside) or [0.0]
    failed = sum(request.error is not None for request in inside)
    return Figures(
        seconds=window.end - window.begin,
        served=len(inside) - failed,
        failed=failed,
        median=times[len(times) // 2],
        p99=times[int(len(times) * 0.99)],
        longest=times[-1],
    )


@dataclass(frozen=True, slots=True)
class Attack:
    """What one upload of the attacker cost.

    ``seconds`` until its answer, ``cpu_seconds`` of processor time in the service. The cheaper of two: the
    first may also pay for memory that the service had not needed before.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Everything measured in one run of the demo. ``load`` and ``unload`` are the engine's own reports."""

    python: str
    pid: int
    traffic: Traffic
    windows: dict[str, Window]
    attacks: dict[str, Attack]
    megabytes: int
    load: dict[str, Any]
    unload: dict[str, Any]
    server: str = "werkzeug"

    def figures(self, name: str) -> Figures:
        return figures(self.windows[name], self.traffic.requests)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was measured about it."""

    name: str
    passed: bool
    measured: str


def ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("inf")


def checks(run: Run) -> list[Check]:
    """What the verdict rests on."""
    requests = run.traffic.requests
    failed = [request for request in requests if request.error is not None]
    pids = {request.pid for request in requests if request.error is None}
    switching = {name: run.figures(name) for name in ("load", "unload")}
    quiet = max(run.figures(name).longest for name in ("before", "after"))
    slowest = max(figures.longest for figures in switching.values())
    before, patched, again = (run.attacks[name].cpu_seconds for name in ("before", "patched", "unpatched"))
    return [
        Check(
            "every request was answered, and rightly",
            bool(requests) and not failed,
            f"{len(requests) - len(failed)} served, {len(failed)} failed"
            + (f", the first: {failed[0].error}" if failed else ""),
        ),
        Check(
            "requests ran through both switches",
            all(figures.served > 0 for figures in switching.values()),
            " and ".join(f"{figures.served}" for figures in switching.values()) + " served meanwhile",
        ),
        Check(
            "one process from beginning to end",
            pids == {run.pid},
            f"process {run.pid}" if pids == {run.pid} else f"answers came from processes {sorted(pids)}",
        ),
        Check(
            "no connection broke",
            run.traffic.connects == run.traffic.connections,
            f"{run.traffic.connects} opened for {run.traffic.connections} users",
        ),
        Check(
            f"the patch makes the attack at least {CURE:.0f} times cheaper",
            ratio(before, patched) >= CURE,
            f"{ratio(before, patched):.0f} times",
        ),
        Check(
            f"without it the attack costs at least {CURE:.0f} times that again",
            ratio(again, patched) >= CURE,
            f"{ratio(again, patched):.0f} times the patched cost",
        ),
        Check(
            f"no request waited over {DELAY:.0f} times the longest of quiet times",
            ratio(slowest, quiet) <= DELAY,
            f"{ratio(slowest, quiet):.1f} times",
        ),
    ]


def as_dict(run: Run) -> dict[str, Any]:
    """The object that ``--json`` prints."""
    results = checks(run)
    requests = run.traffic.requests
    failed = sum(request.error is not None for request in requests)
    return {
        "demo": "web_cve",
        "server": run.server,
        "verdict": "pass" if all(check.passed for check in results) else "fail",
        "checks": [asdict(check) for check in results],
        "python": run.python,
        "pid": run.pid,
        "requests": {
            "served": len(requests) - failed,
            "failed": failed,
            "connections": run.traffic.connections,
            "connects": run.traffic.connects,
        },
        "windows": {name: asdict(run.figures(name)) for name in run.windows},
        "megabytes": run.megabytes,
        "attacks": {name: asdict(attack) for name, attack in run.attacks.items()},
        "load": run.load,
        "unload": run.unload,
    }

"""An event log made by hand: each test knows what must be seen in its report."""

from __future__ import annotations

import io
import json
from typing import Any

from pylivepatch.report import read

START = 1_700_000_000.0
LENGTH = 10.0
COMMIT = 6.0
DIFF = "--- shop.py\n+++ shop.py\n@@ -1,2 +1,2 @@\n def price(q):\n-    return q * 90\n+    return q * 100"

Event = dict[str, Any]


def at(seconds: float, kind: str, **data: Any) -> Event:
    return {"event": kind, "time": START + seconds, **data}


def stands(name: str, function: str, kind: str = "thread") -> Event:
    return {"kind": kind, "name": name, "function": function, "line": 7}


def holder(name: str, function: str, kind: str = "thread", since: float = 2.0) -> Event:
    return {**stands(name, function, kind), "file": "shop.py", "since": START + since}


def sample(seconds: float, *tasks: Event, until: float | None = None, **transition: Any) -> Event:
    ends = START + (seconds + 0.001 if until is None else until)
    return at(seconds, "sample", until=ends, transition=transition or None, tasks=list(tasks))


def begun(**more: Any) -> Event:
    diffs = [{"module": "shop", "path": "shop.py", "diff": DIFF}]
    process = {"pid": 42, "python": "3.13.1", "argv": ["python", "shop.py"]}
    return at(0.0, "begun", action="load", patch="fix", interval=1.0, diffs=diffs, **process) | more


def transition() -> list[Event]:
    """Ten seconds: a worker is inside ``shop:price`` until the commit at 6 s, and calls it again at 7 s."""
    inside, away = stands("worker", "shop:price"), stands("worker", "queue:get")
    idle = stands("idle", "queue:get")
    return [
        begun(),
        sample(0.0, away, idle),
        at(1.0, "prepare", patch="fix", functions=["shop:price", "shop:total"]),
        at(2.0, "enable", patch="fix", counter=1),
        at(2.5, "drain", patch="fix", counter=1),
        sample(3.0, away, idle, stage="drain", counter=4, holders=[holder("worker", "shop:price")]),
        sample(4.0, inside, idle, stage="drain", counter=3, holders=[holder("green", "shop:total", "greenlet")]),
        at(5.0, "release", patch="fix", counter=2),
        sample(5.5, inside, idle, stage="release", counter=1, holders=[]),
        at(COMMIT, "commit", patch="fix", counter=0),
        at(6.1, "ended", result={"duration": 5.0, "stages": {"drain": 2.5}, "longest_hold": 8e-6, "attributes": []}),
        sample(7.0, inside, idle),
        sample(9.0, away, idle, until=LENGTH),
    ]


def read_back(events: list[Event]) -> list[Event]:
    return read(io.StringIO("".join(json.dumps(event) + "\n" for event in events)), "a log")

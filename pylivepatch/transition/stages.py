"""The states of a transition, and how long each stage takes.

The state machine, whose edges are drawn in one place, here::

    PREPARED ──▶ DRAINING ──▶ RELEASED ──▶ COMMITTED
        │            │            │
        │            └────────────┴──────▶ REVERSED      (from PREPARED nothing is to be reversed)
        └── fast path, stop-machine ────▶ COMMITTED
"""

from __future__ import annotations

import enum
import time
from typing import Any

from pylivepatch import events
from pylivepatch.counter import Counter


class State(enum.Enum):
    PREPARED = "prepare"
    DRAINING = "drain"
    RELEASED = "release"
    COMMITTED = "commit"
    REVERSED = "reverse"


class Stages:
    """Which stage a transition is in, since when, and how long those before it took: each is told as an event."""

    def __init__(self, patch: str, action: str) -> None:
        self.patch = patch
        self.action = action
        self.state = State.PREPARED
        self.started = time.time()
        self.counter = Counter()
        self._stages: dict[str, float] = {}
        self._current = "prepare"
        self._entered = time.perf_counter()

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        if self._current:
            self._stages[self._current] = self._stages.get(self._current, 0.0) + now - self._entered
        self._entered, self._current = now, name
        if name:
            self._publish(name, counter=self.counter.value)

    def _publish(self, kind: str, **data: Any) -> None:
        events.publish(kind, self.patch, action=self.action, **data)

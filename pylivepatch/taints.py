"""What happened to this process that no rule covers: kept until it ends, as the kernel's taint flags are.

A patch that is taken out takes its own mark with it; what it left behind in the process may stay. So whoever looks
into a strange failure weeks later is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pylivepatch import events

Reason = Literal["forced", "suspended", "callback"]


@dataclass(frozen=True, slots=True)
class Taint:
    """``forced``: it was switched with old functions still executing. ``suspended``: a generator or coroutine was let
    go on with the old code. ``callback``: a callback of the patch failed. ``time`` is the first such moment
    (``time.time()``); ``details`` says who was inside, or what failed; JSON-able.
    """

    patch: str
    action: str
    reason: Reason
    details: Sequence[Mapping[str, Any]] = ()
    time: float = field(default_factory=time.time)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "details": [dict(one) for one in self.details]}


_taints: dict[tuple[str, str, Reason], Taint] = {}  # the first of each kind: a process that runs on must not fill up


def taint(patch: str, action: str, reason: Reason, details: Sequence[Mapping[str, Any]]) -> None:
    key = (patch, action, reason)
    if key not in _taints:
        _taints[key] = Taint(patch, action, reason, tuple(details))
        events.publish("taint", patch, action=action, reason=reason)


def taints() -> tuple[Taint, ...]:
    """Every taint of this process, oldest first. They stay until it ends."""
    return tuple(_taints.values())

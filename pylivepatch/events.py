"""What happened, in order: the one stream that feeds progress, status, logging and audit.

The engine publishes; whoever wants to know subscribes. A subscriber that raises is logged and dropped: watching a
transition must never change its outcome.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("pylivepatch")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ``kind`` is a stage (``prepare``, ``enable``, ``drain``, ``release``, ``commit``, ``reverse``) or what was seen in
    one (``holders``, ``waiting``, ``deep``, ``failed``), or how far an incremental load is (``groups``, ``group``).
    ``time`` is ``time.time()`` in seconds; ``data`` is JSON-able.
    """

    kind: str
    patch: str
    data: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)

    def as_dict(self) -> dict[str, Any]:
        return {"event": self.kind, "patch": self.patch, "time": self.time, **self.data}


Subscriber = Callable[[Event], None]
_subscribers: list[Subscriber] = []
_lock = threading.Lock()


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call ``subscriber`` with every event from now on, on the thread where it happens. Returns the way to stop."""
    with _lock:
        _subscribers.append(subscriber)

    def unsubscribe() -> None:
        with _lock:
            if subscriber in _subscribers:
                _subscribers.remove(subscriber)

    return unsubscribe


def publish(kind: str, patch: str, **data: Any) -> None:
    """Tell everyone. Never raises what a subscriber raises."""
    event = Event(kind, patch, data)
    log.info("%s %s %s", patch, kind, data, extra={"livepatch": event})
    sys.audit("pylivepatch." + kind, patch)
    for subscriber in tuple(_subscribers):
        try:
            subscriber(event)
        except Exception:
            log.exception("a subscriber to livepatch events failed and is dropped")
            with _lock:
                if subscriber in _subscribers:
                    _subscribers.remove(subscriber)

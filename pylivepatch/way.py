"""How a transition is to go: what its user chose, checked before anything happens. Also where no engine can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pylivepatch.errors import PrepareError

Mode = Literal["refcount", "stop-machine", "per-task"]
Suspended = Literal["hold", "allow"]

MODES: tuple[Mode, ...] = ("refcount", "stop-machine", "per-task")
SUSPENDED: tuple[Suspended, ...] = ("hold", "allow")
DEFAULT_TIMEOUT = 15.0
DEFAULT_GATE = 0.05  # seconds that a caller may be kept waiting at the gate, a try
LONGEST_GATE = 10.0


@dataclass(frozen=True)
class Way:
    """The options that loading and unloading share; :func:`pylivepatch.load` says what each means.

    Raises :class:`PrepareError` for what makes no sense.
    """

    timeout: float = DEFAULT_TIMEOUT
    deep: bool = False
    mode: str = "refcount"
    gate: float | None = DEFAULT_GATE
    suspended: str = "hold"
    incremental: bool = False
    count_calls: bool = False

    def __post_init__(self) -> None:
        if not _is_number(self.timeout) or not 0 <= self.timeout < float("inf"):
            raise PrepareError(f"a timeout of {self.timeout!r} makes no sense", advice="give seconds, such as 15.0")
        if self.mode not in MODES:
            raise PrepareError(f"there is no mode {self.mode!r}", advice=f"it is one of {', '.join(MODES)}")
        if self.gate is not None and not (_is_number(self.gate) and 0 < self.gate <= LONGEST_GATE):
            raise PrepareError(
                f"a gate of {self.gate!r} seconds makes no sense",
                advice=f"give {DEFAULT_GATE}, or anything up to {LONGEST_GATE:g}, or None for none",
            )
        if self.suspended not in SUSPENDED:
            raise PrepareError(f"suspended={self.suspended!r} makes no sense", advice='it is "hold" or "allow"')
        if self.suspended == "allow" and self.mode != "refcount":
            raise PrepareError(
                f'suspended="allow" is not for mode {self.mode}', advice="choose mode refcount, or leave it out"
            )
        if self.incremental and self.mode != "refcount":
            raise PrepareError(
                f"incremental is not for mode {self.mode}", advice="choose mode refcount, or leave it out"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The patches that are applied to this process, oldest first, and what is known of each.

What is recorded here changes in the step that ends a transition (``switching.py``), and nowhere else.
"""

from __future__ import annotations

import linecache
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

from pylivepatch import arrivals, brought, journal
from pylivepatch.callbacks import Outcome
from pylivepatch.groups import Group, Key
from pylivepatch.hooks.running import Hooks
from pylivepatch.items import CompiledModule
from pylivepatch.part import Part
from pylivepatch.removable import overridden
from pylivepatch.taints import Reason, taint

FindGroups = Callable[[], tuple[Group, ...]]


@dataclass(eq=False)
class Portion:
    """One group of a patch in this process: ``parts`` are switched together, and apart from all others."""

    units: frozenset[Key]
    parts: list[Part]

    def as_dict(self) -> dict[str, list[str]]:
        return {
            "functions": [s.name for part in self.parts for switch in part.switches for s in switch],
            "attributes": [a.label for part in self.parts for a in part.attributes],
        }

    def __str__(self) -> str:
        changes = [name for names in self.as_dict().values() for name in names]
        return ", ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")


@dataclass(eq=False, repr=False)
class Entry:
    """A patch that is applied. ``waiting`` names its modules that are not imported yet.

    ``report`` is what happened when it was loaded: functions, stages and their seconds, the longest hold.
    ``failed`` says, by module, why a part could not be applied when its module was imported. ``forced`` says that it
    was switched with old functions still executing: it cannot be taken out any more.
    """

    name: str
    description: str
    applied_at: float
    report: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _waiting: dict[str, CompiledModule] = field(default_factory=dict)
    tainted: bool = False  # see pylivepatch.taints
    forced: bool = False
    _companions: tuple[Any, ...] = ()  # its callbacks and states, if it has any
    _hooks: Hooks | None = None  # what its hooks file defines
    _replaced: tuple[Entry, ...] = ()  # while it is being loaded: those whose place it takes
    _restart: bool = False  # a module of the patch has arrived: look again
    _portions: list[Portion] = field(default_factory=list)  # its groups, from an incremental load on
    _missing: list[Portion] = field(default_factory=list)  # those of them that are not in force
    _whole: list[Part] = field(default_factory=list)  # the undivided parts: what arrives later reads their values
    _arrived: list[ModuleType] = field(default_factory=list)  # meanwhile
    _in_turns: bool = False  # an incremental load is under way
    _find_groups: FindGroups = tuple
    _made_from: Any = None  # tells whether a patch is this one

    def __repr__(self) -> str:
        what = f"{len(self.functions)} functions, {len(self.waiting)} modules waiting"
        return f"<{type(self).__name__} {self.name}: {what}>"

    @property
    def functions(self) -> tuple[str, ...]:
        """Every function that runs new code, as ``module:qualname``."""
        return tuple(s.name for part in self._parts for switch in part.switches for s in switch)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every module and class attribute that the patch bound."""
        return tuple(a.label for part in self._parts for a in part.attributes if not a.is_cache)

    @property
    def waiting(self) -> tuple[str, ...]:
        return tuple(self._waiting)

    @property
    def overridden(self) -> tuple[str, ...]:
        """Functions of the patch that are not in force any more: their module was executed again (``reload``), or
        another tool changed their code. Empty in the midst of a transition.
        """
        if self not in stack or _transition() is not None:
            return ()
        above = [part for later in later_than(self) for part in later._parts]
        return tuple(overridden(self._parts, above))

    @property
    def partial(self) -> bool:
        """Whether only some groups of it are in force: see ``incremental`` of :func:`pylivepatch.load`."""
        return self in stack and bool(self._missing)

    @property
    def groups(self) -> tuple[dict[str, Any], ...]:
        """The groups of a patch that was loaded with ``incremental``: functions and attributes of each, and whether it
        is ``in_force``.
        """
        missing = set(map(id, self._missing))
        return tuple(p.as_dict() | {"in_force": id(p) not in missing} for p in self._portions)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "applied_at": self.applied_at,
            "functions": list(self.functions),
            "attributes": list(self.attributes),
            "waiting": list(self.waiting),
            "failed": dict(self.failed),
            "overridden": list(self.overridden),
            "partial": self.partial,
            "groups": list(self.groups),
            "tainted": self.tainted,
            "forced": self.forced,
            "report": self.report,
        }


stack: list[Entry] = []


def later_than(entry: Entry) -> list[Entry]:
    """Those that were loaded after it."""
    return stack[stack.index(entry) + 1 :]


def put_on(entry: Entry) -> None:
    """It is applied, and on top unless it was there. May be repeated."""
    if entry not in stack:
        stack.append(entry)


def take_off(entry: Entry) -> None:
    """It is applied no longer. May be repeated."""
    arrivals.forget(entry)
    brought.leave(entry._parts)
    entry._waiting.clear()
    entry._missing, entry._portions, entry._whole = [], [], []
    if entry in stack:
        stack.remove(entry)
    _hide_sources(entry._parts)


def note_portion(entry: Entry, portion: Portion, *, in_force: bool) -> None:
    """One group of it is in force, or is not any more. May be repeated."""
    ours = set(map(id, portion.parts))
    others = [part for part in entry._parts if id(part) not in ours]
    missing = [one for one in entry._missing if one is not portion]
    if in_force:
        entry._parts, entry._missing = [*others, *portion.parts], missing
        show_sources(portion.parts)
        put_on(entry)
        return
    entry._parts, entry._missing = others, [*missing, portion]
    kept = {part.source[0] for part in others if part.source is not None}
    _hide_sources(part for part in portion.parts if part.source is not None and part.source[0] not in kept)
    if not others:
        take_off(entry)


def show_sources(parts: Iterable[Part]) -> None:
    """Let tracebacks show the new version's lines. They are unpacked when somebody asks."""
    for part in parts:
        if part.source is not None:
            show_source(*part.source)


def show_source(filename: str, compressed: bytes) -> None:
    linecache.cache[filename] = (partial(_lines, compressed),)


def _hide_sources(parts: Iterable[Part]) -> None:
    for part in parts:
        if part.source is not None:
            linecache.cache.pop(part.source[0], None)


def _lines(compressed: bytes) -> str:
    return zlib.decompress(compressed).decode()


def taint_by_callbacks(entry: Entry, outcomes: tuple[Outcome, ...]) -> None:
    """Mark what callbacks did that no rule covers."""
    for outcome in outcomes:
        if outcome.taints:
            mark(entry, outcome.callback, "callback", [outcome.as_dict()])


def mark(entry: Entry, action: str, reason: Reason, details: list[dict[str, Any]]) -> None:
    """The process is tainted by this patch."""
    entry.tainted = True
    taint(entry.name, action, reason, details)


def _transition() -> Any:
    undertaking = journal.under_way()
    return undertaking.transition if undertaking is not None else None

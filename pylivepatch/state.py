"""System states: what patches changed for good, and what a new one must know of it (``kernel/livepatch/state.c``).

Callbacks and shadow variables change things that outlive the switch of functions: the layout of a cache, a setting, a
table. A patch *declares* each such change as a :class:`State`, by an ``id`` that all patches of the system share, and a
``version`` that rises when the meaning changes. Before a patch is loaded, :func:`check_compatible` makes sure that it
knows what the applied ones changed. ``data`` is a place for callbacks to keep what the next patch, or the way
back, needs.

Everything here is a function of the list of applied patches, oldest first. Nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from pylivepatch.errors import IncompatibleState


class State:
    """One change of the system. ``id`` and ``version`` are fixed; ``data`` is for the patch's callbacks to set."""

    __slots__ = ("_id", "_version", "data")

    def __init__(self, id: Hashable, version: int, data: Any = None) -> None:
        if isinstance(version, bool) or not isinstance(version, int) or version < 0:
            raise ValueError(f"the version of a state is a whole number from 0 on, not {version!r}")
        hash(id)  # refuse what cannot be looked up where it is written, not when another patch is loaded
        self._id, self._version = id, version
        self.data = data

    @property
    def id(self) -> Hashable:
        return self._id

    @property
    def version(self) -> int:
        return self._version

    def __repr__(self) -> str:
        return f"State({self._id!r}, {self._version}, data={self.data!r})"


@dataclass(frozen=True, slots=True)
class PatchStates:
    """The states that one patch declares. Raises :class:`ValueError` where two have one id."""

    patch: str
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        ids = [state.id for state in self.states]
        twice = next((id for index, id in enumerate(ids) if id in ids[:index]), None)
        if twice is not None:
            raise ValueError(f"the patch {self.patch!r} declares the state {twice!r} twice")

    def get(self, id: Hashable) -> State | None:
        return next((state for state in self.states if state.id == id), None)


def get_state(applied: Iterable[PatchStates], patch: str, id: Hashable) -> State | None:
    """The state ``id`` as the patch named ``patch`` declares it, or ``None`` (``klp_get_state``)."""
    return next((states.get(id) for states in applied if states.patch == patch), None)


def get_prev_state(applied: Iterable[PatchStates], current: str, id: Hashable) -> State | None:
    """The state ``id`` of the newest patch below ``current`` that has it, or ``None`` (``klp_get_prev_state``).

    A ``current`` that is not among ``applied`` stands above them all. A cumulative patch finds here what those that it
    replaces left in ``data``.
    """
    found = None
    for states in applied:
        if states.patch == current:
            break
        found = states.get(id) or found
    return found


def check_compatible(new: PatchStates, applied: Iterable[PatchStates], *, replace: bool) -> None:
    """Make sure that ``new`` can be loaded on ``applied`` (``klp_is_patch_compatible``).

    A cumulative patch (``replace``) must know every state that the applied ones changed, since it takes over the way
    back; any other need not know it. What a patch knows it must know in the same version or a newer one.

    Raises :class:`IncompatibleState`, which names every conflict.
    """
    conflicts = [
        {"state": repr(old.id), "patch": below.patch, "version": old.version, "known": known.version if known else None}
        for below in applied
        for old in below.states
        for known in [new.get(old.id)]
        if (replace if known is None else known.version < old.version)
    ]
    if not conflicts:
        return
    texts = [
        f"state {c['state']} was brought to version {c['version']} by {c['patch']!r}, and the new patch "
        + ("does not know it" if c["known"] is None else f"knows it in version {c['known']} only")
        for c in conflicts
    ]
    wanted: dict[str, int] = {}
    for old in conflicts:
        wanted[str(old["state"])] = max(wanted.get(str(old["state"]), 0), int(str(old["version"])))
    raise IncompatibleState(
        "; ".join(texts),
        where=new.patch,
        advice="declare "
        + ", ".join(f"State({id}, {version})" for id, version in wanted.items())
        + " or newer in the patch and let its callbacks handle it, or unload "
        + ", ".join(dict.fromkeys(repr(c["patch"]) for c in reversed(conflicts)))
        + " first",
        details={"conflicts": conflicts},
    )

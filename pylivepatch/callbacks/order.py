"""What a patch's callbacks are, and which are run in what order: data, nothing that acts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pylivepatch.state import PatchStates, State, get_prev_state, get_state

Name = Literal["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"]
Action = Literal["load", "unload", "replace"]


@dataclass(frozen=True, slots=True)
class Context:
    """What a callback is given.

    ``patch`` is its own patch; ``action`` is what is under way, of the patch ``actor``: for the callbacks of a replaced
    patch, ``"replace"`` and the name of the new one. ``reversing`` says that the transition was given up.
    """

    patch: str
    callback: Name
    action: Action
    actor: str
    reversing: bool = False
    applied: tuple[PatchStates, ...] = ()

    def get_state(self, id: Hashable, patch: str | None = None) -> State | None:
        """The state as this patch declares it, or the patch named ``patch``; ``None`` where it does not."""
        return get_state(self.applied, self.patch if patch is None else patch, id)

    def get_prev_state(self, id: Hashable) -> State | None:
        """The state as the newest patch below this one declares it, or ``None``."""
        return get_prev_state(self.applied, self.patch, id)


Function = Callable[[Context], Any]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The callbacks of a patch: functions of one argument, a :class:`Context`. None has to be given."""

    pre_patch: Function | None = None
    post_patch: Function | None = None
    pre_unpatch: Function | None = None
    post_unpatch: Function | None = None

    def __post_init__(self) -> None:
        for name in ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch"):
            callback = getattr(self, name)
            if callback is None:
                continue
            if not callable(callback):
                raise TypeError(f"{name} is to be a function or None, not {callback!r}")
            if inspect.iscoroutinefunction(callback):
                raise TypeError(f"{name} is to be an ordinary function: nobody would await what {callback!r} returns")


Step = tuple[str, Name]  # patch, callback


@dataclass(frozen=True, slots=True)
class Plan:
    """The callbacks of one action: ``before`` the switch, ``after`` it, and ``reversed`` if it does not come about.

    Where the first of ``before`` refuses, nothing else is run.
    """

    before: tuple[Step, ...]
    after: tuple[Step, ...]
    reversed: tuple[Step, ...]


def plan(action: Action, patch: str, replaced: Iterable[str] = ()) -> Plan:
    """The callbacks of an action, in order. ``replaced`` are the names that ``patch`` replaces, oldest first."""
    if action == "load":
        return Plan(((patch, "pre_patch"),), ((patch, "post_patch"),), ((patch, "post_unpatch"),))
    if action == "unload":
        return Plan(((patch, "pre_unpatch"),), ((patch, "post_unpatch"),), ((patch, "post_patch"),))
    oldest_first = tuple(replaced)
    newest_first = oldest_first[::-1]
    return Plan(
        before=((patch, "pre_patch"), *((old, "pre_unpatch") for old in newest_first)),
        after=(*((old, "post_unpatch") for old in newest_first), (patch, "post_patch")),
        reversed=(*((old, "post_patch") for old in oldest_first), (patch, "post_unpatch")),
    )

"""Loading and unloading group by group (``incremental=True``): each switches by itself, as soon as it is safe.

The talk's last open problem: "a big patch may fail as some of its functions are always in use". The groups of a patch
(``groups.py``) do not reach each other, so each may have a transition of its own, with its own counter and gate, and
keeps both rules within itself. They are tried in turn, in slices of time that grow, as one that is busy for ever must
not keep the others waiting.

::

    waiting ──▶ switched ──▶ (the time is up, an error, an interrupt) ──▶ switched back
                                                                     └──▶ stays: the patch is *partial*

When the time is up and some have not switched, those that have are switched back by the same protocol, within the same
time again. One that cannot be stays: then the patch is on the stack as partial. That third outcome is the price.
Loading it again goes on with what is missing; unloading takes out what is there. What is in force is recorded with each
group's own transition, so the stack tells the truth at any moment, whatever cuts the work off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from pylivepatch import events
from pylivepatch.coming import take_in
from pylivepatch.errors import (
    CodeMismatch,
    LivePatchError,
    PartlySwitched,
    TransitionRestart,
    TransitionReversed,
    TransitionTimeout,
)
from pylivepatch.journal import Undertaking, let_go
from pylivepatch.portions import portions
from pylivepatch.removable import check_removable
from pylivepatch.stack import Entry, Portion
from pylivepatch.switching import run, to_load, to_unload
from pylivepatch.transition.base import Transition
from pylivepatch.way import Way

_FIRST_SLICE, _LONGEST_SLICE = 0.05, 2.0  # seconds that one group is tried before the next has its turn


class Turns:
    """What is under way, to those who ask: the transition of the group whose turn it is, and how far it is in all.

    ``reverse`` and ``force`` are for all groups, so they are kept for those whose turn is still to come.
    """

    def __init__(self, entry: Entry, action: str) -> None:
        self.entry = entry
        self.action = action
        self._before = [one for one in entry._portions if one not in entry._missing]  # those in force
        self.started = time.time()
        self.began = time.monotonic()
        self.request = ""
        self.portion: Portion | None = None  # whose turn it is
        self.reports: list[dict[str, Any]] = []  # of each try
        self.switched: list[dict[str, Any]] = []  # of each group that has
        self._transition: Transition | None = None

    def pending(self) -> list[Portion]:
        """The groups that are still to be switched."""
        missing, loading = set(map(id, self.entry._missing)), self.action == "load"
        return [one for one in self.entry._portions if (id(one) in missing) is loading]

    def done(self) -> list[Portion]:
        """The groups that have switched, as the record has it: an interrupt may strike right after a switch."""
        missing, before = set(map(id, self.entry._missing)), set(map(id, self._before))
        if self.action == "load":
            return [one for one in self.entry._portions if id(one) not in missing and id(one) not in before]
        return [one for one in self._before if id(one) in missing]

    def calls(self) -> dict[str, dict[str, int]]:
        """For a report or an error: the calls through the trampolines of all tries, where they were counted."""
        counted = _every(self.reports, "calls")
        sums = {key: sum(one[key] for one in counted) for key in ("entered", "redirected")}
        return {"calls": sums} if counted else {}

    @property
    def transition(self) -> Transition | None:
        return self._transition

    @transition.setter
    def transition(self, transition: Transition | None) -> None:
        if self._transition is not None:
            self.reports.append(self._transition.report)
        self._transition = transition  # before the request is read: pairs with ask(), which does it the other way round
        if transition is not None and self.request:
            transition.ask(self.request)

    @property
    def resting(self) -> bool:
        transition = self._transition
        return transition is not None and transition.resting

    def ask(self, request: str) -> None:
        if request != "restart":  # that is for the one transition; the loader looks by itself
            self.request = request
        transition = self._transition
        if transition is not None:
            transition.ask(request)

    def status(self) -> dict[str, Any]:
        transition = self._transition
        if transition is not None:
            found = transition.status()
        else:
            names = [name for portion in self.pending() for name in portion.as_dict()["functions"]]
            found = {"stage": "prepare", "counter": 1, "functions": names, "holders": [], "at_gate": []}
        found |= {"patch": self.entry.name, "action": self.action, "since": self.started}
        return found | {"groups": [{**one} for one in self.entry.groups]}

    def wake(self) -> list[str]:
        transition = self._transition
        return transition.wake() if transition is not None else []

    def settle_after_fork(self) -> None:
        if self._transition is not None:
            self._transition.settle_after_fork()


def load(undertaking: Undertaking, entry: Entry, way: Way) -> dict[str, Any]:
    """Switch the groups of a patch whose parts are prepared. Returns the report.

    Raises what a plain load raises, when all is as it was; :class:`PartlySwitched` where it is not.
    """
    found = portions(entry, entry._parts)
    entry._whole, entry._portions, entry._missing, entry._parts = entry._parts, found, list(found), []
    return _all_or_back(undertaking, entry, "load", way)


def go_on(undertaking: Undertaking, entry: Entry, way: Way) -> dict[str, Any]:
    """Switch the groups that an earlier load has left out. A failure leaves what that one has left."""
    return _all_or_back(undertaking, entry, "load", way)


def unload(undertaking: Undertaking, entry: Entry, way: Way) -> dict[str, Any]:
    """Take out the groups that are in force. Raises as :func:`load`."""
    if not entry._portions:
        found = portions(entry, entry._parts)
        entry._whole = entry._parts
        entry._parts = [part for portion in found for part in portion.parts]
        entry._portions = found  # last: cut off before this, the pieces are divided once more
    return _all_or_back(undertaking, entry, "unload", way)


def _all_or_back(undertaking: Undertaking, entry: Entry, action: str, way: Way) -> dict[str, Any]:
    turns = Turns(entry, action)
    undertaking.ending.append(partial(_leave, undertaking, entry))
    entry._in_turns = True
    undertaking.transition = turns
    events.publish("groups", entry.name, action=action, groups=[str(portion) for portion in turns.pending()])
    try:
        _in_turn(undertaking, turns, way, turns.pending, forward=action == "load")
    except BaseException as error:
        let_go(error)  # its frames would hold old code, and so the way back
        back = bool(turns.pending() and turns.done())
        if back:
            try:
                _take_back(undertaking, turns, way)
            except BaseException as interrupt:
                let_go(interrupt)
                _tell_partial(turns, interrupt)
                raise
        if isinstance(error, LivePatchError):
            error.details |= turns.calls()
        if back:
            _tell_partial(turns, error)
        raise
    return _report(turns)


def _leave(undertaking: Undertaking, entry: Entry) -> None:
    undertaking.transition = None
    entry._in_turns = entry._restart = False


def _in_turn(
    undertaking: Undertaking, turns: Turns, way: Way, pending: Callable[[], list[Portion]], *, forward: bool
) -> None:
    """Try those that are pending, again and again, until none is. Raises :class:`TransitionTimeout`."""
    deadline = time.monotonic() + way.timeout
    length = _FIRST_SLICE
    held: dict[Portion, tuple[Any, ...]] = {}
    while turns.entry._restart or pending():
        if turns.entry._restart:
            take_in(undertaking, turns.entry, turns)
        queue = pending()
        for portion in queue:
            if turns.request == "reverse":
                raise TransitionReversed(
                    f"the {turns.action} of {turns.entry.name!r} was reversed on request",
                    where=turns.entry.name,
                    advice="the groups that had switched were switched back; try again later",
                )
            left = max(0.0, deadline - time.monotonic())
            slice_ = replace(way, timeout=min(left, length) if queue[1:] else left)  # the last one has all that is left
            try:
                _switch(undertaking, turns, portion, slice_, forward)
            except TransitionRestart as error:
                let_go(error)
                break
            except TransitionTimeout as error:
                let_go(error)
                held[portion] = error.holders
            else:
                held.pop(portion, None)
        if held and time.monotonic() >= deadline and not turns.entry._restart:
            raise _timeout(turns, held)
        length = min(length * 2, _LONGEST_SLICE)


def _switch(undertaking: Undertaking, turns: Turns, portion: Portion, way: Way, forward: bool) -> None:
    """One try of one group."""
    turns.portion = portion
    if forward:
        _check_old(portion)
    else:
        check_removable(turns.entry.name, portion.parts, ())
    change = (to_load if forward else to_unload)(portion.parts)
    change.portion = portion
    run(undertaking, turns.entry, change, way, turns)
    if forward is (turns.action == "load"):
        seconds = time.monotonic() - turns.began
        turns.switched.append({**portion.as_dict(), "after": seconds})
    events.publish("group", turns.entry.name, action=change.action, group=str(portion))


def _check_old(portion: Portion) -> None:
    """The functions must still run the old code: a patch that is partial may have waited for long."""
    for switch in (s for part in portion.parts for s in part.switches):
        for function in switch.live():
            if function.__code__ is not switch.old.code:
                raise CodeMismatch(
                    f"{switch.name} was given other code since the patch was prepared",
                    where=f"{switch.name} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})",
                    advice="take the other change out first (a later patch, or another tool's), then go on",
                )


def _take_back(undertaking: Undertaking, turns: Turns, way: Way) -> None:
    """Switch those back that have switched, as far as they can be."""
    entry, loading = turns.entry, turns.action == "load"
    turns.request = ""
    given_up: list[Portion | None] = []

    def pending() -> list[Portion]:
        return [one for one in turns.done() if one not in given_up]

    while pending() and not entry.forced:
        try:
            _in_turn(undertaking, turns, way, pending, forward=not loading)
        except (TransitionTimeout, TransitionReversed) as error:  # reversed: somebody wants the way back to end
            let_go(error)
            break
        except LivePatchError as error:
            let_go(error)
            events.log.error("%s: %s cannot be switched back: %s", entry.name, turns.portion, error)
            given_up.append(turns.portion)


# --- what is said of it -------------------------------------------------------------------------------------


def _timeout(turns: Turns, held: dict[Portion, tuple[Any, ...]]) -> TransitionTimeout:
    found = list(chain.from_iterable(held.values()))
    who = "".join(f"\n    {holder}" for holder in found) or "\n    nobody was seen: it was in use each time"
    return TransitionTimeout(
        f"the {turns.action} of {turns.entry.name!r} did not finish in time: {len(held)} of "
        f"{len(turns.entry._portions)} groups did not switch, and what had was switched back; held by{who}",
        where="; ".join(map(str, held)),
        advice="try again when these are done, or with a longer timeout",
        holders=found,
        details={"holders": [holder.as_dict() for holder in found], "groups": [one.as_dict() for one in held]},
    )


def _tell_partial(turns: Turns, error: BaseException) -> None:
    """Where some groups stay switched, raise :class:`PartlySwitched` for an error of ours, and add a note to others."""
    entry = turns.entry
    if not turns.done():
        return
    new = [str(one) for one in entry._portions if one not in entry._missing]
    old = [str(one) for one in entry._missing]
    said = (
        f"the {turns.action} of {entry.name!r} was neither completed nor taken back: it is applied in part. In the new "
        f"version: {'; '.join(new)}. In the old: {'; '.join(old)}."
    )
    advice = (
        "each of these groups is whole; load the patch again with incremental=True to go on with what is missing, or "
        "unload it to take out what is there"
    )
    if not isinstance(error, LivePatchError):
        error.add_note(f"pylivepatch: {said} {advice[0].upper()}{advice[1:]}.")
        return
    holders = getattr(error, "holders", ())
    raise PartlySwitched(
        f"{said} The reason: {error.message}",
        where=entry.name,
        advice=advice,
        details={
            "groups": list(entry.groups),
            "holders": [holder.as_dict() for holder in holders],
            "reason": error.as_dict(),
            **turns.calls(),
        },
    ) from None


def _report(turns: Turns) -> dict[str, Any]:
    """One report of the transitions of all groups."""
    tries = turns.reports

    def joined(key: str) -> list[Any]:
        return list(chain.from_iterable(one.get(key) or () for one in tries))

    stages: dict[str, float] = {}
    for name, seconds in chain.from_iterable(one.get("stages", {}).items() for one in tries):
        stages[name] = stages.get(name, 0.0) + seconds
    gates = [one["gate"] for one in tries if "gate" in one]
    report = {
        "patch": turns.entry.name,
        "action": turns.action,
        "functions": [name for one in turns.switched for name in one["functions"]],
        "attributes": [name for one in turns.switched for name in one["attributes"]],
        "duration": time.monotonic() - turns.began,
        "stages": stages,
        "longest_hold": max(_every(tries, "longest_hold"), default=0.0),
        "forced": any(_every(tries, "forced")),
        "overwritten": joined("overwritten"),
        "allowed": joined("allowed"),
        "committed_by": ", ".join(dict.fromkeys(filter(None, _every(tries, "committed_by")))),
        "tries": len(tries),
        "groups": turns.switched,
    }
    if gates:
        longest = max(one["longest_wait"] for one in gates)
        sums = {key: sum(one[key] for one in gates) for key in ("tries", "waits")}
        report["gate"] = {**sums, "longest_wait": longest}
    report |= turns.calls()
    if any("deep_search" in one for one in tries):
        report["deep_search"] = max(_every(tries, "deep_search"))
    return report


def _every(tries: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return [one[key] for one in tries if key in one]

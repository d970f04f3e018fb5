"""What a report shows, made of the log: a JSON-able object whose times are seconds since the log begins.

A lane is what was seen of one thread, greenlet or task, by kind and name; those of one name share one. Each look says
of it one of

* ``old``: named among the holders, or it is in one of the patch's functions, which has not been switched yet
* ``new``: it is in one of the patch's functions, which has been switched
* ``unclear``: the switch fell into the look, or old calls were allowed to go on after it
* ``gate``: it waits at the gate, and so has entered none of them, also where its frame is named among the holders
* ``outside``: it is in none of the patch's functions

and holds until the next look, at most for some intervals, and ``old`` no longer than until the switch: what was not
seen is not drawn.
"""

from __future__ import annotations

import datetime
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

STAGES = ("prepare", "enable", "drain", "release", "gate", "move", "move back", "stop", "commit", "reverse")
_GATE = "pylivepatch.transition.gate:"
_STATES = ("outside", "gate", "new", "unclear", "old")  # the strongest last, where several share a lane
_LASTS = 5  # intervals between two looks that one look is drawn for, at most
_REVERSED = 1 << 60  # no count: the engine's sign that a transition is reversed

Event = Mapping[str, Any]
Lane = tuple[str, str]


@dataclass
class _Try:
    """One way from prepare to commit or reverse: a load may take several, of several groups of functions."""

    functions: frozenset[str]
    switched: float | None = None
    mixed: bool = False  # old calls went on after the switch
    back: bool = False  # it takes back what an earlier one has switched


@dataclass
class _Log:
    events: Sequence[Event]
    tries: list[_Try] = field(default_factory=list)

    def __post_init__(self) -> None:
        for event in self.events:
            if event["event"] == "prepare":
                back = event.get("action", self.events[0].get("action")) != self.events[0].get("action")
                self.tries.append(_Try(frozenset(event.get("functions") or ()), back=back))
            elif self.tries and event["event"] == "commit":
                self.tries[-1].switched = event["time"]
            elif self.tries and event["event"] in ("forced", "allowed") and event.get("holders"):
                self.tries[-1].mixed = True

    def of(self, *kinds: str) -> Iterator[Event]:
        return (event for event in self.events if event["event"] in kinds)


def picture(events: Sequence[Event]) -> dict[str, Any]:
    """What is shown of the events of :func:`pylivepatch.report.log.read`."""
    log = _Log(events)
    begun, ended = events[0], next(log.of("ended"), {})
    start = float(begun["time"])
    end = max(float(event.get("until", event["time"])) for event in events)
    shown = {
        **{name: begun.get(name) for name in ("action", "patch", "pid", "python", "argv", "diffs")},
        "began": datetime.datetime.fromtimestamp(start).astimezone().isoformat(" ", "milliseconds"),
        "length": end - start,
        "functions": sorted(frozenset[str]().union(*(one.functions for one in log.tries))),
        "stages": list(_stages(log, end)),
        "commits": [[event["time"], event.get("action", begun.get("action"))] for event in log.of("commit")],
        "curve": list(_curve(log)),
        "marks": [[e["time"], e["event"]] for e in log.of("waiting", "forced", "allowed", "signal", "group", "taint")],
        "holders": list(_holders(log)),
        "lanes": _lanes(log),
        "sampling": _sampling(log),
        "delay": _delay(log),
        "result": ended.get("result"),
        "error": ended.get("error"),
    }
    return _since(shown, start)


def _since(shown: dict[str, Any], start: float) -> dict[str, Any]:
    """With all times counted from ``start``, in microseconds' precision."""

    def since(at: float) -> float:
        return round(at - start, 6)

    return shown | {
        "length": round(shown["length"], 6),
        "stages": [[name, since(a), since(b)] for name, a, b in shown["stages"]],
        "commits": [[since(at), action] for at, action in shown["commits"]],
        "curve": [[since(at), counter] for at, counter in shown["curve"]],
        "marks": [[since(at), kind] for at, kind in shown["marks"]],
        "holders": [{**one, "from": since(one["from"]), "to": since(one["to"])} for one in shown["holders"]],
        "lanes": [
            {**lane, "spans": [[since(a), since(b), state, place] for a, b, state, place in lane["spans"]]}
            for lane in shown["lanes"]
        ],
    }


def _stages(log: _Log, end: float) -> Iterator[tuple[str, float, float]]:
    """Each stage, and when it began and ended. A commit and a reversal are instants: they end a stage."""
    found = list(log.of(*STAGES, "ended"))
    for event, following in pairwise([*found, {"event": "", "time": end}]):
        if event["event"] not in ("commit", "reverse", "ended"):
            yield event["event"], event["time"], following["time"]


def _curve(log: _Log) -> Iterator[tuple[float, int]]:
    """The counter, where it was told: by an event, or by a look."""
    for event in log.events:
        told = (event.get("transition") or {}) if event["event"] == "sample" else event
        counter = told.get("counter")
        if isinstance(counter, int) and counter < _REVERSED:
            yield event["time"], counter


def _named(event: Event) -> list[Event]:
    """The holders that an event or a look names."""
    of = (event.get("transition") or {}) if event["event"] == "sample" else event
    return list(of.get("holders") or ())


def _holders(log: _Log) -> Iterator[dict[str, Any]]:
    """Who held it, where, and from when to when this was seen."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for event in log.of("sample", "holders"):
        for holder in _named(event):
            key = tuple(str(holder.get(name)) for name in ("kind", "name", "function", "file", "line"))
            one = found.setdefault(key, {**holder, "from": float(holder.get("since") or event["time"])})
            one["to"] = max(one["from"], event["time"])  # a look is some time under way before it comes to a holder
    for one in found.values():
        one.pop("since", None)
        yield one


def _sampling(log: _Log) -> dict[str, Any]:
    times = [event["time"] for event in log.of("sample")]
    gaps = [after - before for before, after in pairwise(times)]
    greenlets = [event["greenlets"] for event in log.of("sample") if event.get("greenlets")]
    return {
        "count": len(times),
        "unseen": len(list(log.of("unseen"))),
        "interval": log.events[0].get("interval"),
        "median": statistics.median(gaps) if gaps else None,
        "longest": max(gaps, default=None),
        "heap_looks": max((about["held"] for about in greenlets), default=0.0),
    }


def _delay(log: _Log) -> dict[str, Any]:
    """What the ticker saw ``before`` the transition, and ``during`` it; ``None`` where there was none.

    Where somebody else watched already it tells the worst since then, which may be of an earlier transition: that is
    nothing to compare with, and not shown.
    """
    ended = next(log.of("ended"), {})
    begins = min((event["time"] for event in log.of("prepare", "ended")), default=float("inf"))
    seen = [event["ticker"] for event in log.of("sample") if event.get("ticker") and event["until"] < begins]
    before = None
    if seen and seen[-1]["at"] >= log.events[0]["time"]:
        earlier = seen[0]["ticks"] if seen[0]["since"] < log.events[0]["time"] else 0
        before = {**seen[-1], "ticks": seen[-1]["ticks"] - earlier}
    outcome = ended.get("result") or (ended.get("error") or {}).get("details") or {}
    return {"before": before, "during": outcome.get("ticker")}


def _lanes(log: _Log) -> list[dict[str, Any]]:
    """Those who held it first, then those who were seen in new functions, then the others; each by kind and name, with
    Task-2 before Task-10.
    """
    samples = list(log.of("sample"))
    lasts = _LASTS * float(log.events[0].get("interval") or 0)
    ends = [min(after["time"], sample["until"] + lasts) for sample, after in pairwise(samples)]
    ends += [sample["until"] for sample in samples[-1:]]
    spans: dict[Lane, list[tuple[float, float, str, str]]] = {}
    for sample, end in zip(samples, ends, strict=True):
        for lane, (state, place, until) in _look(log, sample, end).items():
            so_far = spans.setdefault(lane, [])
            if so_far and so_far[-1][1:] == (sample["time"], state, place):
                so_far[-1] = (so_far[-1][0], until, state, place)
            else:
                so_far.append((sample["time"], until, state, place))
    lanes = [{"kind": kind, "name": name, "spans": of} for (kind, name), of in spans.items()]
    return sorted(lanes, key=lambda lane: (_rank(lane), lane["kind"], natural(lane["name"])))


def natural(name: str) -> list[tuple[int, str]]:
    """A key by which numbers in names are in order."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _rank(lane: Mapping[str, Any]) -> int:
    return -max(_STATES.index(state) for _, _, state, _ in lane["spans"])


def _look(log: _Log, sample: Event, end: float) -> dict[Lane, tuple[str, str, float]]:
    """Of each lane that the look shows: its state, the place, and how long at most this is known."""
    found: dict[Lane, tuple[str, str, float]] = {}
    moved = {
        (one["kind"], one["name"])
        for one in (sample.get("transition") or {}).get("patch_state") or ()
        if one["patch_state"]
    }
    names = {(task["kind"], task["name"]) for task in sample["tasks"]}
    for task in sample["tasks"]:
        lane = (task["kind"], task["name"])
        state, until, through = _standing(log, task, sample, end)
        if state == "old" and lane in moved:  # mode per-task: each switches by itself
            state, until = "new", end
        _see(found, lane, state, f"{task['function']}:{task['line']}{through}", until)
    for kept in (sample.get("transition") or {}).get("at_gate") or ():
        _see(found, _lane(kept, names), "gate", f"{kept['function']}:{kept['line']}", end)
    for holder in _named(sample):
        lane = _lane(holder, names)
        if lane in found and found[lane][0] == "gate":  # its frame is there, but nobody inside is ever kept waiting
            continue
        concerned = [one for one in log.tries if holder["function"] in one.functions] or log.tries
        switches = (t for one in concerned if (t := one.switched) is not None and t >= sample["time"])
        _see(found, lane, "old", f"{holder['function']}:{holder['line']}", min([end, *switches]))
    return found


def _lane(holder: Event, names: set[Lane]) -> Lane:
    if ("task", holder["name"]) in names:  # a generator that a task is in is named by the task
        return "task", holder["name"]
    if holder["kind"] == "reference":  # its name is how many they are, which changes
        return "reference", f"to {holder['function']}"
    return holder["kind"], holder["name"]


def _see(found: dict[Lane, tuple[str, str, float]], lane: Lane, state: str, place: str, until: float) -> None:
    if lane not in found or _STATES.index(state) > _STATES.index(found[lane][0]):
        found[lane] = state, place, until


def _standing(log: _Log, task: Event, sample: Event, end: float) -> tuple[str, float, str]:
    """The state of one who is there, until when at most it is that, and by which of the patch's functions it is."""
    inside = [task["function"], *task.get("callers", ())]
    if any(function.startswith(_GATE) for function in inside):
        return "gate", end, ""
    for function in inside:
        if concerned := [one for one in log.tries if function in one.functions]:
            through = "" if function == task["function"] else f", called from {function}"
            return *_version(concerned, sample, end), through
    return "outside", end, ""


def _version(concerned: Sequence[_Try], sample: Event, end: float) -> tuple[str, float]:
    """Which version one executes who is in a function that these switch, and until when at most."""
    switches = [(one.switched, one) for one in concerned if one.switched is not None]
    until = min([end, *(at for at, _ in switches if at > sample["until"])])
    before = [(at, one) for at, one in switches if at <= sample["until"]]
    if not before:
        return "old", until
    at, last = before[-1]
    if at > sample["time"] or any(one.mixed for _, one in before):
        return "unclear", until
    return "old" if last.back else "new", until

"""The commands that talk to a process: load, unload, list, status."""

from __future__ import annotations

import contextlib
import datetime
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from pylivepatch.agent.client import Client, OnEvent, agents
from pylivepatch.cli.output import Output, gate_waits, holders, seconds
from pylivepatch.cli.progress import Progress
from pylivepatch.errors import LivePatchError
from pylivepatch.way import Way

if TYPE_CHECKING:
    from pylivepatch.report import Recorder

INTERRUPTED = 130
_REVERSED = ("PLP120", "PLP125")
_PARTIAL = "PLP128"
_ENDS_WITHIN = 10.0  # seconds that an asked transition is given to end


def target(pid: int | None, socket: str | None) -> Client:
    """The agent that the options name. Raises ``click.UsageError`` unless exactly one of them is given."""
    if (pid is None) == (socket is None):
        raise click.UsageError("name the process with --pid PID, or its agent with --socket PATH")
    return Client(pid, path=socket)


def load(
    out: Output,
    client: Client,
    file: str,
    *,
    timeout: float,
    replace: bool,
    report: str | None,
    events: str | None,
    greenlets: bool,
    **options: Any,
) -> None:
    """Load a patch file, show its stages, say how it went.

    ``report`` and ``events`` are files for a record of it, which shows also ``greenlets`` that are switched out.
    """
    from pylivepatch.cli.record import recording

    options = _recorded(report, events, greenlets, options)
    Way(timeout, **options)
    more = _known_to_all(options) | ({"replace": True} if replace else {})

    def work(on_event: OnEvent) -> dict[str, Any]:
        return client.load(file, timeout=timeout, on_event=on_event, **more)

    record = recording(out, client, "load", file, report=report, events=events, greenlets=greenlets)
    _switch(out, client, "load", file, _bound(timeout, options), work, record)


def unload(
    out: Output,
    client: Client,
    name: str,
    *,
    timeout: float,
    report: str | None,
    events: str | None,
    greenlets: bool,
    **options: Any,
) -> None:
    """Unload a patch, show the stages, say how it went. For ``report``, ``events``, ``greenlets`` see :func:`load`."""
    from pylivepatch.cli.record import recording

    options = _recorded(report, events, greenlets, options)
    Way(timeout, **options)

    def work(on_event: OnEvent) -> dict[str, Any]:
        return client.unload(name, timeout=timeout, on_event=on_event, **_known_to_all(options))

    record = recording(out, client, "unload", name, report=report, events=events, greenlets=greenlets)
    _switch(out, client, "unload", name, _bound(timeout, options), work, record)


def _recorded(report: str | None, events: str | None, greenlets: bool, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a transition, with what only a record of it needs."""
    if report is None and events is None:
        if greenlets:
            raise click.UsageError("--greenlets is for --report and --events")
        return options
    return options | {"count_calls": True}


def _bound(timeout: float, options: Mapping[str, Any]) -> str:
    """Within what time it ends, in words."""
    if options.get("incremental"):
        return f"{2 * timeout:g} s (or stay in part, which `pylivepatch list` shows)"
    return f"{timeout:g} s"


def _known_to_all(options: dict[str, Any]) -> dict[str, Any]:
    """Without what an older agent does not know, where it is not asked for."""
    return {name: value for name, value in options.items() if name not in ("incremental", "count_calls") or value}


def _switch(
    out: Output,
    client: Client,
    action: str,
    what: str,
    bound: str,
    work: Callable[[OnEvent], dict[str, Any]],
    record: AbstractContextManager[Recorder | None],
) -> None:
    progress = Progress(out)
    try:
        with record as recorder, progress:
            if recorder is None:
                report = work(progress.on_event)
            else:
                report = work(_both(recorder.note, progress.on_event))
                recorder.ended(report)
    except KeyboardInterrupt:
        _interrupted(out, client, action, what, bound)
        raise click.exceptions.Exit(INTERRUPTED) from None
    out.object({"pid": client.pid or client.info().get("pid"), **report})
    tell_report(out, report)


def _both(one: OnEvent, other: OnEvent) -> OnEvent:
    def on_event(event: Mapping[str, Any]) -> None:
        one(event)
        other(event)

    return on_event


def _interrupted(out: Output, client: Client, action: str, what: str, bound: str) -> None:
    """The wait was given up. The process goes on by itself: say with what."""
    option = f"--pid {client.pid}" if client.pid is not None else f"--socket {shlex.quote(client.path)}"
    try:
        state = client.status()
    except LivePatchError as error:
        out.interrupted(f"Interrupted. What the process is at cannot be told: {error.message}")
        return
    if work := state.get("work"):
        stage = (state.get("transition") or {}).get("stage", "prepare")
        message = (
            f"Interrupted, but the {work['action']} of {work['patch'] or what} goes on in the process (stage "
            f"{stage}): it will be complete, or taken back, within {bound}. "
            f"`pylivepatch status {option}` tells which."
        )
    elif (last := state.get("last")) and last.get("action") == action and "result" in last:
        message = f"Interrupted, after the {action} of {last['patch']} was complete."
    else:
        message = (
            f"Interrupted. No transition is under way; `pylivepatch list {option}` shows what is applied."
        )
    out.interrupted(message, **state)


def tell_report(out: Output, report: Mapping[str, Any]) -> None:
    """What switched, how long it took, how long anyone stood."""
    verb = "Loaded" if report.get("action") == "load" else "Unloaded"
    stages = report.get("stages") or {}
    out.say(f"{verb} {report.get('patch')} in {seconds(float(report.get('duration') or 0))}")
    switched = [["function", name] for name in report.get("functions") or []]
    switched += [["attribute", name] for name in report.get("attributes") or []]
    switched += [["waiting for import", name] for name in report.get("waiting") or []]
    out.table("", ["switched", ""], switched)
    out.table("", ["stage", "took"], [[name, seconds(float(took))] for name, took in stages.items()])
    if groups := report.get("groups"):
        rows = [["\n".join([*one["functions"], *one["attributes"]]), seconds(one["after"])] for one in groups]
        out.table("", ["group", "switched after"], rows)
    for dist in report.get("distributions") or []:
        out.say(
            f"{dist['name']} {dist['installed']} is installed by now; the process runs {dist['built_for']}, which the "
            "patch is for"
        )
    for wrapped in report.get("wrapped") or []:
        out.say(f"Another tool's wrapper stays: {wrapped}")
    if replaced := report.get("replaced"):
        out.say(f"In the place of {', '.join(replaced)}")
    if (hold := report.get("longest_hold")) is not None:
        out.say(f"Longest moment that anyone stood: {seconds(float(hold))}")
    if (ticker := report.get("ticker")) and ticker["ticks"]:
        each, worst = seconds(ticker["interval"]), seconds(ticker["worst"])
        out.say(f"Worst delay of a thread that asks to run each {each}: {worst}")
    if calls := report.get("calls"):
        out.say(f"Calls through trampolines: {calls['entered']:,}, to the new functions {calls['redirected']:,}")
    if stood := report.get("stood"):
        out.say(f"The machine stood for {', then '.join(map(seconds, stood))}")
    if report.get("forced"):
        out.say("Forced: old functions may still be executing. The process is tainted from now on.")
    if allowed := report.get("allowed"):
        out.say("Suspended in old code, and let finish on it (the process is tainted):")
        out.console.print(holders(allowed))
    gate = report.get("gate") or {}
    if gate.get("waits"):
        waits, longest = int(gate["waits"]), seconds(float(gate.get("longest_wait") or 0))
        out.say(f"Callers that waited at the gate: {waits}, the longest for {longest}")
    if (deep := report.get("deep_search")) is not None:
        out.say(f"The search of the heap held every thread for {seconds(float(deep))}")


def list_patches(out: Output, client: Client) -> None:
    """The stack of one process, oldest first."""
    patches = client.patches()
    out.object({"pid": client.pid or client.info().get("pid"), "patches": patches})
    if not patches:
        out.say("no patch is applied")
        return
    out.table("", ["patch", "since", "changes", "description"], [_patch_row(patch) for patch in patches])


def _patch_row(patch: Mapping[str, Any]) -> list[str]:
    since = datetime.datetime.fromtimestamp(float(patch.get("applied_at") or 0)).strftime("%Y-%m-%d %H:%M:%S")
    changes = [*(patch.get("functions") or []), *(patch.get("attributes") or [])]
    changes += [f"{name} (waits for its import)" for name in patch.get("waiting") or []]
    changes += [f"{name} (failed: {why})" for name, why in (patch.get("failed") or {}).items()]
    gone = patch.get("overridden") or []
    changes = [f"{name} (NOT IN FORCE: something replaced it since)" if name in gone else name for name in changes]
    for group in patch.get("groups") or []:
        if not group.get("in_force"):
            changes += [f"{name} (NOT SWITCHED)" for name in [*group["functions"], *group["attributes"]]]
    marks = [mark for mark in ("partial", "forced", "tainted") if patch.get(mark)]
    return ["\n".join([str(patch.get("name")), *marks]), since, "\n".join(changes), str(patch.get("description") or "")]


def list_agents(out: Output) -> None:
    """Every process of this user that has an agent; one that does not answer is named, with the reason."""
    found: list[dict[str, Any]] = []
    for client in agents():
        entry: dict[str, Any] = {"socket": client.path}
        try:
            entry |= client.info()
            entry["patches"] = [patch.get("name") for patch in client.patches()]
        except LivePatchError as error:
            entry["error"] = error.as_dict()
        found.append(entry)
    out.object({"agents": found})
    if not found:
        out.say("no process of this user has an agent")
        return
    rows = []
    for entry in found:
        if "error" in entry:
            rows.append(["?", "", f"{entry['socket']}: {entry['error']['message']}", ""])
        else:
            command = shlex.join(entry.get("argv") or [])
            rows.append([str(entry["pid"]), str(entry["python"]), command, ", ".join(entry["patches"])])
    out.table("", ["pid", "python", "command", "patches"], rows)


def status(out: Output, client: Client) -> None:
    """The transition under way, or how the last one ended."""
    state = client.status()
    out.object({"pid": client.pid or client.info().get("pid"), **state})
    transition, last = state.get("transition"), state.get("last")
    if transition:
        rows = [[key, str(transition.get(key))] for key in ("patch", "action", "stage", "counter")]
        if transition.get("since"):
            with contextlib.suppress(TypeError, ValueError):
                at = datetime.datetime.fromtimestamp(float(transition["since"]))
                rows.append(["since", at.strftime("%Y-%m-%d %H:%M:%S")])
        rows.append(["functions", "\n".join(transition.get("functions") or [])])
        out.table("", ["transition", ""], rows)
        for line in gate_waits(transition.get("gate")):
            out.say(line)
        if transition.get("holders"):
            out.console.print(holders(transition["holders"]))
        if transition.get("at_gate"):
            out.console.print(holders(transition["at_gate"], "waits at the gate"))
        if transition.get("groups"):
            done = [group for group in transition["groups"] if group.get("in_force")]
            out.say(f"group by group: {len(done)} of {len(transition['groups'])} are in the new version")
    elif work := state.get("work"):
        of = f" of {work['patch']}" if work["patch"] else ""
        out.say("describing what it runs" if work["action"] == "portrait" else f"preparing: {work['action']}{of}")
    else:
        out.say("no transition is under way")
    if last:
        out.say(f"last: {last['action']} of {last['patch'] or 'a patch'}: {_how_it_ended(last)}")
    for name in state.get("partial") or [] if not transition else []:
        out.say(f"partial: {name} is applied in part; load it again with --incremental to go on, or unload it")
    for taint in state.get("taints") or []:
        when = datetime.datetime.fromtimestamp(float(taint["time"])).strftime("%Y-%m-%d %H:%M:%S")
        out.say(f"tainted: {taint['reason']}, {taint['action']} of {taint['patch']}, {when}")


def _how_it_ended(last: Mapping[str, Any]) -> str:
    if "result" in last:
        return "complete"
    code, message = last["error"].get("code"), last["error"].get("message")
    how = "reversed" if code in _REVERSED else "partial" if code == _PARTIAL else "refused"
    return f"{how}: {code} {message}"


def ask(out: Output, client: Client, what: str) -> None:
    """Ask the transition under way to be reversed, forced or signalled, and say what came of it."""
    if what == "signal":
        woken = client.signal()
        out.object({"pid": client.pid or client.info().get("pid"), "asked": what, "woken": woken})
        out.say(f"woken: {', '.join(woken)}" if woken else "nobody sleeps where Python can wake them")
        return
    asked = client.reverse() if what == "reverse" else client.force()
    transition = asked.get("transition") or {}
    begun = time.monotonic()
    while (state := client.status()).get("transition") and time.monotonic() - begun < _ENDS_WITHIN:
        time.sleep(0.05)
    out.object({"pid": client.pid or client.info().get("pid"), **asked, "last": state.get("last")})
    name = f"the {transition.get('action')} of {transition.get('patch')}"
    if state.get("transition"):
        out.say(f"{name} was asked to {what}, and has not ended yet: `pylivepatch status` tells when it has")
    else:
        out.say(f"{name} was asked to {what}. {_outcome(state)}")


def _outcome(state: Mapping[str, Any]) -> str:
    last = state.get("last")
    return f"It ended: {_how_it_ended(last)}" if last else "It has ended."

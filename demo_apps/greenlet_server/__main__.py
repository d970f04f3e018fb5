"""Patch a server on greenlets, plain or gevent's, with 2,000 clients, some asleep inside the functions."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import service
from hubs import Gevent, Hub, Plain
from screen import Check, Screen
from server import Conversation, Server

import pylivepatch

CLIENTS = 2_000
ASLEEP = 20  # of them, when a patch is to be loaded
PATCH = (
    pylivepatch.Patch("new-answers")
    .replace(service.answer, service.answer_anew)
    .replace(service.phrase, service.phrase_anew)
)


class Visit:
    """One server, patched and unpatched."""

    def __init__(self, hub: Hub, screen: Screen) -> None:
        self.screen = screen
        self.checks: list[Check] = []
        self.measured: dict[str, Any] = {"hub": hub.name, "clients": CLIENTS}
        self._hub = hub

    def run(self) -> None:
        self.screen.say(f"\n{self._hub.name}: {CLIENTS:,} clients, each in a greenlet")
        with Server(self._hub, CLIENTS) as server:
            asleep = server.stall(ASLEEP)
            self._who_holds(server)
            self._switch(server, asleep, "load", "old", "new")
            self._switch(server, server.stall(ASLEEP), "unload", "new", "old")
        mixed = sum(n for one in server.conversations for reply, n in one.replies.items() if len(set(reply)) > 1)
        self.measured |= {"lines": server.lines(), "mixed": mixed}
        self._check("replies of two versions", mixed == 0, f"{mixed} of {server.lines():,}")

    def _check(self, name: str, passed: bool, measured: str) -> None:
        self.checks.append(Check(f"{self._hub.name}: {name}", passed, measured))

    def _who_holds(self, server: Server) -> None:
        """A load that cannot come about, as nobody wakes the sleepers: it must name them, and change nothing."""
        before = server.lines()
        holders: list[str] = []
        kinds: Counter[str] = Counter()
        try:
            pylivepatch.load(PATCH, timeout=1.5, deep=True).unload()
        except pylivepatch.TransitionTimeout as error:
            kinds = Counter(holder.kind for holder in error.holders)
            holders = sorted({holder.name for holder in error.holders if holder.kind == "greenlet"})
            example = next((h for h in error.holders if h.name == "client-0"), None)
            where = f"client-0 in {example.function}:{example.line}" if example else ""
            self.screen.say(f"  load: reversed after 1.5 s, held by {len(holders)} greenlets,")
            self.screen.say(f"        such as {where}")
        sleepers = {f"client-{n}" for n in range(ASLEEP)}
        served = server.lines() - before
        self.measured["held_by"] = {"kinds": dict(kinds), "names": holders}
        self._check("sleepers that are named", sleepers <= set(holders), f"{len(sleepers & set(holders))} of {ASLEEP}")
        self._check("lines answered meanwhile", served > 0, f"{served:,}")

    def _switch(self, server: Server, asleep: list[Conversation], action: str, old: str, new: str) -> None:
        report: dict[str, Any] = {}
        failed: list[BaseException] = []
        work: Callable[[], dict[str, Any]]
        if action == "load":
            work = lambda: pylivepatch.load(PATCH, timeout=60).report  # noqa: E731
        else:
            work = lambda: pylivepatch.unload(PATCH.name, timeout=60)  # noqa: E731

        def carry_out() -> None:
            try:
                report.update(work())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=carry_out, name="patcher")
        thread.start()
        server.wait_until(lambda: bool(failed) or _stage() == "drain", "the drain")
        status = pylivepatch.status() or {"stage": "-", "counter": "-"}
        self.screen.say(f"  {action}: stage {status['stage']}, counter {status['counter']}; now the backend wakes them")
        still = all(one.asleep for one in asleep)
        server.wake()
        thread.join()
        if failed:
            raise failed[0]
        lines = [one.lines for one in server.conversations]
        server.wait_until(
            lambda: all(one.lines > n for one, n in zip(server.conversations, lines, strict=True)), "everyone"
        )
        went_on = sum(one.last == (new, new) for one in server.conversations)
        woken = sum(one.woken == (old, old) for one in asleep)
        gate = report.get("gate", {"tries": 0, "waits": 0, "longest_wait": 0.0})
        self.screen.say(
            f"  {action}: {report['duration'] * 1000:.0f} ms, {gate['waits']} waited at the gate, "
            f"committed by {report['committed_by']}"
        )
        self.measured[action] = {
            "committed_by": report["committed_by"],
            "longest_hold": report["longest_hold"],
            "gate": gate,
            "went_on": went_on,
        }
        held = still and woken == len(asleep)
        self._check(f"{action}: sleepers held it, and woke as {old}", held, f"{woken} of {len(asleep)}")
        self._check(f"{action}: conversations that went on as {new}", went_on == CLIENTS, f"{went_on:,} of {CLIENTS:,}")


def _stage() -> str:
    status = pylivepatch.status()
    return str(status["stage"]) if status is not None else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="greenlet_server", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()

    screen = Screen(quiet=arguments.json)
    if find_spec("greenlet") is None:
        screen.say("this demo needs greenlet: pip install greenlet (and gevent, for its second half)")
        if arguments.json:
            print(json.dumps({"demo": "greenlet_server", "verdict": "fail", "error": "greenlet is not installed"}))
        return 1
    visits = [Visit(Plain(), screen)]
    if find_spec("gevent") is not None:
        visits.append(Visit(Gevent(), screen))
    else:
        screen.say("gevent is not installed: plain greenlets only")
    try:
        for visit in visits:
            visit.run()
    except KeyboardInterrupt:
        return 130
    results = [check for visit in visits for check in visit.checks]
    screen.close(results)
    passed = all(check.passed for check in results)
    if arguments.json:
        result = {
            "demo": "greenlet_server",
            "verdict": "pass" if passed else "fail",
            "checks": [{"name": c.name, "passed": c.passed, "measured": c.measured} for c in results],
            "servers": [visit.measured for visit in visits],
        }
        print(json.dumps(result, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Fix a 1 ms control loop by restart, reload, stop-machine and refcount, and count missed deadlines."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from picture import svg, terminal
from rich.table import Table
from screen import Check, Screen
from ways import WAYS, Outcome, measure, missed


def checks(outcomes: dict[str, Outcome]) -> list[Check]:
    """What the verdict rests on."""
    restart, reload = outcomes["restart"], outcomes["reload"]
    stopped, counted = outcomes["stop-machine"], outcomes["refcount"]
    stood, hold = float(stopped.report["stood"][-1]), float(counted.report["longest_hold"])
    return [
        _plain("restart: fixed, and the state is lost", restart.fixed and not restart.kept),
        _plain("reload: the running controller keeps the old law", not reload.fixed),
        _plain("stop-machine: fixed, and the state is kept", stopped.fixed and stopped.kept),
        _plain("refcount: fixed, and the state is kept", counted.fixed and counted.kept),
        Check(
            "stop-machine: the loop stood, too",
            stopped.worst > stood / 2,
            f"{stopped.worst * 1000:.0f} ms late, {stood * 1000:.0f} ms stood",
        ),
        Check(
            "refcount: everyone stands for less than half of that",
            hold < stood / 2,
            f"{hold * 1000:.3f} ms",
        ),
        Check(
            "refcount: latest tick, of stop-machine's, of restart's",
            counted.worst < min(stopped.worst, restart.worst),
            " / ".join(f"{seen.worst * 1000:.0f}" for seen in (counted, stopped, restart)) + " ms",
        ),
    ]


def _plain(name: str, passed: bool) -> Check:
    return Check(name, passed, "yes" if passed else "no")


def table(outcomes: dict[str, Outcome]) -> Table:
    result = Table()
    for heading in ("", "missed", "in quiet times", "latest", "fixed", "state kept"):
        result.add_column(heading, justify="right" if heading in ("missed", "in quiet times", "latest") else "left")
    for way, seen in outcomes.items():
        yes_or_no = ["yes" if one else "[bold red]no[/]" for one in (seen.fixed, seen.kept)]
        result.add_row(way, f"{seen.missed}", f"{missed(seen.quiet)}", f"{seen.worst * 1000:.1f} ms", *yes_or_no)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="control_loop", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the histograms there")
    arguments = parser.parse_args()

    screen = Screen(quiet=arguments.json)
    screen.say(
        "A thread controls a lift, and must run every millisecond. A fix of its control\n"
        "law comes in by four ways, each in a process of its own. In at least 1.5 s from\nthe change on:"
    )
    outcomes: dict[str, Outcome] = {}
    try:
        for way in WAYS:
            outcomes[way] = measure(way)
            screen.say(f"  {way:<13} {outcomes[way].missed:4} deadlines missed")
    except subprocess.CalledProcessError as failure:
        screen.say(f"the demo could not go on: {failure}")
        if arguments.json:
            print(json.dumps({"demo": "control_loop", "verdict": "fail", "error": str(failure)}))
        return 1
    except KeyboardInterrupt:
        return 130
    screen.say("")
    screen.say("\n".join(terminal(list(outcomes.values()))))
    screen.console.print("", table(outcomes), sep="\n")
    if arguments.svg:
        arguments.svg.write_text(svg(list(outcomes.values())), encoding="utf-8")
    results = checks(outcomes)
    screen.close(results)
    passed = all(check.passed for check in results)
    if arguments.json:
        result = {
            "demo": "control_loop",
            "verdict": "pass" if passed else "fail",
            "checks": [{"name": c.name, "passed": c.passed, "measured": c.measured} for c in results],
            "ways": [outcome.as_dict() for outcome in outcomes.values()],
        }
        print(json.dumps(result, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Every workload in every mode, as a table: ``python -m tests.storm``."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from typing import Any

from .cell import CONTROLS, MODES, Result, run_cell, run_control
from .workloads import WORKLOADS

HEAD = ("mode", "workload", "cycles", "switched", "reversed", "calls", "mixed", "both in", "ms", "hold ms", "s")
ROW = "{:24} {:12} {:>6} {:>8} {:>8} {:>9} {:>6} {:>7} {:>7} {:>7} {:>6}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--mode", action="append", choices=MODES, help="may be repeated; all by default")
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="may be repeated; all by default")
    parser.add_argument("--cycles", type=int, default=300, help="loads and unloads a cell (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the callers' choices; random by default")
    parser.add_argument("--json", action="store_true", help="one object, with a row a cell, instead of the table")
    parser.add_argument("--list", action="store_true", help="say what the workloads are")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{each.name:12} {each.about}" for each in WORKLOADS.values()))
        return 0
    seed = random.randrange(1 << 30) if chosen.seed is None else chosen.seed
    rows: list[Result] = []

    def show(text: str) -> None:
        if not chosen.json:
            print(text, flush=True)

    show(f"CPython {platform.python_version()}, seed {seed} (repeat with --seed {seed})")
    show(ROW.format(*HEAD))
    failures = 0
    for name in chosen.workload or WORKLOADS:
        if not WORKLOADS[name].is_available():
            show(f"{'':24} {name:12} left out: {WORKLOADS[name].needs} is not installed")
            continue
        for mode in chosen.mode or MODES:
            rows.append(run_cell(mode, name, cycles=chosen.cycles, seed=seed))
            show(_row(rows[-1]))
            failures += _tell(rows[-1], rows[-1].faults, show)
    for control in () if chosen.mode else CONTROLS:
        rows.append(run_control(control, "busy", cycles=max(100, min(chosen.cycles, 300)), seed=seed))
        show(_row(rows[-1]))
        missed = not (rows[-1].mixed and rows[-1].overlaps)
        failures += _tell(rows[-1], ["a control that was not caught"] * missed, show)
    if chosen.json:
        print(json.dumps({"python": sys.version, "seed": seed, "cells": [_as_dict(row) for row in rows]}))
    show(f"{len(rows)} rows, {failures} failures")
    return 1 if failures else 0


def _row(r: Result) -> str:
    mode = f"control: {r.mode}"[:24] if r.mode in CONTROLS else r.mode
    counts = (r.cycles, r.switched, r.reversed, r.calls, r.mixed, r.overlaps)
    times = (f"{r.median * 1e3:.1f}", f"{r.longest_hold * 1e3:.2f}", f"{r.seconds:.1f}")
    return ROW.format(mode, r.workload, *counts, *times)


def _as_dict(result: Result) -> dict[str, Any]:
    return result.as_dict() | ({"faults": [], "control": True} if result.mode in CONTROLS else {})


def _tell(result: Result, faults: list[str], show: Any) -> int:
    for fault in faults:
        show(f"  FAILED {result.mode} x {result.workload}, seed {result.seed}: {fault}")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())

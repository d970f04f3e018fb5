"""``python -m tests.releases [PAIR…]``: the tables of ``docs/releases.md``, by what builder and engine do now.

Every pair of releases, or those whose name (``flask``, ``jinja2-3.1.6``) is given: the patch is built, loaded into a
process of the old release that is in use, compared with a process of the new one, unloaded, and compared with before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.releases.pairs import TABLES, pairs
from tests.releases.trial import Outcome, try_pair

HEAD = ("releases", "edits", "result", "after load", "after unload", "hole", "seconds")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.releases", description="Try pairs of real releases.")
    parser.add_argument("pair", nargs="*", help="a distribution, or distribution-newversion; all where none is given")
    parser.add_argument("--json", action="store_true", help="one object a line, with all that was found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="pairs at a time (default: the cores)")
    chosen = parser.parse_args()
    names = set(chosen.pair)
    wanted = {table: [p for p in pairs(table) if not names or names & {p.dist, p.key}] for table in TABLES}
    if not any(wanted.values()):
        parser.error("there is no such pair")
    failed = False
    with ProcessPoolExecutor(chosen.jobs) as pool:
        tried = {table: pool.map(try_pair, those) for table, those in wanted.items()}
        for table, outcomes in tried.items():
            if not chosen.json and wanted[table]:
                print(f"\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
            for outcome in outcomes:
                failed |= outcome.wrong
                print(json.dumps(outcome.as_dict()) if chosen.json else _row(outcome), flush=True)
    return 1 if failed else 0


def _row(outcome: Outcome) -> str:
    edits = "; ".join(f"{verdict}: {_counts(codes)}" for verdict, codes in outcome.edits.items())
    said = outcome.result
    if outcome.refused:
        few = outcome.refused if len(outcome.refused) < 6 else []
        said += f"{' for' if 'hooks' in said else ''}: {'; '.join(few) or f'{len(outcome.refused)} differences'}"
    if outcome.deep:
        said += "; loaded with --deep"
    if outcome.trouble:
        said += f"; {outcome.trouble.strip().splitlines()[-1]}"
    words = {True: "open", False: "closed", None: ""}
    hole = ", ".join(filter(None, map(words.__getitem__, outcome.answers)))
    equal = [
        _equal(differs, outcome.not_compared) for differs in (outcome.differs_after_load, outcome.differs_after_unload)
    ]
    cells = outcome.pair, edits, said, *equal, hole
    return f"| {' | '.join(cells)} | {outcome.seconds:.1f} |"


def _counts(codes: dict[str, int]) -> str:
    return ", ".join(code if count == 1 else f"{code} × {count}" for code, count in codes.items())


def _equal(differs: list[str] | None, not_compared: list[str]) -> str:
    if differs is None:
        return ""
    said = f"differs: {', '.join(differs)}" if differs else "equal"
    return f"{said}; not compared: {', '.join(not_compared)}" if not_compared else said


if __name__ == "__main__":
    sys.exit(main())

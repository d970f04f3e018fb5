"""The builder on whole standard libraries, as a table.

    python -m tests.robustness [--tests] [--unit NAME ...] [--only 3.12 ...] [--show]

For each Python that is found here: its library against a copy that differs in nothing, against a formatted copy, and
against the next Python's. ``--tests`` takes the library's own tests, too. A unit is a top-level module or package;
*unreadable* are those that hold syntax which the building Python does not know, or which are broken on purpose. The
exit status is 1 where anything crashed, was not classified, or where a copy was found to differ.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from itertools import pairwise

from rich.console import Console
from rich.table import Table

from tests.robustness.libraries import VERSIONS, libraries
from tests.robustness.sweep import sweep

OUTCOMES = ("unchanged", "built", "refused", "unreadable", "crash")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description="The builder on whole libraries.")
    parser.add_argument("--tests", action="store_true", help="the library's own tests, too")
    parser.add_argument("--unit", action="append", default=[], help="this top-level module or package only")
    parser.add_argument("--only", nargs="*", default=VERSIONS, metavar="VERSION", help="start from these")
    parser.add_argument("--show", action="store_true", help="what is said of each unit that is not as it should be")
    options = parser.parse_args()
    found = libraries()
    missing = [version for version in VERSIONS if version not in found]
    table = Table(title=f"The builder of Python {sys.version.split()[0]} on standard libraries")
    for heading in ("library", "units", "files", *OUTCOMES, "findings", "unclassified", "seconds"):
        table.add_column(heading, justify="left" if heading == "library" else "right")
    wrong = False
    jobs = [(f"{one}, {how}", one, one, how) for one in found for how in ("same", "formatted")]
    jobs += [(f"{one} → {two}", one, two, "next") for one, two in pairwise(VERSIONS) if {one, two} <= found.keys()]
    for title, one, two, how in jobs:
        if one not in options.only:
            continue
        started = time.perf_counter()
        outcomes = list(sweep(found[one], found[two], how, tests=options.tests, only=options.unit))
        counts = Counter(outcome.outcome for outcome in outcomes)
        loose = sum(outcome.unclassified for outcome in outcomes)
        bad = [
            outcome
            for outcome in outcomes
            if outcome.outcome == "crash" or outcome.unclassified or (how != "next" and outcome.codes)
        ]
        wrong = wrong or bool(bad)
        table.add_row(
            title,
            *map(str, (len(outcomes), sum(outcome.files for outcome in outcomes))),
            *(str(counts[outcome]) for outcome in OUTCOMES),
            *map(str, (sum(len(outcome.codes) for outcome in outcomes), loose)),
            f"{time.perf_counter() - started:.1f}",
        )
        for outcome in bad if options.show else ():
            print(f"--- {title}: {outcome.unit}: {outcome.outcome}\n{outcome.said[-3000:]}", flush=True)
    Console(width=140).print(table)
    for version in missing:
        print(f"There is no Python {version} here.")
    sys.exit(wrong)


if __name__ == "__main__":
    main()

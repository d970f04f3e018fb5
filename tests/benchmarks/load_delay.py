"""How long others must wait while a patch is loaded and unloaded.

    python -m tests.benchmarks.load_delay [--rounds N] [--functions N] [--json FILE] [--plots DIR]

A ticker thread asks for 0.5 ms of sleep again and again and notes by how much each tick is late. The table shows the
worst delay of a round: while nothing happens, while a thread that computes competes for the GIL (what any Python code
in the process costs), and while a patch of 100 functions is loaded or unloaded. *By hand* is a ``Patch`` of function
pairs, whose trampolines are made in the process; *built* is a ``.plp`` compiled outside, as the agent gets it. All in
the same run, in turn.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from rich.table import Table

import pylivepatch
from tests.benchmarks.report import Benchmark, Row, make_table
from tests.benchmarks.targets import built, idle_functions
from tests.benchmarks.ticker import TICK, Ticker


def by_hand(module: Any, count: int) -> pylivepatch.Patch:
    """The patch of pairs of functions."""
    scope: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(idle_functions(count, 2), "new.py", "exec"), scope)
    patch = pylivepatch.Patch("by-hand")
    for n in range(count):
        patch = patch.replace(getattr(module, f"function_{n}"), scope[f"function_{n}"])
    return patch


def compute(seconds: float) -> None:
    """Python code that never offers the GIL by itself."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(i * i for i in range(100))


def run(rounds: int, functions: int, observe: float) -> list[Row]:
    ticker = Ticker()
    late: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {}

    def measure(name: str, action: Callable[[], Any]) -> None:
        started = time.perf_counter()
        delay = ticker.worst(action)
        took.setdefault(name, []).append(time.perf_counter() - started - 4 * TICK)
        late.setdefault(name, []).append(delay)

    sources = (idle_functions(functions, version) for version in (1, 2))
    with built("load_delay_target", *sources) as (module, compiled):
        pairs = by_hand(module, functions)
        for warm in (True, *(False,) * rounds):
            measure("nothing happens", lambda: time.sleep(observe))
            measure("another thread computes", lambda: compute(observe))
            measure("load, built", lambda: pylivepatch.load(compiled))
            measure("unload, built", lambda: pylivepatch.unload(compiled.name))
            measure("load, by hand", lambda: pylivepatch.load(pairs))
            measure("unload, by hand", lambda: pylivepatch.unload(pairs.name))
            gc.collect()
            if warm:
                late.clear()
                took.clear()
    ticker.stop()
    return [
        {
            "what": name,
            "took_ms": median(took[name]) * 1e3,
            "median_worst_delay_ms": median(values) * 1e3,
            "worst_delay_ms": max(values) * 1e3,
        }
        for name, values in late.items()
    ]


def tables(rows: list[Row]) -> list[Table]:
    headings = ("while", "takes", "worst delay, median", "worst delay, maximum")
    lines = [
        (
            row["what"],
            f"{row['took_ms']:.1f} ms",
            f"{row['median_worst_delay_ms']:.2f} ms",
            f"{row['worst_delay_ms']:.2f} ms",
        )
        for row in rows
    ]
    return [make_table("Worst delay of a 0.5 ms ticker", headings, lines)]


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(7.6, 3)
    axes = figure.subplots()
    names = [row["what"] for row in rows]
    axes.barh(names, [row["median_worst_delay_ms"] for row in rows], height=0.62, color="#0072b2")
    axes.plot([row["worst_delay_ms"] for row in rows], names, ls="", marker="|", ms=11, mew=1.5, color="#333333")
    axes.set(xlabel="worst delay of a 0.5 ms ticker, milliseconds; bar: median, stroke: maximum")
    axes.set(title="How late others are while …")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


BENCHMARK = Benchmark(
    name="load_delay",
    what="How long others wait while a patch is loaded and unloaded.",
    options={"rounds": 15, "functions": 100, "observe": 0.1},
    quick={"rounds": 1, "functions": 2, "observe": 0.01},
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

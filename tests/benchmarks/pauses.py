"""How long everyone must wait while a patch is loaded and unloaded in a big process, by the mode.

    python -m tests.benchmarks.pauses [--functions N] [--objects N] [--coroutines N] [--threads N] [--greenlets N] ...

The process has 3 million heap objects, 100,000 suspended coroutines (asyncio's tasks), 200 threads and 10,000
greenlets (``population.py``), none of which executes a patched function. A ticker thread asks for 0.5 ms of sleep again
and again; the delay is how much later than that it goes on, and what is compared is the worst one of each load and each
unload.

*Quiet* is measured while nobody calls the patch's functions; *busy* while a mean of ``--callers`` calls is inside them
at any time (``callers.py``), so that the gate has something to do. ``counted`` is mode refcount without its fast path:
each step of the protocol, also where nobody is inside. ``idle`` is the same process with nothing loaded.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from rich.table import Table

import pylivepatch
from pylivepatch.transition.base import Transition
from tests.benchmarks.callers import STAY, Callers
from tests.benchmarks.population import leave, populate
from tests.benchmarks.report import COLOURS, Benchmark, Row, Series, logarithmic, make_table
from tests.benchmarks.targets import built, busy_functions, idle_functions
from tests.benchmarks.ticker import Ticker

_TIMEOUT = 30.0  # seconds, of a load or unload

QUIET = ("idle", "refcount", "refcount, counted", "stop-machine")
BUSY = ("idle", "refcount, gate", "per-task")
_WAYS: dict[str, dict[str, Any]] = {
    "refcount": {},
    "refcount, counted": {"gate": None},
    "refcount, gate": {},
    "per-task": {"mode": "per-task"},
    "stop-machine": {"mode": "stop-machine"},
}


def run(
    functions: int,
    objects: int,
    coroutines: int,
    threads: int,
    greenlets: int,
    callers: float,
    busy: int,
    rounds: int,
    observe: float,
) -> list[Row]:
    """``busy`` of the functions are those that are called; ``observe`` are the seconds in which nothing happens."""
    populate(objects=objects, coroutines=coroutines, threads=threads, greenlets=greenlets)
    busy = min(busy, functions)
    sources = [busy_functions(busy, version) + idle_functions(functions - busy, version) for version in (1, 2)]
    ticker = Ticker()
    found: dict[tuple[str, str], Series] = {}
    with built("pauses_target", *sources) as (module, patch):
        called = [getattr(module, f"busy_{n}") for n in range(busy)]
        for situation, names in (("quiet", QUIET), ("busy", BUSY)):
            calling = Callers(called, callers, seed=1) if situation == "busy" and callers else None
            if situation == "busy" and calling is None:
                continue
            time.sleep(20 * STAY)
            for warm in (True, *(False,) * rounds):
                for name in names:
                    series = found.setdefault((situation, name), Series())
                    _round(name, patch, ticker, observe, Series() if warm else series)
            if calling is not None:
                calling.stop()
    ticker.stop()
    return [_row(situation, name, series) for (situation, name), series in found.items()]


def _round(name: str, patch: Any, ticker: Ticker, observe: float, series: Series) -> None:
    if name == "idle":
        series.note(late=ticker.worst(lambda: time.sleep(observe)), took=observe)
        return
    way = {"timeout": _TIMEOUT, **_WAYS[name]}
    for act in (lambda: pylivepatch.load(patch, **way).report, lambda: pylivepatch.unload(patch.name, **way)):
        with fast_path(name != "refcount, counted"):
            began = time.perf_counter()
            late, report = ticker.worst_of(lambda: _attempt(act))  # noqa: B023
            series.note(late=late, took=time.perf_counter() - began)
        if report is None:
            series.note(given_up=1)
            break
        series.note(held=report["longest_hold"])
    if pylivepatch.patches():
        pylivepatch.unload(patch.name, timeout=10 * _TIMEOUT)
    gc.collect(0)


def _attempt(act: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return act()
    except pylivepatch.TransitionTimeout:
        return None


@contextmanager
def fast_path(allowed: bool) -> Iterator[None]:
    before = Transition.fast_path
    Transition.fast_path = allowed
    try:
        yield
    finally:
        Transition.fast_path = before


def _row(situation: str, name: str, series: Series) -> Row:
    return {
        "situation": situation,
        "mode": name,
        "given_up": len(series["given_up"]),
        "took_ms": median(series["took"]) * 1e3,
        "median_worst_delay_ms": median(series["late"]) * 1e3,
        "worst_delay_ms": max(series["late"]) * 1e3,
        "longest_hold_ms": max(series["held"], default=0.0) * 1e3,
    }


# --- the tables and the plot --------------------------------------------------------------------------------


def tables(rows: list[Row]) -> list[Table]:
    idle = {row["situation"]: row["median_worst_delay_ms"] for row in rows if row["mode"] == "idle"}
    stopped = next(row["median_worst_delay_ms"] for row in rows if row["mode"] == "stop-machine")

    def lines() -> Iterator[tuple[str, ...]]:
        for row in rows:
            late, is_idle = row["median_worst_delay_ms"], row["mode"] == "idle"
            yield (
                f"{row['situation']}: {row['mode']}",
                ms(row["took_ms"], row["given_up"]),
                ms(late),
                ms(row["worst_delay_ms"]),
                "" if is_idle else f"{late - idle[row['situation']]:+.2f} ms",
                "" if is_idle else f"1/{stopped / late:.0f}",
                "" if is_idle else ms(row["longest_hold_ms"]),
            )

    headings = ("", "takes", "worst delay, median", "maximum", "over idle", "of stop-machine", "longest hold")
    return [make_table("Worst delay of a 0.5 ms ticker during a load or unload", headings, lines())]


def ms(value: float, given_up: int = 0) -> str:
    """With a remark where a transition was given up at its time-out."""
    text = f"{value:,.2f} ms" if value < 100 else f"{value:,.0f} ms"
    return f"{text} ({given_up} given up)" if given_up else text


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(7.6, 0.42 * len(rows) + 1.1)
    axes = figure.subplots()
    names = [f"{row['mode']}  ({row['situation']})" for row in rows]
    medians = [row["median_worst_delay_ms"] for row in rows]
    colours = [COLOURS[row["mode"]] for row in rows]
    axes.barh(names, medians, color=colours, height=0.62)
    axes.plot([row["worst_delay_ms"] for row in rows], names, ls="", marker="|", ms=11, mew=1.5, color="#333333")
    for name, row in zip(names, rows, strict=True):
        axes.annotate(
            ms(row["median_worst_delay_ms"]),
            (row["worst_delay_ms"], name),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
        )
    logarithmic(axes.xaxis)
    axes.set(xlim=(min(medians) / 2, max(medians) * 8))
    axes.set(xlabel="worst delay of a 0.5 ms ticker, milliseconds; bar: median, stroke: maximum")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title("How late others are while a patch is loaded or unloaded")


BENCHMARK = Benchmark(
    name="pauses",
    what="How long everyone must wait while a patch is loaded and unloaded in a big process, by the mode.",
    options={
        "functions": 100,
        "objects": 3_000_000,
        "coroutines": 100_000,
        "threads": 200,
        "greenlets": 10_000,
        "callers": 20.0,
        "busy": 10,
        "rounds": 5,
        "observe": 0.25,
    },
    quick={
        "functions": 4,
        "objects": 1000,
        "coroutines": 10,
        "threads": 3,
        "greenlets": 0,
        "callers": 1.0,
        "busy": 2,
        "rounds": 1,
        "observe": 0.02,
    },
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()
    leave()

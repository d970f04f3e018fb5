"""How long it takes to switch functions that are busy, with and without the gate, and what the gate costs callers.

    python -m tests.benchmarks.concurrency [--concurrency 0.5,1,2] [--rounds N] [--json FILE] [--plots DIR]

Calls come at random (Poisson) and stay inside for 10 ms on the average (exponential), so that a mean of L callers is
inside the patch's functions. Without a gate the transition waits until nobody is inside by itself: the chance of that
is e^-L at any instant, and the time until then has a closed form (``callers.py``), which stands beside what was
measured. Where tries were given up at the time-out, the mean is estimated as all the time that was waited, divided by
the switches that came of it, as for anything that happens without a memory.

The latency is what a call took beside its body: of the calls while nothing was loaded, and of those that were under way
during a load or an unload.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import exp, inf
from typing import Any

from rich.table import Table

import pylivepatch
from pylivepatch.compiled import CompiledPatch
from tests.benchmarks.callers import STAY, Callers, mean_until_empty, occupancy
from tests.benchmarks.report import COLOURS, Benchmark, Row, Series, logarithmic, make_table, quantile
from tests.benchmarks.targets import built, busy_functions

GATE = 0.05  # seconds: the engine's default
_HOPELESS = 20  # where the mean is predicted to be that many time-outs, two tries show as much as many


def run(concurrency: tuple[float, ...], rounds: int, timeout: float, observe: float, functions: int) -> list[Row]:
    rows = []
    name = "concurrency_target"
    with built(name, busy_functions(functions, 1), busy_functions(functions, 2)) as (module, patch):
        targets = [getattr(module, f"busy_{n}") for n in range(functions)]
        for level in concurrency:
            callers = Callers(targets, level, seed=int(level * 1000))
            try:
                rows.append(_row(level, callers, patch, rounds, timeout, observe))
            finally:
                callers.stop()
    return rows


def _row(level: float, callers: Callers, patch: CompiledPatch, rounds: int, timeout: float, observe: float) -> Row:
    time.sleep(10 * STAY)
    began = time.perf_counter()
    time.sleep(observe)
    ended = time.perf_counter()
    time.sleep(10 * STAY)  # for those who were inside at the end
    calls = callers.calls(began, ended)
    mean, empty = occupancy(calls, began, ended)
    predicted = mean_until_empty(mean)
    row: Row = {"level": level, "concurrency": mean, "empty": empty, "e^-L": exp(-mean), "predicted_s": predicted}
    row |= _latency("quiet", [call.added for call in calls])
    for gate, key in ((None, "alone"), (GATE, "gate")):
        tries = 2 if gate is None and predicted > _HOPELESS * timeout else 2 * rounds
        series = _transitions(callers, patch, tries, timeout, gate)
        took, done = series["took"], sum(series["switched"])
        row |= {
            f"{key}_tries": len(took),
            f"{key}_switched": int(done),
            f"{key}_mean_s": sum(took) / done if done else inf,
            f"{key}_median_s": quantile(took, 0.5),
            f"{key}_max_s": max(took),
        }
        row |= _latency(key, series["added"])
    row |= {f"gate_{what}": sum(series[what]) / len(series["took"]) for what in ("closed", "kept")}
    return row


def _latency(key: str, added: list[float]) -> Row:
    ms = [value * 1e3 for value in added]
    p50, p99 = quantile(ms, 0.5), quantile(ms, 0.99)
    return {f"{key}_calls": len(ms), f"{key}_p50_ms": p50, f"{key}_p99_ms": p99, f"{key}_max_ms": max(ms, default=0.0)}


def _transitions(callers: Callers, patch: CompiledPatch, tries: int, timeout: float, gate: float | None) -> Series:
    """So many loads and unloads, in turn: how long each took, whether it switched, and what it added to each call."""
    series = Series()
    expected = 1
    for _ in range(tries):
        callers.forget()
        time.sleep(STAY * (5 + random.random()))
        loaded = any(applied.name == patch.name for applied in pylivepatch.patches())
        act: Callable[..., Any] = pylivepatch.unload if loaded else pylivepatch.load
        began = time.perf_counter()
        try:
            report = act(patch.name if loaded else patch, timeout=timeout, gate=gate)
            report = report if loaded else report.report
            ended = time.perf_counter()
            did = report.get("gate", {"tries": 0, "waits": 0})
            series.note(took=ended - began, switched=1, closed=did["tries"], kept=did["waits"])
            expected = 1 if loaded else 2
        except pylivepatch.TransitionTimeout:
            ended = time.perf_counter()
            series.note(took=ended - began, switched=0)
        time.sleep(10 * STAY)
        calls = callers.calls(began)
        wrong = [call for call in calls if call.inside[0] > ended and call.version != expected]
        assert not wrong, f"{len(wrong)} calls that began after the switch ran version {wrong[0].version}"
        for call in calls:
            if call.began < ended:
                series.note(added=call.added)
    if any(applied.name == patch.name for applied in pylivepatch.patches()):
        pylivepatch.unload(patch.name, timeout=60, gate=GATE)
    return series


# --- the table and the plot ---------------------------------------------------------------------------------


def tables(rows: list[Row]) -> list[Table]:
    times = make_table(
        "Time to switch, by the mean number of callers inside (L)",
        ("L", "nobody inside", "e^-L", "predicted", "without a gate", "switched", "with the gate", "worst", "switched"),
        (
            (
                f"{row['concurrency']:.2f}",
                _share(row["empty"]),
                _share(row["e^-L"]),
                _seconds(row["predicted_s"]),
                _mean(row, "alone"),
                f"{row['alone_switched']} of {row['alone_tries']}",
                _mean(row, "gate"),
                _seconds(row["gate_max_s"]),
                f"{row['gate_switched']} of {row['gate_tries']}",
            )
            for row in rows
        ),
        caption="nobody inside: share of the time, measured; predicted: mean time until nobody is (M/M/∞, 10 ms)",
    )
    latency = make_table(
        "What it adds to a call, in ms: p50, p99, maximum",
        ("L", "nothing loaded", "without a gate", "with the gate", "closed", "kept"),
        (
            (
                f"{row['concurrency']:.2f}",
                *(_three(row, key) for key in ("quiet", "alone", "gate")),
                f"{row['gate_closed']:.1f} times",
                f"{row['gate_kept']:.0f} calls",
            )
            for row in rows
        ),
        caption="of the calls under way during a load or an unload; closed, kept: by the gate, each time",
    )
    return [times, latency]


def _share(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else ("0" if not value else f"{value:.0e}")


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 1000 else f"{value:.0e} s"


def _mean(row: Row, key: str) -> str:
    if row[f"{key}_switched"]:
        return _seconds(row[f"{key}_mean_s"])
    return f"> {_seconds(row[f'{key}_median_s'] * row[f'{key}_tries'])}"


def _three(row: Row, key: str) -> str:
    return "  ".join(f"{row[f'{key}_{which}_ms']:.2f}" for which in ("p50", "p99", "max"))


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(8.6, 3.8)
    left, right = figure.subplots(1, 2)
    level = [row["concurrency"] for row in rows]
    grid = [0.3 * 1.05**n for n in range(110)]
    predicted = [mean_until_empty(x) for x in grid]
    left.plot(grid, predicted, color="#555555", lw=1, label="predicted until nobody is inside")
    came = [row for row in rows if row["alone_switched"]]
    style = {"marker": "o", "ms": 5}
    left.plot(
        [row["concurrency"] for row in came],
        [row["alone_mean_s"] for row in came],
        color=COLOURS["refcount"],
        ls="",
        label="without a gate",
        **style,
    )
    never = [row for row in rows if not row["alone_switched"]]
    if never:
        left.plot(
            [row["concurrency"] for row in never],
            [row["alone_median_s"] * row["alone_tries"] for row in never],
            color=COLOURS["refcount"],
            ls="",
            marker="^",
            mfc="white",
            label="without a gate: never, in this time",
        )
    gated, idle = COLOURS["refcount, gate"], COLOURS["idle"]
    left.plot(level, [row["gate_mean_s"] for row in rows], color=gated, label="with the gate", **style)
    for axes in (left, right):
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    left.set(ylim=(0.002, 300), xlim=(0.3, 70))
    left.set(ylabel="seconds, mean", title="Time to switch")
    for which, marker in (("max", "v"), ("p99", "s"), ("p50", "o")):
        right.plot(
            level,
            [row[f"gate_{which}_ms"] for row in rows],
            marker=marker,
            ms=5,
            color=gated,
            alpha={"max": 1, "p99": 0.75, "p50": 0.5}[which],
            label=f"with the gate, {which}",
        )
    right.plot(level, [row["quiet_p99_ms"] for row in rows], color=idle, ls="--", label="nothing loaded, p99")
    right.axhline(GATE * 1e3, color="#555555", lw=1, ls=":", label="the gate's bound")
    right.set(xlim=(0.3, 70))
    right.set(ylabel="milliseconds", title="What a transition adds to a call")
    for axes in (left, right):
        axes.set(xlabel="mean number of callers inside (L)")
        axes.minorticks_off()
        axes.legend(fontsize=7.5)


BENCHMARK = Benchmark(
    name="concurrency",
    what="How long it takes to switch functions that are busy, with and without the gate.",
    options={
        "concurrency": (0.5, 1, 2, 3, 5, 8, 10, 20, 50),
        "rounds": 10,
        "timeout": 5.0,
        "observe": 2.0,
        "functions": 10,
    },
    quick={"concurrency": (2.0,), "rounds": 1, "timeout": 0.3, "observe": 0.05, "functions": 2},
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

"""How the pause of each mode grows with what is in the process, and with the patch.

    python -m tests.benchmarks.growth [--coroutines 100,1000] [--threads 10] ... [--json FILE] [--plots DIR]

One of five things grows, by powers of ten, while the others stay small: suspended coroutines, greenlets, threads, heap
objects, functions in the patch. Each size is a process of its own that runs ``tests.benchmarks.pauses`` and measures
all modes. An empty list (``--threads ''``) leaves a thing out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.benchmarks import pauses
from tests.benchmarks.report import COLOURS, Benchmark, Row, logarithmic, make_table

_SMALL = {"functions": 10, "objects": 0, "coroutines": 0, "threads": 0, "greenlets": 0}
_SHOWN = [("quiet", mode) for mode in pauses.QUIET] + [("busy", mode) for mode in pauses.BUSY if mode != "idle"]
_ROOT = Path(__file__).parents[2]


def run(
    coroutines: tuple[float, ...],
    greenlets: tuple[float, ...],
    threads: tuple[float, ...],
    objects: tuple[float, ...],
    functions: tuple[float, ...],
    rounds: int,
    observe: float,
) -> list[Row]:
    growing = {"coroutines": coroutines, "greenlets": greenlets, "threads": threads, "objects": objects}
    rows = []
    for what, sizes in {**growing, "functions": functions}.items():
        for size in sizes:
            options = {**_SMALL, what: int(size), "rounds": rounds, "observe": observe}
            print(f"{what} {size:,}", file=sys.stderr, flush=True)
            rows += [{"of": what, "size": size, **row} for row in _in_a_process(options)]
    return rows


def _in_a_process(options: dict[str, Any]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        command = [sys.executable, "-m", "tests.benchmarks.pauses", "--json", str(path)]
        command += [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
        found: list[Row] = json.loads(path.read_text())["rows"]
        return found


def _of(rows: list[Row], what: str, situation: str, mode: str) -> list[Row]:
    return [r for r in rows if (r["of"], r["situation"], r["mode"]) == (what, situation, mode)]


def _what(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["of"] for row in rows))


def tables(rows: list[Row]) -> list[Table]:
    result = []
    for what in _what(rows):
        columns = [_of(rows, what, *one) for one in _SHOWN]
        lines = [
            (f"{line[0]['size']:,}", *(pauses.ms(row["median_worst_delay_ms"], row["given_up"]) for row in line))
            for line in zip(*columns, strict=True)
        ]
        headings = [what, *(mode if situation == "quiet" else f"{mode} ({situation})" for situation, mode in _SHOWN)]
        result.append(make_table(f"Worst delay of a 0.5 ms ticker, median, by the number of {what}", headings, lines))
    return result


def draw(rows: list[Row], figure: Any) -> None:
    things = _what(rows)
    figure.set_size_inches(2.5 * len(things) + 0.6, 3.6)
    panels = figure.subplots(1, len(things), sharey=True, squeeze=False)[0]
    for axes, what in zip(panels, things, strict=True):
        logarithmic(axes.xaxis)
        logarithmic(axes.yaxis)
        for situation, mode in _SHOWN:
            line = _of(rows, what, situation, mode)
            axes.plot(
                [row["size"] for row in line],
                [row["median_worst_delay_ms"] for row in line],
                marker="o",
                ms=3.5,
                color=COLOURS[mode],
                ls="--" if mode == "idle" else "-",
                label=mode if situation == "quiet" else f"{mode} (busy)",
            )
        axes.set(title={"objects": "heap objects", "functions": "functions in the patch"}.get(what, what))
        axes.set_xticks(sizes := [row["size"] for row in line], [_short(size) for size in sizes])
        axes.minorticks_off()
    panels[0].set(ylabel="worst delay of a 0.5 ms ticker, ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(_SHOWN))


def _short(size: float) -> str:
    if size >= 1_000_000:
        return f"{size / 1_000_000:g}M"
    return f"{size / 1000:g}k" if size >= 1000 else f"{size:g}"


BENCHMARK = Benchmark(
    name="growth",
    what="How the pause of each mode grows with what is in the process, and with the patch.",
    options={
        "coroutines": (100, 1000, 10_000, 100_000, 1_000_000),
        "greenlets": (100, 1000, 10_000, 100_000),
        "threads": (1, 10, 100, 1000),
        "objects": (10_000, 100_000, 1_000_000, 10_000_000),
        "functions": (1, 10, 100, 1000, 10_000),
        "rounds": 3,
        "observe": 0.25,
    },
    quick={
        "coroutines": (),
        "greenlets": (),
        "threads": (),
        "objects": (),
        "functions": (2,),
        "rounds": 1,
        "observe": 0.02,
    },
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

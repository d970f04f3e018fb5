"""What a call costs: patched, with a trampoline, and behind the wrappers that other tools use.

    python -m tests.benchmarks.calls [--rounds N] [--json FILE] [--plots DIR]

Every variant of a function is called in the same run, a block of calls each, round after round in a changing order,
and the table shows medians over the rounds: what slows the machine down for a while slows all of them. ``assigned`` is
the control for ``patched``: a function whose ``__code__`` was set by hand.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import wraps
from statistics import median
from typing import Any

import wrapt
from rich.table import Table

import pylivepatch
from pylivepatch.counter import Counter
from pylivepatch.ftrace.trampoline import instantiate, trampoline
from pylivepatch.ftrace.verify import check
from tests.benchmarks.report import COLOURS, Benchmark, Row, make_table

_COUNTER = Counter()
_BLOCK = 200  # calls in a row of one variant: short, so that few blocks are interrupted

_SOURCE = {
    "small (a + b)": "def f(a, b):\n    return a + b\n",
    "keywords": "def f(a, b=2, *, c=3):\n    return a if b else c\n",
    "loop of 20": "def f(a, b):\n    for i in range(20):\n        a += i\n    return a\n",
    "try/except": "def f(a, b):\n    try:\n        return a + b\n    except TypeError:\n        return None\n",
}


def define(source: str) -> Callable[..., Any]:
    """The function, made anew: nothing that an earlier one has learned about itself is in it."""
    scope: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "<benchmark>", "exec"), scope)
    function: Callable[..., Any] = scope["f"]
    return function


def _signature(source: str) -> str:
    return source.partition("\n")[0] + "\n"


def patched(source: str, number: int) -> Callable[..., Any]:
    """The function after a patch has brought it from another body to this one."""
    function = define(_signature(source) + "    raise NotImplementedError\n")
    pylivepatch.load(pylivepatch.Patch(f"benchmark-{number}").replace(function, define(source)))
    return function


def assigned(source: str) -> Any:
    """The function after a plain ``f.__code__ = …``: what CPython itself asks for a changed function."""
    function: Any = define(_signature(source) + "    raise NotImplementedError\n")
    function.__code__ = define(source).__code__  # type: ignore[attr-defined]
    return function


def trampolined(source: str) -> Any:
    """The function in mid-transition: every call is counted, and nothing is ever committed."""
    function: Any = define(source)
    template = trampoline(function.__code__)
    check(function.__code__, template)
    values = {"enter": _COUNTER.enter, "in_use": _COUNTER.in_use, "late_entry": None, "scratch": [None]}
    function.__code__ = instantiate(template, function.__code__, values)
    return function


def plain_wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapt.decorator
def wrapt_wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def variants(source: str, number: int) -> dict[str, Callable[..., Any]]:
    return {
        "afresh": define(source),
        "afresh again": define(source),  # what two equal functions differ by: the noise
        "patched": patched(source, number),
        "assigned": assigned(source),
        "trampoline": trampolined(source),
        "plain wrapper": plain_wrapper(define(source)),
        "wrapt": wrapt_wrapper(define(source)),
    }


def block(function: Callable[..., Any]) -> float:
    """Seconds for one block of calls."""
    calls = range(_BLOCK)
    started = time.perf_counter()
    for _ in calls:
        function(1, 2)
    return time.perf_counter() - started


def measure(functions: dict[str, Callable[..., Any]], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds a call of each variant, one value a round."""
    names = list(functions)
    for name in names:  # let the interpreter specialise each
        block(functions[name])
    result: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            result[name].append(block(functions[name]) / _BLOCK * 1e9)
    return result


def run(rounds: int) -> list[Row]:
    rows = []
    for number, (label, source) in enumerate(_SOURCE.items()):
        took = measure(variants(source, number), rounds)
        ns = {name: median(values) for name, values in took.items()}
        added = {name: ns[name] - ns["afresh"] for name in ns}
        ratio = {name: median(a / b for a, b in zip(took[name], took["afresh"], strict=True)) for name in took}
        rows.append(
            {
                "function": label,
                "afresh_ns": ns["afresh"],
                "noise_ratio": ratio["afresh again"],
                "patched_ratio": ratio["patched"],
                "assigned_ratio": ratio["assigned"],
                "trampoline_adds_ns": added["trampoline"],
                "plain_wrapper_adds_ns": added["plain wrapper"],
                "wrapt_adds_ns": added["wrapt"],
            }
        )
        pylivepatch.unload(f"benchmark-{number}")
    return rows


def tables(rows: list[Row]) -> list[Table]:
    headings = ("function", "afresh", "two afresh", "patched", "assigned", "trampoline", "wrapper", "wrapt", "share")
    lines = [
        (
            row["function"],
            f"{row['afresh_ns']:.0f} ns",
            f"×{row['noise_ratio']:.2f}",
            f"×{row['patched_ratio']:.2f}",
            f"×{row['assigned_ratio']:.2f}",
            f"+{row['trampoline_adds_ns']:.0f} ns",
            f"+{row['plain_wrapper_adds_ns']:.0f} ns",
            f"+{row['wrapt_adds_ns']:.0f} ns",
            f"{_share(row, 'plain_wrapper')}, {_share(row, 'wrapt')}",
        )
        for row in rows
    ]
    caption = "share: what a trampoline adds as a part of what the wrapper adds, and of what wrapt adds"
    return [make_table("What a call costs, medians", headings, lines, caption=caption)]


def _share(row: Row, of: str) -> str:
    return f"{row['trampoline_adds_ns'] / row[f'{of}_adds_ns']:.2f}"


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(7.6, 3.6)
    axes = figure.subplots()
    shown = {
        "patched": ("#555555", [row["afresh_ns"] * (row["patched_ratio"] - 1) for row in rows]),
        "trampoline": (COLOURS["refcount"], [row["trampoline_adds_ns"] for row in rows]),
        "plain wrapper": (COLOURS["per-task"], [row["plain_wrapper_adds_ns"] for row in rows]),
        "wrapt.decorator": (COLOURS["stop-machine"], [row["wrapt_adds_ns"] for row in rows]),
    }
    for number, (label, (colour, values)) in enumerate(shown.items()):
        places = [row + (number - 1.5) * 0.2 for row in range(len(rows))]
        axes.bar_label(axes.barh(places, values, height=0.18, color=colour, label=label), fmt="%+.0f", padding=3)
    axes.set_yticks(range(len(rows)), [row["function"] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.set(xlabel="nanoseconds added to a call", title="What a call costs beside the function itself")
    figure.legend(loc="outside lower center", ncols=len(shown))


BENCHMARK = Benchmark(
    name="calls",
    what="What a call costs, patched and with a trampoline.",
    options={"rounds": 1000},
    quick={"rounds": 5},
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

"""How long others must wait while a patch is loaded and unloaded.

    python -m tests.benchmarks.load_delay [--rounds N] [--functions N] [--json FILE]

A ticker thread asks for 0.5 ms of sleep again and again and notes by how much each tick is late. The table shows the
worst delay of a round: while nothing happens, while a thread that computes competes for the GIL (what any Python code
in the process costs), and while a patch of 100 functions is loaded or unloaded. *By hand* is a ``Patch`` of function
pairs, whose trampolines are made in the process; *built* is a ``.plp`` compiled outside, as the agent gets it. All in
the same run, in turn.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

import pylivepatch
from pylivepatch.compiled import CompiledPatch, compile_with
from pylivepatch.patchfile import write
from tests.benchmarks.report import Options, show

_TICK = 0.0005  # seconds

_FUNCTION = '''
def function_{n}(a, b=None, *rest, **options):
    """Number {n}."""
    total = {start}
    for item in rest:
        try:
            total += int(item)
        except (TypeError, ValueError):
            total -= 1
        finally:
            a = b
    if options.get("verbose"):
        return {{"total": total, "a": a, "b": b, "version": {version}}}
    return [total + i for i in range({n})]
'''


class Ticker:
    """A thread that sleeps 0.5 ms at a time and notes how late it wakes."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        clock, sleep = time.perf_counter, time.sleep
        before = clock()
        while not self._stop:
            sleep(_TICK)
            now = clock()
            self._late.append(now - before - _TICK)
            before = now

    def worst(self, action: Callable[[], Any]) -> float:
        """The worst delay while ``action`` runs, in seconds."""
        self._late.clear()
        action()
        time.sleep(4 * _TICK)  # the tick under way at the end belongs to it
        return max(self._late, default=0.0)

    def stop(self) -> None:
        self._stop = True
        self._thread.join()


def source(count: int, version: int) -> str:
    return "".join(_FUNCTION.format(n=n, start=version * n, version=version) for n in range(count))


@contextmanager
def patches(count: int) -> Iterator[tuple[pylivepatch.Patch, CompiledPatch]]:
    """The same patch by hand and built, for a module of ``count`` functions."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, version in (("old", 1), ("new", 2)):
            (root / name).mkdir()
            (root / name / "load_delay_target.py").write_text(source(count, version))
        sys.path.insert(0, str(root / "old"))
        sys.dont_write_bytecode = True
        module = importlib.import_module("load_delay_target")
        built = pylivepatch.build_patch(root / "old", root / "new", name="built")
        write(built, root / "built.plp")
        compiled = CompiledPatch.from_bytes(
            compile_with(sys.executable, root / "built.plp", optimize=sys.flags.optimize)
        )
        scope: dict[str, Any] = {"__name__": "load_delay_target"}
        exec(compile(source(count, 2), "new.py", "exec"), scope)
        by_hand = pylivepatch.Patch("by-hand")
        for n in range(count):
            by_hand = by_hand.replace(getattr(module, f"function_{n}"), scope[f"function_{n}"])
        yield by_hand, compiled


def compute(seconds: float) -> None:
    """Python code that never offers the GIL by itself."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(i * i for i in range(100))


def run(rounds: int, count: int) -> list[dict[str, Any]]:
    ticker = Ticker()
    late: dict[str, list[float]] = {}
    took: dict[str, list[float]] = {}

    def measure(name: str, action: Callable[[], Any]) -> None:
        started = time.perf_counter()
        delay = ticker.worst(action)
        took.setdefault(name, []).append(time.perf_counter() - started - 4 * _TICK)
        late.setdefault(name, []).append(delay)

    with patches(count) as (by_hand, compiled):
        for warm in (True, *(False,) * rounds):
            measure("nothing happens (100 ms)", lambda: time.sleep(0.1))
            measure("another thread computes (100 ms)", lambda: compute(0.1))
            measure("load, built", lambda: pylivepatch.load(compiled))
            measure("unload, built", lambda: pylivepatch.unload("built"))
            measure("load, by hand", lambda: pylivepatch.load(by_hand))
            measure("unload, by hand", lambda: pylivepatch.unload("by-hand"))
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


def table(rows: list[dict[str, Any]], rounds: int, count: int) -> Table:
    title = f"Worst delay of a 0.5 ms ticker, {count} functions, {rounds} rounds (Python {sys.version.split()[0]})"
    result = Table(title=title)
    result.add_column("while")
    for heading in ("takes", "worst delay, median", "worst delay, maximum"):
        result.add_column(heading, justify="right")
    for row in rows:
        result.add_row(
            row["what"],
            f"{row['took_ms']:.1f} ms",
            f"{row['median_worst_delay_ms']:.2f} ms",
            f"{row['worst_delay_ms']:.2f} ms",
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--functions", type=int, default=100)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    options = Options.parse("How long others wait while a patch is loaded and unloaded.", rounds=40)
    rows = run(options.rounds, own.functions)
    show(table(rows, options.rounds, own.functions), rows, options)


if __name__ == "__main__":
    main()

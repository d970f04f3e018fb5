"""How long a big patch takes: to build and to compile, on one core and on all, and to load.

    python -m tests.benchmarks.scale [--files N] [--changed N] [--functions N] [--json FILE] [--plots DIR]

A package of 1,000 modules that import from each other, with ten functions and ten classes each (280 lines); in 100 of
them all ten functions change. What is done on all cores gives what one gives, which is checked.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

import pylivepatch
from pylivepatch import cores
from pylivepatch.compiled import compile_patch
from tests.benchmarks.report import Benchmark, Row, make_table

_T = TypeVar("_T")

HEAD = "from .mod_{} import helper, LIMIT, Base\n"
FIRST = "LIMIT = 3\nclass Base: pass\ndef helper(a, b): return a + b\n"
PART = '''
def handle_{n}(request, timeout=30.0, *, retries=3):
    """Handle a request, some number of times."""
    results = []
    for attempt in range(retries):
        try:
            value = helper(request.get("key", {n}), attempt)
        except (KeyError, ValueError) as problem:
            results.append(str(problem))
            continue
        if value is None or value < {version}:
            break
        results.append(value * LIMIT + timeout)
    return [item for item in results if item]


class Handler{n}(Base):
    size = {n}

    def __init__(self, name):
        self.name = name
        self.seen = {{}}

    def lookup(self, key):
        found = self.seen.get(key)
        if found is None:
            found = self.seen[key] = handle_{n}({{"key": key}})
        return found
'''


def write(folder: Path, files: int, changed: int, functions: int, version: int) -> Path:
    package = folder / "scale_target"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for number in range(files):
        head = HEAD.format(number - 1) if number else FIRST
        own = version if number < changed else 1
        body = "".join(PART.format(n=n, version=own) for n in range(functions))
        (package / f"mod_{number}.py").write_text(head + body)
    return folder


def timed(what: Callable[[], _T]) -> tuple[float, _T]:
    started = time.perf_counter()
    result = what()
    return time.perf_counter() - started, result


def run(files: int, changed: int, functions: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        old, new = (write(Path(name, str(version)), files, changed, functions, version) for version in (1, 2))
        built, patch = timed(lambda: pylivepatch.build_patch(old, new, name="scale"))
        built_by_all, same = timed(lambda: pylivepatch.build_patch(old, new, name="scale", spread=True))
        one, compiled = timed(lambda: compile_patch(patch))
        every, compiled_by_all = timed(lambda: compile_patch(patch, spread=True))
        if (patch, compiled) != (same, compiled_by_all):
            raise AssertionError("all cores give something else than one")
        sys.path.insert(0, str(old))
        try:
            for number in range(changed):
                importlib.import_module(f"scale_target.mod_{number}")
        finally:
            sys.path.remove(str(old))
    loaded, applied = timed(lambda: pylivepatch.load(compiled))
    unloaded, _ = timed(applied.unload)
    count = sum(len(module.items) for module in compiled.modules)
    by_all = f"all cores ({cores.usable()})"
    return [
        {"what": "build, one core", "seconds": built, "functions": count, "files": files, "of_one": 1.0},
        {"what": f"build, {by_all}", "seconds": built_by_all, "functions": count, "of_one": built_by_all / built},
        {"what": "compile, one core", "seconds": one, "functions": count, "of_one": 1.0},
        {"what": f"compile, {by_all}", "seconds": every, "functions": count, "of_one": every / one},
        {"what": "load what was compiled", "seconds": loaded, "functions": count},
        {"what": "unload it", "seconds": unloaded, "functions": count},
    ]


def tables(rows: list[Row]) -> list[Table]:
    lines = [
        (
            row["what"],
            f"{row['seconds']:.2f} s",
            f"{row['seconds'] / row['functions'] * 1e3:.2f} ms",
            f"×{row['of_one']:.2f}" if "of_one" in row else "",
        )
        for row in rows
    ]
    title = f"A patch of {rows[0]['functions']:,} functions, {rows[0]['files']:,} files"
    return [make_table(title, ("step", "takes", "a function", "of one core"), lines)]


def draw(rows: list[Row], figure: Any) -> None:
    figure.set_size_inches(7.6, 3.0)
    axes = figure.subplots()
    axes.barh([row["what"] for row in rows], [row["seconds"] for row in rows], height=0.62, color="#0072b2")
    axes.invert_yaxis()
    axes.set_xlabel("seconds")


BENCHMARK = Benchmark(
    name="scale",
    what="How long a big patch takes to build, to compile and to load.",
    options={"files": 1000, "changed": 100, "functions": 10},
    quick={"files": 6, "changed": 4, "functions": 6},
    run=run,
    tables=tables,
    draw=draw,
)

if __name__ == "__main__":
    BENCHMARK.main()

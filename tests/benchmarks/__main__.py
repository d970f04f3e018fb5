"""All benchmarks, one after the other, each in a process of its own.

    python -m tests.benchmarks [NAME ...] [--quick] [--json FILE] [--plots DIR]

Prints their tables. ``--json`` collects all numbers in one file, ``--plots`` draws an SVG each (that needs matplotlib:
``pip install -e '.[bench]'``). All of it takes about half an hour; ``--quick`` goes through everything in seconds, with
numbers that mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import Benchmark, add_outputs, need_matplotlib

NAMES = ("calls", "load_delay", "concurrency", "pauses", "growth", "tracing", "scale")


def find(name: str) -> Benchmark:
    benchmark: Benchmark = importlib.import_module(f"tests.benchmarks.{name}").BENCHMARK
    return benchmark


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work?")
    add_outputs(parser)
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.plots is not None:
        need_matplotlib(parser)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or NAMES:
            path = Path(folder, f"{name}.json")
            command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", str(path)]
            if options.quick:
                command += quick(find(name))
            if options.plots is not None:
                command += ["--plots", str(options.plots)]
            subprocess.run(command, check=True)
            found[name] = json.loads(path.read_text())
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


def quick(benchmark: Benchmark) -> list[str]:
    """The options that bring it down to about a second."""

    def text(value: object) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return [f"--{name}={text(value)}" for name, value in benchmark.quick.items()]


if __name__ == "__main__":
    main()

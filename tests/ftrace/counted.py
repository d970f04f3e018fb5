"""CPython's own tests, with a trampoline in every function of the packages that they test.

    python -m tests.ftrace.counted test_json test_argparse            counted
    python -m tests.ftrace.counted --plain test_json test_argparse    as they are, for comparison

Every function of ``PACKAGES`` gets a trampoline as soon as its module has been executed (also where a test imports a
fresh copy), and every function that one of these makes gets one as it is made. The counter is held open: it begins at 1
and is never 0. In the end it must be back there, but for the calls that are still going on: generators and
coroutines that somebody still holds, frames on the stack of a thread.

The last line is a JSON object. The exit status is that of the tests, or 3 where the counter is wrong.
"""

from __future__ import annotations

import argparse
import dis
import gc
import importlib
import inspect
import json
import pkgutil
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

from pylivepatch.counter import Counter
from pylivepatch.ftrace.trampoline import adopt_slot, instantiate, trampoline
from pylivepatch.ftrace.verify import check
from tests.ftrace.sweep import nested_functions

PACKAGES = ("json", "argparse", "email", "http", "asyncio", "dataclasses", "typing", "unittest", "contextlib")


class Counted:
    """Trampolines that pass through, and the one counter that they share."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.counter.at_zero(lambda: self.errors.append("the switch has come"))
        self.functions = 0
        self.errors: list[str] = []
        self._made: dict[int, tuple[CodeType, CodeType]] = {}  # by the id of the original: it, and its trampoline
        self._ids: set[int] = set()

    def add_module(self, module: ModuleType) -> None:
        """Give each function of ``module`` a trampoline, wherever it is kept."""
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__globals__ is vars(module):
                self.add(thing)

    def add(self, function: FunctionType) -> None:
        code = function.__code__
        if id(code) not in self._ids and Path(code.co_filename).suffix == ".py":  # not what dataclasses compiles
            function.__code__ = self._trampoline(code)
            self.functions += 1

    def _trampoline(self, code: CodeType) -> CodeType:
        known = self._made.get(id(code))
        if known is None:
            paths = nested_functions(code)
            template = trampoline(code, adopt=paths)
            check(code, template, paths)
            values: dict[str, Any] = {
                "enter": self.counter.enter,
                "in_use": self.counter.in_use,
                "late_entry": lambda values: self.errors.append(f"late entry into {code.co_qualname}"),
                "scratch": [None],
                "asking": [0],
                "attend": None,
            }
            values |= {adopt_slot(path): self.add for path in paths}
            known = self._made[id(code)] = (code, instantiate(template, code, values))
            self._ids.add(id(known[1]))
        return known[1]

    def still_inside(self) -> list[str]:
        """The calls that go on: they have been counted in and not yet out."""
        found: dict[int, str] = {}

        def see(frame: FrameType | None) -> None:
            if frame is not None and id(frame.f_code) in self._ids:
                found[id(frame)] = frame.f_code.co_qualname

        for frame in sys._current_frames().values():
            while frame is not None:
                see(frame)
                frame = frame.f_back  # type: ignore[assignment]
        for thing in gc.get_objects():
            if isinstance(thing, GeneratorType) and inspect.getgeneratorstate(thing) != inspect.GEN_CREATED:
                see(thing.gi_frame)
            elif isinstance(thing, CoroutineType) and inspect.getcoroutinestate(thing) != inspect.CORO_CREATED:
                see(thing.cr_frame)
            elif isinstance(thing, AsyncGeneratorType) and thing.ag_frame is not None and _resumed(thing):
                see(thing.ag_frame)
        return sorted(found.values())


def _resumed(generator: AsyncGeneratorType[Any, Any]) -> bool:
    """Whether it was ever started: the frame of one that was not stands at RETURN_GENERATOR."""
    frame = generator.ag_frame
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] != "RETURN_GENERATOR"


def install(counted: Counted, packages: Sequence[str] = PACKAGES) -> None:
    """From now on, and in what is imported already."""
    original = SourceFileLoader.exec_module

    def exec_module(self: SourceFileLoader, module: ModuleType) -> None:
        original(self, module)
        if module.__name__.partition(".")[0] in packages:
            counted.add_module(module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[method-assign]
    for name in packages:
        package = importlib.import_module(name)
        counted.add_module(package)
        for info in pkgutil.walk_packages(getattr(package, "__path__", ()), name + "."):
            if not info.name.endswith("__main__"):
                try:
                    counted.add_module(importlib.import_module(info.name))
                except ImportError:  # for another platform
                    continue


def outcomes(report: Path) -> dict[str, str]:
    """What became of each test, from the runner's XML report."""
    result: dict[str, str] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        result[case.get("name", "?")] = bad[0] if bad else "passed"
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="Run CPython's own tests with every call counted.")
    parser.add_argument("--plain", action="store_true", help="without trampolines")
    parser.add_argument("tests", nargs="+")
    options = parser.parse_args()
    counted = Counted()
    if not options.plain:
        install(counted)
    from test.libregrtest.main import main as regrtest  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        sys.argv = ["regrtest", "--junit-xml", str(report), *options.tests]
        status = 0
        try:
            regrtest()
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        each = outcomes(report)
    for _ in range(5):
        gc.collect()
    inside = counted.still_inside()
    summary = {
        "status": status,
        "functions": counted.functions,
        "counter": counted.counter.value - 1,
        "inside": inside,
        "errors": counted.errors[:20],
        "threads": [thread.name for thread in threading.enumerate()],
        "tests": each,
    }
    print(json.dumps(summary), flush=True)
    if counted.errors or summary["counter"] != len(inside):
        return 3
    return status


if __name__ == "__main__":
    sys.exit(main())

"""A pass-through trampoline for every function of the standard library, each checked against its original.

    python -m tests.ftrace.sweep                  every file
    python -m tests.ftrace.sweep --share 0.1      a tenth of them, chosen by a seed that is printed
    python -m tests.ftrace.sweep --share 0.1 --seed 7      the same tenth again

Works in two processes. Prints ``python X.Y: N code objects, R refused``, and each refusal before it; the exit status
is 0 only where nothing was refused.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import multiprocessing
import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from pylivepatch.errors import LivePatchError
from pylivepatch.ftrace.trampoline import trampoline
from pylivepatch.ftrace.verify import find_problem

_BATCH = 8


class Outcome(NamedTuple):
    """What became of some files: how many functions got a trampoline, and which did not, and why."""

    files: int
    made: int
    refused: list[str]


def files() -> list[Path]:
    """Every Python file of the standard library, its test package included where it is installed."""
    root = Path(sysconfig.get_paths()["stdlib"])
    others = {"site-packages", "dist-packages"}
    found = (path for path in root.rglob("*.py") if not others & set(path.parts))
    return sorted(path for path in found if path.is_file())  # Debian leaves links whose target may be missing


def functions(code: CodeType) -> Iterator[CodeType]:
    """Every function's code in ``code``, however deep, with lambdas, comprehensions and generator expressions.

    The latter not on 3.15, where they have no entry of their own (``trampoline`` refuses them by design).
    """
    for const in code.co_consts:
        if isinstance(const, CodeType):
            has_entry = const.co_name != "<genexpr>" or sys.version_info < (3, 15)
            if const.co_flags & inspect.CO_OPTIMIZED and has_entry:
                yield const
            yield from functions(const)


def nested_functions(code: CodeType) -> list[tuple[int, ...]]:
    """The functions that ``code`` makes itself or in a class body, as paths: what a transition would adopt."""
    found: list[tuple[int, ...]] = []
    for index, const in enumerate(code.co_consts):
        if not isinstance(const, CodeType):
            continue
        if const.co_flags & inspect.CO_OPTIMIZED:
            if not const.co_name.startswith("<") or const.co_name == "<lambda>":
                found.append((index,))
        else:
            found += [(index, *path) for path in nested_functions(const)]
    return found


def sweep_file(path: Path) -> Outcome:
    """Make and check the trampolines of one file's functions. A file that does not compile has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):  # test data: bad syntax, bad encodings, deep nesting
        return Outcome(0, 0, [])
    made, refused = 0, []
    for code in functions(module):
        made += 1
        problem = problem_of(code)
        if problem:
            refused.append(f"{path}:{code.co_firstlineno} {code.co_qualname}: {problem}")
    return Outcome(1, made, refused)


def problem_of(code: CodeType) -> str:
    """Why ``code`` gets no trampoline, or none that passes; empty where it gets one."""
    paths = nested_functions(code)
    try:
        return find_problem(code, trampoline(code, adopt=paths), paths)
    except LivePatchError as error:
        return error.message
    except Exception as error:  # the maker broke: that is a refusal too, and has to be counted
        return f"{type(error).__name__}: {error}"


def _sweep_files(paths: tuple[Path, ...]) -> Outcome:
    return add(map(sweep_file, paths))


def add(outcomes: Iterator[Outcome]) -> Outcome:
    each = list(outcomes)
    refused = list(itertools.chain.from_iterable(o.refused for o in each))
    return Outcome(sum(o.files for o in each), sum(o.made for o in each), refused)


def sweep(paths: list[Path], *, processes: int = 2) -> Outcome:
    """Sweep ``paths`` in that many processes."""
    batches = [tuple(paths[i : i + _BATCH]) for i in range(0, len(paths), _BATCH)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return add(pool.imap_unordered(_sweep_files, batches))


def sample(share: float, seed: int) -> list[Path]:
    """That share of the files, by that seed."""
    every = files()
    return random.Random(seed).sample(every, max(1, round(len(every) * share)))


def summary(outcome: Outcome) -> str:
    version = ".".join(map(str, sys.version_info[:2]))
    return f"python {version}: {outcome.made} code objects, {len(outcome.refused)} refused"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a trampoline of every function of the standard library.")
    parser.add_argument("--share", type=float, default=1.0, help="of the files; all by default")
    parser.add_argument("--seed", type=int, default=None, help="which files; random by default")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    paths = sample(options.share, seed) if options.share < 1 else files()
    if options.share < 1:
        print(f"seed {seed}")
    outcome = sweep(paths, processes=options.processes)
    for line in outcome.refused:
        print(line)
    print(f"{outcome.files} files compiled")
    print(summary(outcome))
    return 1 if outcome.refused else 0


if __name__ == "__main__":
    sys.exit(main())

"""One unit of a library given to the builder, and what became of it."""

from __future__ import annotations

import ast
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pylivepatch import patchfile
from pylivepatch.build import codes
from pylivepatch.build.builder import examine_files
from pylivepatch.build.tree import arrange
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import LivePatchError
from pylivepatch.patch import Patch
from tests.robustness.libraries import units


@dataclass
class Outcome:
    """``outcome`` is ``built``, ``refused``, ``unchanged``, ``unreadable`` (a clear error) or ``crash``."""

    unit: str
    files: int
    outcome: str
    codes: list[str] = field(default_factory=list)
    unclassified: int = 0
    said: str = ""
    seconds: float = 0.0


Texts = dict[str, bytes]


def touched(data: bytes) -> bytes:
    """Another file with the same meaning."""
    return data + b"\n# the end\n"


def formatted(data: bytes) -> bytes:
    """The same tree written anew: other positions, no comments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.unparse(ast.parse(data)).encode("utf-8", "surrogatepass")
        except (SyntaxError, ValueError, RecursionError):  # broken on purpose, as some of the library's tests are
            return data


def examine_unit(unit: str, old: Path, new: Path, files: tuple[list[str], list[str]], how: str) -> Outcome:
    """``how``: ``same`` or ``formatted`` compare the old library with itself, ``next`` with the new one."""
    before, after = ({path: (side / path).read_bytes() for path in paths} for side, paths in
                     zip((old, new), files, strict=True))
    if how != "next":
        change: Callable[[bytes], bytes] = touched if how == "same" else formatted
        after = {path: _readable(change, data) for path, data in before.items()}
    started = time.perf_counter()
    outcome = _examine(unit, before, after)
    outcome.seconds = time.perf_counter() - started
    return outcome


def _readable(change: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Changed, where it is no file that cannot be read anyway: those the builder need not look at."""
    try:
        ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return data
    return change(data)


def _examine(unit: str, before: Texts, after: Texts) -> Outcome:
    count = len({*before, *after})
    try:
        result = examine_files(arrange(before), arrange(after), name="sweep")
        if result.patch is not None:
            _can_be_used(result.patch)
    except LivePatchError as error:
        return Outcome(unit, count, "unreadable", [error.code], said=str(error))
    except Exception:
        return Outcome(unit, count, "crash", said=traceback.format_exc())
    found = [*result.changes, *result.refusals]
    loose = sum(one.code not in codes.TABLE or not one.message for one in found)
    return Outcome(unit, count, result.outcome, [one.code for one in found], loose, "\n".join(map(str, found)))


def _can_be_used(patch: Patch) -> None:
    """Compiling is the other half of what is done before the target."""
    assert patchfile.load(patchfile.dump(patch), "the sweep") == patch
    compile_patch(patch)


def sweep(old: Path, new: Path, how: str, *, tests: bool, only: Iterable[str] = ()) -> Iterator[Outcome]:
    """Every unit of the two libraries, on all cores; the big ones first."""
    before, after = (units_of(side, tests, only) for side in (old, new))
    names = sorted({*before, *after}, key=lambda name: -len(before.get(name, ())) - len(after.get(name, ())))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = [
            pool.submit(examine_unit, name, old, new, (before.get(name, []), after.get(name, [])), how)
            for name in names
        ]
        for future in futures:
            yield future.result()


def units_of(library: Path, tests: bool, only: Iterable[str]) -> dict[str, list[str]]:
    chosen = set(only)
    return {name: files for name, files in units(library, tests=tests).items() if not chosen or name in chosen}

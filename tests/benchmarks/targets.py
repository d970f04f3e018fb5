"""Modules to be patched, each with its patch as the agent gets one: compiled outside of the process."""

from __future__ import annotations

import ast
import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pylivepatch.compiled import CompiledPatch, compile_with
from pylivepatch.patch import CodeRef, FunctionChange, ModulePatch, Patch
from pylivepatch.patchfile import write


@contextmanager
def built(name: str, old: str, new: str) -> Iterator[tuple[ModuleType, CompiledPatch]]:
    """The module of that name with the source ``old``, and the patch that brings it to ``new``, named as the module."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for side, source in (("old", old), ("new", new)):
            (root / side).mkdir()
            (root / side / f"{name}.py").write_text(source)
        before = sys.dont_write_bytecode
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(root / "old"))
        try:
            importlib.invalidate_caches()
            module = importlib.import_module(name)
            write(_every_function(name, old, new), root / "built.plp")
            compiled = compile_with(sys.executable, root / "built.plp", optimize=sys.flags.optimize)
            yield module, CompiledPatch.from_bytes(compiled)
        finally:
            sys.path.remove(str(root / "old"))
            sys.modules.pop(name, None)
            sys.dont_write_bytecode = before


def _every_function(name: str, old: str, new: str) -> Patch:
    """What the builder makes of the two, in a time that does not grow with the square of their number."""
    before, after = (
        {node.name: node.lineno for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        for source in (old, new)
    )
    changes = tuple(FunctionChange(CodeRef(f, line), CodeRef(f, after[f])) for f, line in before.items())
    return Patch(name, modules=(ModulePatch(name, f"{name}.py", old, new, changes),))


_IDLE = '''
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


def idle_functions(count: int, version: int) -> str:
    """Functions of some size, ``function_0`` to ``function_<count - 1>``, that nobody calls."""
    return "".join(_IDLE.format(n=n, start=version * n, version=version) for n in range(count))


_BUSY = '''
def busy_{n}(seconds):
    """Give the version, and how long the body took."""
    began = perf_counter()
    sleep(seconds)
    return {version}, began, perf_counter()
'''


def busy_functions(count: int, version: int) -> str:
    """Functions that stay inside for as long as they are told, ``busy_0`` to ``busy_<count - 1>``."""
    head = "from time import perf_counter, sleep\n"
    return head + "".join(_BUSY.format(n=n, version=version) for n in range(count))

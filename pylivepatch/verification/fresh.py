"""Fresh imports: a child of the process's own interpreter imports its modules and portrays them.

The child is started with the process's flags, environment, folder and ``sys.path``, and writes no bytecode. A module
whose import fails, or that takes the child with it, is named; the others are imported all the same, by another child if
need be.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

from pylivepatch.errors import VerifyError
from pylivepatch.portrait import Portrait

TIMEOUT = 60.0  # seconds that a child may take; an import that waits for something would never end
_CHILDREN = 5  # tries, each without the module that ended the one before
_PACKAGE = str(Path(__file__).resolve().parents[1])
_BOOT = f"""\
import sys, types
package = types.ModuleType("pylivepatch")
package.__path__ = [{_PACKAGE!r}]
sys.modules["pylivepatch"] = package
from pylivepatch.portrait.child import main
main()
"""
"""Of pylivepatch only the portrait, which needs nothing but the standard library."""


@dataclass
class Fresh:
    """Modules imported afresh: their portraits, and of the others why they could not be."""

    portrait: Portrait = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    version: str = ""


def overlay(modules: Sequence[tuple[str, str, str | None, str]]) -> dict[str, dict[str, str | None]]:
    """What a child is to take for these modules: ``(name, path, source, file name of the code or "")``.

    The source is ``None`` for a module that is not to be there.
    """
    return {name: {"path": path, "source": text, "filename": file} for name, path, text, file in modules}


def import_afresh(
    process: Mapping[str, Any],
    modules: Sequence[tuple[str, str]],
    over: Mapping[str, Any],
    *,
    seed: int = 1,
    timeout: float = TIMEOUT,
) -> Fresh:
    """Import ``modules``, ``(name, file of the script or "")`` each, as ``process`` would at its next start.

    ``process`` is as :func:`pylivepatch.portrait.process.describe_process` gives it, ``seed`` is for hashes of text.
    Raises :class:`VerifyError` where the interpreter does not start, or is another version by now.
    """
    fresh = Fresh()
    left = list(modules)
    for _ in range(_CHILDREN):
        fresh.portrait.clear()
        at, why = _child(process, left, over, seed, timeout, fresh)
        if not why:
            _check_version(process, fresh.version)
            return fresh
        if not at:
            raise VerifyError(
                f"the child that imports afresh {why}",
                where=str(process["executable"]),
                advice="the process's interpreter must be there, and able to start in the process's environment",
            )
        fresh.failed[at] = f"the child that imported it {why}"
        left = [module for module in left if module[0] != at]
    for name, _ in left:
        fresh.failed.setdefault(name, "too many other modules ended the child")
    fresh.portrait.clear()
    return fresh


def _child(
    process: Mapping[str, Any],
    modules: Sequence[tuple[str, str]],
    over: Mapping[str, Any],
    seed: int,
    timeout: float,
    fresh: Fresh,
) -> tuple[str, str]:
    """Run one. Returns ``("", "")``, or the module that it was at and what became of it."""
    request = {"path": process["path"], "argv": process["argv"], "modules": list(modules), "overlay": over}
    at = ""
    with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder, tempfile.TemporaryFile() as errors:
        environ = {**process["environ"], "PYTHONHASHSEED": str(seed), "PYLIVEPATCH_DIR": folder}
        try:
            child = subprocess.Popen(
                [process["executable"], *process["flags"], "-c", _BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=process["cwd"] if os.path.isdir(process["cwd"]) else "/",
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            return "", f"could not be started: {error}"
        ended = []

        def end() -> None:
            ended.append(True)
            _kill(child)

        timer = Timer(timeout, end)
        timer.start()
        done = False
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError), child.stdin as stdin:
                stdin.write(json.dumps(request).encode())
            for line in child.stdout:
                told = json.loads(line)
                at = told.get("importing", at)
                if "failed" in told:
                    fresh.failed[told["failed"]] = told["why"]
                elif "portrait" in told:
                    _add(fresh.portrait, told["portrait"], told["symbols"])
                elif "done" in told:
                    fresh.version, done = told["done"], True
        finally:
            timer.cancel()
            _kill(child)
            child.stdout.close() if child.stdout else None
            child.wait()
        if done:
            return "", ""
        errors.seek(0)
        last = errors.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
    if ended:
        return at, f"did not end within {timeout:g} s"
    return at, f"ended with status {child.returncode}" + (f": {last[0]}" if last else "")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _add(portrait: Portrait, module: str, symbols: Mapping[str, dict[str, str]]) -> None:
    known = portrait.setdefault(module, {})
    for symbol, aspects in symbols.items():
        known.setdefault(symbol, {}).update(aspects)


def _check_version(process: Mapping[str, Any], version: str) -> None:
    if version != process["version"]:
        raise VerifyError(
            f"the process runs Python {process['version'].split()[0]}, and its interpreter's file is "
            f"{version.split()[0]} by now: their code cannot be compared",
            where=str(process["executable"]),
            advice="restart the process with the interpreter that is installed",
        )

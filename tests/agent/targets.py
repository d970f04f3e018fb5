"""A service in a child process, with an agent in it, that evaluates what a test asks it to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

SERVICE = """\
import json, os, sys, threading, time

entered, leave = threading.Event(), threading.Event()

def price(quantity):
    return quantity * 90

def hold():
    entered.set()
    leave.wait()
    return price(1)

def occupy():
    threading.Thread(target=hold, name="occupant", daemon=True).start()
    return entered.wait(30)

def main():
    print(json.dumps(os.getpid()), flush=True)
    for line in sys.stdin:
        try:
            answer = eval(line)
        except Exception as error:
            answer = repr(error)
        print(json.dumps(answer), flush=True)

if __name__ == "__main__":
    main()
"""
MENDED = SERVICE.replace("quantity * 90", "quantity * 100").replace("leave.wait()", "leave.wait(60.0)")


def environment(directory: Path | str, **more: str) -> dict[str, str]:
    """For child processes: our pylivepatch, and agents in a folder of the test's own."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYLIVEPATCH_DIR": str(directory), **more}


class Target:
    """The service. ``ask`` evaluates an expression in it."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.pid = json.loads(self._line())

    @property
    def socket(self) -> Path:
        return self.directory / f"{self.pid}.sock"

    def ask(self, expression: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the service ended: {self.process.wait()}"
        return line

    def end(self) -> int:
        """Let it end by itself, as a service does at the end of its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(30)


@contextmanager
def service(
    folder: Path, *, python: str = sys.executable, flags: tuple[str, ...] = (), directory: Path | None = None
) -> Iterator[Target]:
    """Run the service with an agent, from ``folder/old/service.py``."""
    directory = directory or folder / "run"
    write_trees(folder)
    process = subprocess.Popen(
        [python, *flags, "-m", "pylivepatch.agent.run", "service.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder / "old",
        env=environment(directory),
    )
    with process:  # closes its pipes and waits for it
        try:
            yield Target(process, directory)
        finally:
            process.kill()


def write_trees(folder: Path) -> tuple[Path, Path]:
    """The service's source as it is, and as it should be."""
    for name, source in (("old", SERVICE), ("new", MENDED)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "service.py").write_text(source)
    return folder / "old", folder / "new"


def other_python() -> str | None:
    """An interpreter of another minor version that has what a helper process needs, if there is one here."""
    for path in sorted(Path("/opt/venvs").glob("3.*/bin/python"), reverse=True):
        if path.parent.parent.name != f"{sys.version_info[0]}.{sys.version_info[1]}":
            return str(path)
    return None

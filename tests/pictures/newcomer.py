"""A newcomer's trial, timed: from an empty folder, with only the README, to a patched service and an opened report.

    python -m tests.pictures.newcomer [--python PATH]     (needs the package index; a browser for the last step)

Each step's commands are taken from the README as they stand, and run in one shell with nothing of this environment but
the search path. What a person needs for reading and typing comes on top. Prints the README's table.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.pictures import walk
from tests.pictures.__main__ import screenshot


class Timed(NamedTuple):
    title: str
    seconds: float
    printed: str


def trial(folder: Path, python: str) -> list[Timed]:
    """Go through the README's steps in ``folder``, which is empty. Raises :class:`RuntimeError` where one fails."""
    tools = folder.parent / "tools"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')  # a link would leave its venv
    (tools / "python3").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG") or name.startswith("PIP_")}
    environment = {**kept, "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin", "source": str(walk.ROOT)}
    found = []
    with walk.shell(folder, environment) as shell:
        for step in walk.steps():
            began = time.monotonic()
            printed = walk.tell(shell, step.commands)
            if "service.log &" in step.commands:
                walk.wait_for_output(folder / "service.log")
            found.append(Timed(step.title, time.monotonic() - began, printed))
            if "--report" in step.commands and shutil.which("chromium"):
                began = time.monotonic()
                screenshot(folder / "report.html", folder / "report.png")
                found.append(Timed("open the report", time.monotonic() - began, ""))
    return found


def table(found: list[Timed], python: str) -> str:
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], capture_output=True)
    lines = [f"| step (Python {version.stdout.decode().strip()}, {platform.machine()}) | seconds |", "|---|---:|"]
    lines += [f"| {title} | {seconds:.1f} |" for title, seconds, _ in found]
    return "\n".join([*lines, f"| **together** | **{sum(one.seconds for one in found):.1f}** |"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures.newcomer", description="A newcomer's trial, timed.")
    parser.add_argument("--python", default=shutil.which("python3", path="/usr/bin") or "python3", help="with pip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "empty")
        folder.mkdir()
        found = trial(folder, options.python)
    for step in found:
        print(step.printed, end="")
    print(table(found, options.python))


if __name__ == "__main__":
    main()

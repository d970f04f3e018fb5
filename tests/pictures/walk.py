"""The README's way from an empty folder to a patched service: its steps, as they stand there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Step(NamedTuple):
    title: str
    commands: str


def steps() -> list[Step]:
    """Each ``<!-- step: TITLE -->`` of the README with the block below it."""
    text = (ROOT / "README.md").read_text()
    return [Step(*found) for found in re.findall(r"^<!-- step: (.*?) -->\n```sh\n(.*?)^```$", text, re.M | re.S)]


def wait_for_output(path: Path, seconds: float = 60.0) -> None:
    """Until somebody has written to the file. Raises :class:`TimeoutError`."""
    until = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() > until:
            raise TimeoutError(f"nothing is written to {path}")
        time.sleep(0.02)


@contextmanager
def shell(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A shell in ``folder`` that takes commands; what it started is ended with it."""
    with subprocess.Popen(
        ["bash"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            tell(process, "set -e; trap 'echo @failed' EXIT")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the service, too, where a step has failed


def tell(process: subprocess.Popen[str], commands: str) -> str:
    """Have the shell do ``commands``; what they print. Raises :class:`RuntimeError` where one of them fails."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{commands}\necho @done\n")
    process.stdin.flush()
    lines: list[str] = []
    for line in process.stdout:
        if line == "@done\n":
            return "".join(lines)
        if line == "@failed\n":
            break
        lines.append(line)
    raise RuntimeError(f"failed:\n{commands}\n{''.join(lines)}")

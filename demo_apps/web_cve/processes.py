"""The demo's child processes: started together, ended together, whatever happens.

Each child leads a process group of its own, so that what it starts itself ends with it. Those that run for
long have a pipe from us as their standard input and watch for its end, so that they end even when this
process is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PATIENCE = 5.0  # seconds for a child to end after it was asked to


class ChildFailed(Exception):
    """A command of the demo ended with an error; the message holds what it said."""


class Children:
    """Every child of the demo. Leaving the context ends those that still run."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave children behind.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for child in reversed(self._children):
                end(child)
        finally:
            signal.signal(signal.SIGINT, interrupt)

    def start(
        self, command: Sequence[str | os.PathLike[str]], *, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a child that runs on. Its standard error goes into the file ``log``."""
        with log.open("w") as stderr:
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=env,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def run(self, command: Sequence[str | os.PathLike[str]], *, timeout: float = 300) -> str:
        """Run a command to its end and return its standard output.

        Raises ``ChildFailed`` with what it said when its exit status is not 0, or when it takes longer than
        ``timeout`` seconds.
        """
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._children.append(child)
        shown = " ".join(os.fspath(part) for part in command)
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"no end after {timeout:.0f} s: {shown}") from None
        self._children.remove(child)
        if child.returncode != 0:
            raise ChildFailed(f"exit status {child.returncode}: {shown}\n{stdout}{stderr}".rstrip())
        return stdout


def end(child: subprocess.Popen[str]) -> None:
    """End a child and all that it started, and collect it.

    One that watches its standard input may end by itself first and clean up, as it would in real life.
    """
    if child.stdin is not None:
        child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE)
    for how in (signal.SIGTERM, signal.SIGKILL) if child.poll() is None else ():
        try:
            os.killpg(child.pid, how)
        except ProcessLookupError:  # the whole group has ended already
            break
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()
    if child.stderr is not None:
        child.stderr.close()

"""``pylivepatch rehearse``: a command that is patched live while it runs, before production sees the patch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from pylivepatch import patchfile
from pylivepatch.agent import run, runtime
from pylivepatch.agent.client import Client
from pylivepatch.cli.output import Output, seconds
from pylivepatch.errors import AgentError, AgentNotFound, LivePatchError, RehearsalError, TargetBusy
from pylivepatch.patch import Patch
from pylivepatch.verification import Report, check, scope

FAILED = 1
_POLL = 0.1  # seconds between two looks at what the command has imported
_SETTLED = 1.0  # seconds without a further import of the patch's modules, after which those that are there will do


def rehearse(
    out: Output, file: str, command: Sequence[str], *, after: float | None, timeout: float, unload_after: bool
) -> int:
    """Run the command on the old code, load the patch into it, and end as the command does.

    :raises pylivepatch.errors.PatchFileError: the file is no patch
    :raises pylivepatch.errors.RehearsalError: there is no such command, or it is none of Python's
    """
    patch = patchfile.read(file)
    arguments = python_arguments(command)
    runtime.prepare_directory(runtime.default_directory())
    child = subprocess.Popen(
        [sys.executable, *run.interpreter_flags(), *arguments],
        env=run.environment(dict(os.environ)),
        stdout=sys.stderr if out.json else None,  # the one object stands alone on standard output
    )
    shape: dict[str, Any] = {"patch": patch.name, "pid": child.pid}
    try:
        _rehearse(out, Client(child.pid), child, patch, shape, after=after, timeout=timeout, unload_after=unload_after)
    except LivePatchError as error:
        with suppress(OSError):
            child.terminate()
        child.wait()
        out.error(error)
        return FAILED
    except KeyboardInterrupt:
        child.wait()  # it was interrupted, too
        raise
    status = child.wait()
    status = status if status >= 0 else 128 - status
    out.object({**shape, "status": status})
    _tell(out, f"the command ended with status {status}")
    return status


def python_arguments(command: Sequence[str]) -> list[str]:
    """The command as arguments of Python: ``-m pytest``, ``script.py``, or a script of Python's by name (``pytest``).

    :raises pylivepatch.errors.RehearsalError: it is none of these
    """
    first = command[0]
    if first in ("-m", "-c") and len(command) > 1:
        return list(command)
    if os.path.isfile(first) and first.endswith((".py", ".pyz")):
        return list(command)
    found = shutil.which(first)
    beginning = b""
    if found is not None:
        with open(found, "rb") as opened:
            beginning = opened.readline(200)
    if found is None or not (beginning.startswith(b"#!") and b"python" in beginning):
        raise RehearsalError(
            "there is no such command" if found is None else "the command is no Python program",
            where=found or first,
            advice="give what Python is to run: -m MODULE, a script, or a script of Python's such as pytest",
        )
    return [found, *command[1:]]


def _rehearse(
    out: Output,
    client: Client,
    child: subprocess.Popen[bytes],
    patch: Patch,
    shape: dict[str, Any],
    *,
    after: float | None,
    timeout: float,
    unload_after: bool,
) -> None:
    _wait(client, child, patch, after)
    try:
        report = client.load(patch, timeout=timeout)
    except AgentError as error:
        if child.poll() is None:
            raise
        raise _ended(child, patch, "while the patch was being loaded") from error
    shape["load"] = report
    waiting = report.get("waiting") or []
    count = f"{len(report.get('functions') or [])} functions, {len(report.get('attributes') or [])} attributes"
    _tell(out, f"loaded {patch.name} into process {child.pid}: {count}, in {seconds(float(report['duration']))}")
    if waiting:
        _tell(out, f"not imported yet, and patched when they are: {', '.join(waiting)}")
    if unload_after:
        shape["after_load"] = _verify(out, client, patch, "new").as_dict()
        shape["unload"] = client.unload(patch.name, timeout=timeout)
        _tell(out, f"unloaded {patch.name}")
        shape["after_unload"] = _verify(out, client, patch, "old").as_dict()


def _wait(client: Client, child: subprocess.Popen[bytes], patch: Patch, after: float | None) -> None:
    """Until the time is there; without one until the command has imported the patch's modules."""
    names = [module.name for module in patch.modules]
    begun = time.monotonic()
    there, since = 0, begun
    while True:
        if child.poll() is not None:
            raise _ended(child, patch, "before the patch could be loaded")
        now = time.monotonic()
        if after is not None:
            if now - begun >= after:
                return
        else:
            found = _imported(client, names)
            if found != there:
                there, since = found, now
            if there == len(names) or (there and now - since >= _SETTLED):
                return
        time.sleep(_POLL if after is None else min(_POLL, after))


def _ended(child: subprocess.Popen[bytes], patch: Patch, when: str) -> RehearsalError:
    return RehearsalError(
        f"the command ended (status {child.returncode}) {when}",
        where=patch.name,
        advice="it must run on after the patch's modules are imported; --after SECONDS sets the time",
    )


def _imported(client: Client, names: list[str]) -> int:
    """How many of the modules are there; 0 while the agent is not, or is busy."""
    try:
        return len(client.portrait(names, []).modules)
    except (AgentNotFound, TargetBusy):
        return 0
    except AgentError:  # it ends: the next look tells
        return 0


def _verify(out: Output, client: Client, patch: Patch, version: str) -> Report:
    report = check(client.portrait(*scope(patch)), patch, version)
    _tell(out, f"compared with a fresh process of the {version} version: {report.outcome}")
    for one in report.different:
        _tell(out, f"  {one}")
    return report


def _tell(out: Output, text: str) -> None:
    """To standard error: standard output is the command's."""
    if not out.json:
        click.echo(f"pylivepatch: {text}", err=True)

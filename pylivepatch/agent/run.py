"""``pylivepatch run``: a program with an agent in it, otherwise run as Python itself would run it.

``python -m pylivepatch.agent.run [-m module | -c code | script] args…`` replaces itself with a fresh
interpreter of the same command line. The agent is started in there by ``boot/sitecustomize.py``, which
``PYTHONPATH`` puts first and which takes itself away again before the program begins. So there is no
``runpy`` and nothing of ours on the main thread's stack: the program's main module is really ``__main__``,
with its own ``__spec__``, ``sys.argv``, ``sys.path[0]``, tracebacks and exit status, zip files and folders
run as ever, and so do ``multiprocessing``'s children, which get no agent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]
from typing import NoReturn

from pylivepatch.agent import runtime
from pylivepatch.errors import AgentError, LivePatchError

BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot")
PYTHONPATH_BEFORE = "PYLIVEPATCH_PYTHONPATH"


def environment(environ: dict[str, str]) -> dict[str, str]:
    """The environment of the fresh interpreter.

    :raises AgentError: pylivepatch lies where ``PYTHONPATH`` cannot name it
    """
    if os.pathsep in BOOT:
        raise AgentError(
            f"a program cannot be run with an agent from a folder with {os.pathsep!r} in its name",
            where=BOOT,
            advice="install pylivepatch elsewhere, or call pylivepatch.agent.start() in the program",
        )
    prepared = dict(environ)
    before = environ.get("PYTHONPATH")
    if before is not None:
        prepared[PYTHONPATH_BEFORE] = before
    prepared["PYTHONPATH"] = os.pathsep.join([BOOT, before] if before else [BOOT])
    return prepared


def interpreter_flags() -> list[str]:
    """The flags that this interpreter was started with (``-O``, ``-X dev``, ``-W …``).

    :raises AgentError: one of them makes Python ignore what ``pylivepatch run`` needs
    """
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise AgentError(
            "an agent cannot be started under Python's -E, -I or -S",
            where=sys.executable,
            advice="leave the flag out, or call pylivepatch.agent.start() in the program",
        )
    given = sys.orig_argv[1:]
    for i in range(len(given) - 1):
        if given[i] == "-m" and given[i + 1].partition(".")[0] == "pylivepatch":
            return given[:i]  # python FLAGS -m pylivepatch …: all of them, also those that leave no trace in sys.flags
    flags: list[str] = _args_from_interpreter_flags()
    return flags


def run(arguments: Sequence[str]) -> NoReturn:
    """Become a fresh interpreter with an agent that runs ``arguments`` (as after ``python``).

    :raises AgentError: there is nothing to run, or the agent could not be started there
    """
    if not arguments or (arguments[0] in ("-m", "-c") and len(arguments) < 2):
        raise AgentError(
            "there is nothing to run", advice="pylivepatch run [-m MODULE | -c CODE | SCRIPT] [ARGUMENT]…"
        )
    if arguments[0].startswith("-") and arguments[0] not in ("-m", "-c", "-"):
        raise AgentError(
            f"{arguments[0]} is no option of run",
            advice="flags for Python go before it: python -O -m pylivepatch run …",
        )
    runtime.prepare_directory(runtime.default_directory())
    command = [sys.executable, *interpreter_flags(), *arguments]
    environ = environment(dict(os.environ))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environ)


def main() -> NoReturn:
    try:
        run(sys.argv[1:])
    except LivePatchError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""What a child must know of a process to import the same modules as it would at its next start."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def describe_process() -> dict[str, Any]:
    """The interpreter, its flags, and where it looks for modules. JSON-able.

    The environment is among it, as imports read it: it goes nowhere but to the process's own user.
    """
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = "/"
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return {
        "executable": sys.executable,
        "version": sys.version,
        "flags": [flag for flag in flags if not flag.startswith(("-v", "-q"))],
        "path": [os.path.abspath(entry) if entry else cwd for entry in sys.path if isinstance(entry, str)],
        "argv": list(sys.argv),
        "cwd": cwd,
        "environ": dict(os.environ),
        "stdlib": os.path.dirname(os.__file__),
    }

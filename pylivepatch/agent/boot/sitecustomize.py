"""Starts the agent before a program begins (see :mod:`pylivepatch.agent.run`), and leaves no trace of itself.

``site`` imports this instead of the installation's own ``sitecustomize``, which it brings in afterwards, as
if this had not been here. Where the agent cannot be started the program is not begun.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def leave() -> None:
    """Restore ``sys.path`` and ``PYTHONPATH``: child processes are to be what they would have been."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    before = os.environ.pop("PYLIVEPATCH_PYTHONPATH", None)
    if before is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = before


def start() -> None:
    """Start the agent. pylivepatch may lie where the program's ``sys.path`` does not reach."""
    home = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
    sys.path.insert(0, home)
    try:
        import pylivepatch.agent
        from pylivepatch.errors import LivePatchError
    finally:
        sys.path.remove(home)
    try:
        pylivepatch.agent.start()
    except LivePatchError as error:
        refuse(str(error))


def refuse(why: str) -> None:
    """End the process. ``site`` would catch an exception, and go on without an agent."""
    sys.stderr.write(why + "\n")
    sys.stderr.flush()
    os._exit(1)


def hand_over() -> None:
    """Import the ``sitecustomize`` that would have been found, under its name."""
    ours = sys.modules.pop("sitecustomize")
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        sys.modules["sitecustomize"] = ours  # the import that runs this wants to find it
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


leave()
try:
    start()
except BaseException as error:
    refuse(f"the agent could not be started: {type(error).__name__}: {error}")
hand_over()

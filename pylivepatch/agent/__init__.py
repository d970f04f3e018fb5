"""The agent: what serves the patch stack of a process to the outside, and the client that talks to it.

``pylivepatch.agent.start()`` in the service's own code, or ``pylivepatch run`` around it, gives a process an
agent. Importing this package costs nothing; what the agent needs is imported by :func:`start`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylivepatch.agent.server import Agent


def start(directory: str | None = None) -> Agent:
    """Start this process's agent, or return the one that runs already.

    ``directory`` is the runtime folder; ``None`` means ``$PYLIVEPATCH_DIR``, else
    ``$XDG_RUNTIME_DIR/pylivepatch``, else ``/tmp/pylivepatch-<uid>``. The agent is one daemon thread;
    children made by ``os.fork()`` get their own.

    :raises pylivepatch.errors.AgentError: the runtime folder is not safe, or the socket cannot be made
    :raises pylivepatch.errors.EngineUnsupported: this interpreter cannot be patched live
    """
    from pylivepatch.agent import server

    return server.start(directory)

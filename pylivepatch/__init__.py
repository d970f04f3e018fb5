"""Live patching for running Python processes, with kpatch's semantics.

>>> import pylivepatch
>>> patch = pylivepatch.Patch("fix").replace(old_function, new_function)      # doctest: +SKIP
>>> applied = pylivepatch.load(patch, timeout=15.0)                           # doctest: +SKIP
>>> applied.unload()                                                          # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pylivepatch.core import Applied, force, load, patches, reverse, signal, status, unload
from pylivepatch.errors import LivePatchError, PrepareError, TransitionTimeout
from pylivepatch.events import Event, subscribe
from pylivepatch.patch import Patch
from pylivepatch.taints import Taint, taints

if TYPE_CHECKING:
    from pylivepatch import agent as agent

__version__ = "0.1.0"


def build_patch(
    old: str | os.PathLike[str], new: str | os.PathLike[str], *, name: str, description: str = ""
) -> Patch:
    """Build a patch from two source trees (or two files). What the ``pylivepatch build`` command calls.

    Raises :class:`pylivepatch.errors.BuildRefused` where a difference cannot be patched safely, and
    :class:`pylivepatch.errors.NothingChanged`.
    """
    from pylivepatch import build  # the builder stays out of processes that only load

    return build.build_patch(old, new, name=name, description=description)


__all__ = [
    "Applied",
    "Event",
    "LivePatchError",
    "Patch",
    "PrepareError",
    "Taint",
    "TransitionTimeout",
    "agent",
    "build_patch",
    "force",
    "load",
    "patches",
    "reverse",
    "signal",
    "status",
    "subscribe",
    "taints",
    "unload",
]


def __getattr__(name: str) -> Any:
    if name == "agent":  # imported when asked for: a process that patches itself by hand needs no server
        import importlib

        return importlib.import_module("pylivepatch.agent")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

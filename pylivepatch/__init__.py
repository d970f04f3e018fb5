"""Live patching for running Python processes, with kpatch's semantics.

>>> import pylivepatch
>>> patch = pylivepatch.Patch("fix").replace(old_function, new_function)      # doctest: +SKIP
>>> applied = pylivepatch.load(patch, timeout=15.0)                           # doctest: +SKIP
>>> applied.unload()                                                          # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pylivepatch.errors import EngineUnsupported, LivePatchError, PrepareError, TransitionTimeout
from pylivepatch.events import Event, subscribe
from pylivepatch.patch import Patch
from pylivepatch.taints import Taint, taints

_refusal: EngineUnsupported | None = None
try:
    from pylivepatch.core import Applied, load, patches, unload
    from pylivepatch.tracing import Probe, Tracer, probe, trace
    from pylivepatch.underway import force, reverse, signal, status
except EngineUnsupported as error:  # this interpreter can still build patches, and show them: see __getattr__
    error.__traceback__ = None  # it would keep the frames of the import
    _refusal = error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pylivepatch import agent as agent
    from pylivepatch.verification import Report

__version__ = "0.1.0"


def build_patch(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    name: str,
    description: str = "",
    hooks: str | os.PathLike[str] | None = None,
    spread: bool = False,
) -> Patch:
    """Build a patch from two source trees (or two files). What the ``pylivepatch build`` command calls.

    ``hooks`` is the path of the author's part, a Python file that the patch carries: see ``pylivepatch.hooks``.
    ``spread`` has big trees compared on all cores, by forks of this process, where it is one with a single thread on
    Linux; the patch is the same.

    Raises :class:`pylivepatch.errors.BuildRefused` where a difference cannot be patched safely, and
    :class:`pylivepatch.errors.NothingChanged`.
    """
    from pylivepatch import build  # the builder stays out of processes that only load

    return build.build_patch(old, new, name=name, description=description, hooks=hooks, spread=spread)


def verify(
    patch: Patch | str | os.PathLike[str] | None = None,
    *,
    pid: int | None = None,
    version: str | None = None,
    packages: Sequence[str] | None = None,
) -> Report:
    """Compare this process, or the one with an agent that ``pid`` names, with a fresh import in a child.

    Without ``patch`` (a :class:`Patch` built from source, or the path of a patch file) it is compared with the sources
    on disk; ``packages`` limits that to some top-level packages. With it the process must run the patch's new version
    where a patch of that name is applied, else its old one; ``version`` says ``"new"`` or ``"old"`` instead. What the
    report tells apart, and what cannot be compared, is in ``docs/verify.md``.

    Raises :class:`pylivepatch.errors.VerifyError` where no child can be run, :class:`pylivepatch.errors.TargetBusy`
    while a patch is being loaded or unloaded, and what :class:`pylivepatch.agent.client.Client` raises.
    """
    from pylivepatch import live, patchfile, verification  # what only this needs

    if patch is not None and not isinstance(patch, Patch):
        patch = patchfile.read(patch)
    names: list[str] = []
    if patch is not None:
        names, packages = verification.scope(patch)
    if pid is None:
        seen = verification.Live.of(live.portrait(names, packages))
    else:
        from pylivepatch.agent.client import Client

        seen = Client(pid).portrait(names, packages)
    return verification.check(seen, patch, version)


__all__ = [
    "Applied",
    "Event",
    "LivePatchError",
    "Patch",
    "PrepareError",
    "Probe",
    "Taint",
    "Tracer",
    "TransitionTimeout",
    "agent",
    "build_patch",
    "force",
    "load",
    "patches",
    "probe",
    "reverse",
    "signal",
    "status",
    "subscribe",
    "taints",
    "trace",
    "unload",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "agent":  # imported when asked for: a process that patches itself by hand needs no server
        import importlib

        return importlib.import_module("pylivepatch.agent")
    if _refusal is not None and name in __all__:
        raise EngineUnsupported(_refusal.message, where=_refusal.where, advice=_refusal.advice)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The patch stack of this process: load, unload, list (``kernel/livepatch/core.c``).

One transition at a time. A patch is prepared, switched and recorded by :func:`load`; :func:`unload` runs the same
protocol in the other direction. Functions that several patches changed form a stack: only the newest change of a
function can be taken out.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pylivepatch import arrivals, events, patchfile
from pylivepatch.activeness.references import version_of
from pylivepatch.compiled import CompiledModule, CompiledPatch, check_python, compile_patch, compile_with
from pylivepatch.errors import (
    DataMismatch,
    LivePatchError,
    NotApplied,
    NotRemovable,
    PatchExists,
    PrepareError,
    TargetBusy,
)
from pylivepatch.patch import Patch
from pylivepatch.prepare import Part, live_modules, prepare_module, prepare_replacement
from pylivepatch.transition.base import State, Transition, insist
from pylivepatch.transition.per_task import PerTask
from pylivepatch.transition.refcount import Refcount
from pylivepatch.transition.stop_machine import StopMachine
from pylivepatch.transition.swap import MISSING, Swap

DEFAULT_TIMEOUT = 15.0
DEFAULT_GATE = 0.05  # seconds that a caller may be kept waiting at the gate, a try
MODES = ("refcount", "stop-machine", "per-task")
_ARRIVAL_TIMEOUT = 5.0  # for a module that is imported after its patch was loaded; seconds


@dataclass(eq=False)
class Applied:
    """A patch that is applied. ``waiting`` names its modules that are not imported yet.

    ``report`` is what happened when it was loaded: functions, stages and their seconds, the longest hold.
    ``failed`` says, by module, why a part could not be applied when its module was imported.
    """

    name: str
    description: str
    applied_at: float
    report: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _waiting: dict[str, CompiledModule] = field(default_factory=dict)

    @property
    def functions(self) -> tuple[str, ...]:
        """Every function that runs new code, as ``module:qualname``."""
        return tuple(s.name for part in self._parts for switch in part.switches for s in switch)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every module and class attribute that the patch bound."""
        return tuple(a.label for part in self._parts for a in part.attributes)

    @property
    def waiting(self) -> tuple[str, ...]:
        return tuple(self._waiting)

    def unload(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        deep: bool = False,
        mode: str = "refcount",
        gate: float | None = DEFAULT_GATE,
    ) -> dict[str, Any]:
        """Take the patch out. See :func:`unload`."""
        return unload(self.name, timeout=timeout, deep=deep, mode=mode, gate=gate)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "applied_at": self.applied_at,
            "functions": list(self.functions),
            "attributes": list(self.attributes),
            "waiting": list(self.waiting),
            "failed": dict(self.failed),
            "report": self.report,
        }


_stack: list[Applied] = []
_current: Transition | None = None
_lock = threading.RLock()  # reentrant: preparing a patch may import a module that another patch waits for
_owner = ""


def load(
    patch: Patch | CompiledPatch | str | os.PathLike[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    deep: bool = False,
    mode: str = "refcount",
    gate: float | None = DEFAULT_GATE,
) -> Applied:
    """Apply a patch to this process: every function switches at one instant, when nobody executes an old one.

    ``patch`` is a :class:`Patch`, or the path of a patch file. ``timeout`` in seconds bounds the wait for those who
    execute old functions. ``deep`` allows a search of the heap where instances of nested functions cannot be found
    otherwise.

    ``mode`` is ``refcount`` (the default), ``stop-machine`` (everyone stands while every stack is looked at) or
    ``per-task`` (each thread and task moves by itself: weaker, see ``docs/consistency.md``). ``gate`` is the longest time
    in seconds that a caller may be kept waiting, a try, where functions of the patch are never idle; ``None`` for no
    gate. It concerns ``refcount`` only.

    Raises :class:`PrepareError` (or one of its kinds) where the patch is refused with nothing touched, and
    :class:`TransitionTimeout` where it was reversed.
    """
    how = _Way(mode, gate, deep)
    code = _compile(patch)
    replacements = patch.replacements if isinstance(patch, Patch) else ()
    name, description = (code or patch).name, (code or patch).description  # type: ignore[union-attr]
    with _transition(name, "load"):
        if any(applied.name == name for applied in _stack):
            raise PatchExists(
                f"a patch named {name!r} is applied already",
                where=name,
                advice="unload it first, or give the new one another name",
            )
        parts: list[Part] = []
        waiting: dict[str, CompiledModule] = {}
        for module in code.modules if code else ():
            live = live_modules(module.name)
            if not live:
                waiting[module.name] = module
            parts += [prepare_module(module, m) for m in live]
        parts += [prepare_replacement(replacement) for replacement in replacements]
        _check_each_once(parts)
        if not parts and not waiting:
            raise PrepareError("the patch changes nothing", where=name, advice="add a change to it")
        applied = Applied(name, description, time.time(), _parts=parts, _waiting=waiting)
        applied.report = _switch(applied, parts, how, forward=True, timeout=timeout)
        applied.report["waiting"] = list(waiting)
        if waiting:
            arrivals.expect(waiting, applied, partial(_arrived, applied))
        return applied


def unload(
    name: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    deep: bool = False,
    mode: str = "refcount",
    gate: float | None = DEFAULT_GATE,
) -> dict[str, Any]:
    """Take a patch out, by the same protocol. Returns the report.

    Raises :class:`NotApplied`, :class:`NotRemovable` where a later patch stands on it, :class:`DataMismatch` where an
    attribute that it bound was changed since, and what :func:`load` raises.
    """
    how = _Way(mode, gate, deep)
    with _transition(name, "unload"):
        applied = next((a for a in _stack if a.name == name), None)
        if applied is None:
            raise NotApplied(
                f"no patch named {name!r} is applied",
                where=name,
                advice="`pylivepatch list` (or pylivepatch.patches()) shows those that are",
            )
        _check_removable(applied)
        return _switch(applied, applied._parts, how, forward=False, timeout=timeout)


def patches() -> tuple[Applied, ...]:
    """The stack of applied patches, oldest first."""
    return tuple(_stack)


def status() -> dict[str, Any] | None:
    """The transition under way, JSON-able, or ``None``: its stage, its counter, and who holds it."""
    transition = _current
    return transition.status() if transition is not None else None


def _compile(patch: Patch | CompiledPatch | str | os.PathLike[str]) -> CompiledPatch | None:
    """The code of a patch, compiled in a helper process: this one must not stand for a ``compile()``."""
    if isinstance(patch, CompiledPatch):
        check_python(patch.magic, patch.optimize)
        return patch
    if isinstance(patch, Patch):
        if not patch.modules:
            return None
        built = replace(patch, replacements=())
        with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder:
            path = Path(folder, "patch.plp")
            patchfile.write(built, path)
            return _compile(path) if sys.executable else compile_patch(built)
    if not sys.executable:
        return compile_patch(patchfile.read(patch))
    return CompiledPatch.from_bytes(compile_with(sys.executable, patch, optimize=sys.flags.optimize))


@dataclass(frozen=True)
class _Way:
    """How a transition is to go: what the user chose."""

    mode: str = "refcount"
    gate: float | None = DEFAULT_GATE
    deep: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PrepareError(f"there is no mode {self.mode!r}", advice=f"it is one of {', '.join(MODES)}")
        if self.gate is not None and not 0 < self.gate <= 10:
            raise PrepareError(f"a gate of {self.gate} seconds makes no sense", advice="give 0.05, or None for none")

    def transition(self, *args: Any) -> Transition:
        if self.mode == "refcount":
            return Refcount(*args, deep=self.deep, gate=self.gate)
        return (StopMachine if self.mode == "stop-machine" else PerTask)(*args, deep=self.deep)


# --- one transition -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _transition(name: str, action: str) -> Iterator[None]:
    """Own the right to change functions. Raises :class:`TargetBusy` while another transition has it."""
    global _owner
    free = _lock.acquire(blocking=False)
    if free and _owner:  # this very thread: a subscriber, a signal handler, or an import calls from inside a transition
        _lock.release()
    if not free or _owner:
        raise TargetBusy(
            f"another transition is under way: {_owner}",
            where=f"{action} {name}",
            advice="wait until `pylivepatch status` shows none, then try again",
        )
    try:
        _owner = f"{action} of {name!r}"
        yield
    finally:
        _owner = ""
        _lock.release()


def _check_each_once(parts: list[Part]) -> None:
    """One redirector a function, as ftrace's IPMODIFY: two changes of one function have no order."""
    seen: set[int] = set()
    for switch in (s for part in parts for s in part.switches):
        for function in switch.live():
            if id(function) in seen:
                raise TargetBusy(
                    f"the patch changes {switch.name} twice",
                    where=switch.name,
                    advice="give each function one new version; an alias is the same function",
                )
            seen.add(id(function))


def _switch(applied: Applied, parts: list[Part], way: _Way, *, forward: bool, timeout: float) -> dict[str, Any]:
    """Run the transition of these parts, and record its outcome, whatever else happens."""
    global _current
    swaps = [switch.swap(forward=forward) for part in parts for switch in part.switches]
    if not forward:
        swaps += [_leaving(switch.swap(forward=True)) for part in parts for switch in part.added]
    attributes = [a if forward else a.inverted() for part in parts for a in part.attributes]
    guards = [g for part in parts for g in (part.guards_old if forward else part.guards_new)]
    modules: list[ModuleType] = [m for part in parts for m in part.modules]
    transition = way.transition(
        applied.name,
        "load" if forward else "unload",
        swaps,
        attributes if forward else attributes[::-1],
        guards,
        modules,
    )
    outer = _current
    try:
        _current = transition
        return transition.run(timeout)
    except BaseException as error:
        if transition.state is State.COMMITTED:
            error.add_note(f"pylivepatch: the {transition.action} of {applied.name!r} was complete before this")
        raise
    finally:
        _current = outer
        if transition.state is State.COMMITTED:
            insist(partial(_record, applied, parts, swaps, forward=forward))


def _leaving(swap: Swap) -> Swap:
    """A function that only the patch has: it is counted on the way out, and whoever still has it may call it after.

    It gets a copy of its code, so that references to the code that must be idle are not our own.
    """
    swap.new = version_of(swap.old.code.replace())
    return swap


def _record(applied: Applied, parts: list[Part], swaps: list[Swap], *, forward: bool) -> None:
    """Put it on the stack, or take it off. May be repeated."""
    pairs = zip((switch for part in parts for switch in part.switches), swaps, strict=False)
    for switch, swap in pairs:
        switch.remember(swap)
    if forward:
        for part in parts:
            if part.source is not None:
                _show_source(*part.source)
        if applied not in _stack:
            _stack.append(applied)
    else:
        arrivals.forget(applied)
        applied._waiting.clear()
        if applied in _stack:
            _stack.remove(applied)
        for part in parts:
            if part.source is not None:
                linecache.cache.pop(part.source[0], None)


def _show_source(filename: str, compressed: bytes) -> None:
    """Let tracebacks show the new version's lines. They are unpacked when somebody asks."""
    linecache.cache[filename] = (lambda: zlib.decompress(compressed).decode(),)


def _check_removable(applied: Applied) -> None:
    later = _stack[_stack.index(applied) + 1 :]
    for part in applied._parts:
        for switch in (s for top in part.switches for s in top):
            for above in later:
                if any(s.old is switch.new for p in above._parts for top in p.switches for s in top):
                    raise NotRemovable(
                        f"{switch.name} was patched again by {above.name!r}",
                        where=switch.name,
                        advice=f"unload {above.name!r} first",
                    )
            for function in switch.live():
                if function.__code__ is not switch.new.code and not switch.is_nested:
                    raise NotRemovable(
                        f"{switch.name} no longer runs the code of {applied.name!r}: something else changed it",
                        where=switch.name,
                        advice="take that tool's change out first",
                    )
        for attribute in part.attributes:
            if attribute.current() is not attribute.new and not _equal_cells(attribute.current(), attribute.new):
                raise DataMismatch(
                    f"{attribute.label} was changed after the patch had bound it",
                    where=attribute.label,
                    advice="set it back to the patch's value first; unloading would lose the change",
                )


def _equal_cells(current: Any, bound: Any) -> bool:
    """Function attributes such as ``__kwdefaults__`` and ``__doc__`` may be given back as equal copies."""
    return current is not MISSING and bound is not MISSING and type(current) is type(bound) and current == bound


def _after_fork() -> None:
    """In the child of a fork: the thread that ran a transition is not here, so the transition is reversed.

    Where the counter was at 0 already the patch is applied in the child too.
    """
    global _lock, _current, _owner
    transition, _current, _owner, _lock = _current, None, "", threading.RLock()
    if transition is not None:
        transition.reverse_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- modules that are imported later ------------------------------------------------------------------------


def _arrived(applied: Applied, module: ModuleType) -> None:
    """A module that ``applied`` waits for was executed: switch its part before its importer goes on.

    Unlike a user's load it waits for a transition under way, as the importer cannot be told to try again; but not for
    good, as that one may be waiting for this import.
    """
    name = module.__name__
    try:
        if not _lock.acquire(timeout=_ARRIVAL_TIMEOUT):
            raise TargetBusy(
                f"another transition was under way for the {_ARRIVAL_TIMEOUT:.0f} s that an import may wait: {_owner}",
                where=name,
                advice="unload the patch and load it again: the module is there now",
            )
        try:
            compiled = applied._waiting.get(name)
            if compiled is None:
                return
            part = prepare_module(compiled, module)
            _check_each_once([part])
            _switch(applied, [part], _Way(), forward=True, timeout=_ARRIVAL_TIMEOUT)
            applied._parts.append(part)
            applied.report.setdefault("arrived", []).append(name)
        finally:
            applied._waiting.pop(name, None)
            _lock.release()
    except LivePatchError as error:
        applied._waiting.pop(name, None)
        applied.failed[name] = str(error)
        events.log.error("%s could not be applied to %s: %s", applied.name, name, error)
        events.publish("failed", applied.name, module=name, error=error.as_dict())

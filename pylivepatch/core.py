"""The patch stack of this process: load, unload, list (``kernel/livepatch/core.c``).

One transition at a time. A patch is prepared, switched and recorded by :func:`load`; :func:`unload` runs the same
protocol in the other direction. Functions that several patches changed form a stack: only the newest change of a
function can be taken out.
"""

from __future__ import annotations

import linecache
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pylivepatch import arrivals, events, journal, patchfile
from pylivepatch.activeness.references import version_of
from pylivepatch.callbacks import CallbackRunner, Callbacks, Outcome
from pylivepatch.compiled import CompiledModule, CompiledPatch, check_python, compile_patch, compile_with
from pylivepatch.errors import (
    DataMismatch,
    LivePatchError,
    NotApplied,
    NotRemovable,
    PatchExists,
    PrepareError,
    TargetBusy,
    TransitionRestart,
)
from pylivepatch.journal import Undertaking
from pylivepatch.patch import Patch, Replacement
from pylivepatch.prepare import Part, live_modules, prepare_module, prepare_replacement, verify_module
from pylivepatch.state import PatchStates, check_compatible
from pylivepatch.transition.base import State, Transition
from pylivepatch.transition.per_task import PerTask
from pylivepatch.transition.refcount import Refcount
from pylivepatch.transition.stop_machine import StopMachine
from pylivepatch.transition.swap import MISSING, Swap

DEFAULT_TIMEOUT = 15.0
DEFAULT_GATE = 0.05  # seconds that a caller may be kept waiting at the gate, a try
_Step = Callable[[str], tuple[Outcome, ...]]
MODES = ("refcount", "stop-machine", "per-task")
_ARRIVAL_TIMEOUT = 5.0  # for a module that is imported after its patch was loaded; seconds


@dataclass(eq=False, repr=False)
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
    tainted: bool = False  # one of its callbacks failed, or something suspended went on with old code
    _companions: tuple[Any, ...] = ()  # its callbacks and states, if it has any
    _restart: bool = False  # a module of the patch has arrived: look again

    def __repr__(self) -> str:
        return f"<Applied {self.name}: {len(self.functions)} functions, {len(self.waiting)} modules waiting>"

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
        suspended: str = "hold",
    ) -> dict[str, Any]:
        """Take this patch out, and no other that came under its name. See :func:`unload`."""
        _check_timeout(timeout)
        return _unload(self.name, lambda applied: applied is self, _Way(mode, gate, deep, suspended), timeout)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "applied_at": self.applied_at,
            "functions": list(self.functions),
            "attributes": list(self.attributes),
            "waiting": list(self.waiting),
            "failed": dict(self.failed),
            "tainted": self.tainted,
            "report": self.report,
        }


_stack: list[Applied] = []
_runner = CallbackRunner()


def load(
    patch: Patch | CompiledPatch | str | os.PathLike[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    deep: bool = False,
    mode: str = "refcount",
    gate: float | None = DEFAULT_GATE,
    suspended: str = "hold",
) -> Applied:
    """Apply a patch to this process: every function switches at one instant, when nobody executes an old one.

    ``patch`` is a :class:`Patch`, or the path of a patch file. ``timeout`` in seconds bounds the wait for those who
    execute old functions. ``deep`` allows a search of the heap where instances of nested functions cannot be found
    otherwise.

    ``mode`` is ``refcount`` (the default), ``stop-machine`` (everyone stands while every stack is looked at) or
    ``per-task`` (each thread and task moves by itself: weaker, see ``transition/per_task.py``). ``gate`` is the longest
    time in seconds that a caller may be kept waiting, a try, where functions of the patch are never idle; ``None`` for
    no gate. It concerns ``refcount`` only. So does ``suspended``: by ``hold`` (the default) a suspended generator or
    coroutine holds the transition; by ``allow`` it finishes on the old code, and taints the patch.

    Raises :class:`PrepareError` (or one of its kinds) where the patch is refused with nothing touched, and
    :class:`TransitionTimeout` where it was reversed.
    """
    how = _Way(mode, gate, deep, suspended)
    code = _compile(patch)
    replacements = patch.replacements if isinstance(patch, Patch) else ()
    name, description = (code or patch).name, (code or patch).description  # type: ignore[union-attr]
    _check_timeout(timeout)

    def work(undertaking: Undertaking) -> Applied:
        if any(applied.name == name for applied in _stack):
            raise PatchExists(
                f"a patch named {name!r} is applied already",
                where=name,
                advice="unload it first, or give the new one another name",
            )
        applied = Applied(name, description, time.time())
        if isinstance(patch, Patch) and (patch.callbacks is not None or patch.states):
            applied._companions = (patch.callbacks or Callbacks(), patch.states)
            check_compatible(PatchStates(name, patch.states), _runner.applied, replace=False)
        undertaking.ending.append(partial(_forget_arrivals, applied))
        if code is not None:  # before looking which are there: none may slip through in between
            arrivals.expect([module.name for module in code.modules], applied, partial(_arrived, applied))
        _load(undertaking, applied, code, replacements, how, time.monotonic() + timeout)
        return applied

    return journal.perform(f"load of {name!r}", work)


def _forget_arrivals(applied: Applied) -> None:
    arrivals.forget(applied, but=applied._waiting if applied in _stack else ())
    applied._restart = False


def _load(
    undertaking: Undertaking,
    applied: Applied,
    code: CompiledPatch | None,
    replacements: tuple[Replacement, ...],
    how: _Way,
    deadline: float,
) -> None:
    """Prepare and switch; again from the start where one of the patch's modules arrived meanwhile."""
    announced = False
    while True:
        applied._restart = False
        applied._parts, applied._waiting = _prepare(code, replacements)
        if applied._restart:  # making the new version imported one of them
            continue
        if not applied._parts and not applied._waiting:
            raise PrepareError("the patch changes nothing", where=applied.name, advice="add a change to it")
        if applied._companions and not announced:
            _runner.before_load(applied.name, *applied._companions)
            undertaking.ending.append(partial(_tell, applied, _runner.after_load, _runner.load_reversed))
            announced = True
        try:
            left = max(0.0, deadline - time.monotonic())
            applied.report = _switch(undertaking, applied, applied._parts, how, forward=True, timeout=left)
        except TransitionRestart:
            continue
        applied.report["waiting"] = list(applied._waiting)
        return


def _prepare(
    code: CompiledPatch | None, replacements: tuple[Replacement, ...]
) -> tuple[list[Part], dict[str, CompiledModule]]:
    """The parts for the modules that are there, and the modules that are not. Every target is verified first."""
    there = [(module, live_modules(module.name)) for module in (code.modules if code else ())]
    for module, live in there:
        for one in live:
            verify_module(module, one)
    parts = [prepare_module(module, one) for module, live in there for one in live]
    parts += [prepare_replacement(replacement) for replacement in replacements]
    _check_each_once(parts)
    return parts, {module.name: module for module, live in there if not live}


def unload(
    name: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    deep: bool = False,
    mode: str = "refcount",
    gate: float | None = DEFAULT_GATE,
    suspended: str = "hold",
) -> dict[str, Any]:
    """Take a patch out, by the same protocol. Returns the report.

    Raises :class:`NotApplied`, :class:`NotRemovable` where a later patch stands on it, :class:`DataMismatch` where an
    attribute that it bound was changed since, and what :func:`load` raises.
    """
    how = _Way(mode, gate, deep, suspended)
    _check_timeout(timeout)
    return _unload(name, lambda applied: applied.name == name, how, timeout)


def _unload(name: str, is_it: Callable[[Applied], bool], how: _Way, timeout: float) -> dict[str, Any]:
    def work(undertaking: Undertaking) -> dict[str, Any]:
        applied = next(filter(is_it, _stack), None)
        if applied is None:
            raise NotApplied(
                f"no patch named {name!r} is applied",
                where=name,
                advice="`pylivepatch list` (or pylivepatch.patches()) shows those that are",
            )
        _check_removable(applied)
        if applied._companions:
            _taint(applied, _runner.before_unload(name))
            undertaking.ending.append(partial(_tell, applied, _runner.unload_reversed, _runner.after_unload))
        return _switch(undertaking, applied, applied._parts, how, forward=False, timeout=timeout)

    return journal.perform(f"unload of {name!r}", work)


def _tell(applied: Applied, if_applied: _Step, if_not: _Step) -> None:
    """Run the callbacks that follow, as it came out. One that fails taints; it does not undo the switch."""
    _taint(applied, (if_applied if applied in _stack else if_not)(applied.name))


def _taint(applied: Applied, outcomes: tuple[Outcome, ...]) -> None:
    if any(outcome.taints for outcome in outcomes):
        applied.tainted = True


def _check_timeout(timeout: float) -> None:
    if not isinstance(timeout, int | float) or not 0 <= timeout < float("inf"):
        raise PrepareError(f"a timeout of {timeout!r} makes no sense", advice="give seconds, such as 15.0")


def patches() -> tuple[Applied, ...]:
    """The stack of applied patches, oldest first."""
    journal.settle()
    return tuple(_stack)


def status() -> dict[str, Any] | None:
    """The transition under way, JSON-able, or ``None``: its stage, its counter, and who holds it."""
    journal.settle()
    transition = _current()
    return transition.status() if transition is not None else None


def _current() -> Transition | None:
    undertaking = journal.under_way()
    return undertaking.transition if undertaking is not None else None


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
    suspended: str = "hold"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PrepareError(f"there is no mode {self.mode!r}", advice=f"it is one of {', '.join(MODES)}")
        if self.gate is not None and not 0 < self.gate <= 10:
            raise PrepareError(f"a gate of {self.gate} seconds makes no sense", advice="give 0.05, or None for none")
        if self.suspended not in ("hold", "allow"):
            raise PrepareError(f"suspended={self.suspended!r} makes no sense", advice='it is "hold" or "allow"')
        if self.suspended == "allow" and self.mode != "refcount":
            raise PrepareError(
                f'suspended="allow" is not for mode {self.mode}', advice="choose mode refcount, or leave it out"
            )

    def transition(self, *args: Any) -> Transition:
        if self.mode == "refcount":
            return Refcount(*args, deep=self.deep, gate=self.gate, allow_suspended=self.suspended == "allow")
        return (StopMachine if self.mode == "stop-machine" else PerTask)(*args, deep=self.deep)


# --- one transition -----------------------------------------------------------------------------------------


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


def _switch(
    undertaking: Undertaking, applied: Applied, parts: list[Part], way: _Way, *, forward: bool, timeout: float
) -> dict[str, Any]:
    """Run the transition of these parts, and record its outcome, whatever else happens."""
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
    begun = len(undertaking.ending)
    undertaking.ending.append(partial(_settle, applied, transition, partial(_record, applied, parts, swaps, forward=forward)))
    undertaking.transition = transition
    try:
        if applied._restart:  # before there was a transition to be asked
            transition.ask("restart")
        return transition.run(timeout)
    except BaseException as error:
        if transition.state is State.COMMITTED:
            error.add_note(f"pylivepatch: the {transition.action} of {applied.name!r} was complete before this")
        raise
    finally:
        undertaking.unwind(begun)
        undertaking.transition = None


def _settle(applied: Applied, transition: Transition, record: Callable[[], None]) -> None:
    """Bring it to its end, and the record into line with that."""
    transition.end()
    if transition.state is State.COMMITTED:
        record()
        if transition.allowed:
            applied.tainted = True


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
        for above in later:
            what = _stands_on(part, above)
            if what:
                raise NotRemovable(
                    f"{above.name!r} was loaded on top of it: {what}", where=what, advice=f"unload {above.name!r} first"
                )
        for switch in (s for top in part.switches for s in top):
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


def _stands_on(part: Part, above: Applied) -> str:
    """What of ``part`` a later patch builds on: a function or value that both change, or names that it added."""
    versions = {id(s.new): s.name for top in (*part.switches, *part.added) for s in top}
    bound = {(id(a.owner), a.name): a.label for a in part.attributes}
    added = [a.label for a in part.attributes if a.old is MISSING]
    for other in above._parts:
        for switch in (s for top in other.switches for s in top):
            if id(switch.old) in versions:
                return versions[id(switch.old)]
        for attribute in other.attributes:
            if (id(attribute.owner), attribute.name) in bound:
                return bound[id(attribute.owner), attribute.name]
        if added and other.name == part.name:
            return added[0]  # its new code may use the name
    return ""


def _equal_cells(current: Any, bound: Any) -> bool:
    """Function attributes such as ``__kwdefaults__`` and ``__doc__`` may be given back as equal copies."""
    return current is not MISSING and bound is not MISSING and type(current) is type(bound) and current == bound


# --- modules that are imported later ------------------------------------------------------------------------


def _arrived(applied: Applied, module: ModuleType) -> None:
    """A module of the patch was executed, and its importer has not got it yet.

    Where the patch is applied its part is switched now. Where the patch is being loaded, the load starts again and
    takes the module in; the importer waits until it is known which. It never waits for another patch's transition.
    Raises :class:`ImportError` where the part cannot be applied, as the kernel refuses such a module: otherwise old and
    new functions of one patch would run together.
    """
    if applied not in _stack:
        applied._restart = True
        loading = journal.under_way()
        if loading is not None and loading.transition is not None:
            loading.transition.ask("restart")
        if loading is not None and loading.thread == threading.get_ident():
            return  # the load itself imported it, and looks again
        until = time.monotonic() + _ARRIVAL_TIMEOUT
        while applied._restart and time.monotonic() < until:
            time.sleep(0.001)
    if applied in _stack:
        work = partial(_apply_arrival, applied, module)
        what = f"arrival of {module.__name__}"
        journal.perform(what, work, queue=journal.ARRIVALS, patience=_ARRIVAL_TIMEOUT)


def _apply_arrival(applied: Applied, module: ModuleType, undertaking: Undertaking) -> None:
    name = module.__name__
    compiled = applied._waiting.get(name)
    if compiled is None:
        return
    try:
        if _source_of(module) == zlib.decompress(compiled.source).decode():
            applied.report.setdefault("arrived_new", []).append(name)  # the file on disk is the new version
        else:
            verify_module(compiled, module, arriving=True)
            part = prepare_module(compiled, module, arriving=True)
            _check_each_once([part])
            _switch(undertaking, applied, [part], _Way(), forward=True, timeout=_ARRIVAL_TIMEOUT)
            applied._parts.append(part)
            applied.report.setdefault("arrived", []).append(name)
        applied._waiting.pop(name, None)
        applied.failed.pop(name, None)
    except LivePatchError as error:
        applied.failed[name] = str(error)
        events.log.error("%s could not be applied to %s: %s", applied.name, name, error)
        events.publish("failed", applied.name, module=name, error=error.as_dict())
        arrivals.expect([name], applied, partial(_arrived, applied))  # the next try to import it
        raise ImportError(
            f"the live patch {applied.name!r} cannot be applied to this module, which is therefore refused: {error}",
            name=name,
        ) from error


def _source_of(module: ModuleType) -> str | None:
    """The source that the module was made from, as far as its loader tells."""
    get_source = getattr(getattr(module, "__loader__", None), "get_source", None)
    try:
        return get_source(module.__name__) if get_source is not None else None
    except (ImportError, OSError, UnicodeError):
        return None

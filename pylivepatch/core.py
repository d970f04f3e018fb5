"""The patch stack of this process: load, unload, list (``kernel/livepatch/core.c``).

One transition at a time. A patch is prepared, switched and recorded by :func:`load`; :func:`unload` runs the same
protocol in the other direction. Functions that several patches changed form a stack: only the newest change of a
function can be taken out.
"""

from __future__ import annotations

import dataclasses
import linecache
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pylivepatch import arrivals, cumulative, events, journal, patchfile
from pylivepatch.activeness.references import version_of
from pylivepatch.below import Below
from pylivepatch.callbacks import CallbackRunner, Callbacks, Outcome
from pylivepatch.compiled import CompiledModule, CompiledPatch, check_python, compile_patch, compile_with
from pylivepatch.errors import (
    LivePatchError,
    NotApplied,
    NoTransition,
    NotRemovable,
    PatchExists,
    PrepareError,
    TargetBusy,
    TransitionRestart,
)
from pylivepatch.journal import Undertaking
from pylivepatch.patch import Patch, Replacement
from pylivepatch.prepare import Part, live_modules, prepare_module, prepare_replacement, verify_module
from pylivepatch.removable import check_removable, overridden
from pylivepatch.state import PatchStates, check_compatible
from pylivepatch.taints import Reason, taint
from pylivepatch.transition.base import State, Transition
from pylivepatch.transition.swap import Attribute, Guard, Swap
from pylivepatch.transition.twins import merge, twins
from pylivepatch.way import DEFAULT_GATE, DEFAULT_TIMEOUT, Way

_Step = Callable[[str], tuple[Outcome, ...]]
_ARRIVAL_TIMEOUT = 5.0  # for a module that is imported after its patch was loaded; seconds


@dataclass(eq=False, repr=False)
class Applied:
    """A patch that is applied. ``waiting`` names its modules that are not imported yet.

    ``report`` is what happened when it was loaded: functions, stages and their seconds, the longest hold.
    ``failed`` says, by module, why a part could not be applied when its module was imported. ``forced`` says that it
    was switched with old functions still executing: it cannot be taken out any more.
    """

    name: str
    description: str
    applied_at: float
    report: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _waiting: dict[str, CompiledModule] = field(default_factory=dict)
    tainted: bool = False  # see pylivepatch.taints
    forced: bool = False
    _companions: tuple[Any, ...] = ()  # its callbacks and states, if it has any
    _replaced: tuple[Applied, ...] = ()  # while it is being loaded: those whose place it takes
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

    @property
    def overridden(self) -> tuple[str, ...]:
        """Functions of the patch that are not in force any more: their module was executed again (``reload``), or
        another tool changed their code. Empty in the midst of a transition.
        """
        if self not in _stack or _current() is not None:
            return ()
        return tuple(overridden(self._parts, [part for later in _later(self) for part in later._parts]))

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
        return _unload(self.name, lambda applied: applied is self, Way(timeout, deep, mode, gate, suspended))

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "applied_at": self.applied_at,
            "functions": list(self.functions),
            "attributes": list(self.attributes),
            "waiting": list(self.waiting),
            "failed": dict(self.failed),
            "overridden": list(self.overridden),
            "tainted": self.tainted,
            "forced": self.forced,
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
    replace: bool = False,
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

    With ``replace`` the patch is *cumulative*: built against the program as it was before any patch, it takes the place
    of all that are applied in the same switch. What it does not bring goes back to what it was.

    Raises :class:`PrepareError` (or one of its kinds) where the patch is refused with nothing touched,
    :class:`NotRemovable` where one that it is to replace cannot be taken out,
    :class:`TransitionTimeout` where it was reversed, :class:`TransitionReversed` where somebody asked for that.
    """
    way = Way(timeout, deep, mode, gate, suspended)
    deadline = time.monotonic() + timeout
    code = _compile(patch)
    replacements = patch.replacements if isinstance(patch, Patch) else ()
    name, description = (code or patch).name, (code or patch).description  # type: ignore[union-attr]

    def work(undertaking: Undertaking) -> Applied:
        if any(applied.name == name for applied in _stack):
            raise PatchExists(
                f"a patch named {name!r} is applied already",
                where=name,
                advice="unload it first, or give the new one another name",
            )
        applied = Applied(name, description, time.time())
        applied._replaced = tuple(_stack) if replace else ()
        callbacks, states = (patch.callbacks, patch.states) if isinstance(patch, Patch) else (None, ())
        if callbacks is not None or states or any(below._companions for below in applied._replaced):
            applied._companions = (callbacks or Callbacks(), states)
            check_compatible(PatchStates(name, states), _runner.applied, replace=replace)
        undertaking.ending.append(partial(_forget_arrivals, applied))
        if code is not None:  # before looking which are there: none may slip through in between
            arrivals.expect([module.name for module in code.modules], applied, partial(_arrived, applied))
        _load(undertaking, applied, code, replacements, way, deadline)
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
    way: Way,
    deadline: float,
) -> None:
    """Prepare and switch; again from the start where one of the patch's modules arrived meanwhile."""
    announced = False
    while True:
        applied._restart = False
        layers = _layers_of(applied)
        applied._parts, applied._waiting = _prepare(code, replacements, Below(layers))
        if applied._restart:  # making the new version imported one of them
            continue
        if not applied._parts and not applied._waiting:
            raise PrepareError("the patch changes nothing", where=applied.name, advice="add a change to it")
        if applied._companions and not announced:
            _announce(undertaking, applied)
            announced = True
        try:
            left = max(0.0, deadline - time.monotonic())
            change = _replacement(applied, layers) if applied._replaced else _loading(applied._parts)
            applied.report = _switch(undertaking, applied, change, dataclasses.replace(way, timeout=left))
        except TransitionRestart:
            continue
        applied.report["replaced"] = [gone.name for gone in applied._replaced]
        applied._replaced = ()
        applied.report["waiting"] = list(applied._waiting)
        return


def _layers_of(applied: Applied) -> list[Part]:
    """All parts of the patches that it is to replace, oldest first. Raises where one of them cannot go."""
    for below in applied._replaced:
        _check_not_forced(below)
    layers = [part for below in applied._replaced for part in below._parts]
    cumulative.check_replaceable(applied.name, layers)
    return layers


def _announce(undertaking: Undertaking, applied: Applied) -> None:
    """Run the callbacks that come before, and see to it that those are run which follow."""
    if not applied._replaced:
        _runner.before_load(applied.name, *applied._companions)
        undertaking.ending.append(partial(_tell, applied, _runner.after_load, _runner.load_reversed))
        return
    replaced = [gone.name for gone in applied._replaced]
    _taint(applied, _runner.before_replace(applied.name, replaced, *applied._companions))
    after = partial(_runner.after_replace, replaced=replaced)
    undertaking.ending.append(partial(_tell, applied, after, partial(_runner.replace_reversed, replaced=replaced)))


def _prepare(
    code: CompiledPatch | None, replacements: tuple[Replacement, ...], below: Below
) -> tuple[list[Part], dict[str, CompiledModule]]:
    """The parts for the modules that are there, and the modules that are not. Every target is verified first."""
    there = [(module, live_modules(module.name)) for module in (code.modules if code else ())]
    for module, live in there:
        for one in live:
            verify_module(module, one, below=below)
    parts = [prepare_module(module, one, below=below) for module, live in there for one in live]
    parts += [prepare_replacement(replacement, below) for replacement in replacements]
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
    way = Way(timeout, deep, mode, gate, suspended)
    return _unload(name, lambda applied: applied.name == name, way)


def _unload(name: str, is_it: Callable[[Applied], bool], way: Way) -> dict[str, Any]:
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
        return _switch(undertaking, applied, _unloading(applied._parts), way)

    return journal.perform(f"unload of {name!r}", work)


def _check_removable(applied: Applied) -> None:
    _check_not_forced(applied)
    check_removable(applied.name, applied._parts, [(later.name, later._parts) for later in _later(applied)])


def _check_not_forced(applied: Applied) -> None:
    if applied.forced:
        raise NotRemovable(
            f"{applied.name!r} was forced: old functions may still have been executing, and what they did since is "
            "not known to fit the way back",
            where=applied.name,
            advice="let it stay until the process is restarted; another patch can be loaded on top of it",
        )


def _later(applied: Applied) -> list[Applied]:
    """Those that were loaded after it."""
    return _stack[_stack.index(applied) + 1 :]


def _tell(applied: Applied, if_applied: _Step, if_not: _Step) -> None:
    """Run the callbacks that follow, as it came out. One that fails taints; it does not undo the switch."""
    _taint(applied, (if_applied if applied in _stack else if_not)(applied.name))


def _taint(applied: Applied, outcomes: tuple[Outcome, ...]) -> None:
    bad = [outcome for outcome in outcomes if outcome.taints]
    for outcome in bad:
        _mark(applied, outcome.callback, "callback", [outcome.as_dict()])


def _mark(applied: Applied, action: str, reason: Reason, details: list[dict[str, Any]]) -> None:
    applied.tainted = True
    taint(applied.name, action, reason, details)


def patches() -> tuple[Applied, ...]:
    """The stack of applied patches, oldest first."""
    journal.settle()
    return tuple(_stack)


def status() -> dict[str, Any] | None:
    """The transition under way, JSON-able, or ``None``: its stage, its counter, and who holds it."""
    journal.settle()
    transition = _current()
    return transition.status() if transition is not None else None


def reverse() -> dict[str, Any]:
    """Have the transition under way taken back: the ``load`` or ``unload`` raises :class:`TransitionReversed`.

    Asks, and does not wait; a switch that comes first stays. Returns the status of what was asked. Raises
    :class:`NoTransition`.
    """
    return _ask("reverse")


def force() -> dict[str, Any]:
    """Have the transition under way switch now, whoever is inside.

    Breaks the second rule: those inside finish on the old functions, beside new calls. So the process is tainted, and
    a patch whose load was forced cannot be taken out. Asks, and does not wait. Raises :class:`NoTransition`.
    """
    return _ask("force")


def _ask(request: str) -> dict[str, Any]:
    transition = _under_way()
    status = transition.status()
    transition.ask(request)
    return status


def signal() -> list[str]:
    """Wake those who sleep and keep the transition waiting, where Python can wake them. Returns whom.

    These are event loops that wait for I/O. A thread that sleeps in a lock or in a system call cannot be woken.
    Raises :class:`NoTransition`.
    """
    return _under_way().wake()


def _under_way() -> Transition:
    journal.settle()
    transition = _current()
    if transition is None:
        raise NoTransition("no transition is under way", advice="`pylivepatch list` shows what is applied")
    return transition


def _current() -> Transition | None:
    undertaking = journal.under_way()
    return undertaking.transition if undertaking is not None else None


def _compile(patch: Patch | CompiledPatch | str | os.PathLike[str]) -> CompiledPatch | None:
    """The code of a patch, compiled in a helper process: this one must not stand for a ``compile()``."""
    if not isinstance(patch, Patch | CompiledPatch | str | os.PathLike):
        raise TypeError(f"a Patch or the path of a patch file is wanted, not {patch!r}")
    if isinstance(patch, CompiledPatch):
        check_python(patch.magic, patch.optimize)
        return patch
    if isinstance(patch, Patch):
        if not patch.modules:
            return None
        built = dataclasses.replace(patch, replacements=())
        with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder:
            path = Path(folder, "patch.plp")
            patchfile.write(built, path)
            return _compile(path) if sys.executable else compile_patch(built)
    if not sys.executable:
        return compile_patch(patchfile.read(patch))
    return CompiledPatch.from_bytes(compile_with(sys.executable, patch, optimize=sys.flags.optimize))


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


@dataclass
class _Change:
    """What a transition is to switch, and what is to be recorded when it has."""

    action: str
    parts: list[Part]
    swaps: list[Swap]
    attributes: list[Attribute]
    guards: list[Guard]
    modules: list[ModuleType]
    replaces: tuple[Applied, ...] = ()


def _loading(parts: list[Part]) -> _Change:
    return _Change(
        "load",
        parts,
        [switch.swap(forward=True) for part in parts for switch in part.switches],
        [a for part in parts for a in part.attributes],
        [g for part in parts for g in part.guards_old],
        [m for part in parts for m in part.modules],
    )


def _unloading(parts: list[Part]) -> _Change:
    swaps = [switch.swap(forward=False) for part in parts for switch in part.switches]
    swaps += [_leaving(switch.swap(forward=True)) for part in parts for switch in part.added]
    return _Change(
        "unload",
        parts,
        swaps,
        [a.inverted() for part in parts for a in part.attributes][::-1],
        [g for part in parts for g in part.guards_new],
        [m for part in parts for m in part.modules],
    )


def _replacement(applied: Applied, layers: list[Part]) -> _Change:
    swaps, guards = cumulative.swaps(applied._parts, layers, Below(layers))
    swaps += [_leaving(switch.swap(forward=True)) for switch in cumulative.leaving(layers)]
    modules = [m for part in (*applied._parts, *layers) for m in part.modules]
    attributes = cumulative.attributes(applied._parts, layers)
    return _Change("load", applied._parts, swaps, attributes, guards, modules, applied._replaced)


def _switch(undertaking: Undertaking, applied: Applied, change: _Change, way: Way) -> dict[str, Any]:
    """Run the transition of a change, and record its outcome, whatever else happens."""
    pairs, more = twins(change.swaps, change.guards)
    change.swaps += [twin for _, twin in pairs]
    change.guards += more
    transition = way.transition(
        applied.name, change.action, change.swaps, change.attributes, change.guards, change.modules
    )
    begun = len(undertaking.ending)
    undertaking.ending.append(partial(_settle, applied, transition, pairs, change))
    undertaking.transition = transition
    try:
        if applied._restart:  # before there was a transition to be asked
            transition.ask("restart")
        return transition.run(way.timeout)
    except BaseException as error:
        if transition.state is State.COMMITTED:
            error.add_note(f"pylivepatch: the {transition.action} of {applied.name!r} was complete before this")
        raise
    finally:
        undertaking.unwind(begun)
        undertaking.transition = None


def _settle(applied: Applied, transition: Transition, pairs: list[tuple[Swap, Swap]], change: _Change) -> None:
    """Bring it to its end, and the record into line with that."""
    transition.end()
    if transition.state is State.COMMITTED:
        merge(pairs)
        _record(applied, transition, change)
        if transition.allowed:
            _mark(applied, transition.action, "suspended", transition.allowed)
        if transition.forced is not None:
            _mark(applied, transition.action, "forced", transition.forced)
            applied.forced = True


def _leaving(swap: Swap) -> Swap:
    """A function that only the patch has: it is counted on the way out, and whoever still has it may call it after.

    It gets a copy of its code, so that references to the code that must be idle are not our own.
    """
    swap.new = version_of(swap.old.code.replace())
    return swap


def _record(applied: Applied, transition: Transition, change: _Change) -> None:
    """Put it on the stack, or take it off. May be repeated."""
    parts = change.parts
    if change.replaces:
        cumulative.remember(parts, change.swaps)
    else:
        for switch, swap in zip((s for part in parts for s in part.switches), change.swaps, strict=False):
            switch.remember(swap)
    for attribute, found in transition.overwritten():
        events.log.warning("%s: %s was changed in the last moment: %r", applied.name, attribute.label, found)
        for part in parts:  # the way back gives it what it had, not what it had when the patch was prepared
            part.attributes = [dataclasses.replace(a, old=found) if a is attribute else a for a in part.attributes]
    for gone in change.replaces:
        _take_off(gone)
    if change.action == "unload":
        _take_off(applied)
        return
    for part in parts:
        if part.source is not None:
            _show_source(*part.source)
    if applied not in _stack:
        _stack.append(applied)


def _take_off(applied: Applied) -> None:
    arrivals.forget(applied)
    applied._waiting.clear()
    if applied in _stack:
        _stack.remove(applied)
    for part in applied._parts:
        if part.source is not None:
            linecache.cache.pop(part.source[0], None)


def _show_source(filename: str, compressed: bytes) -> None:
    """Let tracebacks show the new version's lines. They are unpacked when somebody asks."""
    linecache.cache[filename] = (lambda: zlib.decompress(compressed).decode(),)


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
            _switch(undertaking, applied, _loading([part]), Way(_ARRIVAL_TIMEOUT))
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

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
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pylivepatch import arrivals, cumulative, installed, journal, patchfile
from pylivepatch import incremental as group_by_group
from pylivepatch.activeness.functions import unwrap
from pylivepatch.below import Below
from pylivepatch.brought import leave, prepare_new
from pylivepatch.caches import add_caches, empty_again, tell_others
from pylivepatch.callbacks import CallbackRunner, Callbacks, Outcome
from pylivepatch.coming import arrived
from pylivepatch.compiled import CompiledPatch, check_python, compile_patch, compile_with
from pylivepatch.errors import (
    NotApplied,
    NotRemovable,
    PatchExists,
    PrepareError,
    TransitionRestart,
)
from pylivepatch.hooks import running
from pylivepatch.items import CompiledModule
from pylivepatch.journal import Undertaking
from pylivepatch.part import Part, live_modules
from pylivepatch.patch import Patch, Replacement
from pylivepatch.portions import finder
from pylivepatch.prepare import prepare_module, verify_module
from pylivepatch.removable import check_removable
from pylivepatch.replacements import prepare_replacement
from pylivepatch.stack import Entry, FindGroups, later_than, show_source, stack, taint_by_callbacks
from pylivepatch.state import PatchStates, check_compatible
from pylivepatch.switching import check_each_once, run, to_load, to_replace, to_unload
from pylivepatch.tracing import attach as tracing
from pylivepatch.transformers import check_deep, prepare_transformers, with_search
from pylivepatch.way import DEFAULT_GATE, DEFAULT_TIMEOUT, Way

_Step = Callable[[str], tuple[Outcome, ...]]


class Applied(Entry):
    """A patch that is applied. ``waiting`` names its modules that are not imported yet.

    ``report`` is what happened when it was loaded: functions, stages and their seconds, the longest hold.
    ``failed`` says, by module, why a part could not be applied when its module was imported. ``forced`` says that it
    was switched with old functions still executing: it cannot be taken out any more.
    """

    def unload(
        self,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        deep: bool = False,
        mode: str = "refcount",
        gate: float | None = DEFAULT_GATE,
        suspended: str = "hold",
        incremental: bool = False,
        count_calls: bool = False,
    ) -> dict[str, Any]:
        """Take this patch out, and no other that came under its name. See :func:`unload`."""
        way = Way(timeout, deep, mode, gate, suspended, incremental, count_calls)
        return _unload(self.name, lambda applied: applied is self, way)


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
    incremental: bool = False,
    count_calls: bool = False,
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

    With ``incremental`` the functions are not switched at one instant: those that do not reach each other in the call
    graph are groups (see ``groups.py``), and each group switches as soon as nobody is in it. Each is old or new, whole,
    at all times; the patch as a whole is not, which is less than is promised without it. When the time is up and a
    group has not switched, the others are switched back, within the same time again. Where that fails too, the patch
    stays as ``partial``, and :class:`PartlySwitched` says what is in which version; loading it again with
    ``incremental`` goes on, unloading takes out what is there. For mode ``refcount``, and not with ``replace``.

    With ``count_calls`` the report says in ``calls`` how many calls went through the trampolines (``entered``) and how
    many of these to the new functions (``redirected``). Each call costs a C call more while the transition lasts.

    Raises :class:`PrepareError` (or one of its kinds) where the patch is refused with nothing touched,
    :class:`NotRemovable` where one that it is to replace cannot be taken out,
    :class:`TransitionTimeout` where it was reversed, :class:`TransitionReversed` where somebody asked for that.
    """
    way = Way(timeout, deep, mode, gate, suspended, incremental, count_calls)
    if incremental and replace:
        raise PrepareError(
            "a cumulative patch takes the place of the others at one instant: it cannot be incremental",
            advice="leave out incremental, or unload the other patches first",
        )
    deadline = time.monotonic() + timeout
    code = _compile(patch)
    replacements = patch.replacements if isinstance(patch, Patch) else ()
    changes = [(m.name, m.source, [item[:2] for item in m.items]) for m in (code.modules if code else ())]
    made_from = replacements, changes, code.hooks.source if code and code.hooks else b""
    find_groups: FindGroups = partial(tuple, code.groups if code else ())
    if isinstance(patch, Patch) and replacements:
        find_groups = finder(patch)
    name, description = (code or patch).name, (code or patch).description  # type: ignore[union-attr]

    def work(undertaking: Undertaking) -> Applied:
        tracing.set_aside(_modules_of(code, replacements, stack if replace else ()), undertaking.ending)
        there = next((applied for applied in patches() if applied.name == name), None)
        if there is not None:
            return _go_on(undertaking, there, made_from, way)
        applied = Applied(name, description, time.time(), _made_from=made_from)
        applied._find_groups = find_groups
        applied._replaced = tuple(stack) if replace else ()
        callbacks, states = (patch.callbacks, patch.states) if isinstance(patch, Patch) else (None, ())
        if code is not None and code.hooks is not None:
            undertaking.ending.append(partial(_forget_hooks, applied, code.hooks.filename))
            applied._hooks = _run_hooks(applied, code, way)
            callbacks, states = with_search(applied._hooks), applied._hooks.states
        if callbacks is not None or states or any(below._companions for below in applied._replaced):
            applied._companions = (callbacks or Callbacks(), states)
            check_compatible(PatchStates(name, states), _runner.applied, replace=replace)
        undertaking.ending.append(partial(_forget_arrivals, applied))
        if code is not None:  # before looking which are there: none may slip through in between
            arrivals.expect([module.name for module in code.modules], applied, partial(arrived, applied))
        _load(undertaking, applied, code, replacements, way, deadline)
        applied.report["caches"] = _empty_caches(applied)
        return applied

    return journal.perform(f"load of {name!r}", work)


def _run_hooks(applied: Applied, code: CompiledPatch, way: Way) -> running.Hooks:
    """Execute the author's part: nothing of it runs before every target was verified."""
    _verify(code, Below(_layers_of(applied)))
    assert code.hooks is not None
    filename, marshalled, source = code.hooks
    show_source(filename, source)
    hooks = running.run(applied.name, filename, marshalled)
    check_deep(hooks, deep=way.deep)
    return hooks


def _forget_hooks(applied: Applied, filename: str) -> None:
    if applied not in stack:
        linecache.cache.pop(filename, None)


def _modules_of(
    code: CompiledPatch | None, replacements: tuple[Replacement, ...], replaced: Iterable[Entry] = ()
) -> set[str]:
    """The names of the live modules whose functions may be switched."""
    names = {live.__name__ for module in (code.modules if code else ()) for live in live_modules(module.name)}
    names |= {str(f.__globals__.get("__name__")) for pair in replacements for f in unwrap(pair.old)}
    return names.union(*(_modules_of_parts(entry._parts) for entry in replaced))


def _modules_of_parts(parts: Iterable[Part]) -> set[str]:
    names = {module.__name__ for part in parts for module in part.modules}
    functions = (function for part in parts for switch in part.switches for function in switch.live())
    return names | {str(function.__globals__.get("__name__")) for function in functions}


def _forget_arrivals(applied: Applied) -> None:
    leave()
    arrivals.forget(applied, but=applied._waiting if applied in stack else ())
    applied._restart = False
    applied._arrived.clear()


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
        if applied._hooks is not None:
            prepare_transformers(applied._hooks, applied._parts, waiting=list(applied._waiting))
        if applied._restart:  # making the new version imported one of them
            continue
        if not applied._parts and not applied._waiting and applied._hooks is None:
            raise PrepareError("the patch changes nothing", where=applied.name, advice="add a change to it")
        if applied._companions and not announced:
            _announce(undertaking, applied)
            announced = True
        try:
            left = max(0.0, deadline - time.monotonic())
            bounded = dataclasses.replace(way, timeout=left)
            if way.incremental:
                applied.report |= group_by_group.load(undertaking, applied, bounded)
            else:
                change = to_replace(applied, layers) if applied._replaced else to_load(applied._parts)
                applied.report = run(undertaking, applied, change, bounded)
        except TransitionRestart:
            continue
        applied.report["distributions"] = installed.others(code.distributions if code else ())
        applied.report["wrapped"] = list(dict.fromkeys(one for part in applied._parts for one in part.wrapped))
        applied.report["replaced"] = [gone.name for gone in applied._replaced]
        applied._replaced = ()
        applied.report["waiting"] = list(applied._waiting)
        return


def _go_on(undertaking: Undertaking, applied: Applied, made_from: Any, way: Way) -> Applied:
    """A patch of this name is there: go on with it where it is this one, and partial."""
    if not applied.partial:
        advice = "unload it first, or give the new one another name"
    elif applied._made_from != made_from:
        advice = "it is partial, and another patch than this one: unload it first"
    elif not way.incremental:
        advice = "it is partial: load it with incremental=True (--incremental) to go on, or unload it"
    else:
        groups = applied.report.get("groups", [])
        report = group_by_group.go_on(undertaking, applied, way)
        applied.report |= {**report, "groups": [*groups, *report["groups"]]}
        return applied
    raise PatchExists(f"a patch named {applied.name!r} is applied already", where=applied.name, advice=advice)


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
    taint_by_callbacks(applied, _runner.before_replace(applied.name, replaced, *applied._companions))
    after = partial(_runner.after_replace, replaced=replaced)
    undertaking.ending.append(partial(_tell, applied, after, partial(_runner.replace_reversed, replaced=replaced)))


def _prepare(
    code: CompiledPatch | None, replacements: tuple[Replacement, ...], below: Below
) -> tuple[list[Part], dict[str, CompiledModule]]:
    """The parts for the modules that are there, and the modules that are not. Every target is verified first."""
    there = _verify(code, below)
    new = _new_modules(code, below)
    parts = [prepare_module(module, one, below=below) for module, live in there for one in live]
    parts += [prepare_replacement(replacement, below) for replacement in replacements]
    parts += new
    for part in parts:
        add_caches(part)
    check_each_once(parts)
    return parts, {module.name: module for module, live in there if not live}


def _new_modules(code: CompiledPatch | None, below: Below) -> list[Part]:
    """The parts of the modules that only the new version has. The others can get them from ``code.prepared``."""
    parts = [prepare_new(one, below) for one in (code.new_modules if code else ())]
    for part in parts:
        assert code is not None
        part.prepared = code.prepared
        part.prepared[part.name] = part
    return parts


def _verify(code: CompiledPatch | None, below: Below) -> list[tuple[CompiledModule, list[ModuleType]]]:
    """Find every target, and run nothing of the patch. Its modules, each with those that are there."""
    there = [(module, live_modules(module.name)) for module in (code.modules if code else ())]
    distributions = code.distributions if code else ()
    with installed.named_in_refusals(distributions):
        for module, live in there:
            for one in live:
                verify_module(module, one, below=below)
    kinds = {item.kind for module, live in there for item in module.items if live}
    installed.check_telling(distributions, verified=bool(kinds & {"function", "value"}))
    return there


def unload(
    name: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    deep: bool = False,
    mode: str = "refcount",
    gate: float | None = DEFAULT_GATE,
    suspended: str = "hold",
    incremental: bool = False,
    count_calls: bool = False,
) -> dict[str, Any]:
    """Take a patch out, by the same protocol. Returns the report.

    With ``incremental`` group by group, which promises less: see :func:`load`.

    Raises :class:`NotApplied`, :class:`NotRemovable` where a later patch stands on it, :class:`DataMismatch` where an
    attribute that it bound was changed since, and what :func:`load` raises.
    """
    way = Way(timeout, deep, mode, gate, suspended, incremental, count_calls)
    return _unload(name, lambda applied: applied.name == name, way)


def _unload(name: str, is_it: Callable[[Applied], bool], way: Way) -> dict[str, Any]:
    def work(undertaking: Undertaking) -> dict[str, Any]:
        applied = next(filter(is_it, patches()), None)
        if applied is None:
            raise NotApplied(
                f"no patch named {name!r} is applied",
                where=name,
                advice="`pylivepatch list` (or pylivepatch.patches()) shows those that are",
            )
        tracing.set_aside(_modules_of_parts(applied._parts), undertaking.ending)
        _check_removable(applied)
        if applied._companions:
            taint_by_callbacks(applied, _runner.before_unload(name))
            undertaking.ending.append(partial(_tell, applied, _runner.unload_reversed, _runner.after_unload))
        if way.incremental:
            report = group_by_group.unload(undertaking, applied, way)
        else:
            report = run(undertaking, applied, to_unload(applied._parts), way)
        return report | {"caches": _empty_caches(applied)}

    return journal.perform(f"unload of {name!r}", work)


def _empty_caches(applied: Applied) -> list[dict[str, str]]:
    """After a switch: those of the patch's functions once more, and those of others."""
    empty_again(applied._parts)
    return tell_others(applied.name, _modules_of_parts(applied._parts))


def _check_removable(applied: Applied) -> None:
    _check_not_forced(applied)
    check_removable(applied.name, applied._parts, [(later.name, later._parts) for later in later_than(applied)])


def _check_not_forced(applied: Entry) -> None:
    if applied.forced:
        raise NotRemovable(
            f"{applied.name!r} was forced: old functions may still have been executing, and what they did since is "
            "not known to fit the way back",
            where=applied.name,
            advice="let it stay until the process is restarted; another patch can be loaded on top of it",
        )


def _tell(applied: Applied, if_applied: _Step, if_not: _Step) -> None:
    """Run the callbacks that follow, as it came out. One that fails taints; it does not undo the switch."""
    taint_by_callbacks(applied, (if_applied if applied in stack else if_not)(applied.name))


def patches() -> tuple[Applied, ...]:
    """The stack of applied patches, oldest first."""
    journal.settle()
    return tuple(applied for applied in stack if isinstance(applied, Applied))


def _compile(patch: Patch | CompiledPatch | str | os.PathLike[str]) -> CompiledPatch | None:
    """The code of a patch, compiled in a helper process: this one must not stand for a ``compile()``."""
    if not isinstance(patch, Patch | CompiledPatch | str | os.PathLike):
        raise TypeError(f"a Patch or the path of a patch file is wanted, not {patch!r}")
    if isinstance(patch, CompiledPatch):
        check_python(patch.magic, patch.optimize)
        return patch
    if isinstance(patch, Patch):
        if not (patch.modules or patch.new_modules or patch.hooks):
            return None
        built = dataclasses.replace(patch, replacements=())
        with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder:
            path = Path(folder, "patch.plp")
            patchfile.write(built, path)
            return _compile(path) if sys.executable else compile_patch(built)
    if not sys.executable:
        return compile_patch(patchfile.read(patch))
    return CompiledPatch.from_bytes(compile_with(sys.executable, patch, optimize=sys.flags.optimize))

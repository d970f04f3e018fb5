"""Modules of a patch that are imported after it was loaded, or while (``klp_module_coming``)."""

from __future__ import annotations

import threading
import time
import zlib
from dataclasses import replace
from functools import partial
from types import ModuleType

from pylivepatch import arrivals, events, journal
from pylivepatch.errors import LivePatchError
from pylivepatch.groups import root
from pylivepatch.items import CompiledModule
from pylivepatch.journal import Undertaking
from pylivepatch.part import Part
from pylivepatch.portions import divide
from pylivepatch.prepare import prepare_module, verify_module
from pylivepatch.stack import Entry, Portion, stack
from pylivepatch.switching import Place, check_each_once, run, to_load
from pylivepatch.transformers import prepare_transformers
from pylivepatch.way import Way

_ARRIVAL_TIMEOUT = 5.0  # for a module that is imported after its patch was loaded; seconds


def arrived(entry: Entry, module: ModuleType) -> None:
    """A module of the patch was executed, and its importer has not got it yet.

    Where the patch is applied its part is switched now. Where the patch is being loaded, the load starts again and
    takes the module in; the importer waits until it is known which. It never waits for another patch's transition.
    Raises :class:`ImportError` where the part cannot be applied, as the kernel refuses such a module: otherwise old and
    new functions of one patch would run together.
    """
    if entry not in stack or entry._in_turns:
        entry._arrived.append(module)
        entry._restart = True
        loading = journal.under_way()
        if loading is not None and loading.transition is not None:
            loading.transition.ask("restart")
        if loading is not None and loading.thread == threading.get_ident():
            return  # the load itself imported it, and looks again
        until = time.monotonic() + _ARRIVAL_TIMEOUT
        while entry._restart and time.monotonic() < until:
            time.sleep(0.001)
    if entry in stack:
        work = partial(_apply_arrival, entry, module)
        what = f"arrival of {module.__name__}"
        journal.perform(what, work, queue=journal.ARRIVALS, patience=_ARRIVAL_TIMEOUT)


def _apply_arrival(entry: Entry, module: ModuleType, undertaking: Undertaking) -> None:
    name = module.__name__
    compiled = entry._waiting.get(name)
    if compiled is None:
        return
    try:
        _apply(undertaking, entry, module, compiled)
    except LivePatchError as error:
        entry.failed[name] = str(error)
        events.log.error("%s could not be applied to %s: %s", entry.name, name, error)
        events.publish("failed", entry.name, module=name, error=error.as_dict())
        arrivals.expect([name], entry, partial(arrived, entry))  # the next try to import it
        raise ImportError(
            f"the live patch {entry.name!r} cannot be applied to this module, which is therefore refused: {error}",
            name=name,
        ) from error


def take_in(undertaking: Undertaking, entry: Entry, place: Place) -> None:
    """Modules that have arrived while the patch is switched group by group, on the thread that does that.

    Raises what makes the patch inapplicable to them.
    """
    try:
        while entry._arrived:
            module = entry._arrived.pop(0)
            compiled = entry._waiting.get(module.__name__)
            if compiled is not None:
                _apply(undertaking, entry, module, compiled, place)
    finally:
        entry._restart = False


def _apply(
    undertaking: Undertaking, entry: Entry, module: ModuleType, compiled: CompiledModule, place: Place | None = None
) -> None:
    name = module.__name__
    if not compiled.is_same and _source_of(module) == zlib.decompress(compiled.source).decode():
        entry.report.setdefault("arrived_new", []).append(name)  # the file on disk is the new version
    else:
        # What is of a group that is not in force is prepared as if the patch was still to be loaded, which it is.
        late = [item for item in compiled.items if _portion(entry, compiled.name, item.target) in entry._missing]
        now = [item for item in compiled.items if item not in late]
        waits = _prepared(entry, module, replace(compiled, items=tuple(late)), arriving=False) if late else None
        if now or not late:
            part = _prepared(entry, module, replace(compiled, items=tuple(now)), arriving=True)
            run(undertaking, entry, to_load([part]), Way(_ARRIVAL_TIMEOUT), place)
            entry._parts = [*entry._parts, *_joined(entry, part)]
        if waits is not None:
            _joined(entry, waits)
        entry.report.setdefault("arrived", []).append(name)
    entry._waiting.pop(name, None)
    entry.failed.pop(name, None)


def _prepared(entry: Entry, module: ModuleType, compiled: CompiledModule, *, arriving: bool) -> Part:
    verify_module(compiled, module, arriving=arriving)
    part = prepare_module(compiled, module, arriving=arriving)
    if entry._hooks is not None:
        others = [*entry._waiting, *(there.name for there in entry._parts)]
        prepare_transformers(entry._hooks, [part], waiting=others)
    check_each_once([part])
    return part


def _portion(entry: Entry, module: str, target: str) -> Portion | None:
    """The group that a change belongs to, if it has anything in this process and the patch was loaded in groups."""
    if len(entry._portions) == 1:
        return entry._portions[0]
    return next((one for one in entry._portions if (module, root(target)) in one.units), None)


def _joined(entry: Entry, part: Part) -> list[Part]:
    """The pieces of a part, each added to its group; the whole where the patch has no groups."""
    if not entry._portions:
        return [part]
    entry._whole.append(part)
    pieces = divide(part, lambda key: _portion(entry, *key))
    for portion, piece in pieces.items():
        if portion is None:  # a group that had nothing here until now
            entry._portions = [*entry._portions, Portion(frozenset(divide(piece, lambda key: key)), [piece])]
        else:
            portion.parts.append(piece)
    return list(pieces.values())


def _source_of(module: ModuleType) -> str | None:
    """The source that the module was made from, as far as its loader tells."""
    get_source = getattr(getattr(module, "__loader__", None), "get_source", None)
    try:
        return get_source(module.__name__) if get_source is not None else None
    except (ImportError, OSError, UnicodeError):
        return None

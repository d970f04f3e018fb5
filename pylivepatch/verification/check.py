"""The steps of a verification: import afresh, compare, and where something differs look closer before saying so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pylivepatch.errors import AgentError, VerifyError
from pylivepatch.hooks.reading import contents
from pylivepatch.patch import Forgotten, Patch, ValueChange
from pylivepatch.portrait import Portrait
from pylivepatch.verification.compare import Found, named_as_in, note_versions, sort_out, unsteady, without
from pylivepatch.verification.fresh import TIMEOUT, Fresh, import_afresh
from pylivepatch.verification.report import Report

_SEEDS = (2, 3)  # for further fresh imports, to see what they do not agree on
_COPY = " as "


@dataclass
class Live:
    """What a process told of itself: see :func:`pylivepatch.live.portrait`, whose lines this is made of."""

    process: Mapping[str, Any] = field(default_factory=dict)
    applied: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    portrait: Portrait = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> Live:
        live = cls()
        for line in lines:
            if "process" in line:
                live.process = line["process"]
                live.applied = tuple(line["applied"])
                live.modules = tuple((name, file) for name, file in line["modules"])
            else:
                known = live.portrait.setdefault(line["portrait"], {})
                for symbol, aspects in line["symbols"].items():
                    known.setdefault(symbol, {}).update(aspects)
        if not live.process:
            raise AgentError("the process told nothing of itself", advice="its pylivepatch may be an older one")
        return live


def check(live: Live, patch: Patch | None, version: str | None = None, *, timeout: float = TIMEOUT) -> Report:
    """Compare a process with fresh imports: of a patch's ``new`` or ``old`` version, or of the sources on disk.

    ``version`` ``None`` is ``new`` where a patch of that name is applied, else ``old``. ``timeout`` is for each child,
    in seconds. Raises :class:`VerifyError` where no child can be run.
    """
    against = "disk" if patch is None else version or ("new" if patch.name in live.applied else "old")
    if against not in ("disk", "new", "old"):
        raise VerifyError(f"a patch has no version {against!r}", advice="give new or old")

    def fresh_of(which: str, seed: int = 1) -> Fresh:
        over = {} if patch is None else overlay(patch, which)
        return import_afresh(live.process, live.modules, over, seed=seed, timeout=timeout)

    fresh = fresh_of(against)
    live.portrait = named_as_in(without(live.portrait, fresh.failed), fresh.portrait)
    compared = [name for name in live.portrait if _original(name) in fresh.portrait]
    found = _sorted_out(live, compared, fresh, None, {}, patch)
    other: Fresh | None = None
    if patch is not None and _anything(found):
        other = fresh_of("old" if against == "new" else "new")
        found = _sorted_out(live, compared, fresh, other, {}, patch)
    varying: dict[str, set[tuple[str, str]]] = {}
    for seed in _SEEDS:
        if not any(_in_doubt(live, one.module, one.symbol, one.what, other) for one in found.different):
            break
        for name, those in unsteady(fresh.portrait, fresh_of(against, seed).portrait).items():
            varying.setdefault(name, set()).update(those)
        found = _sorted_out(live, compared, fresh, other, varying, patch)
    return _report(live, patch, against, fresh, compared, found)


def _sorted_out(
    live: Live,
    compared: Sequence[str],
    fresh: Fresh,
    other: Fresh | None,
    varying: Mapping[str, set[tuple[str, str]]],
    patch: Patch | None,
) -> Found:
    found = Found()
    carried = _carried(patch)
    for name in compared:
        original = _original(name)
        before = None if other is None else other.portrait.get(original)
        those = varying.get(original, ())
        sort_out(name, live.portrait[name], fresh.portrait[original], before, those, carried.get(original, {}), found)
    note_versions(found)
    return found


def _anything(found: Found) -> bool:
    return bool(found.different or found.modified)


def _in_doubt(live: Live, module: str, symbol: str, what: str, other: Fresh | None) -> bool:
    """Whether a further fresh import might explain it: not where the process has just what the other version gives."""
    before = None if other is None else other.portrait.get(_original(module), {}).get(symbol)
    return before is None or before.get(what) != live.portrait[module].get(symbol, {}).get(what)


def scope(patch: Patch) -> tuple[list[str], list[str]]:
    """What of a process concerns a patch: its modules, and the top-level packages that they are in."""
    names = [module.name for module in patch.modules] + [module.name for module in patch.new_modules]
    return names, sorted({name.partition(".")[0] for name in names})


def _report(
    live: Live, patch: Patch | None, against: str, fresh: Fresh, compared: Sequence[str], found: Found
) -> Report:
    not_compared = dict(fresh.failed)
    own = {module.name for module in patch.modules} if patch is not None else set()
    there = {name for name, _ in live.modules}
    missing = tuple(sorted(own & fresh.failed.keys()))
    for name in sorted(own - there):
        not_compared[name] = "the process has not imported it"
    opaque = sum("opaque" in aspects for name in compared for aspects in live.portrait[name].values())
    return Report(
        against,
        patch.name if patch is not None else "",
        live.applied,
        tuple(found.different),
        tuple(found.modified),
        tuple(found.noted),
        tuple(found.varies),
        tuple(found.moved),
        tuple(compared),
        not_compared,
        missing,
        opaque,
    )


def overlay(patch: Patch, which: str) -> dict[str, dict[str, str | None]]:
    """The modules of a patch in one version, for the child's import hook. New code has the file name of a load's."""
    entries: dict[str, dict[str, str | None]] = {}
    for module in patch.modules:
        new = which == "new"
        source = module.new_source if new else module.old_source
        filename = f"<livepatch {patch.name}>/{module.path}" if new else ""
        entries[module.name] = {"path": module.path, "source": source, "filename": filename}
    for brought in patch.new_modules:
        filename = f"<livepatch {patch.name}>/{brought.path}"
        there = brought.new_source if which == "new" else None
        entries[brought.name] = {"path": brought.path, "source": there, "filename": filename}
    return entries


def _carried(patch: Patch | None) -> dict[str, dict[str, str]]:
    """What the patch binds, by module: target → ``new`` or ``changed``."""
    found: dict[str, dict[str, str]] = {}
    if patch is not None:
        for module, change in patch.changes():
            new = isinstance(change, Forgotten) or (isinstance(change, ValueChange) and change.old is None)
            found.setdefault(module.name, {})[change.target] = "new" if new else "changed"
        for transform in contents(patch.hooks.source, patch.hooks.name).transforms if patch.hooks else ():
            module_name, _, target = transform.target.partition(":")
            found.setdefault(module_name, {})[target] = "new"
    return found


def _original(name: str) -> str:
    """The module of which this is a copy: ``m as __main__``."""
    return name.partition(_COPY)[0]

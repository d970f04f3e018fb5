"""A big comparison on all cores, by forks of this process (``pylivepatch.cores``).

All modules are parsed before, by one: a tree costs more to send than to make. The forks have the trees, and send what
came of them: first what each module's code runs (``runs``), which all comparisons look at, then the findings and
changes of each module that differs. Neither depends on the other modules' comparisons, so their order says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pylivepatch import cores
from pylivepatch.build.context import Context, Root
from pylivepatch.build.findings import Finding, Report
from pylivepatch.build.reach import MADE_BY_CALL, functions_of
from pylivepatch.build.uses import Uses
from pylivepatch.build.world import Version
from pylivepatch.patch import Change

# Characters of source from which on the forks are sure to cost less than they save (docs/benchmarks.md).
WORTH_ASIDE = 300_000
WORTH_READING = 200_000
WORTH_COMPARING = 60_000

_OF_THE_BUILD = frozenset({"world", "old", "new", "report", "changes", "peers", "roots"})
"""The fields of a context that all of a module's have in common; the others say which scope it is of."""


def compare_on_all(contexts: Mapping[str, Context], names: Sequence[str], compare: Callable[[Context], None]) -> bool:
    """Compare the modules ``names`` on all cores. Where that does not pay, cannot be, or something was raised, nothing
    has changed, and ``False`` is given.
    """
    if len(names) < 2 or cores.usable() < 2 or not cores.can_fork():
        return False
    _read_on_all(contexts, names)
    if sum(len(contexts[name].new.source.text) for name in names) < WORTH_COMPARING:
        return False
    done = cores.by_workers(lambda name: _compared(contexts[name], compare), names)
    if done is None:
        return False
    for name, one in zip(names, done, strict=True):
        one.add_to(contexts[name])
    return True


@dataclass(frozen=True)
class _Compared:
    """What the comparison of one module adds to its context. ``roots`` are their fields, and those of their scopes."""

    findings: list[Finding]
    changes: list[Change]
    roots: list[tuple[dict[str, Any], dict[str, Any]]]
    used: set[tuple[str, str]]

    def add_to(self, context: Context) -> None:
        context.report.findings += self.findings
        context.report.word.used.update(self.used)
        context.changes.extend(self.changes)
        context.roots.extend(Root(replace(context, **scope), **root) for scope, root in self.roots)


def _compared(context: Context, compare: Callable[[Context], None]) -> _Compared:
    report = Report(context.report.module, context.report.file, word=replace(context.report.word, used=set()))
    own = replace(context, report=report, changes=[], roots=[])
    compare(own)
    roots = [(_fields(root.context, _OF_THE_BUILD), _fields(root, frozenset({"context"}))) for root in own.roots]
    return _Compared(report.findings, own.changes, roots, report.word.used)


def _fields(one: Context | Root, without: frozenset[str]) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one) if field.name not in without}


def _read_on_all(contexts: Mapping[str, Context], names: Sequence[str]) -> None:
    """Read ahead the modules that the comparisons will ask for; those that they ask for besides are read then."""
    world = contexts[names[0]].world
    words = {word for name in names for word in _changed_words(contexts[name])}
    modules = [*dict.fromkeys((*names, *world.reach.naming(words)))]
    if sum(len(world.new.modules[module].source.text) for module in modules) < WORTH_READING:
        return
    world.new.prepare()  # once, for all workers
    done = cores.by_workers(world.reach.packed, modules)
    if done is not None:
        for module, packed in zip(modules, done, strict=True):
            world.reach.unpack(module, packed)


def _changed_words(context: Context) -> set[str]:
    """The names of the functions whose text differs, and of the classes that a call of such a one is spelled with."""
    before, after = (_functions(version, uses) for version, uses in _sides(context))
    words = set()
    for owner, name, _ in after - before:
        words |= {name, owner.rpartition(".")[2]} if name in MADE_BY_CALL else {name}
    return words


def _sides(context: Context) -> tuple[tuple[Version, Uses], tuple[Version, Uses]]:
    return (context.world.old, context.old), (context.world.new, context.new)


def _functions(version: Version, uses: Uses) -> set[tuple[str, str, str]]:
    """Class, name and text of each function."""
    lines = uses.source.text.split("\n")
    return {
        (owner, item.name, "\n".join(lines[item.line - 1 : item.node.end_lineno]))
        for item, owner in functions_of(version, uses.source.name)
    }

"""Two versions of a source tree → the changes that a patch carries, and a finding for every difference."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from pylivepatch import cores
from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.definitions import compare_scope
from pylivepatch.build.findings import Finding, Report
from pylivepatch.build.follow import follow_values
from pylivepatch.build.importorder import check_import_order
from pylivepatch.build.lambdas import tell_lambdas
from pylivepatch.build.names import absolute_module
from pylivepatch.build.newclass import check_reads
from pylivepatch.build.newmodules import bring_modules
from pylivepatch.build.order import order_modules
from pylivepatch.build.points import with_point
from pylivepatch.build.same import same_tree
from pylivepatch.build.source import TOO_DEEP, Source, decode
from pylivepatch.build.spread import WORTH_ASIDE, compare_on_all
from pylivepatch.build.stars import follow_stars
from pylivepatch.build.tree import File, is_text_only
from pylivepatch.build.word import Word
from pylivepatch.build.world import World
from pylivepatch.errors import SourceError
from pylivepatch.patch import (
    Change,
    FunctionChange,
    ModulePatch,
    NewClass,
    NewFields,
    NewFunction,
    NewModule,
    Unregistered,
)


def compare_trees(
    old: Mapping[str, File], new: Mapping[str, File], word: Word | None = None, *, spread: bool = False
) -> tuple[tuple[ModulePatch, ...], tuple[NewModule, ...], tuple[Finding, ...]]:
    """Compare two trees file by file, with the author's ``word`` on them. Raises ``SourceError`` for a changed file
    that cannot be read or parsed. With ``spread`` big comparisons are done on all cores.
    """
    word = word or Word()
    if spread and sum(len(file.data) for file in old.values() if _is_module(file)) > WORTH_ASIDE:
        done = cores.aside(lambda: (_compare_trees(old, new, word, spread=True, tidy=False), word.used))
        if done is not None:
            found, used = done[0]
            word.used.update(used)
            return found
    return _compare_trees(old, new, word, spread=spread)


def _compare_trees(
    old: Mapping[str, File], new: Mapping[str, File], word: Word, *, spread: bool, tidy: bool = True
) -> tuple[tuple[ModulePatch, ...], tuple[NewModule, ...], tuple[Finding, ...]]:
    files = _compare_files(old, new, word)
    changed = [path for path in old if path in new and old[path].data != new[path].data and _is_module(new[path])]
    if not changed and not any(path not in old and _is_module(file) for path, file in new.items()):
        return (), (), tuple(files.findings)
    before_all = _sources(old, changed)
    shared = {
        path: before_all[file.module]
        for path, file in new.items()
        if path in old and old[path].data == file.data and file.module in before_all
    }
    world = World(before_all, _sources(new, [path for path in new if path in changed or path not in old], shared))
    contexts: dict[str, Context] = {}
    try:
        for name in [name for name in world.old.modules if name in world.new.modules]:
            before, after = world.old.modules[name], world.new.modules[name]
            report = Report(name, after.source.path, word=word)
            contexts[name] = Context(world, before, after, report, peers=contexts)
        _compare_modules(contexts, [new[path].module for path in changed], spread)
        patches = _patches(contexts)
        brought, said = bring_modules(world, contexts, old, new, word)
        findings = [finding for context in contexts.values() for finding in _with_points(context)]
        return patches, brought, (*findings, *said, *files.findings)
    finally:
        if tidy:
            for context in contexts.values():
                context.roots.clear()
            contexts.clear()
            world.forget()


def _compare_modules(contexts: dict[str, Context], changed: list[str], spread: bool) -> None:
    """Find the changes of each module, and then what follows of them in others."""
    differing = [
        name for name in changed if not same_tree(contexts[name].old.source.tree, contexts[name].new.source.tree)
    ]
    if not (spread and compare_on_all(contexts, differing, _compare_module)):
        for name in differing:
            _compare_module(contexts[name])
    follow_stars(contexts)
    follow_values(contexts)
    check_reads(contexts)
    check_import_order(contexts)


def _patches(contexts: dict[str, Context]) -> tuple[ModulePatch, ...]:
    return tuple(
        ModulePatch(
            context.module,
            context.new.source.path,
            context.old.source.text,
            context.new.source.text,
            tuple(sorted(context.changes, key=_order)),
        )
        for context in map(contexts.__getitem__, order_modules(contexts))
        if context.changes or _is_left_to_callbacks(context)
    )


def _compare_module(context: Context) -> None:
    try:
        compare_scope(context, context.old.items, context.new.items)
        tell_lambdas(context)
    except RecursionError as problem:
        raise SourceError(
            "the file is nested too deeply to compare", where=context.new.source.path, advice=TOO_DEEP
        ) from problem


def _is_left_to_callbacks(context: Context) -> bool:
    """Whether the author has said that all there is to do in the module is done by callbacks."""
    word = context.report.word
    return bool(word.contents.callbacks) and any(
        (finding.code, finding.name) in word.used for finding in context.report.findings
    )


def _with_points(context: Context) -> list[Finding]:
    if not context.report.findings:
        return []
    old, new = (uses.source.text.split("\n") for uses in (context.old, context.new))
    return [with_point(finding, old, new) for finding in context.report.findings]


def _is_module(file: File) -> bool:
    return file.is_python and bool(file.module) and not file.outside


def _sources(
    tree: Mapping[str, File], changed: list[str], shared: Mapping[str, Source] | None = None
) -> dict[str, Source]:
    """Every module of a tree; ``shared`` are those that the other version has too. One that did not change
    and cannot be read is none of ours to complain about.
    """
    found = {}
    for path, file in sorted(tree.items()):
        if not _is_module(file):
            continue
        if shared and path in shared:
            found[file.module] = shared[path]
            continue
        try:
            found[file.module] = Source(file.module, path, decode(file.data, path), file.is_package)
        except SourceError:
            if path in changed:
                raise
    return found


def _order(change: Change) -> tuple[bool, int]:
    """By line; an implementation that goes before the one that comes in its place."""
    if isinstance(change, FunctionChange | NewFunction | NewClass | NewFields):
        return True, change.new.line
    return not isinstance(change, Unregistered), change.line


def _compare_files(old: Mapping[str, File], new: Mapping[str, File], word: Word) -> Report:
    """What is no change within a module: files that came, went, or are no Python source."""
    report = Report("", "", word=word)
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is not None and after is not None and before.data == after.data:
            continue
        file = after or before
        assert file is not None
        what = "is gone" if after is None else "is new" if before is None else "changed"
        report.file, report.module = path, file.module
        if file.outside or is_text_only(path):
            report.note(codes.OUTSIDE, "", f"the file {what}; no running process uses it")
        elif not file.is_python:
            report.refused(
                codes.OTHER_FILE,
                "",
                f"the file {what}, and it is {_what_else(path)}, so a patch cannot hold it",
                "leave it out of the diff, and restart the process for it"
                if path.endswith(_EXTENSIONS)
                else "bring the file onto the machine by itself if the process reads it anew, and leave it out "
                "of the diff",
            )
        elif not file.module:
            report.refused(
                codes.NOT_IMPORTABLE,
                "",
                f"the file {what}, and its path is no import name, so no module of a running process can "
                f"be found by it",
                "give it a name that Python can import, or leave it out of the diff",
            )
        elif before is None:
            continue  # a new module: see ``newmodules``
        elif after is None and not _is_imported(new, file.module):
            report.note(codes.LEFT_IN_PLACE, "", "the module is gone and nothing imports it; it stays")
        elif after is None:
            report.refused(
                codes.MODULE_REMOVED,
                "",
                "the module is gone, and a running process may have imported it",
                "keep the module; what nobody imports any more does no harm",
            )
    report.file = report.module = ""
    return report


_EXTENSIONS = (".so", ".pyd", ".dll", ".dylib")


def _what_else(path: str) -> str:
    return "compiled code, which a process cannot exchange" if path.endswith(_EXTENSIONS) else "no Python source"


def _is_imported(new: Mapping[str, File], module: str) -> bool:
    """Whether some module of the new version still names the module, in an import or as a string."""
    last = module.rpartition(".")[2]
    word = re.compile(rb"\b%s\b" % last.encode())
    return any(_names_module(file, module) for file in new.values() if _is_module(file) and word.search(file.data))


def _names_module(file: File, module: str) -> bool:
    try:
        source = Source(file.module, file.path, decode(file.data, file.path), file.is_package)
        nodes = list(ast.walk(source.tree))
    except (SourceError, RecursionError):
        return True
    outer, _, last = module.rpartition(".")
    for node in nodes:
        match node:
            case ast.Import(names=names) if any(f"{one.name}.".startswith(f"{module}.") for one in names):
                return True
            case ast.ImportFrom(names=names):
                home = absolute_module(node, source.package)
                if f"{home}.".startswith(f"{module}.") or (home == outer and last in {one.name for one in names}):
                    return True
            case ast.Constant(value=str(text)) if text.strip(".") in (last, module) or f"{module}." in text:
                return True
    return False

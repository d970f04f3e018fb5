"""The ways to a patch: from two trees, from a tree and diffs, from two revisions, from two releases."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pylivepatch.build import codes
from pylivepatch.build.apply import apply_diffs
from pylivepatch.build.collector import no_collections
from pylivepatch.build.compare import compare_trees
from pylivepatch.build.findings import BuildResult, Finding, Report, heeding
from pylivepatch.build.git import read_revisions
from pylivepatch.build.releases import Release, fetch, together
from pylivepatch.build.requires import check_requirement, compare_needs, normalized, of_project
from pylivepatch.build.tree import CHECK_PATH, File, arrange, package_prefix, read_pair, read_raw
from pylivepatch.build.word import Word, check_transforms, read_word
from pylivepatch.errors import BuildError, BuildRefused, NothingChanged
from pylivepatch.patch import Patch, ValueChange

PathLike = str | os.PathLike[str]


def examine(
    old: PathLike,
    new: PathLike,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> BuildResult:
    """Compare two source trees (two folders) or two files, and say everything that was found.

    ``hooks`` is the path of the author's part (``pylivepatch.hooks``). ``spread`` is for processes that nobody patches:
    big trees are compared on all cores (``pylivepatch.cores``), with the same outcome. Raises ``BuildError`` where a
    tree cannot be read, ``SourceError`` where a changed file cannot be parsed, and ``HooksError`` for a hooks file with
    a mistake.
    """
    _check_name(name)
    return examine_files(
        *read_pair(Path(old), Path(new)), name=name, description=description, hooks=hooks, spread=spread
    )


def build_patch(
    old: PathLike,
    new: PathLike,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> Patch:
    """The patch that takes a process from the source tree (or file) ``old`` to ``new``.

    Raises ``BuildRefused`` (with every refusal), ``NothingChanged``, and what :func:`examine` raises.
    """
    return _patch_of(examine(old, new, name=name, description=description, hooks=hooks, spread=spread))


def examine_diff(
    diff: str | PathLike | Sequence[str | PathLike],
    source: PathLike,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> BuildResult:
    """Apply unified diffs to the tree ``source`` (in memory), and compare.

    ``diff`` is the text of a diff, or the path of one, or several of either, applied in order. Raises
    ``DiffError`` where one does not apply, and what :func:`examine` raises.
    """
    _check_name(name)
    root = Path(source)
    if not root.exists():
        raise BuildError(
            "there is no such source folder",
            where=str(root),
            advice="give the folder (or the file) that holds the source that the process runs",
        )
    single = not root.is_dir()
    raw = {root.name: _read(root)} if single else read_raw(root)
    prefix = package_prefix(root.parent if single else root)
    patched, notes = apply_diffs(_diff_texts(diff), raw, str(root))
    return examine_files(
        arrange(raw, prefix),
        arrange(patched, prefix),
        name=name,
        description=description,
        notes=notes,
        hooks=hooks,
        spread=spread,
    )


def build_from_diff(
    diff: str | PathLike | Sequence[str | PathLike],
    source: PathLike,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> Patch:
    """The patch that ``diff`` makes of the tree ``source``: see :func:`examine_diff`.

    Raises ``BuildRefused``, ``NothingChanged``, and what :func:`examine_diff` raises.
    """
    return _patch_of(examine_diff(diff, source, name=name, description=description, hooks=hooks, spread=spread))


def examine_git(
    repository: PathLike,
    old: str,
    new: str,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> BuildResult:
    """Compare two revisions of a git repository (or of a folder in one), as they are committed.

    Raises ``BuildError`` where git, the repository, a revision or the folder is missing, and what :func:`examine`
    raises.
    """
    _check_name(name)
    before, after = read_revisions(Path(repository), (old, new))
    if before.prefix != after.prefix:
        raise BuildError(
            f"the folder is the package {'.'.join(before.prefix) or '(none)'} in {old}, and "
            f"{'.'.join(after.prefix) or '(none)'} in {new}",
            where=str(repository),
            advice="give the repository itself",
        )
    return examine_files(
        arrange(before.files, before.prefix),
        arrange(after.files, after.prefix),
        name=name,
        description=description or f"{old} to {new}",
        hooks=hooks,
        spread=spread,
    )


def build_from_git(
    repository: PathLike,
    old: str,
    new: str,
    *,
    name: str,
    description: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> Patch:
    """The patch that takes a process from revision ``old`` of a git repository to ``new``: see :func:`examine_git`.

    Raises ``BuildRefused``, ``NothingChanged``, and what :func:`examine_git` raises.
    """
    return _patch_of(examine_git(repository, old, new, name=name, description=description, hooks=hooks, spread=spread))


def examine_releases(
    dist: str,
    old: str,
    new: str,
    *more: tuple[str, str, str],
    name: str | None = None,
    description: str = "",
    timeout: float = 300.0,
    hooks: PathLike | None = None,
    spread: bool = False,
) -> BuildResult:
    """Get two releases of ``dist`` with pip, as wheels and without dependencies, and compare them.

    ``more`` are further distributions that change in the same switch, ``(dist, old, new)`` each. Raises
    ``ReleaseError`` where pip cannot get one within ``timeout`` seconds, ``BuildError`` where two distributions have a
    file of the same path, and what :func:`examine` raises.
    """
    wanted = [(dist, old, new), *more]
    title = "+".join("-".join(one) for one in wanted)
    name = name or re.sub(r"[^A-Za-z0-9._+-]", "-", title)
    _check_name(name)
    pairs = []
    with tempfile.TemporaryDirectory(prefix="pylivepatch-") as folder:
        for number, (one, *versions) in enumerate(wanted):
            place = Path(folder, str(number))
            pairs.append(tuple(fetch(one, version, place, timeout=timeout) for version in versions))
    before, after = together([pair[0] for pair in pairs]), together([pair[1] for pair in pairs])
    for one, _, now in wanted:  # what the new releases pin, and the same patch brings, is there
        if after.needs.get(normalized(one)) == f"=={now}":
            before.needs[normalized(one)] = f"=={now}"
    description = description or ", ".join(f"{one} {was} to {now}" for one, was, now in wanted)
    result = compare_releases(before, after, name=name, description=description, hooks=hooks, spread=spread)
    if result.patch is None:
        return result
    return replace(result, patch=replace(result.patch, distributions=tuple(wanted)))


def compare_releases(
    old: Release, new: Release, *, name: str, description: str, hooks: PathLike | None = None, spread: bool = False
) -> BuildResult:
    """Compare two releases that were read. Raises what :func:`examine` raises."""
    return examine_files(
        arrange(old.files),
        arrange(new.files),
        name=name,
        description=description,
        notes=compare_needs(old.needs, new.needs),
        requires_python=check_requirement(new.requires_python, description),
        hooks=hooks,
        spread=spread,
    )


def build_from_releases(
    dist: str,
    old: str,
    new: str,
    *more: tuple[str, str, str],
    name: str | None = None,
    description: str = "",
    timeout: float = 300.0,
    hooks: PathLike | None = None,
    spread: bool = False,
) -> Patch:
    """The patch that takes a process from release ``old`` of ``dist`` to ``new``, and ``more`` distributions with it:
    see :func:`examine_releases`.

    Raises ``BuildRefused``, ``NothingChanged``, and what :func:`examine_releases` raises.
    """
    result = examine_releases(
        dist, old, new, *more, name=name, description=description, timeout=timeout, hooks=hooks, spread=spread
    )
    return _patch_of(result)


def examine_files(
    old: Mapping[str, File],
    new: Mapping[str, File],
    *,
    name: str,
    description: str = "",
    notes: Sequence[Finding] = (),
    requires_python: str = "",
    hooks: PathLike | None = None,
    spread: bool = False,
) -> BuildResult:
    """Compare two trees that were read (:func:`pylivepatch.build.tree.arrange`). Raises what :func:`examine` raises."""
    requires = requires_python or check_requirement(of_project(new), "pyproject.toml")
    word = read_word(Path(hooks) if hooks is not None else None)
    with no_collections():
        modules, brought, findings = compare_trees(old, new, word, spread=spread)
    values = ((one.name, change) for one in modules for change in one.changes if isinstance(change, ValueChange))
    check_transforms(word, {f"{module}:{change.target}" for module, change in values})
    every = (*(heeding(note, word) for note in notes), *findings, *_unused(word))
    refusals = tuple(finding for finding in every if finding.stops)
    changes = tuple(finding for finding in every if not finding.stops)
    only_callbacks = bool(word.used and word.contents.callbacks)
    if refusals or not (modules or brought or only_callbacks):
        return BuildResult(None, changes, refusals)
    told = tuple(finding.told() for finding in changes)
    patch = Patch(name, description, modules, requires_python=requires, hooks=word.file, told=told, new_modules=brought)
    return BuildResult(patch, changes, refusals)


def _unused(word: Word) -> list[Finding]:
    report = Report("", word.file.name if word.file else "")
    for what, line in word.unused():
        report.note(codes.UNUSED_STATEMENT, "", f"no difference needs {what}; leave it out", new_line=line)
    return report.findings


def _patch_of(result: BuildResult) -> Patch:
    if result.refusals:
        lines = "\n".join(f"  {finding}" for finding in result.refusals)
        count = len(result.refusals)
        raise BuildRefused(
            f"{count} difference{'s' if count > 1 else ''} cannot be made into a safe patch:\n{lines}",
            advice="leave them out of the new version, or change them as `pylivepatch explain CODE` says",
            refusals=result.refusals,
            changes=result.changes,
            details=result.as_dict(),
        )
    if result.patch is None:
        raise NothingChanged(
            "the two versions do not differ in anything that a running process executes",
            details=result.as_dict(),
        )
    return result.patch


def _check_name(name: str) -> None:
    try:
        Patch(name)
    except ValueError as problem:
        raise BuildError(str(problem), where=name, advice="such as: fix-CVE-2026-1") from problem


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise BuildError(
            f"the file cannot be read: {problem.strerror}", where=str(path), advice=CHECK_PATH
        ) from problem


def _diff_texts(diff: str | PathLike | Sequence[str | PathLike]) -> list[tuple[str, bytes]]:
    """``(what to call it, its bytes)`` for each diff. A string with a line end in it is a diff's text."""
    several = [diff] if isinstance(diff, str | os.PathLike) else list(diff)
    found = []
    for number, one in enumerate(several, 1):
        if isinstance(one, str) and ("\n" in one or not one):
            found.append((f"diff {number}" if len(several) > 1 else "the diff", one.encode("utf-8", "surrogateescape")))
        else:
            path = Path(one)
            found.append((str(path), _read(path)))
    return found

"""Applying unified diffs to a tree in memory.

A hunk applies where its lines stand, all of them: at the line it names, or, when they moved, at the one
other place where they stand (told as a finding). Where the outer lines of its context differ, up to two of them
at each end as with ``patch``, it applies at the one place where the rest stands, and that is told too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from pylivepatch.build import codes
from pylivepatch.build.findings import Finding, Report
from pylivepatch.build.tree import OUTSIDE_FOLDERS, is_text_only
from pylivepatch.build.unidiff import NOWHERE, FileDiff, Hunk, parse
from pylivepatch.errors import DiffError

_OUTSIDE_NAMES = frozenset({"setup.py", "conftest.py", "noxfile.py", "tasks.py"})
_FUZZ = 2
_OUTSIDE_ENDS = (".toml", ".cfg", ".ini", ".txt", ".yml", ".yaml")


def apply_diffs(
    diffs: Iterable[tuple[str, bytes]], tree: Mapping[str, bytes], root: str
) -> tuple[dict[str, bytes], list[Finding]]:
    """The tree after all the diffs (title, text), and notes on what did not go as written. Raises
    ``DiffError``.
    """
    patched = dict(tree)
    report = Report("", "")
    for title, text in diffs:
        files = parse(text, title)
        strip = _strip_level(files, patched, root, title)
        for file in files:
            _apply_file(file, strip, patched, report, title)
    return patched, report.findings


def _stripped(path: str, strip: int) -> str:
    parts = path.split("/")
    return "/".join(parts[strip:]) if len(parts) > strip else ""


def _strip_level(files: list[FileDiff], tree: Mapping[str, bytes], root: str, title: str) -> int:
    """How many leading folders of the diff's names the tree does not have (``patch -p``): one number for
    the whole diff.
    """
    paths = [(file.old, file.new) for file in files if file.old != NOWHERE]
    if not paths:
        prefixed = all(file.new.startswith("b/") for file in files)
        return 1 if prefixed else 0
    deepest = max(path.count("/") for pair in paths for path in pair) + 1
    hits = {
        strip: sum(any(_stripped(path, strip) in tree for path in pair) for pair in paths)
        for strip in range(deepest)
    }
    best = max(hits, key=lambda strip: (hits[strip], -strip))
    if not hits[best]:
        raise DiffError(
            f"none of the diff's files is in the source: {', '.join(sorted({old for old, _ in paths})[:3])}",
            where=f"{title} on {root}",
            advice="give the folder that the diff was made against",
        )
    return best


def _apply_file(file: FileDiff, strip: int, tree: dict[str, bytes], report: Report, title: str) -> None:
    old = _stripped(file.old, strip) if file.old != NOWHERE else ""
    new = _stripped(file.new, strip) if file.new != NOWHERE else ""
    where = f"{title}:{file.line}"
    for path in (old, new):
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise DiffError(
                f"the path {path} leads out of the source folder",
                where=where,
                advice="make the diff from inside the folder, with relative paths",
            )
    created = file.old == NOWHERE or (old not in tree and _is_creation(file))
    if file.binary:
        _binary(file, old, new, tree, where)
        return
    if created:
        if tree.get(new):
            raise DiffError(
                f"{new} is to be created and exists already",
                where=where,
                advice="is the diff applied already?",
            )
        tree[new] = b""
        old = new
    elif old not in tree and new in tree:
        old = new  # `--- mod.py.orig`, `+++ mod.py`
    if old not in tree:
        if _is_outside(file.old):
            report.file = file.old.removeprefix("a/")
            report.note(
                codes.OUTSIDE, "", "the diff changes this file, which is not in the source and not installed"
            )
            return
        raise DiffError(
            f"the diff changes {file.old}, which is not in the source",
            where=where,
            advice="give the folder that the diff was made against",
        )
    data = tree[old]
    if file.hunks:
        report.file = new or old
        data = _apply_hunks(file, data, old, report, title)
    if not new:
        if data:
            raise DiffError(
                f"{old} is to be removed, but has lines that the diff does not know",
                where=where,
                advice="make the diff against the very source that the process runs",
            )
        del tree[old]
        return
    if new != old and file.renamed and not created and not file.copied:
        del tree[old]
    tree[new if file.renamed or created else old] = data


def _is_creation(file: FileDiff) -> bool:
    return len(file.hunks) == 1 and not file.hunks[0].old and file.hunks[0].start == 0


def _binary(file: FileDiff, old: str, new: str, tree: dict[str, bytes], where: str) -> None:
    path = new or old
    if path.endswith(".py"):
        raise DiffError(
            f"the diff holds {path} as a binary file", where=where, advice="make it with `git diff --text`"
        )
    # Its new content does not matter: that it differs is what the builder has to say.
    if new:
        tree[new] = tree.get(old, b"") + b"\0changed by a binary diff"
    else:
        tree.pop(old, None)


def _apply_hunks(file: FileDiff, data: bytes, path: str, report: Report, title: str) -> bytes:
    ends = b"\r\n" if data.count(b"\r\n") * 2 > data.count(b"\n") else b"\n"
    lines = data.split(b"\n")
    whole = not lines[-1]
    if whole:
        lines.pop()
    plain = [line.removesuffix(b"\r") for line in lines]
    if not data:
        plain, whole = [], True
    moved = 0
    floor = 0
    for hunk in file.hunks:
        old = [line.removesuffix(b"\r") for line in hunk.old]
        new = [line.removesuffix(b"\r") for line in hunk.new]
        wanted = (hunk.start - 1 if old else hunk.start) + moved
        found, tail = _find(plain, old, wanted, floor), 0
        if found is None and (fuzzy := _find_fuzzy(plain, old, new, wanted, floor)) is not None:
            found, head, tail = fuzzy
            report.note(
                codes.HUNK_FUZZ,
                "",
                f"hunk {hunk.number} ({title}:{hunk.line}) applied with fuzz: {head} line(s) at the start of its "
                f"context and {tail} at the end are not what the source has",
                old_line=found + 1,
            )
            old, new = old[head : len(old) - tail], new[head : len(new) - tail]
            wanted += head
        if found is None:
            raise _unfound(plain, old, wanted, floor, hunk, path, title)
        at_end = found + len(old) == len(plain)
        if not hunk.old_ends and old and not (at_end and not whole):
            raise _misfit(
                hunk, path, title, "the diff says that the file ends here without a newline, and it does not"
            )
        if found != wanted:
            report.note(
                codes.HUNK_MOVED,
                "",
                f"hunk {hunk.number} ({title}:{hunk.line}) applied {abs(found - wanted)} lines "
                f"{'below' if found > wanted else 'above'} where it says",
                old_line=found + 1,
            )
        plain[found : found + len(old)] = new
        if at_end and not tail:
            whole = hunk.new_ends
        moved += found - wanted + len(new) - len(old)
        floor = found + len(new)
    return ends.join(plain) + (ends if whole and plain else b"")


def _find(plain: list[bytes], old: list[bytes], wanted: int, floor: int) -> int | None:
    """Where the lines stand: as wanted, or at the one place there is."""
    if floor <= wanted <= len(plain) and plain[wanted : wanted + len(old)] == old:
        return wanted
    places = _places(plain, old, floor) if old else []
    return places[0] if len(places) == 1 else None


def _find_fuzzy(
    plain: list[bytes], old: list[bytes], new: list[bytes], wanted: int, floor: int
) -> tuple[int, int, int] | None:
    """Where the lines stand without outer lines of the context, and how many are left out at each end.

    The longer context loses lines first, as with ``patch``. Never where all lines stand somewhere, or the new ones do.
    """
    if not old or _places(plain, old, floor) or (new and _places(plain, new, 0)):
        return None
    before, after = _common(old, new), _common(old[::-1], new[::-1])
    for fuzz in range(1, _FUZZ + 1):
        head, tail = (max(0, fuzz + side - max(before, after)) for side in (before, after))
        rest = old[head : len(old) - tail]
        if not rest or head + tail == 0:
            continue
        places = _places(plain, rest, floor)
        if len(places) == 1:
            return places[0], head, tail
        if places:
            return None
    return None


def _common(one: list[bytes], other: list[bytes]) -> int:
    """How many lines are the same at the start."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _places(plain: list[bytes], lines: list[bytes], floor: int) -> list[int]:
    count = len(lines)
    return [start for start in range(floor, len(plain) - count + 1) if plain[start : start + count] == lines]


def _unfound(
    plain: list[bytes], old: list[bytes], wanted: int, floor: int, hunk: Hunk, path: str, title: str
) -> DiffError:
    if not old:
        return _misfit(
            hunk, path, title, f"it inserts at line {wanted + 1}, and the file has {len(plain)} lines"
        )
    places = _places(plain, old, floor)
    if places:
        shown = ", ".join(str(place + 1) for place in places[:5])
        return _misfit(
            hunk,
            path,
            title,
            f"its lines stand in several places (lines {shown}), none of them the one it names",
        )
    new = [line.removesuffix(b"\r") for line in hunk.new]
    if new and _places(plain, new, 0):
        return _misfit(
            hunk, path, title, "what it would put there is there already: the diff seems to be applied"
        )
    for offset, expected in enumerate(old):
        at = wanted + offset
        actual = plain[at] if 0 <= at < len(plain) else None
        if actual != expected:
            said = "the file ends before it" if actual is None else f"the file has {_show(actual)}"
            return _misfit(hunk, path, title, f"line {at + 1} should be {_show(expected)}, and {said}")
    return _misfit(hunk, path, title, "it overlaps the hunk before it")


def _misfit(hunk: Hunk, path: str, title: str, why: str) -> DiffError:
    return DiffError(
        f"hunk {hunk.number} does not apply to {path} at line {hunk.start}: {why}",
        where=f"{title}:{hunk.line}",
        advice="make the diff against the very source that the process runs",
        details={"file": path, "hunk": hunk.number, "line": hunk.start, "diff_line": hunk.line},
    )


def _show(line: bytes) -> str:
    return repr(line.decode("utf-8", "replace")[:80])


def _is_outside(path: str) -> bool:
    parts = path.removeprefix("a/").split("/")
    name = parts[-1]
    return (
        any(part in OUTSIDE_FOLDERS or part.startswith(".") for part in parts[:-1])
        or is_text_only(path)
        or name in _OUTSIDE_NAMES
        or (len(parts) == 1 and (name.endswith(_OUTSIDE_ENDS) or "." not in name))
    )

"""Unified diffs, as ``git diff``, ``diff -u`` and quilt write them: reading them.

What the text says is kept as it is; whether it fits a tree is decided in ``apply``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pylivepatch.errors import DiffError

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_TIME = re.compile(r"\t.*$|\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*$")
NOWHERE = "/dev/null"


@dataclass(slots=True)
class Hunk:
    """One hunk: the lines that must be there (``old``) and what they become (``new``), without line ends.

    ``line`` is the hunk's line in the diff. ``old_ends`` and ``new_ends`` say whether the last line of a
    side ends in a newline.
    """

    number: int
    line: int
    start: int
    old: list[bytes] = field(default_factory=list)
    new: list[bytes] = field(default_factory=list)
    old_ends: bool = True
    new_ends: bool = True
    new_start: int = 0


@dataclass(slots=True)
class FileDiff:
    """What a diff says about one file. ``old`` and ``new`` are the paths as written, ``/dev/null`` for
    none.
    """

    old: str
    new: str
    line: int
    hunks: list[Hunk] = field(default_factory=list)
    binary: bool = False
    moved: bool = False  # git says so
    copied: bool = False

    @property
    def renamed(self) -> bool:
        if NOWHERE in (self.old, self.new):
            return False
        return self.moved or self.old.partition("/")[2] != self.new.partition("/")[2]


def parse(text: bytes, title: str) -> list[FileDiff]:
    """The files that a diff changes. Raises ``DiffError`` for what is no whole unified diff."""
    lines = text.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    files: list[FileDiff] = []
    git: FileDiff | None = None  # the git header that is being read; its file may have no hunks at all
    position = 0
    while position < len(lines):
        line, number = lines[position], position + 1
        plain = line.rstrip(b"\r")
        if plain.startswith(b"diff --git "):
            git = _git_header(plain, number)
            files.append(git)
        elif git and plain.startswith((b"rename from ", b"copy from ")):
            git.moved, git.copied = True, plain.startswith(b"copy")
            git.old = _prefix(git.old) + _name(plain.split(b" from ", 1)[1])
        elif git and plain.startswith((b"rename to ", b"copy to ")):
            git.new = _prefix(git.new) + _name(plain.split(b" to ", 1)[1])
        elif git and plain.startswith(b"new file mode"):
            git.old = NOWHERE
        elif git and plain.startswith(b"deleted file mode"):
            git.new = NOWHERE
        elif plain.startswith(b"GIT binary patch") or (
            plain.startswith(b"Binary files ") and plain.endswith(b"differ")
        ):
            if git is None:
                git = FileDiff(*_binary_names(plain), number)
                files.append(git)
            git.binary = True
            git = None
        elif (
            plain.startswith(b"--- ")
            and position + 1 < len(lines)
            and lines[position + 1].startswith(b"+++ ")
        ):
            old, new = _name(plain[4:]), _name(lines[position + 1].rstrip(b"\r")[4:])
            if git is not None and not git.hunks:
                git.old, git.new = old, new
            else:
                files.append(FileDiff(old, new, number))
            git = None
            position += 2
            while position < len(lines) and lines[position].startswith(b"@@ "):
                position = _hunk(lines, position, files[-1], title)
            if not files[-1].hunks:
                raise DiffError(
                    "a file's header has no hunk after it", where=f"{title}:{number}", advice="is it cut off?"
                )
            continue
        elif plain.startswith(b"Only in "):
            raise DiffError(
                f"a file is only on one side, and the diff does not hold it: "
                f"{plain.decode(errors='replace')}",
                where=f"{title}:{number}",
                advice="make the diff with `diff -ruN`",
            )
        elif (
            plain.startswith(b"*** ")
            and position + 1 < len(lines)
            and lines[position + 1].startswith(b"--- ")
        ):
            raise DiffError(
                "this is a context diff", where=f"{title}:{number}", advice="make it with `diff -u`"
            )
        elif plain.startswith(b"@@ ") and _HUNK.match(plain):
            raise DiffError(
                "a hunk without a file's header before it",
                where=f"{title}:{number}",
                advice="give the whole diff, with its `---` and `+++` lines",
            )
        position += 1
    if not files:
        raise DiffError(
            "the text holds no unified diff",
            where=title,
            advice="make it with `git diff`, `diff -u` or quilt",
        )
    return files


def _hunk(lines: list[bytes], position: int, file: FileDiff, title: str) -> int:
    match = _HUNK.match(lines[position])
    where = f"{title}:{position + 1}"
    number = len(file.hunks) + 1
    if match is None:
        raise DiffError(
            f"hunk {number} of {file.new} has a header that cannot be read",
            where=where,
            advice="a combined diff of a merge cannot be applied: make one with `git diff OLD NEW`",
        )
    start, old_count, new_start, new_count = (
        int(group) if group is not None else 1 for group in match.groups()
    )
    hunk = Hunk(number, position + 1, start, new_start=new_start)
    position += 1
    last = b""
    while len(hunk.old) < old_count or len(hunk.new) < new_count or _is_no_newline(lines, position):
        if position >= len(lines):
            raise DiffError(
                f"hunk {number} of {file.new} is cut off: it announces {old_count} old and {new_count} new "
                f"lines, and has "
                f"{len(hunk.old)} and {len(hunk.new)}",
                where=where,
                advice="get the whole diff again; mail programs and terminals cut lines",
            )
        line = lines[position]
        mark, content = line[:1], line[1:]
        if mark == b"\\":
            hunk.old_ends = hunk.old_ends and last not in (b"-", b" ")
            hunk.new_ends = hunk.new_ends and last not in (b"+", b" ")
        elif mark in (b" ", b"") or line == b"\r":  # mail programs cut the blank of an empty context line
            hunk.old.append(content)
            hunk.new.append(content)
            mark = b" "
        elif mark == b"-":
            hunk.old.append(content)
        elif mark == b"+":
            hunk.new.append(content)
        else:
            raise DiffError(
                f"hunk {number} of {file.new} has a line that starts with {mark.decode(errors='replace')!r}",
                where=f"{title}:{position + 1}",
                advice="a hunk's lines start with a blank, + or -",
            )
        last = mark
        position += 1
    if len(hunk.old) != old_count or len(hunk.new) != new_count:
        raise DiffError(
            f"hunk {number} of {file.new} announces {old_count} old and {new_count} new lines, and has "
            f"{len(hunk.old)} and "
            f"{len(hunk.new)}",
            where=where,
            advice="a diff that was edited by hand needs its counts mended",
        )
    file.hunks.append(hunk)
    return position


def _is_no_newline(lines: list[bytes], position: int) -> bool:
    return position < len(lines) and lines[position].startswith(b"\\ ")


def _git_header(line: bytes, number: int) -> FileDiff:
    rest = line[len(b"diff --git ") :]
    if rest.startswith(b'"'):
        names = re.findall(rb'"(?:[^"\\]|\\.)*"', rest)
        old, new = (_name(name) for name in (names * 2)[:2]) if names else ("", "")
    else:
        # Names with blanks are not quoted here; both sides have the same length unless it is a rename, which
        # says so.
        half = (len(rest) - 1) // 2
        first, second = rest[:half], rest[half + 1 :]
        if first.partition(b"/")[2] != second.partition(b"/")[2]:
            first, _, second = rest.partition(b" ")
        old, new = first.decode("utf-8", "surrogateescape"), second.decode("utf-8", "surrogateescape")
    return FileDiff(old, new, number)


def _prefix(path: str) -> str:
    """``a/``, or what else stands before the names in a git header (``i/``, ``w/``); nothing by ``--no-prefix``."""
    return path[:2] if path[1:2] == "/" else ""


def _binary_names(line: bytes) -> tuple[str, str]:
    old, _, new = line[len(b"Binary files ") : -len(b" differ")].partition(b" and ")
    return _name(old), _name(new)


def _name(raw: bytes) -> str:
    """A path as written in a header: without its time stamp, unquoted."""
    if raw.startswith(b'"'):
        end = raw.rfind(b'"')
        body = raw[1:end]
        escaped = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 255]), body)
        for short, long in ((b'\\"', b'"'), (b"\\t", b"\t"), (b"\\n", b"\n"), (b"\\\\", b"\\")):
            escaped = escaped.replace(short, long)
        return escaped.decode("utf-8", "surrogateescape")
    return _TIME.sub("", raw.decode("utf-8", "surrogateescape")).strip()

"""Two revisions of a git repository, read without a checkout: the files as they are committed.

By ``git ls-tree`` and ``git cat-file`` rather than ``git archive``, which leaves out and rewrites what the repository's
attributes say. Nothing of the repository is executed, and its working tree is not looked at.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pylivepatch.build.tree import is_skipped
from pylivepatch.errors import BuildError


@dataclass(frozen=True, slots=True)
class Revision:
    """The files below the given folder, by path from there; ``prefix`` are the packages that it is, or is in."""

    files: dict[str, bytes]
    prefix: tuple[str, ...]


def read_revisions(repository: Path, revisions: Iterable[str]) -> list[Revision]:
    """Read each revision of ``repository``, which may also be a folder in one.

    Raises ``BuildError`` where git, the repository, a revision or the folder in it is missing.
    """
    if not repository.is_dir():
        raise BuildError(
            "there is no such folder",
            where=str(repository),
            advice="give a git repository, or a folder in one",
        )
    inside = _git(repository, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").rstrip("\n")
    blobs: dict[str, bytes] = {}
    return [_read(repository, inside, revision, blobs) for revision in revisions]


def _read(repository: Path, inside: str, revision: str, blobs: dict[str, bytes]) -> Revision:
    where = f"{repository} at {revision}"
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except BuildError as problem:
        raise BuildError(
            f"the repository has no revision {revision!r}",
            where=str(repository),
            advice="give a tag, a branch or a commit that `git log` shows; `git fetch` gets those of others",
        ) from problem
    listing = _git(repository, "ls-tree", "-r", "-z", "--full-tree", commit.decode().strip())
    paths: set[str] = set()
    wanted: dict[str, str] = {}
    for entry in filter(None, listing.split(b"\0")):
        head, _, raw = entry.partition(b"\t")
        mode, kind, name = head.decode().split(" ")
        path = raw.decode("utf-8", "surrogateescape")
        if kind != "blob" or mode == "120000":  # a submodule, or a symbolic link
            continue
        paths.add(path)
        if path.startswith(inside) and not is_skipped(path[len(inside) :]):
            wanted[path[len(inside) :]] = name
    if not wanted:
        raise BuildError(
            f"there is nothing in the folder {inside!r}" if inside else "there are no files",
            where=where,
            advice="give the repository, or a folder that both revisions have",
        )
    blobs.update(_contents(repository, [name for name in dict.fromkeys(wanted.values()) if name not in blobs]))
    return Revision({path: blobs[name] for path, name in wanted.items()}, _packages(inside, paths))


def _packages(inside: str, paths: set[str]) -> tuple[str, ...]:
    names: list[str] = []
    parts = inside.rstrip("/").split("/") if inside else []
    while parts and "/".join([*parts, "__init__.py"]) in paths:
        names.insert(0, parts.pop())
    return tuple(names)


def _contents(repository: Path, names: list[str]) -> dict[str, bytes]:
    """The contents of blobs, by name."""
    if not names:
        return {}
    stream = _git(repository, "cat-file", "--batch", given="\n".join(names).encode() + b"\n")
    found: dict[str, bytes] = {}
    position = 0
    for name in names:
        end = stream.index(b"\n", position)
        header = stream[position:end].split()
        if len(header) != 3:
            raise BuildError(
                f"the repository lacks the object {name}", where=str(repository), advice="get it whole: `git fetch`"
            )
        size = int(header[2])
        found[name] = stream[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return found


def _git(repository: Path, *arguments: str, given: bytes | None = None) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    # GIT_DIR and its like, as a hook of git has them, would mean another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            env=environment,
            check=False,
        )
    except OSError as problem:
        raise BuildError(
            f"git cannot be run: {problem.strerror}",
            where=str(repository),
            advice="install git, or give two source trees (--from, --to)",
        ) from problem
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise BuildError(
            f"git does not read it: {said}", where=str(repository), advice="give a git repository, or a folder in one"
        )
    return done.stdout

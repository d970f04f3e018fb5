"""A source tree as the builder sees it: which Python modules it holds under which import names, and which
other files.

A tree is a folder of packages, a package's own folder, a checkout with ``src/``, or one file. Nothing is
executed or imported; a folder with ``__init__.py`` is a package whose name counts, also when it is the
tree's root, and a folder without one below the root is a namespace package. In a checkout (a root with
``pyproject.toml`` or ``setup.py``), what is not installed (tests, documentation, the build's own scripts)
is outside: told, but no part of a patch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pylivepatch.errors import BuildError, SourceError

_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".tox",
        ".nox",
        ".venv",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    }
)
_SKIPPED_ENDS = (".dist-info", ".egg-info", ".pyc", ".pyo", ".orig", ".rej", "~")
OUTSIDE_FOLDERS = frozenset(
    {
        "tests",
        "test",
        "testing",
        "docs",
        "doc",
        "examples",
        "example",
        "benchmarks",
        "scripts",
        "tools",
        "artwork",
    }
    | {"requirements", "build", "dist"}
)
# Also what compilers read: Cython's sources, catalogues of messages. Processes use what came of them.
_TEXT_ENDS = (".md", ".rst", ".pyi", ".pyx", ".pxd", ".po", ".pot")
CHECK_PATH = "check that the path is right, and that you may read it"
MARKERS = ("pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a tree. ``module`` is its import name, ``""`` for what cannot be imported."""

    path: str
    data: bytes
    module: str = ""
    is_package: bool = False
    outside: bool = False

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")


Tree = Mapping[str, File]
"""Path relative to the import root → file."""


def read_raw(root: Path) -> dict[str, bytes]:
    """Every file under ``root`` by its relative path with ``/``; what tools leave behind is not read.

    Raises ``BuildError`` where the folder or a file cannot be read.
    """

    def fail(problem: OSError) -> None:
        raise BuildError(
            f"the folder cannot be read: {problem.strerror}", where=str(problem.filename), advice=CHECK_PATH
        )

    found: dict[str, bytes] = {}
    for folder, names, files in os.walk(root, onerror=fail):
        names[:] = sorted(
            name for name in names if name not in _SKIPPED_FOLDERS and not name.endswith(_SKIPPED_ENDS)
        )
        for name in sorted(files):
            full = Path(folder, name)
            if name.endswith(_SKIPPED_ENDS) or not full.is_file():
                continue
            try:
                found[full.relative_to(root).as_posix()] = full.read_bytes()
            except OSError as problem:
                raise BuildError(
                    f"the file cannot be read: {problem.strerror}", where=str(full), advice=CHECK_PATH
                ) from problem
    return found


def is_skipped(path: str) -> bool:
    """Whether the path is of what tools leave behind, which :func:`read_raw` does not read."""
    *folders, name = path.split("/")
    return name.endswith(_SKIPPED_ENDS) or any(
        folder in _SKIPPED_FOLDERS or folder.endswith(_SKIPPED_ENDS) for folder in folders
    )


def package_prefix(folder: Path) -> tuple[str, ...]:
    """The packages that ``folder`` is, or is in: ``("django", "http")`` for ``…/django/http``."""
    names: list[str] = []
    folder = folder.resolve()
    while (folder / "__init__.py").is_file() and folder.name:
        names.insert(0, folder.name)
        folder = folder.parent
    return tuple(names)


def arrange(raw: Mapping[str, bytes], prefix: tuple[str, ...] = ()) -> dict[str, File]:
    """Name the modules of ``raw``, whose root is the package ``prefix`` (empty where it is no package)."""
    if prefix:
        lead = "/".join(prefix) + "/"
        return {lead + path: _file(lead + path, data, False) for path, data in raw.items()}
    has_src = "src/__init__.py" not in raw and any(path.startswith("src/") for path in raw)
    checkout = any(marker in raw for marker in MARKERS)
    tree: dict[str, File] = {}
    for path, data in raw.items():
        inside = path[4:] if has_src and path.startswith("src/") else path
        outside = _is_outside(path, checkout, has_src and checkout)
        if inside in tree:
            outside, inside = True, path
        tree[inside] = _file(inside, data, outside)
    return tree


def read_pair(old: Path, new: Path) -> tuple[dict[str, File], dict[str, File]]:
    """Two trees (two folders, or two files) under the same import names. Raises ``BuildError``."""
    for path in (old, new):
        if not path.exists():
            raise BuildError("there is no such file or folder", where=str(path), advice=CHECK_PATH)
    if old.is_dir() != new.is_dir():
        raise BuildError(
            "one is a folder and the other a file", where=f"{old} and {new}", advice="give two of a kind"
        )
    if not old.is_dir():
        return _read_files(old, new)
    prefix, new_prefix = package_prefix(old), package_prefix(new)
    if prefix != new_prefix:
        raise BuildError(
            f"the two folders are different packages: {'.'.join(prefix) or 'none'} and "
            f"{'.'.join(new_prefix) or 'none'}",
            where=f"{old} and {new}",
            advice="name each folder as the package is imported, or give the folders that hold them",
        )
    return arrange(read_raw(old), prefix), arrange(read_raw(new), prefix)


def _read_files(old: Path, new: Path) -> tuple[dict[str, File], dict[str, File]]:
    # The running module has the old file's name, whatever the author called the new one.
    name = "/".join((*package_prefix(old.parent), old.name))
    files = []
    for path in (old, new):
        if path.suffix != ".py":
            raise SourceError(
                "the file is no Python source: its name does not end in .py",
                where=str(path),
                advice="give two .py files, or two folders",
            )
        try:
            files.append({name: _file(name, path.read_bytes(), False)})
        except OSError as problem:
            raise BuildError(
                f"the file cannot be read: {problem.strerror}", where=str(path), advice=CHECK_PATH
            ) from problem
    return files[0], files[1]


def _file(path: str, data: bytes, outside: bool) -> File:
    if not path.endswith(".py"):
        return File(path, data, outside=outside)
    parts = PurePosixPath(path).with_suffix("").parts
    is_package = parts[-1] == "__init__" and len(parts) > 1
    names = parts[:-1] if is_package else parts
    module = ".".join(names) if all(name.isidentifier() for name in names) else ""
    return File(path, data, module, is_package, outside)


def _is_outside(path: str, checkout: bool, only_src: bool) -> bool:
    if not checkout:
        return False
    top, slash, _ = path.partition("/")
    if only_src:
        return top != "src"
    if not slash:
        return not path.endswith(".py") or path in {"setup.py", "conftest.py", "noxfile.py", "tasks.py"}
    return top in OUTSIDE_FOLDERS or top.startswith(".")


def is_text_only(path: str) -> bool:
    """A file that no running code depends on: documentation, type stubs, what was compiled to something else."""
    return path.endswith(_TEXT_ENDS) or PurePosixPath(path).name == "py.typed"

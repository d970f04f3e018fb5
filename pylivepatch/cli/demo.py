"""``pylivepatch demo``: find the demos, and become one."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from pylivepatch.cli.output import Output
from pylivepatch.errors import LivePatchError

PACKAGE = Path(__file__).resolve().parent.parent


def folders() -> tuple[Path, ...]:
    """Where demos may be: beside the package in a source checkout, inside it in an installed wheel."""
    return PACKAGE.parent / "demo_apps", PACKAGE / "_demos"


def find() -> dict[str, Path]:
    """Every demo by name. The source checkout comes first."""
    found: dict[str, Path] = {}
    for folder in folders():
        for main in sorted(folder.glob("*/__main__.py")):
            found.setdefault(main.parent.name, main.parent)
    return found


def describe(folder: Path) -> str:
    """The first line of the demo's docstring."""
    try:
        text = ast.get_docstring(ast.parse((folder / "__main__.py").read_text(encoding="utf-8")))
    except (OSError, SyntaxError, ValueError):
        text = None
    return text.splitlines()[0] if text else ""


def demo(out: Output, name: str | None, arguments: list[str]) -> None:
    """List the demos, or become the one that is named: its output and its exit status are the command's.

    :raises LivePatchError: there is no such demo
    """
    found = find()
    if name is None:
        out.object(
            {"demos": [{"name": one, "description": describe(folder)} for one, folder in found.items()]}
        )
        out.table("", ["demo", "what it shows"], [[one, describe(folder)] for one, folder in found.items()])
        return
    if name not in found:
        raise LivePatchError(
            f"there is no demo {name!r}",
            code="PLP412",
            where=", ".join(str(folder) for folder in folders()),
            advice=f"there are: {', '.join(found)}"
            if found
            else "install pylivepatch from its source folder or a wheel",
        )
    environ = dict(os.environ)
    if found[name].parent == PACKAGE.parent / "demo_apps":
        # In a checkout pylivepatch may be importable only from where this command was started.
        rest = environ.get("PYTHONPATH")
        environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), *([rest] if rest else [])])
    command = [
        sys.executable,
        str(found[name] / "__main__.py"),
        *(["--json"] if out.json else []),
        *arguments,
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environ)

"""``pylivepatch info``: what is in a patch file."""

from __future__ import annotations

from typing import Any

from pylivepatch import patchfile
from pylivepatch.cli.output import Output
from pylivepatch.patch import Change, FunctionChange, NewBases, NewClass, NewFunction, NewImport, Patch, ValueChange

_KINDS: dict[type[Any], str] = {
    FunctionChange: "function",
    NewFunction: "new function",
    ValueChange: "value",
    NewImport: "new import",
    NewClass: "new class",
    NewBases: "bases",
}


def info(out: Output, file: str) -> None:
    """Show a patch file.

    :raises pylivepatch.errors.PatchFileError: it cannot be read
    """
    patch = patchfile.read(file)
    out.object(as_dict(patch, file))
    out.say(f"{patch.name}: {patch.description}" if patch.description else patch.name)
    if patch.requires_python:
        out.say(f"needs Python {patch.requires_python}")
    rows = [
        [kind(change), f"{module.name}:{change.target}", place(module.path, change)]
        for module, change in patch.changes()
    ]
    out.table("", ["change", "what", "where"], rows)


def as_dict(patch: Patch, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "name": patch.name,
        "description": patch.description,
        "requires_python": patch.requires_python,
        "modules": [
            {
                "name": module.name,
                "path": module.path,
                "changes": [{"kind": kind(change), "target": change.target} for change in module.changes],
            }
            for module in patch.modules
        ],
    }


def kind(change: Change) -> str:
    return _KINDS[type(change)]


def place(path: str, change: Change) -> str:
    line = change.new.line if isinstance(change, FunctionChange | NewFunction | NewClass) else change.line
    return f"{path}:{line}"

"""``pylivepatch info``: what is in a patch file."""

from __future__ import annotations

import dataclasses
from typing import Any

from pylivepatch import patchfile
from pylivepatch.cli.output import Output
from pylivepatch.hooks.reading import contents
from pylivepatch.patch import (
    Change,
    Forgotten,
    FunctionChange,
    NewBases,
    NewClass,
    NewFields,
    NewFunction,
    NewImport,
    NewState,
    Patch,
    Removed,
    Unregistered,
    ValueChange,
)

_KINDS: dict[type[Any], str] = {
    FunctionChange: "function",
    NewFunction: "new function",
    ValueChange: "value",
    NewImport: "new import",
    NewClass: "new class",
    NewBases: "bases",
    NewFields: "fields",
    Removed: "removed name",
    Unregistered: "removed implementation",
    NewState: "attributes of an object",
    Forgotten: "forgotten memo",
}


def info(out: Output, file: str, *, hooks: bool = False) -> None:
    """Show a patch file; with ``hooks`` the source of its hooks file, too.

    :raises pylivepatch.errors.PatchFileError: it cannot be read
    """
    patch = patchfile.read(file)
    out.object(as_dict(patch, file, source=hooks))
    out.say(f"{patch.name}: {patch.description}" if patch.description else patch.name)
    if patch.requires_python:
        out.say(f"needs Python {patch.requires_python}")
    for name, old, new in patch.distributions:
        out.say(f"for {name} {old}, which becomes {new}")
    rows = [
        [kind(change), f"{module.name}:{change.target}", place(module.path, change)]
        for module, change in patch.changes()
    ]
    rows += [["new module", module.name, module.path] for module in patch.new_modules]
    out.table("", ["change", "what", "where"], rows)
    if patch.told:
        out.say()
        rows = [[f"{told.code}\n{told.verdict}", f"{told.where}\n{told.place}", told.message] for told in patch.told]
        out.table("what the builder said", ["code", "where", "what"], rows)
    if patch.hooks is not None:
        out.say()
        out.table(f"the author's part: {patch.hooks.name}", ["what", "where"], _hook_rows(patch))
        if hooks:
            out.say()
            out.say(patch.hooks.source)


def _hook_rows(patch: Patch) -> list[list[str]]:
    assert patch.hooks is not None
    found = contents(patch.hooks.source, patch.hooks.name)
    rows = [[name, patch.hooks.name] for name in found.callbacks]
    rows += [
        [f"{'eager ' if one.eager else ''}transformer of {one.target}", f"{patch.hooks.name}:{one.line}"]
        for one in found.transforms
    ]
    rows += [
        [f"{one.code} {one.symbol} is safe: {one.why}", f"{patch.hooks.name}:{one.line}"] for one in found.statements
    ]
    return rows + ([["system states", patch.hooks.name]] if found.states else [])


def as_dict(patch: Patch, file: str, *, source: bool = False) -> dict[str, Any]:
    shape = _shape(patch, file)
    if patch.hooks is not None:
        found = dataclasses.asdict(contents(patch.hooks.source, patch.hooks.name))
        shape["hooks"] = {"name": patch.hooks.name, **found} | ({"source": patch.hooks.source} if source else {})
    return shape


def _shape(patch: Patch, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "name": patch.name,
        "description": patch.description,
        "requires_python": patch.requires_python,
        "distributions": [{"name": name, "old": old, "new": new} for name, old, new in patch.distributions],
        "modules": [
            {
                "name": module.name,
                "path": module.path,
                "changes": [{"kind": kind(change), "target": change.target} for change in module.changes],
            }
            for module in patch.modules
        ],
        "new_modules": [{"name": module.name, "path": module.path} for module in patch.new_modules],
        "told": [dataclasses.asdict(told) for told in patch.told],
        "hooks": None,
    }


def kind(change: Change) -> str:
    if isinstance(change, NewFunction) and change.replaces is not None:
        return "function, anew"
    return _KINDS[type(change)]


def place(path: str, change: Change) -> str:
    line = change.new.line if isinstance(change, FunctionChange | NewFunction | NewClass | NewFields) else change.line
    return f"{path}:{line}"

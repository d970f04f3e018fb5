"""The manifest of a patch file: the changes of a patch as JSON, and JSON that nobody vouches for as a patch.

Reading takes every field by name and kind, and refuses what is missing, too much or of another kind; the sources are
those whose hashes it gives. ``docs/patch-file.md`` lists the fields.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pylivepatch.errors import HooksError
from pylivepatch.hooks.reading import contents
from pylivepatch.jsonfields import Fields
from pylivepatch.patch import (
    Change,
    CodeRef,
    Forgotten,
    FunctionChange,
    HooksFile,
    ModulePatch,
    NewBases,
    NewClass,
    NewFields,
    NewFunction,
    NewImport,
    NewModule,
    NewState,
    Patch,
    Removed,
    Told,
    Unregistered,
    ValueChange,
)
from pylivepatch.requirement import unmet

FORMAT = 1
DISTRIBUTION = ("name", "old", "new")
"""The fields of a distribution, in the order of ``Patch.distributions``."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_HASH = re.compile(r"[0-9a-f]{64}")


def patch_in(manifest: Any, entries: dict[str, bytes], bad: Any) -> Patch:
    """The patch that ``manifest`` describes, with the sources among ``entries``, which are taken out of it.

    Raises what ``bad`` makes of a message and an advice.
    """
    if not isinstance(manifest, dict):
        raise bad("manifest.json is no object")
    version = manifest.get("format")
    if type(version) is not int:
        raise bad("manifest.json: format is no number")
    if version != FORMAT:
        raise bad(
            f"the file has format {version}, and this pylivepatch reads format {FORMAT}",
            "update pylivepatch" if version > FORMAT else "build the patch again with this pylivepatch",
        )
    top = Fields(manifest, "manifest.json", bad)
    top.take("format", int)
    name, description = top.text("name"), top.text("description")
    requires, _ = top.text("requires_python"), top.text("built_by")
    try:
        unmet(requires, ())
    except ValueError as problem:
        raise bad(f"manifest.json.requires_python: {problem}") from problem
    modules = []
    for number, raw in enumerate(top.items("modules")):
        modules.append(_module_in(raw, f"modules[{number}]", entries, bad))
    hooks = _hooks_in(top.take("hooks", dict), entries, bad) if "hooks" in manifest else None
    said = top.items("told") if "told" in manifest else []
    told = tuple(_told_in(raw, f"told[{number}]", bad) for number, raw in enumerate(said))
    brought = top.items("new_modules") if "new_modules" in manifest else []
    new = tuple(_new_module_in(raw, f"new_modules[{number}]", entries, bad) for number, raw in enumerate(brought))
    dists = top.items("distributions") if "distributions" in manifest else []
    distributions = tuple(_distribution_in(raw, f"distributions[{number}]", bad) for number, raw in enumerate(dists))
    top.done()
    names = [*(module.name for module in modules), *(module.name for module in new)]
    for repeated in (one for one in names if names.count(one) > 1):
        raise bad(f"manifest.json: the module {repeated} is there twice")
    if entries:
        raise bad(f"the entry {min(entries)!r} belongs to no module of the manifest")
    try:
        return Patch(
            name,
            description,
            tuple(modules),
            requires_python=requires,
            hooks=hooks,
            told=told,
            new_modules=new,
            distributions=distributions,
        )
    except ValueError as problem:
        raise bad(f"manifest.json: {problem}") from problem


def _distribution_in(raw: Any, title: str, bad: Any) -> tuple[str, str, str]:
    fields = Fields(raw, title, bad)
    name, old, new = (fields.text(key) for key in DISTRIBUTION)
    fields.done()
    return name, old, new


def _new_module_in(raw: Any, title: str, entries: dict[str, bytes], bad: Any) -> NewModule:
    fields = Fields(raw, title, bad)
    name, path = fields.text("name"), fields.text("path")
    if not _MODULE.fullmatch(name):
        raise bad(f"{title}.name: {name!r} is no import name")
    source = _source_in(fields, title, "new", path, entries, bad)
    fields.done()
    return NewModule(name, path, source)


def _source_in(fields: Fields, title: str, side: str, path: str, entries: dict[str, bytes], bad: Any) -> str:
    digest = fields.text(f"{side}_sha256")
    if not _HASH.fullmatch(digest):
        raise bad(f"{title}.{side}_sha256 is no SHA-256")
    content = entries.pop(f"{side}/{path}", None)
    if content is None:
        raise bad(f"{title}: the file has no entry {side}/{path}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise bad(f"the source {side}/{path} is not the one that the manifest names: its hash differs")
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise bad(f"the source {side}/{path} is not UTF-8") from problem


def _hooks_in(raw: Any, entries: dict[str, bytes], bad: Any) -> HooksFile:
    fields = Fields(raw, "hooks", bad)
    name, digest = fields.text("name"), fields.text("sha256")
    fields.done()
    content = entries.pop(f"hooks/{name}", None)
    if content is None or "/" in name:
        raise bad(f"hooks: the file has no entry hooks/{name}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise bad(f"hooks/{name} is not the file that the manifest names: its hash differs")
    try:
        source = content.decode()
        contents(source, name)
    except UnicodeDecodeError as problem:
        raise bad(f"hooks/{name} is not UTF-8") from problem
    except HooksError as problem:
        raise bad(f"{problem.where}: {problem.message}") from problem
    return HooksFile(name, source)


def _told_in(raw: Any, title: str, bad: Any) -> Told:
    fields = Fields(raw, title, bad)
    found = Told(*(fields.text(field.name) for field in dataclasses.fields(Told)))
    fields.done()
    return found


def _module_in(raw: Any, title: str, entries: dict[str, bytes], bad: Any) -> ModulePatch:
    fields = Fields(raw, title, bad)
    name, path = fields.text("name"), fields.text("path")
    if not _MODULE.fullmatch(name):
        raise bad(f"{title}.name: {name!r} is no import name")
    sources = [_source_in(fields, title, side, path, entries, bad) for side in ("old", "new")]
    changes = tuple(
        _change_in(change, f"{title}.changes[{number}]", bad)
        for number, change in enumerate(fields.items("changes"))
    )
    fields.done()
    return ModulePatch(name, path, sources[0], sources[1], changes)


def _change_in(raw: Any, title: str, bad: Any) -> Change:
    fields = Fields(raw, title, bad)
    kind = fields.text("kind")
    change: Change
    match kind:
        case "function":
            change = FunctionChange(
                fields.ref("old"),
                fields.ref("new"),
                fields.maybe_expression("defaults", ast.Tuple),
                fields.maybe_expression("kwdefaults", ast.Dict),
                fields.maybe_expression("annotations", ast.Dict),
            )
        case "new_function" | "replaced_function" | "registered_function":
            decorators = fields.items("decorators")
            if not all(type(text) is str for text in decorators):
                raise bad(f"{title}.decorators is no list of text")
            for number, text in enumerate(decorators):
                fields.check(f"{title}.decorators[{number}]", text)
            change = NewFunction(
                fields.ref("new"),
                fields.expression("defaults", ast.Tuple),
                fields.expression("kwdefaults", ast.Dict),
                fields.expression("annotations", ast.Dict),
                tuple(decorators),
                fields.ref("old") if kind == "replaced_function" else None,
                bound=kind != "registered_function",
            )
        case "value":
            change = ValueChange(
                fields.text("owner"),
                fields.text("name"),
                fields.number("line"),
                fields.maybe_expression("old"),
                fields.whole_expression("new"),
            )
        case "import":
            name, line = fields.text("name"), fields.number("line")
            change = NewImport(name, line, fields.statement("statement", name))
        case "new_class":
            change = NewClass(fields.ref("new"))
        case "removed":
            change = Removed(
                fields.text("owner"),
                fields.text("name"),
                fields.number("line"),
                None if fields.is_null("old") else fields.ref("old"),
            )
        case "unregistered":
            dispatchers = fields.items("dispatchers")
            if not all(type(text) is str for text in dispatchers):
                raise bad(f"{title}.dispatchers is no list of text")
            for number, text in enumerate(dispatchers):
                fields.check(f"{title}.dispatchers[{number}]", text)
            change = Unregistered(fields.ref("old"), fields.number("line"), tuple(dispatchers))
        case "fields":
            change = NewFields(fields.ref("new"), fields.names("before"), fields.names("after"))
        case "bases":
            owner, line = fields.text("owner"), fields.number("line")
            old, new = (fields.whole_expression(side, ast.Tuple) for side in ("old", "new"))
            change = NewBases(owner, line, old, new)
        case "state":
            change = NewState(
                fields.text("owner"),
                fields.text("name"),
                fields.number("line"),
                fields.text("class"),
                fields.whole_expression("arguments", ast.Tuple),
            )
        case "memo":
            place = fields.text("owner"), fields.text("name"), fields.number("line")
            change = Forgotten(*place, fields.ref("init"), fields.refs("fillers"))
        case _:
            raise bad(f"{title}.kind: {kind!r} is no kind of change", "update pylivepatch")
    fields.done()
    return change


def change_out(change: Change) -> Mapping[str, Any]:
    """One change as the manifest holds it."""
    match change:
        case FunctionChange():
            return {
                "kind": "function",
                "old": _ref_out(change.old),
                "new": _ref_out(change.new),
                "defaults": change.defaults,
                "kwdefaults": change.kwdefaults,
                "annotations": change.annotations,
            }
        case NewFunction():
            out: dict[str, Any] = {
                "kind": _NEW_FUNCTION[change.replaces is not None, change.bound],
                "new": _ref_out(change.new),
                "defaults": change.defaults,
                "kwdefaults": change.kwdefaults,
                "annotations": change.annotations,
                "decorators": list(change.decorators),
            }
            return out if change.replaces is None else {**out, "old": _ref_out(change.replaces)}
        case ValueChange():
            return {
                "kind": "value",
                "owner": change.owner,
                "name": change.name,
                "line": change.line,
                "old": change.old,
                "new": change.new,
            }
        case NewImport():
            return {"kind": "import", "name": change.name, "line": change.line, "statement": change.statement}
        case NewClass():
            return {"kind": "new_class", "new": _ref_out(change.new)}
        case Removed():
            old = None if change.old is None else _ref_out(change.old)
            return {"kind": "removed", "owner": change.owner, "name": change.name, "line": change.line, "old": old}
        case Unregistered():
            left = {"line": change.line, "dispatchers": list(change.dispatchers)}
            return {"kind": "unregistered", "old": _ref_out(change.old), **left}
        case NewFields():
            sides = {"before": list(change.before), "after": list(change.after)}
            return {"kind": "fields", "new": _ref_out(change.new), **sides}
        case NewState():
            return {
                "kind": "state",
                "owner": change.owner,
                "name": change.name,
                "line": change.line,
                "class": change.cls,
                "arguments": change.arguments,
            }
        case Forgotten():
            used = [_ref_out(ref) for ref in change.fillers]
            place = {"owner": change.owner, "name": change.name, "line": change.line}
            return {"kind": "memo", **place, "init": _ref_out(change.init), "fillers": used}
        case NewBases():
            return {"kind": "bases", "owner": change.owner, "line": change.line, "old": change.old, "new": change.new}


_NEW_FUNCTION = {
    (False, True): "new_function",
    (True, True): "replaced_function",
    (False, False): "registered_function",
}


def _ref_out(ref: CodeRef) -> Mapping[str, Any]:
    return {"qualname": ref.qualname, "line": ref.line, "index": ref.index}

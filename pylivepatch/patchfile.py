"""The patch file, ``.plp``: writing one, and reading one that nobody vouches for.

A zip of a readable ``manifest.json`` and of the old and new source of each module. Reading executes
nothing: it checks the container first (kind, sizes, names), then the manifest field by field, then the
sources against their hashes. Equal patches give equal bytes. ``docs/patch-file.md`` describes the format.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pylivepatch.errors import HooksError, PatchFileError
from pylivepatch.hooks.reading import contents
from pylivepatch.patch import (
    Change,
    CodeRef,
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

FORMAT = 1
MAX_FILE = 64 << 20
"""The largest patch file that is opened, in bytes."""
MAX_TOTAL = 256 << 20
"""The most that its entries may come to when they are unpacked, in bytes."""
MAX_ENTRIES = 20_000
MAX_RATIO = 200
"""Unpacked to packed size of one entry; only asked of entries over 1 MiB."""

_MANIFEST = "manifest.json"
_DISTRIBUTION = ("name", "old", "new")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_HASH = re.compile(r"[0-9a-f]{64}")
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")
_PYTHON = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - two numbers of five
_REBUILD = "build the patch again, or get the file again"
_GIVE = "give a .plp file that `pylivepatch build` made"
_DISTRUST = "no patch file is like this: do not load it, and get it again from whom you trust"


def write(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write ``patch`` to ``path``, whole or not at all.

    Raises ``PatchFileError`` for a patch that a file cannot hold (one with live functions), and where the
    file cannot be written.
    """
    data = dump(patch)
    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=target.name + ".", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as problem:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise PatchFileError(
            f"the patch file cannot be written: {problem.strerror}",
            where=str(path),
            advice="give a path in a folder that you may write to and that has room",
        ) from problem


def read(path: str | os.PathLike[str]) -> Patch:
    """The patch in the file ``path``. Raises ``PatchFileError`` for whatever is wrong with it; executes
    nothing.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PatchFileError(
                    "this is no regular file", where=where, advice="give the path of a .plp file"
                )
            data = file.read(MAX_FILE + 1)
    except IsADirectoryError as problem:
        raise PatchFileError(
            "this is a folder, not a patch file", where=where, advice="give a .plp file"
        ) from problem
    except (OSError, ValueError) as problem:
        raise PatchFileError(
            f"the patch file cannot be read: {problem}",
            where=where,
            advice="check that the path is right, and that you may read it",
        ) from problem
    return load(data, where)


def dump(patch: Patch) -> bytes:
    """The bytes of the patch file. Raises ``PatchFileError`` for a patch with live functions."""
    if patch.replacements:
        raise PatchFileError(
            f"the patch {patch.name} holds {len(patch.replacements)} live function(s), which no file can "
            f"hold",
            advice="load it in the process that made it, or build a patch from source",
        )
    modules, entries = [], {}
    for module in patch.modules:
        try:
            old, new = module.old_source.encode(), module.new_source.encode()
        except UnicodeEncodeError as problem:
            raise PatchFileError(
                f"the source of {module.name} is no text that UTF-8 can hold",
                where=module.path,
                advice="write lone surrogates as escapes in the source",
            ) from problem
        for side, text in (("old", old), ("new", new)):
            name = f"{side}/{module.path}"
            if name in entries or not _safe_path(name):
                raise PatchFileError(
                    f"the path of module {module.name} cannot be used in a file",
                    where=module.path,
                    advice="give each module a relative path of its own, with `/` between folders",
                )
            entries[name] = text
        modules.append(
            {
                "name": module.name,
                "path": module.path,
                "old_sha256": hashlib.sha256(old).hexdigest(),
                "new_sha256": hashlib.sha256(new).hexdigest(),
                "changes": [_change_out(change) for change in module.changes],
            }
        )
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": patch.name,
        "description": patch.description,
        "requires_python": patch.requires_python,
        "built_by": f"pylivepatch {_version()}",
        "modules": modules,
    }
    if patch.new_modules:
        manifest["new_modules"] = [_new_module_out(module, entries) for module in patch.new_modules]
    if patch.distributions:
        manifest["distributions"] = [dict(zip(_DISTRIBUTION, one, strict=True)) for one in patch.distributions]
    if patch.told:
        manifest["told"] = [dataclasses.asdict(told) for told in patch.told]
    try:
        if patch.hooks is not None:
            source = patch.hooks.source.encode()
            entries[f"hooks/{patch.hooks.name}"] = source
            manifest["hooks"] = {"name": patch.hooks.name, "sha256": hashlib.sha256(source).hexdigest()}
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise PatchFileError(
            "the patch holds text that UTF-8 cannot hold",
            where=patch.name,
            advice="write lone surrogates as escapes in the source, and leave them out of the description",
        ) from problem
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in ((_MANIFEST, text + b"\n"), *sorted(entries.items())):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            # Stored where deflate would look like a bomb: a table of zeros is honest, and is read again.
            packed = len(zlib.compress(content))
            bomb = len(content) > 1 << 20 and packed * MAX_RATIO // 2 < len(content)
            info.compress_type = zipfile.ZIP_STORED if bomb else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    data = buffer.getvalue()
    if len(data) > MAX_FILE:
        raise PatchFileError(
            f"the patch would take {len(data) >> 20} MiB, more than {MAX_FILE >> 20} MiB",
            where=patch.name,
            advice="make several patches, each of modules that belong together",
        )
    return data


def load(data: bytes, where: str) -> Patch:
    """The patch in the bytes of a patch file; ``where`` names it in messages. Raises ``PatchFileError``."""

    def bad(message: str, advice: str = _REBUILD) -> PatchFileError:
        return PatchFileError(message, where=where, advice=advice)

    if len(data) > MAX_FILE:
        raise bad(f"the file is larger than {MAX_FILE >> 20} MiB, which no patch is")
    if not data:
        raise bad("the file is empty")
    if not data.startswith(b"PK\x03\x04"):
        raise bad(
            "this is no patch file: it does not start as a zip does",
            _GIVE,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _unpack(archive, bad)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as problem:
        raise bad(f"the file is corrupt or cut off: {problem}") from problem
    if _MANIFEST not in entries:
        raise bad("the file has no manifest.json, so it is no patch file", _GIVE)
    try:
        manifest = json.loads(entries.pop(_MANIFEST).decode(), object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as problem:
        raise bad(f"manifest.json is no JSON: {problem}") from problem
    return _patch_in(manifest, entries, bad)


def unmet(requirement: str, version: tuple[int, ...]) -> str:
    """The first clause of ``requires_python`` that ``version`` (``sys.version_info[:3]``) does not meet, or ``""``.

    Raises ``ValueError`` for what is no list of clauses such as ``>=3.11, !=3.12.*``.
    """
    failed = ""
    for clause in filter(None, (part.strip() for part in requirement.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if match is None or (match[1] == "~=" and ("." not in match[2] or match[3])):
            raise ValueError(f"{clause!r} is not understood")
        wanted = tuple(map(int, match[2].split(".")))
        mine = version[: len(wanted)] if match[3] else version
        padded = wanted if match[3] else wanted + (0,) * (len(version) - len(wanted))
        met = {
            ">=": mine >= padded,
            "<=": mine <= padded,
            ">": mine > padded,
            "<": mine < padded,
            "==": mine == padded,
            "!=": mine != padded,
            "~=": mine >= padded and version[: len(wanted) - 1] == wanted[:-1],
        }[match[1]]
        failed = failed or ("" if met else clause)
    return failed


def _unpack(archive: zipfile.ZipFile, bad: Any) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise bad(f"the file has {len(infos)} entries, more than {MAX_ENTRIES}")
    if sum(info.file_size for info in infos) > MAX_TOTAL:
        raise bad(f"the file unpacks to more than {MAX_TOTAL >> 20} MiB")
    entries: dict[str, bytes] = {}
    for info in infos:
        name = info.orig_filename
        if not _safe_path(name):
            raise bad(f"the entry {name!r} has a path that leads out of the file, or is none", _DISTRUST)
        if name in entries:
            raise bad(f"the entry {name!r} is there twice", _DISTRUST)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise bad(f"the entry {name!r} is a symbolic link", _DISTRUST)
        if info.flag_bits & 1:
            raise bad(f"the entry {name!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise bad(f"the entry {name!r} is packed in a way that patch files do not use")
        if info.file_size > 1 << 20 and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise bad(f"the entry {name!r} unpacks to over {MAX_RATIO} times its size", _DISTRUST)
        if name != _MANIFEST and not name.startswith(("old/", "new/", "hooks/")):
            raise bad(f"the entry {name!r} is none that a patch file has")
        with archive.open(info) as file:  # never more than announced, whatever is in the stream
            entries[name] = file.read(info.file_size + 1)
        if len(entries[name]) != info.file_size:
            raise bad(f"the entry {name!r} is not as long as it says")
    return entries


def _safe_path(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not name.startswith("/")
        and not name.endswith("/")
        and not any(character in name for character in "\\\0:\n\r")
        and not {"..", ".", ""} & set(name.split("/"))
        and len(name) < 1000
    )


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice in one object")
    return found


# --- the manifest -------------------------------------------------------------------------------------------


def _patch_in(manifest: Any, entries: dict[str, bytes], bad: Any) -> Patch:
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
    top = _Fields(manifest, "manifest.json", bad)
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


def _new_module_out(module: NewModule, entries: dict[str, bytes]) -> dict[str, str]:
    name = f"new/{module.path}"
    if name in entries or not _safe_path(name):
        raise PatchFileError(
            f"the path of module {module.name} cannot be used in a file",
            where=module.path,
            advice="give each module a relative path of its own, with `/` between folders",
        )
    try:
        entries[name] = module.new_source.encode()
    except UnicodeEncodeError as problem:
        raise PatchFileError(
            f"the source of {module.name} is no text that UTF-8 can hold",
            where=module.path,
            advice="write lone surrogates as escapes in the source",
        ) from problem
    return {"name": module.name, "path": module.path, "new_sha256": hashlib.sha256(entries[name]).hexdigest()}


def _distribution_in(raw: Any, title: str, bad: Any) -> tuple[str, str, str]:
    fields = _Fields(raw, title, bad)
    name, old, new = (fields.text(key) for key in _DISTRIBUTION)
    fields.done()
    return name, old, new


def _new_module_in(raw: Any, title: str, entries: dict[str, bytes], bad: Any) -> NewModule:
    fields = _Fields(raw, title, bad)
    name, path = fields.text("name"), fields.text("path")
    if not _MODULE.fullmatch(name):
        raise bad(f"{title}.name: {name!r} is no import name")
    source = _source_in(fields, title, "new", path, entries, bad)
    fields.done()
    return NewModule(name, path, source)


def _source_in(fields: _Fields, title: str, side: str, path: str, entries: dict[str, bytes], bad: Any) -> str:
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
    fields = _Fields(raw, "hooks", bad)
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
    fields = _Fields(raw, title, bad)
    found = Told(*(fields.text(field.name) for field in dataclasses.fields(Told)))
    fields.done()
    return found


def _module_in(raw: Any, title: str, entries: dict[str, bytes], bad: Any) -> ModulePatch:
    fields = _Fields(raw, title, bad)
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


def _names_bound(node: ast.stmt) -> set[str] | None:
    """The names that a statement binds; ``None`` where it holds anything but imports and assignments of names."""
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        case ast.Assign(targets=[ast.Name(id=name)]):
            return {name}
        case ast.Pass():
            return set()
        case ast.If(body=body, orelse=orelse):
            inner = [*body, *orelse]
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=[]):
            inner = [*body, *orelse, *(part for handler in handlers for part in handler.body)]
        case _:
            return None
    found: set[str] = set()
    for names in map(_names_bound, inner):
        if names is None:
            return None
        found |= names
    return found


class _Fields:
    """One JSON object, read field by field; what is left over at the end is an error."""

    def __init__(self, raw: Any, title: str, bad: Any) -> None:
        if not isinstance(raw, dict):
            raise bad(f"{title} is no object")
        self.raw, self.title, self.bad = dict(raw), title, bad

    def take(self, key: str, *kinds: type) -> Any:
        if key not in self.raw:
            raise self.bad(f"{self.title} has no {key}")
        value = self.raw.pop(key)
        if type(value) not in kinds:
            names = {str: "text", int: "a number", list: "a list", dict: "an object", type(None): "null"}
            raise self.bad(f"{self.title}.{key} is not {' or '.join(names[kind] for kind in kinds)}")
        return value

    def text(self, key: str) -> str:
        value = self.take(key, str)
        assert isinstance(value, str)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self.bad(f"{self.title}.{key} is no proper text")
        return value

    def number(self, key: str) -> int:
        value = self.take(key, int)
        assert isinstance(value, int)
        if not 0 <= value < 1 << 31:
            raise self.bad(f"{self.title}.{key} is no line or index")
        return value

    def expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str:
        """The text of an expression (of this kind of display), or ``""``. Compiled to see, not run."""
        text = self.text(key)
        if text:
            self.check(f"{self.title}.{key}", text, kind)
        return text

    def whole_expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str:
        if self.raw.get(key) == "":
            raise self.bad(f"{self.title}.{key} is empty, and no expression")
        return self.expression(key, kind)

    def maybe_expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str | None:
        if self.raw.get(key, "") is None:
            self.raw.pop(key)
            return None
        return self.whole_expression(key, kind)

    def check(self, title: str, text: str, kind: type[ast.expr] = ast.expr) -> None:
        tree = _parsed(text, "eval")
        if isinstance(tree, str):
            raise self.bad(f"{title} is no expression of Python {_PYTHON}: {tree}")
        if not isinstance(tree.body, kind):
            raise self.bad(f"{title} is no {kind.__name__.lower()} display")

    def statement(self, key: str, name: str) -> str:
        """The text of one import statement that binds ``name`` and nothing else, or of a ``try`` or ``if`` of imports
        and assignments that may bind it.
        """
        text = self.text(key)
        tree = _parsed(text, "exec")
        if isinstance(tree, str):
            raise self.bad(f"{self.title}.{key} is no statement of Python {_PYTHON}: {tree}")
        match tree.body:
            case [ast.Import(names=[ast.alias(name=module, asname=asname)])]:
                bound = asname or module.partition(".")[0]
            case [ast.ImportFrom(names=[ast.alias(name=module, asname=asname)])]:
                bound = asname or module
            case [ast.Try() | ast.If() as block]:
                bound = name if name in (_names_bound(block) or ()) else "other names"
            case _:
                raise self.bad(f"{self.title}.{key} is no import statement of one name")
        if bound != name:
            raise self.bad(f"{self.title}.{key} binds {bound}, not {name}")
        return text

    def items(self, key: str) -> list[Any]:
        value = self.take(key, list)
        assert isinstance(value, list)
        return value

    def is_null(self, key: str) -> bool:
        """Whether the field is there and null; it is taken then."""
        return key in self.raw and self.raw[key] is None and self.raw.pop(key) is None

    def names(self, key: str) -> tuple[str, ...]:
        found = self.items(key)
        if not all(type(name) is str and name.isidentifier() for name in found):
            raise self.bad(f"{self.title}.{key} is no list of names")
        return tuple(found)

    def ref(self, key: str) -> CodeRef:
        inner = _Fields(self.take(key, dict), f"{self.title}.{key}", self.bad)
        found = CodeRef(inner.text("qualname"), inner.number("line"), inner.number("index"))
        inner.done()
        return found

    def done(self) -> None:
        if self.raw:
            raise self.bad(
                f"{self.title} has a field that is not known: {min(self.raw)!r}", "update pylivepatch"
            )


def _parsed(text: str, mode: Literal["eval", "exec"]) -> Any:
    """The syntax tree of a piece of source, or what is wrong with it. It is compiled too: not all that parses does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree: Any = ast.parse(text.strip(), "<manifest>", mode)
            compile(text.strip(), "<manifest>", mode, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return getattr(problem, "msg", None) or str(problem) or "it is nested too deeply"
    return tree


def _change_in(raw: Any, title: str, bad: Any) -> Change:
    fields = _Fields(raw, title, bad)
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
        case _:
            raise bad(f"{title}.kind: {kind!r} is no kind of change", "update pylivepatch")
    fields.done()
    return change


def _change_out(change: Change) -> Mapping[str, Any]:
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
        case NewBases():
            return {"kind": "bases", "owner": change.owner, "line": change.line, "old": change.old, "new": change.new}


_NEW_FUNCTION = {
    (False, True): "new_function",
    (True, True): "replaced_function",
    (False, False): "registered_function",
}


def _ref_out(ref: CodeRef) -> Mapping[str, Any]:
    return {"qualname": ref.qualname, "line": ref.line, "index": ref.index}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pylivepatch")
    except PackageNotFoundError:
        return "(from a checkout)"

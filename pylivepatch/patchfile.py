"""The patch file, ``.plp``: writing one, and reading one that nobody vouches for.

A zip of a readable ``manifest.json`` and of the old and new source of each module. Reading executes
nothing: it checks the container first (kind, sizes, names), then the manifest field by field (``manifest``), then
the sources against their hashes. Equal patches give equal bytes. ``docs/patch-file.md`` describes the format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from pylivepatch.errors import PatchFileError
from pylivepatch.manifest import DISTRIBUTION, FORMAT, change_out, patch_in
from pylivepatch.patch import NewModule, Patch

MAX_FILE = 64 << 20
"""The largest patch file that is opened, in bytes."""
MAX_TOTAL = 256 << 20
"""The most that its entries may come to when they are unpacked, in bytes."""
MAX_ENTRIES = 20_000
MAX_RATIO = 200
"""Unpacked to packed size of one entry; only asked of entries over 1 MiB."""

_MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REBUILD = "build the patch again, or get the file again"
_GIVE = "give a .plp file that `pylivepatch build` made"
_DISTRUST = "no patch file is like this: do not load it, and get it again from whom you trust"


def write(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write ``patch`` to ``path``, whole or not at all; where that is no file (``/dev/null``), into what it is.

    Raises ``PatchFileError`` for a patch that a file cannot hold (one with live functions), and where the
    file cannot be written.
    """
    data = dump(patch)
    target = Path(path)
    temporary = ""
    try:
        if target.exists() and not target.is_file():  # a file would take the place of the device or pipe
            target.write_bytes(data)
            return
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
                "changes": [change_out(change) for change in module.changes],
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
        manifest["distributions"] = [dict(zip(DISTRIBUTION, one, strict=True)) for one in patch.distributions]
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
    return patch_in(manifest, entries, bad)


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


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pylivepatch")
    except PackageNotFoundError:
        return "(from a checkout)"

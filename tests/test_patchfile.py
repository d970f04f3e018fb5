"""The patch file: what goes in comes out, and whatever is wrong with one is said, not run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylivepatch import patchfile
from pylivepatch.errors import PatchFileError
from pylivepatch.patch import (
    CodeRef,
    FunctionChange,
    HooksFile,
    ModulePatch,
    NewBases,
    NewClass,
    NewFields,
    NewFunction,
    NewImport,
    Patch,
    Removed,
    Told,
    ValueChange,
)

OLD = "X = 1\ndef f(a): return 'ä'\n"
NEW = "import re\nX = 2\ndef f(a, b=2): return 'ö'\n\n@staticmethod\ndef g(): ...\n"
PATCH = Patch(
    "fix-1.0",
    "Mend f.\nSecond line.",
    (
        ModulePatch(
            "pkg.mod",
            "pkg/mod.py",
            OLD,
            NEW,
            (
                NewImport("re", 1, "import re"),
                ValueChange("", "X", 2, "1", "2"),
                ValueChange("C", "y", 2, None, "()"),
                FunctionChange(CodeRef("f", 2), CodeRef("f", 3, 1), "(2,)", None, "{}"),
                NewFunction(CodeRef("g", 5), "(1,)", "{'k': 2}", "{'a': int}", ("staticmethod",)),
                NewFunction(CodeRef("h", 5), replaces=CodeRef("h", 4)),
                NewClass(CodeRef("D", 5)),
                Removed("D", "m", 5, CodeRef("D.m", 5)),
                Removed("", "x", 5),
                NewFields(CodeRef("F", 6), ("x",), ("x", "y")),
                NewBases("E", 6, "(A,)", "(A, D)"),
            ),
        ),
        ModulePatch("pkg", "pkg/__init__.py", "", "", ()),
    ),
    requires_python=">=3.11",
    hooks=HooksFile("hooks.py", "def post_patch(context): print('ä')\n"),
    told=(Told("PLP210", "applied", "pkg.mod:f", "pkg/mod.py:3", "changed: body"),),
)


def test_a_patch_comes_back_as_it_was(tmp_path: Path) -> None:
    patchfile.write(PATCH, tmp_path / "fix.plp")
    assert patchfile.read(tmp_path / "fix.plp") == PATCH


def test_equal_patches_give_equal_bytes(tmp_path: Path) -> None:
    patchfile.write(PATCH, tmp_path / "a.plp")
    patchfile.write(patchfile.read(tmp_path / "a.plp"), tmp_path / "b.plp")
    assert (tmp_path / "a.plp").read_bytes() == (tmp_path / "b.plp").read_bytes()


def test_the_manifest_is_readable_and_the_sources_are_files() -> None:
    with zipfile.ZipFile(io.BytesIO(patchfile.dump(PATCH))) as archive:
        names = archive.namelist()
        manifest = archive.read("manifest.json").decode()
        assert archive.read("new/pkg/mod.py").decode() == NEW
    assert names == [
        "manifest.json",
        "hooks/hooks.py",
        "new/pkg/__init__.py",
        "new/pkg/mod.py",
        "old/pkg/__init__.py",
        "old/pkg/mod.py",
    ]
    assert '\n  "name": "fix-1.0",\n' in manifest
    assert json.loads(manifest)["modules"][0]["changes"][1]["kind"] == "value"


def test_a_large_table_of_zeros_is_no_bomb(tmp_path: Path) -> None:
    text = "X = '" + "0" * (4 << 20) + "'\n"
    patch = Patch("big", modules=(ModulePatch("m", "m.py", text, text, ()),))
    patchfile.write(patch, tmp_path / "big.plp")
    assert patchfile.read(tmp_path / "big.plp") == patch


def test_a_patch_of_live_functions_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="live function"):
        patchfile.write(PATCH.replace(len, len), tmp_path / "fix.plp")
    assert not list(tmp_path.iterdir())


def test_a_patch_with_text_that_utf_8_cannot_hold_cannot_be_written(tmp_path: Path) -> None:
    patch = Patch("odd", modules=(ModulePatch("m", "m.py", "'\ud800'", "", ()),))
    with pytest.raises(PatchFileError, match="UTF-8"):
        patchfile.write(patch, tmp_path / "fix.plp")


def test_a_patch_with_an_unsafe_path_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="path"):
        patchfile.write(
            Patch("odd", modules=(ModulePatch("m", "../m.py", "", "", ()),)), tmp_path / "fix.plp"
        )


def test_writing_into_a_missing_folder_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="cannot be written"):
        patchfile.write(PATCH, tmp_path / "none" / "fix.plp")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "fix.plp"
    patchfile.write(PATCH, path)
    with pytest.raises(PatchFileError):
        patchfile.write(PATCH.replace(len, len), path)
    assert patchfile.read(path) == PATCH


def test_a_pipe_gets_the_patch_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # the pipe holds what is written
    try:
        patchfile.write(PATCH, path)
        assert os.read(reader, 1 << 16) == patchfile.dump(PATCH)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


# --- broken files -------------------------------------------------------------------------------------------

GOOD = patchfile.dump(PATCH)
Entry = tuple[zipfile.ZipInfo, bytes]


def entries() -> list[Entry]:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()]


def packed(content: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, data in content:
            archive.writestr(info, data)
    return buffer.getvalue()


def with_entry(name: str, data: bytes = b"x = 1\n", mode: int = 0o644) -> bytes:
    info = zipfile.ZipInfo(name)
    info.filename = name  # as it is, without zipfile's own cleaning
    info.external_attr = mode << 16
    return packed([*entries(), (info, data)])


def with_manifest(change: Callable[[dict[str, Any]], None]) -> bytes:
    content = entries()
    manifest = json.loads(content[0][1])
    change(manifest)
    return packed([(content[0][0], json.dumps(manifest).encode()), *content[1:]])


def raw_manifest(text: bytes) -> bytes:
    content = entries()
    return packed([(content[0][0], text), *content[1:]])


def without(name: str) -> bytes:
    return packed([entry for entry in entries() if entry[0].filename != name])


def module(change: Callable[[dict[str, Any]], None]) -> bytes:
    return with_manifest(lambda manifest: change(manifest["modules"][0]))


def edit(number: int, **fields: Any) -> bytes:
    return module(lambda one: one["changes"][number].update(fields))


def flag_all_encrypted(data: bytes) -> bytes:
    found = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = found.find(signature)
        while position >= 0:
            struct.pack_into("<H", found, position + offset, 1)
            position = found.find(signature, position + 4)
    return bytes(found)


def bomb() -> bytes:
    info = zipfile.ZipInfo("old/bomb.py")
    info.compress_type = zipfile.ZIP_DEFLATED
    return packed([*entries(), (info, b"0" * (8 << 20))])


def lying_size() -> bytes:
    data = bytearray(with_entry("old/pkg/more.py", b"x" * 1000))
    position = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, position + 24, 2 << 30)
    return bytes(data)


def one_flipped_bit() -> bytes:
    data = bytearray(GOOD)
    data[GOOD.index(b"manifest.json") + 40] ^= 0x10
    return bytes(data)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "no zip": (lambda: b"#!/bin/sh\necho hi\n", "no patch file"),
    "a pickle": (lambda: b"\x80\x04cos\nsystem\n.", "no patch file"),
    "cut off": (lambda: GOOD[: len(GOOD) // 2], "corrupt or cut off"),
    "cut off at the end": (lambda: GOOD[:-5], "corrupt or cut off"),
    "a flipped bit": (one_flipped_bit, "corrupt or cut off"),
    "no manifest": (lambda: without("manifest.json"), "no manifest.json"),
    "a path upwards": (lambda: with_entry("old/../../evil.py"), "leads out"),
    "an absolute path": (lambda: with_entry("/etc/passwd"), "leads out"),
    "a backslash": (lambda: with_entry("old\\evil.py"), "leads out"),
    "a drive": (lambda: with_entry("C:/evil.py"), "leads out"),
    "a folder": (lambda: with_entry("old/pkg/", b""), "leads out of the file, or is none"),
    "an unknown entry": (lambda: with_entry("setup.py"), "none that a patch file has"),
    "a source of no module": (lambda: with_entry("old/other.py"), "belongs to no module"),
    "a symbolic link": (
        lambda: with_entry("old/link.py", b"/etc/passwd", stat.S_IFLNK | 0o777),
        "symbolic link",
    ),
    "an encrypted entry": (lambda: flag_all_encrypted(GOOD), "encrypted"),
    "a bomb": (bomb, "unpacks to over 200 times"),
    "a size that lies": (lying_size, "unpacks to more than"),
    "a missing source": (lambda: without("new/pkg/mod.py"), "has no entry new/pkg/mod.py"),
    "no JSON": (lambda: raw_manifest(b"{"), "no JSON"),
    "JSON that is nested too deep": (lambda: raw_manifest(b"[" * 100_000), "manifest.json"),
    "a manifest that is a list": (lambda: raw_manifest(b"[]"), "no object"),
    "a key twice": (lambda: raw_manifest(b'{"format": 1, "format": 1}'), "twice"),
    "no format": (lambda: raw_manifest(b"{}"), "format is no number"),
    "a format of the future": (lambda: with_manifest(lambda m: m.update(format=2)), "format 2"),
    "a format that is true": (lambda: with_manifest(lambda m: m.update(format=True)), "format is no number"),
    "a name that is a number": (lambda: with_manifest(lambda m: m.update(name=3)), "name is not text"),
    "a name with a slash": (lambda: with_manifest(lambda m: m.update(name="a/b")), "letters, digits"),
    "no name": (lambda: with_manifest(lambda m: m.pop("name")), "has no name"),
    "an unknown field": (lambda: with_manifest(lambda m: m.update(run="x")), "not known: 'run'"),
    "modules that are text": (
        lambda: with_manifest(lambda m: m.update(modules="x")),
        "modules is not a list",
    ),
    "a module that is text": (
        lambda: with_manifest(lambda m: m.update(modules=["x"])),
        "modules[0] is no object",
    ),
    "a module twice": (lambda: with_manifest(lambda m: m["modules"][1].update(name="pkg.mod")), "twice"),
    "a module name with a blank": (lambda: module(lambda m: m.update(name="a b")), "no import name"),
    "another hash": (lambda: module(lambda m: m.update(old_sha256="0" * 64)), "hash differs"),
    "no hash": (lambda: module(lambda m: m.update(old_sha256="x")), "no SHA-256"),
    "an unknown kind": (lambda: edit(0, kind="exec"), "no kind of change"),
    "a line below zero": (lambda: edit(0, line=-1), "no line or index"),
    "a line that is text": (lambda: edit(0, line="1"), "line is not a number"),
    "a line that is null": (lambda: edit(0, line=None), "line is not a number"),
    "a reference that is text": (lambda: edit(3, old="f"), "old is not an object"),
    "decorators that are numbers": (lambda: edit(4, decorators=[1]), "decorators is no list of text"),
    "a missing hooks file": (lambda: without("hooks/hooks.py"), "has no entry hooks/hooks.py"),
    "a hooks file that nobody names": (lambda: with_manifest(lambda m: m.pop("hooks")), "belongs to no module"),
    "hooks of another hash": (lambda: with_manifest(lambda m: m["hooks"].update(sha256="0" * 64)), "hash differs"),
    "hooks that are text": (lambda: with_manifest(lambda m: m.update(hooks="x")), "hooks is not an object"),
    "a word without a code": (lambda: with_manifest(lambda m: m["told"][0].pop("code")), "told[0] has no code"),
    "an unknown field of a change": (lambda: edit(1, more=1), "not known: 'more'"),
}


@pytest.mark.parametrize("text", ["def f(:\n", "safe(1, 2, 3)\n", "\0"])
def test_a_hooks_file_that_cannot_be_read_is_told_and_not_run(text: str) -> None:
    data = patchfile.dump(dataclasses.replace(PATCH, hooks=HooksFile("hooks.py", text)))
    with pytest.raises(PatchFileError, match=r"hooks\.py:1: "):
        patchfile.load(data, "fix.plp")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("title", BROKEN)
def test_a_broken_patch_file_says_what_is_wrong_with_it(title: str, tmp_path: Path) -> None:
    make, message = BROKEN[title]
    path = tmp_path / "fix.plp"
    path.write_bytes(make())
    with pytest.raises(PatchFileError) as caught:
        patchfile.read(path)
    assert message in caught.value.message
    assert caught.value.where == str(path)
    assert caught.value.advice


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fix.plp").write_bytes(with_entry("old/pkg/mod.py"))
    with pytest.raises(PatchFileError, match="there twice"):
        patchfile.read(tmp_path / "fix.plp")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchfile, "MAX_ENTRIES", 5)
    with pytest.raises(PatchFileError, match="6 entries, more than 5"):
        patchfile.load(GOOD, "fix.plp")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchfile, "MAX_FILE", 100)
    (tmp_path / "fix.plp").write_bytes(GOOD)
    with pytest.raises(PatchFileError, match="larger than"):
        patchfile.read(tmp_path / "fix.plp")


def test_a_missing_file_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="cannot be read"):
        patchfile.read(tmp_path / "none.plp")


def test_a_folder_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(PatchFileError, match="folder"):
        patchfile.read(tmp_path)


def test_a_device_is_no_patch_file() -> None:
    with pytest.raises(PatchFileError, match="no regular file"):
        patchfile.read("/dev/zero")


def test_no_byte_of_a_file_can_be_changed_into_another_exception() -> None:
    for position in range(0, len(GOOD), 7):
        data = bytearray(GOOD)
        data[position] ^= 0xFF
        with contextlib.suppress(PatchFileError):  # any other exception is a fault
            assert patchfile.load(bytes(data), "fix.plp") == PATCH  # a byte that nothing reads

"""A patch as code: what is made outside the target process and sent to it.

Compiling a module of 3,000 lines holds the GIL for tens of milliseconds, and trampolines take about two milliseconds
each, so neither happens in a process that must not pause. The client (or a helper process of the target's own
interpreter: ``python -m pylivepatch.compiled``) compiles the old and the new source, finds the functions, makes their
trampolines for both directions, and marshals each function by itself: the target loads them one at a time. ``items``
has what is made of one module, and ``pairs`` what is made of one function.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import subprocess
import sys
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from pylivepatch import cores, errors, groups
from pylivepatch.errors import CompileError, LivePatchError, WrongPython
from pylivepatch.items import CompiledModule, Item, compile_module, compile_new, compile_source
from pylivepatch.patch import FunctionChange, HooksFile, ModulePatch, NewFunction, Patch, Removed, Unregistered
from pylivepatch.requirement import unmet
from pylivepatch.wholly import CompiledNew

_HEADER_OF_ANY = b"pylivepatch compiled "
_HEADER = _HEADER_OF_ANY + b"4\n"
"""The number goes up with each change of what is shipped, the hooks of trampolines included: a service goes on with the
agent that it started with, whatever is installed since."""


class HooksCode(NamedTuple):
    """The author's part, ready to be executed: marshalled code, and the compressed source for tracebacks."""

    filename: str
    code: bytes
    source: bytes


@dataclass(frozen=True, slots=True)
class CompiledPatch:
    """What a target takes. ``magic`` is ``importlib.util.MAGIC_NUMBER``, ``optimize`` the ``-O`` level it is for."""

    name: str
    description: str
    magic: bytes
    optimize: int
    modules: tuple[CompiledModule, ...]
    groups: tuple[groups.Group, ...] = ()
    hooks: HooksCode | None = None
    new_modules: tuple[CompiledNew, ...] = ()
    distributions: tuple[tuple[str, str, str], ...] = ()
    prepared: WeakValueDictionary[str, Any] = field(default_factory=WeakValueDictionary, compare=False, repr=False)

    def __post_init__(self) -> None:
        shared = self.prepared
        object.__setattr__(self, "modules", tuple(replace(module, prepared=shared) for module in self.modules))

    def to_bytes(self) -> bytes:
        head: dict[str, Any] = {"name": self.name, "description": self.description}
        head |= {"magic": self.magic.hex(), "optimize": str(self.optimize)}
        head |= {"groups": groups.to_json(self.groups), "distributions": self.distributions}
        body = [(m.name, m.filename, m.source, [tuple(item) for item in m.items], m.is_same) for m in self.modules]
        whole: Any = body, self.hooks and tuple(self.hooks), [new.packed() for new in self.new_modules]
        return _HEADER + json.dumps(head).encode() + b"\n" + marshal.dumps(whole)

    @classmethod
    def from_bytes(cls, data: bytes) -> CompiledPatch:
        """Read it back. Raises :class:`WrongPython` before anything version-specific is read."""
        try:
            if not data.startswith(_HEADER):
                known = data.startswith(_HEADER_OF_ANY)
                raise ValueError("another version of pylivepatch made it" if known else "it does not begin as one")
            line, _, body = data[len(_HEADER) :].partition(b"\n")
            head = json.loads(line)
            magic, optimize = bytes.fromhex(head["magic"]), int(head["optimize"])
            check_python(magic, optimize)
            parts, hooks, new = marshal.loads(body)
            modules = tuple(
                CompiledModule(name, filename, source, tuple(Item(*item) for item in items), is_same)
                for name, filename, source, items, is_same in parts
            )
            apart = groups.from_json(head.get("groups", ()))
            named = str(head["name"]), str(head["description"])
            whole = tuple(map(CompiledNew.unpacked, new))
            dists = tuple((str(one), str(old), str(new)) for one, old, new in head.get("distributions", ()))
            return cls(*named, magic, optimize, modules, apart, hooks and HooksCode(*hooks), whole, dists)
        except (ValueError, TypeError, KeyError, EOFError) as error:
            raise CompileError(
                f"this is not a compiled patch: {error}",
                advice="send what `pylivepatch load` makes of a patch file, by the version that the process runs",
            ) from error


def check_python(magic: bytes, optimize: int) -> None:
    """Raise :class:`WrongPython` unless code for ``magic`` and ``optimize`` can run here."""
    if magic != importlib.util.MAGIC_NUMBER:
        raise WrongPython(
            "the patch was compiled by another version of Python than this process runs",
            where=f"{sys.executable} ({sys.version.split()[0]})",
            advice="compile it with this process's interpreter (`pylivepatch load` does)",
        )
    if optimize != sys.flags.optimize:
        raise WrongPython(
            f"the patch was compiled for optimization level {optimize}, this process runs with {sys.flags.optimize}",
            where=sys.executable,
            advice="compile it for the level of the process (`pylivepatch load` does)",
        )


def check_requirement(requirement: str, name: str) -> None:
    """Raise :class:`WrongPython` unless this Python meets ``requirement``: clauses like ``>=3.11``, commas between."""
    try:
        clause = unmet(requirement, sys.version_info[:3])
    except ValueError as error:
        raise WrongPython(
            f"the patch's requirement {requirement!r} is not understood: {error}",
            where=name,
            advice="write it as clauses like >=3.11 or <3.14, with commas between",
        ) from error
    if clause:
        raise WrongPython(
            f"the patch needs Python {clause}, and this is {sys.version.split()[0]}",
            where=sys.executable,
            advice="build a patch for this Python",
        )


FEW = 20
"""Up to so many functions, about 0.2 s of work, a patch is compiled on one core: two pay from about ten on."""


def compile_patch(patch: Patch, *, optimize: int | None = None, spread: bool = False) -> CompiledPatch:
    """Compile ``patch`` with this interpreter. Raises :class:`CompileError`.

    ``spread`` is for processes that nobody patches: the modules of a big patch are compiled on all cores (``cores``).
    """
    if patch.replacements:
        raise CompileError(
            "a patch of live functions cannot be compiled for another process",
            where=patch.name,
            advice="load it in the process that has the functions, or build it from sources",
        )
    check_requirement(patch.requires_python, patch.name)
    level = sys.flags.optimize if optimize is None else optimize
    brought = {
        (module.name, change.target)
        for module, change in patch.changes()
        if not isinstance(change, FunctionChange | Removed | Unregistered)
    }
    new = {module.name for module in patch.new_modules}

    def compile_one(module: ModulePatch) -> CompiledModule:
        return compile_module(patch.name, module, level, brought, new)

    if spread and sum(isinstance(change, FunctionChange | NewFunction) for _, change in patch.changes()) > FEW:
        modules, apart = cores.on_all(compile_one, patch.modules, lambda: groups.of_patch(patch))
    else:
        modules, apart = [compile_one(module) for module in patch.modules], groups.of_patch(patch)
    whole = tuple(compile_new(patch.name, module, level, brought, new) for module in patch.new_modules)
    magic = importlib.util.MAGIC_NUMBER
    hooks = _compile_hooks(patch.name, patch.hooks, level) if patch.hooks is not None else None
    named = patch.name, patch.description
    return CompiledPatch(*named, magic, level, tuple(modules), apart, hooks, whole, patch.distributions)


def _compile_hooks(patch: str, hooks: HooksFile, optimize: int) -> HooksCode:
    filename = f"<livepatch {patch}>/{hooks.name}"
    code = compile_source(hooks.source, filename, optimize)
    return HooksCode(filename, marshal.dumps(code), zlib.compress(hooks.source.encode()))


def compile_with(executable: str, path: str | os.PathLike[str], *, optimize: int) -> bytes:
    """The bytes of the compiled patch file ``path``, made by a helper process of ``executable``.

    Raises :class:`CompileError`; an error of the helper's own comes back as what it is.
    """
    here = str(FilePath(__file__).resolve().parent.parent)
    bytecode_home = importlib.util.find_spec("bytecode")
    paths = [here]
    if bytecode_home is not None and bytecode_home.origin is not None:
        paths.append(str(FilePath(bytecode_home.origin).resolve().parent.parent))
    code = f"import sys; sys.path[:0] = {paths[:1]!r}; sys.path += {paths[1:]!r}\n"
    code += "from pylivepatch.compiled import main; main()"
    command = [executable, "-I", "-X", "utf8", "-c", code, os.fspath(path), str(optimize)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(
            f"the helper process could not compile the patch: {error}",
            where=executable,
            advice="the target's interpreter must be executable, and able to import pylivepatch",
        ) from error
    if done.returncode == 0:
        return done.stdout
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    kind = getattr(errors, str(report.get("error")), CompileError)
    raise (kind if isinstance(kind, type) and issubclass(kind, LivePatchError) else CompileError)(
        report.get("message") or f"the helper process failed: {' '.join(last) or f'exit {done.returncode}'}",
        where=report.get("where") or executable,
        advice=report.get("advice") or "the target's interpreter must be able to import pylivepatch and bytecode",
        code=report.get("code"),
    )


def main() -> None:
    """``python -m pylivepatch.compiled FILE.plp OPTIMIZE``: the compiled patch to standard output."""
    import gc

    from pylivepatch import patchfile

    gc.disable()  # a process for one patch: there are many objects that stay, and next to no cycles
    try:
        data = compile_patch(patchfile.read(sys.argv[1]), optimize=int(sys.argv[2]), spread=True).to_bytes()
    except LivePatchError as error:
        sys.stdout.write(json.dumps(error.as_dict()))
        sys.exit(1)
    sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()

"""Modules that only the new version has: they come with the patch, and can be imported from the switch on.

A finder in ``sys.meta_path`` serves what stands in a dict; the commit puts the patch's modules into that dict, and the
unload takes them out again, together with ``sys.modules`` and the attribute of the parent package. Like every other
value these are bound in the one C call.

What the patch itself imports from a new module while it is prepared (``from .new import helper`` in a changed module)
is needed before that. The module is then executed *aside*: it is in no table, and what it imports from the patch's
other new modules, or reads of what the patch changes elsewhere, is handed over as it was made (``symbols.aside``). The
switch makes that very module known. One exception: a dataclass with annotations as text looks its own module up in
``sys.modules``, so such a module is there while it is executed aside, for as long as that takes.

Its functions are to the unload what other new functions are: nobody may be inside them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import sys
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.functions import walk
from pylivepatch.activeness.references import version_of
from pylivepatch.below import Below
from pylivepatch.commit import MISSING
from pylivepatch.errors import DataMismatch
from pylivepatch.evaluate import value_of
from pylivepatch.ftrace.trampoline import Template
from pylivepatch.pairs import code_at
from pylivepatch.part import Part
from pylivepatch.symbols import ASIDE, asked_for
from pylivepatch.transition.swap import Attribute, Switch
from pylivepatch.values import new_module
from pylivepatch.wholly import CompiledNew, WholeCode

_serving: dict[str, _Brought] = {}


class _Brought:
    """One new module of one patch. ``module`` is there once it was executed."""

    def __init__(self, compiled: CompiledNew, part: Part, below: Below) -> None:
        self.compiled = compiled
        self.module: ModuleType | None = None
        self._part = weakref.ref(part)
        self._below = below

    def spec(self) -> importlib.machinery.ModuleSpec:
        compiled = self.compiled
        spec = importlib.machinery.ModuleSpec(
            compiled.name, _Loader(self), origin=compiled.filename, is_package=compiled.is_package
        )
        spec.has_location = True  # so that the module gets a __file__, by which its source is found
        return spec

    def source(self) -> str:
        return zlib.decompress(self.compiled.source).decode()

    def take_in(self, module: ModuleType, code: CodeType, version: WholeCode) -> None:
        """The module was executed: note what it has made, for the way back."""
        part = self._part()
        if part is None:
            return
        self.module = module
        functions: dict[int, list[weakref.ref[FunctionType]]] = {}
        for function in walk([module]):
            functions.setdefault(id(function.__code__), []).append(weakref.ref(function))
        for path, data in version.templates:
            inner, template = version_of(code_at(code, path)), Template.from_bytes(data)
            name = f"{module.__name__}:{inner.code.co_qualname}"
            part.added.append(Switch(name, inner, inner, template, template, functions.get(id(inner.code), [])))
        if module not in part.modules:
            part.modules.append(module)

    def bindings(self, parent: ModuleType | None) -> Iterator[Attribute]:
        """What makes the module known: its entry in ``sys.modules``, and the attribute of a parent that exists."""
        name, module = self.compiled.name, self.module
        owners: list[tuple[Any, str]] = [(sys.modules, name)]
        owners += [(vars(parent), name.rpartition(".")[2])] if parent is not None else []
        for owner, key in owners:
            yield Attribute(owner, key, self._below.value(owner, key, MISSING), module, f"{name} (module)")


    def get(self, prepared: Mapping[str, Any]) -> ModuleType:
        """The module, executed aside if it was not yet. Raises what it raises."""
        if self.module is not None:
            return self.module
        part, name = self._part(), self.compiled.name
        outer, _, tail = name.rpartition(".")
        parent_is_new = getattr(prepared.get(outer), "brought", None) is not None
        parent = (new_module(prepared, outer) if parent_is_new else importlib.import_module(outer)) if outer else None
        if self.module is not None:  # the parent has imported it
            return self.module
        module = importlib.util.module_from_spec(self.spec())
        version = self.compiled.aside
        code = marshal.loads(version.code)
        self.module = module  # before it is executed: modules may import each other
        try:
            self._execute(module, code, prepared)
        except BaseException:
            self.module = None
            raise
        self.take_in(module, code, version)
        if parent is not None and parent_is_new:
            setattr(parent, tail, module)
            parent = None
        if part is not None:
            part.attributes += self.bindings(parent)
        return module

    def _execute(self, module: ModuleType, code: CodeType, prepared: Mapping[str, Any]) -> None:
        name, space = self.compiled.name, vars(module)
        lent: dict[str, Any] = {ASIDE: partial(new_module, prepared)}
        for key, is_new, home, symbol in asked_for(code):
            if key != ASIDE:
                lent[key] = value_of(home, symbol, is_new, prepared)
        space.update(lent)
        try:
            if self.compiled.looks_itself_up:
                sys.modules[name] = module
            exec(code, space)
        finally:
            if self.compiled.looks_itself_up:
                sys.modules.pop(name, None)
            for key in lent:
                space.pop(key, None)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        brought = _serving.get(fullname)
        return brought.spec() if brought is not None else None


class _Loader(importlib.abc.InspectLoader):
    def __init__(self, brought: _Brought) -> None:
        self._brought = brought

    def exec_module(self, module: ModuleType) -> None:
        brought = self._brought
        version = brought.compiled.plain
        code = marshal.loads(version.code)
        exec(code, vars(module))
        known = brought.module is not None
        brought.take_in(module, code, version)
        part = brought._part()
        if not known and part is not None:
            parent = sys.modules.get(module.__name__.rpartition(".")[0])
            part.attributes += brought.bindings(parent)

    def get_source(self, fullname: str) -> str:
        return self._brought.source()

    def get_code(self, fullname: str) -> CodeType | None:
        code = marshal.loads(self._brought.compiled.plain.code)
        return code if isinstance(code, CodeType) else None

    def is_package(self, fullname: str) -> bool:
        return self._brought.compiled.is_package


_finder = _Finder()


def prepare_new(compiled: CompiledNew, below: Below) -> Part:
    """The part for one new module, which is not executed yet. Raises :class:`DataMismatch` where the process has
    another one of that name.
    """
    name = compiled.name
    part = Part(name, [], source=(compiled.filename, compiled.source), below=below)
    part.brought = brought = _Brought(compiled, part, below)
    live = below.value(sys.modules, name, sys.modules.get(name, MISSING))
    if live is not MISSING:
        if _source_of(live) != brought.source():
            raise DataMismatch(
                f"the process has a module {name}, and its source is not that of the new version",
                where=f"{name} ({getattr(live, '__file__', '?')})",
                advice="build the patch against the version that this process runs",
            )
        brought.module = live  # the files on disk are the new version's, and somebody has imported it
        return part
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    part.attributes.append(Attribute(_serving, name, below.value(_serving, name, MISSING), brought, f"{name} (module)"))
    return part


def _source_of(module: Any) -> str | None:
    get_source = getattr(getattr(module, "__loader__", None), "get_source", None)
    try:
        return get_source(module.__name__) if get_source is not None else None
    except (ImportError, OSError, UnicodeError):
        return None


def leave(parts: Iterable[Part] = ()) -> None:
    """The patch with these parts was taken out: what somebody imported in the last moment goes, too. Without parts:
    take the finder away if nothing is served.
    """
    for part in parts:
        brought = part.brought
        live: Any = sys.modules.get(part.name)
        ours = isinstance(brought, _Brought) and live is not None and live is brought.module
        if ours and _serving.get(part.name) is not brought and isinstance(live.__loader__, _Loader):
            del sys.modules[part.name]
    if not _serving and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)

"""The child: imports modules afresh and portrays them. Run by ``pylivepatch.verification.fresh``, never in a target.

It reads one JSON object from standard input and writes one line for each thing that it does to standard output, so that
whoever reads them knows at what module it was when it ended. What the modules print goes to standard error.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pylivepatch.portrait.modules import portray


def main() -> None:
    request = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

        def tell(**what: Any) -> None:
            answers.write(json.dumps(what) + "\n")
            answers.flush()

        _settle(request)
        imported: dict[str, ModuleType] = {}
        for name, file in request["modules"]:
            tell(importing=name)
            try:
                imported[name] = _imported(name, file, request["overlay"].get(name, {}).get("source"))
            except BaseException as error:  # SystemExit of a script, too
                tell(failed=name, why=f"{type(error).__name__}: {error}")
        tell(importing="")
        for name, symbols in portray(imported, evaluate=True):
            tell(portrait=name, symbols=symbols)
        tell(done=sys.version)
    os._exit(0)  # not to wait for threads that an import started, nor to run what it registered for the exit


def _settle(request: Mapping[str, Any]) -> None:
    """Look for modules where the process does. Nothing of ours is left among them."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pylivepatch"]:
        del sys.modules[name]
    sys.path[:] = request["path"]
    sys.argv = request["argv"]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    if request["overlay"]:
        sys.meta_path.insert(0, Overlay(request["overlay"]))


def _imported(name: str, file: str, carried: str | None) -> ModuleType:
    """The module. ``file`` is that of a program; its name may lead to another module, or nowhere."""
    if file:
        _check_import_only(carried if carried is not None else Path(file).read_text("utf-8", "replace"))
    if file and carried is None and "." not in name and name not in sys.modules:
        spec = importlib.util.find_spec(name)
        found = spec.origin if spec is not None and spec.origin else ""
        if not os.path.exists(found) or not os.path.samefile(found, file):
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
    module = importlib.import_module(name)
    if not issubclass(type(module), ModuleType):
        raise ImportError(f"it puts something else in its place: a {type(module).__qualname__}")
    return module


def _check_import_only(source: str) -> None:
    """A program may do its work as it is imported: that must not be done a second time, beside the process."""
    stack: list[ast.stmt | ast.ExceptHandler] = list(ast.parse(source).body)
    while stack:
        node = stack.pop()
        if (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)) or isinstance(node, ast.While):
            raise ImportError(f"it was started as a program, and line {node.lineno} would run as it is imported")
        names = ast.walk(node.test) if isinstance(node, ast.If) else ()
        if isinstance(node, ast.If) and any(isinstance(one, ast.Name) and one.id == "__name__" for one in names):
            stack += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.ExceptHandler):
            stack += [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt | ast.ExceptHandler)]


class Overlay(importlib.abc.MetaPathFinder):
    """Finds the modules that a patch carries, in the version that is wanted, wherever they lie on disk, or do not."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._entries = entries

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        entry = self._entries.get(fullname)
        if entry is None:
            return None
        if entry["source"] is None:
            raise ModuleNotFoundError(f"this version has no module {fullname!r}", name=fullname)
        found = None
        for finder in sys.meta_path:
            if finder is not self and found is None:
                found = finder.find_spec(fullname, path, target)
        origin = found.origin if found is not None and found.has_location and found.origin else None
        origin = origin or os.path.join(sys.path[0], entry["path"])
        loader = Loader(fullname, origin, entry["source"], entry["filename"] or origin)
        spec = importlib.util.spec_from_file_location(fullname, origin, loader=loader)
        if spec is not None and entry["path"].endswith("/__init__.py"):
            spec.submodule_search_locations = list(found.submodule_search_locations or ()) if found else []
            spec.submodule_search_locations = spec.submodule_search_locations or [os.path.dirname(origin)]
        return spec


class Loader(importlib.machinery.SourceFileLoader):
    """A module of the given source. ``filename`` is what its code says where it is from."""

    def __init__(self, fullname: str, path: str, source: str, filename: str) -> None:
        super().__init__(fullname, path)
        self._source, self._filename = source, filename

    def is_package(self, fullname: str) -> bool:
        return os.path.basename(self.path) == "__init__.py"

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._source, self._filename, "exec", dont_inherit=True)
        return code

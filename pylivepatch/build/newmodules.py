"""Modules that only the new version has: the patch carries their source, and they can be imported from the switch on.

A changed module may import one, and then it is executed while the patch is prepared (``pylivepatch.brought``). What it
computes then must be what a fresh import computes, so its import-time code may read what the patch changes, but not
run changed functions: those are still the old ones. And a module that another one of the new version was before, under
another name, would make its classes a second time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.findings import Finding, Report
from pylivepatch.build.names import absolute_module
from pylivepatch.build.nodes import children
from pylivepatch.build.reach import Reach
from pylivepatch.build.source import Source
from pylivepatch.build.tree import File
from pylivepatch.build.word import Word
from pylivepatch.build.world import World
from pylivepatch.patch import FunctionChange, NewModule, ValueChange


def bring_modules(
    world: World, contexts: Mapping[str, Context], old: Mapping[str, File], new: Mapping[str, File], word: Word
) -> tuple[tuple[NewModule, ...], list[Finding]]:
    """The new modules, parents first, and what is to be said of them."""
    names = sorted(name for name in world.new.modules if name not in world.old.modules)
    findings: list[Finding] = []
    found: dict[str, NewModule] = {}
    reach = Reach(world.new, lambda module: world.new.modules[module].evaluated if module in names else ())
    gone = _classes_gone(world)
    moved = {file.data: file.module for path, file in old.items() if path not in new and file.data and file.module}
    for name in names:
        source = world.new.modules[name].source
        report = Report(name, source.path, word=word)
        why = _obstacle(world, contexts, name, names, reach, gone)
        if why:
            message, line = why
            report.refused(
                codes.MODULE_NEW,
                "",
                message,
                "put what is needed of it into a module that exists already, or leave this part to a restart",
                new_line=line,
            )
        else:
            does = next((item.line for item in world.new.modules[name].items if _acts(item.node)), 0)
            more = f"; its import-time code (line {does}) runs when it is imported for the first time" if does else ""
            was = moved.get(next(file.data for file in new.values() if file.path == source.path), "")
            what = f"new module: it is what {was} was" if was else "new module"
            report.applied(codes.MODULE_BROUGHT, "", what + more, new_line=does)
        findings += report.findings
        for package in _missing_packages(name, old, new):
            found.setdefault(package, NewModule(package, f"{package.replace('.', '/')}/__init__.py", ""))
        found[name] = NewModule(name, source.path, source.text)
    return tuple(found.values()), findings


def _obstacle(
    world: World,
    contexts: Mapping[str, Context],
    name: str,
    names: list[str],
    reach: Reach,
    gone: Mapping[str, str],
) -> tuple[str, int] | None:
    """Why the module cannot be carried, and in which line."""
    uses = world.new.modules[name]
    for item in uses.items:
        if item.kind == "class" and item.name in gone:
            return (
                f"its class {item.name} was one of {gone[item.name]}, which is gone: objects of that class would be of "
                "another one than the new module's",
                item.line,
            )
        if item.kind == "star" and isinstance(item.node, ast.ImportFrom):
            home = absolute_module(item.node, uses.source.package)
            if home in names or (home in contexts and contexts[home].changes):
                return f"it imports all names of {home}, which the patch brings or changes", item.line
    for other, before in world.old.modules.items():
        for line in _imports(before.source, name):
            return f"{other} looked for it when it was imported ({before.source.path}:{line}), and did without", 0
    for module, context in contexts.items():
        functions = [(module, change.new.qualname) for change in context.changes if isinstance(change, FunctionChange)]
        values = [(module, change.target) for change in context.changes if isinstance(change, ValueChange)]
        hits = reach.of_functions(functions) if functions else []
        hits += [hit for value in values for hit in reach.of_value(value) if hit.via]
        for hit in hits:
            if hit.module == name and hit.sure:
                return f"its import-time code runs or depends on what the patch changes: {hit}", hit.line
    return None


def _acts(node: ast.stmt) -> bool:
    """Whether the statement does something beside binding names to values."""
    return isinstance(node, ast.Expr | ast.For | ast.While | ast.With | ast.Delete | ast.Raise | ast.Assert) and not (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _imports(source: Source, name: str) -> Iterator[int]:
    """The lines outside of functions where ``source`` imports the module ``name``."""
    outer, _, last = name.rpartition(".")
    stack: list[ast.AST] = [source.tree] if last in source.text else []
    while stack:
        node = stack.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue
            case ast.Import(names=aliases) if any(f"{alias.name}.".startswith(f"{name}.") for alias in aliases):
                yield node.lineno
            case ast.ImportFrom(names=aliases):
                home = absolute_module(node, source.package)
                if f"{home}.".startswith(f"{name}.") or (home == outer and last in {one.name for one in aliases}):
                    yield node.lineno
        stack.extend(children(node))


def _classes_gone(world: World) -> dict[str, str]:
    """The classes of the modules that are gone → the module."""
    return {
        item.name: module
        for module, uses in world.old.modules.items()
        if module not in world.new.modules
        for item in uses.items
        if item.kind == "class"
    }


def _missing_packages(name: str, old: Mapping[str, File], new: Mapping[str, File]) -> list[str]:
    """The packages without ``__init__.py`` that the process cannot have: none of the old files is in them."""
    known = {file.module for file in (*old.values(), *new.values())}
    parts = name.split(".")
    outer = [".".join(parts[:count]) for count in range(1, len(parts))]
    return [
        package
        for package in outer
        if package not in known and not any(file.module.startswith(f"{package}.") for file in old.values())
    ]

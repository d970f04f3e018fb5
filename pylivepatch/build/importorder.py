"""The order in which modules are imported, where it decides which implementation of a generic function is live.

Two modules may each register one for the same class (``functools.singledispatch``); the one whose module runs last is
found. Who imports whom, and in which order, is followed from each module of the tree, as a process may have begun with
any. What the new version newly imports runs last in a process that has imported the rest.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import absolute_module
from pylivepatch.build.registered import registrations
from pylivepatch.build.scope import Item
from pylivepatch.build.world import Version

Generic = tuple[str, str]


class _Event(NamedTuple):
    """A module registers an implementation."""

    module: str
    item: Item
    generic: Generic
    classes: frozenset[str]


def check_import_order(contexts: Mapping[str, Context]) -> None:
    """Refuse what changes which of several implementations for one class is registered last."""
    if not contexts:
        return
    world = next(iter(contexts.values())).world
    shared = _shared(world.new)
    told: set[tuple[Generic, str]] = set()
    for root in contexts if shared else ():
        before, old = _run(world.old, root)
        _, new = _run(world.new, root)
        live = [*old, *(event for event in new if event.module not in before)]
        for generic, name in sorted(shared - told):
            was, now = (_last(events, generic, name) for events in (live, new))
            if was is None or now is None or was.module == now.module or now.module not in contexts:
                continue
            told.add((generic, name))
            context = contexts[now.module]
            other = world.new.modules[was.module].source.path if was.module in world.new.modules else was.module
            context.report.refused(
                codes.ORDER_CHANGED,
                now.item.name,
                f"{generic[1]} of {generic[0]} has one for {name} of {other}, too, and modules are imported in another "
                f"order now (seen from {root}): the one that is registered last is live, and that stays {other}'s",
                "leave the order of the imports as it was, or register one of them alone",
                new_line=now.item.line,
            )


def _shared(version: Version) -> set[tuple[Generic, str]]:
    """The generic functions and names of classes for which several modules register."""
    found: dict[tuple[Generic, str], set[str]] = {}
    for module, uses in version.modules.items():
        if uses.has_attribute("register"):
            for item in uses.items:
                for generic, classes in registrations(version, module, item):
                    for name in classes:
                        found.setdefault((generic, name), set()).add(module)
    return {key for key, modules in found.items() if len(modules) > 1}


def _last(events: list[_Event], generic: Generic, name: str) -> _Event | None:
    return next((one for one in reversed(events) if one.generic == generic and name in one.classes), None)


def _run(version: Version, root: str) -> tuple[set[str], list[_Event]]:
    """The modules that importing ``root`` executes, and what they register, in order."""
    begun: set[str] = set()
    events: list[_Event] = []
    stack: list[Iterator[str | _Event]] = [iter(_with_parents(root))]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, _Event):
            events.append(step)
        elif step in version.modules and step not in begun:
            begun.add(step)
            stack.append(_steps(version, step))
    return begun, events


def _steps(version: Version, module: str) -> Iterator[str | _Event]:
    """What executing a module does of this, in order: modules that it imports, and implementations."""
    uses = version.modules[module]
    for item in uses.items:
        if item.typing_only or item.main_only:
            continue
        match item.node:
            case ast.Import():
                for alias in item.node.names:
                    yield from _with_parents(alias.name)
            case ast.ImportFrom() if home := absolute_module(item.node, uses.source.package):
                yield from _with_parents(home)
                yield f"{home}.{item.alias.name if item.alias is not None else ''}"
            case _ if uses.has_attribute("register"):
                for generic, classes in registrations(version, module, item):
                    yield _Event(module, item, generic, frozenset(classes))


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]

"""A module's portrait: every name that it and its classes bind, each described."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from pylivepatch.portrait.code import rebound
from pylivepatch.portrait.kinds import is_made_at_run_time, module_of, mro_of, qualname_of, space_of
from pylivepatch.portrait.things import LRU, Aspects, Things, functions_of
from pylivepatch.portrait.values import Pace

Symbols = dict[str, Aspects]
"""``name`` or ``Class.name`` → what it is. The entry ``""`` is of the module itself."""
Portrait = dict[str, Symbols]
"""Module → its symbols."""

PARTS = 40
"""Symbols in one part of a module's portrait, at most: what is turned into JSON at a time."""
_OF_THE_IMPORT = frozenset(
    {"__name__", "__file__", "__cached__", "__loader__", "__spec__", "__builtins__", "__package__", "__path__"}
    | {"__warningregistry__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__"}
    | {"__conditional_annotations__", "__annotations_cache__"}
)
_WITH_IDENTITY = (FunctionType, LRU, property, staticmethod, classmethod, type, list, dict, set, deque)


def portray(modules: Mapping[str, ModuleType], *, evaluate: bool = False) -> Iterator[tuple[str, Symbols]]:
    """The modules part by part: ``(name, symbols)``, several for one module. Gives up the GIL as it goes.

    ``modules`` are named as they are to be called: ``__main__`` has another name where it was started from a file.
    ``evaluate`` allows to run annotations, for a process where nobody minds.
    """
    pace = Pace()
    homes = {vars(module).get("__name__", name): name for name, module in modules.items()}
    names: dict[int, str] = {}
    kept: list[Any] = []  # no id of these is used again meanwhile
    for name in sorted(modules):
        for symbol, value in _named(modules[name], homes):
            pace.step()
            if _has_identity(type(value)) and (id(value) not in names or _is_home(value, name, symbol, homes)):
                names[id(value)] = f"{name}:{symbol}"
                kept.append(value)
    things = Things(names, homes, evaluate=evaluate)
    for name, module in modules.items():
        yield from _module(name, module, things, names, homes, evaluate)


def _module(
    name: str, module: ModuleType, things: Things, names: Mapping[int, str], homes: Mapping[str, str], evaluate: bool
) -> Iterator[tuple[str, Symbols]]:
    part: Symbols = {"": {"kind": "module", "documentation": things.values.text(vars(module).get("__doc__"))}}
    assigned: set[str] = set()
    classes: dict[str, type] = {}
    for symbol, value in _named(module, homes):
        if evaluate:
            for code in functions_of(value):
                assigned |= rebound(code)
        first = names.get(id(value))
        if first is not None and first != f"{name}:{symbol}":
            part[symbol] = {"kind": "alias", "is": first}
        elif _is_own_class(value, name, homes):
            part[symbol] = things.describe_class(value)
            classes[symbol] = value
        else:
            part[symbol] = things.describe(value)
        owner, _, member = symbol.rpartition(".")
        if owner in classes and _is_inherited(classes[owner], member):
            part[symbol]["overrides"] = "1"
        if len(part) >= PARTS:
            yield name, part
            part = {}
    if assigned:
        part.setdefault("", {"kind": "module"})["rebound"] = ", ".join(sorted(assigned))
    yield name, part


def _named(module: ModuleType, homes: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Every name of the module and of its own classes, and what it is bound to; classes before their members."""
    own = vars(module).get("__name__")
    home = homes.get(own, own) if type(own) is str else ""
    seen: set[int] = set()

    def classes(prefix: str, cls: type) -> Iterator[tuple[str, Any]]:
        seen.add(id(cls))
        for name, value in Things.members(cls):
            yield f"{prefix}.{name}", value
            if _is_own_class(value, home, homes) and id(value) not in seen:
                yield from classes(f"{prefix}.{name}", value)

    for name, value in list(vars(module).items()):
        if type(name) is not str or name in _OF_THE_IMPORT:
            continue
        if issubclass(type(value), ModuleType) and _name_of(value) == f"{own}.{name}":
            continue  # a submodule is an attribute of its package from when somebody imports it
        yield name, value
        if _is_own_class(value, home, homes) and id(value) not in seen:
            yield from classes(name, value)


def _has_identity(kind: type) -> bool:
    """Whether it matters which of several equal ones it is. Of what typing and ``re`` keep in caches it does not."""
    return issubclass(kind, _WITH_IDENTITY) or (
        is_made_at_run_time(kind) and module_of(kind) not in ("re", "typing", "types")
    )


def _is_home(value: Any, name: str, symbol: str, homes: Mapping[str, str]) -> bool:
    """Whether a function or class has this name by its definition: whatever else it is called, that comes first."""
    module: Any
    if type(value) is FunctionType or type(value) is LRU:
        module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    elif issubclass(type(value), type):
        module, qualname = space_of(value).get("__module__"), qualname_of(value)
    else:
        return False
    return bool(qualname == symbol and type(module) is str and homes.get(module, module) == name)


def _is_inherited(cls: type, name: str) -> bool:
    """Whether instances would find the name without this class's own."""
    return any(name in space_of(base) for base in mro_of(cls)[1:])


def _name_of(module: ModuleType) -> Any:
    space = ModuleType.__getattribute__(module, "__dict__")
    return space.get("__name__")


def _is_own_class(value: Any, home: str, homes: Mapping[str, str]) -> bool:
    if not issubclass(type(value), type):
        return False
    module = space_of(value).get("__module__")
    return type(module) is str and homes.get(module, module) == home

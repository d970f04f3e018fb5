"""Caches that would go on giving what the old version computed: emptied in the switch, loading and unloading.

``functools.lru_cache`` and ``cache`` of the patch's modules are emptied where the function behind is changed, or uses,
by its names and through other functions of its module, something that the patch changes there. Emptying is one C call,
and a copy that the commit takes keeps what was in it alive, so that nothing is destroyed in the midst of the switch.
A call that was inside at the switch may store what it has computed a moment later, so they are emptied again after it.

Frameworks have caches of their own. They name a callable in the entry-point group ``pylivepatch.caches``; each is
called after a switch with the names of the modules that it changed. What it raises is reported, and undoes nothing.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch import events, generic, memos
from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.pace import give_way
from pylivepatch.part import Part
from pylivepatch.transition.swap import Attribute, Cache

GROUP = "pylivepatch.caches"
_Wrapper = functools._lru_cache_wrapper


def add_caches(part: Part) -> None:
    """Let the switch of a module's part empty the caches that depend on what it changes."""
    changed = {label.rpartition(":")[2].rpartition(".")[2] for label in _labels(part)}
    switched = {id(function) for switch in part.switches for function in switch.live()}
    for module in part.modules:
        wrappers = list(_wrappers(module))
        if not wrappers:
            continue
        uses = _users(module, changed)
        for name, wrapper in wrappers:
            functions = unwrap(wrapper)
            if any(id(function) in switched or function.__name__ in uses for function in functions):
                part.attributes += _emptied(wrapper, f"{module.__name__}:{name}")


def empty_again(parts: Sequence[Part]) -> None:
    """After the switch: what was computed by a call that ended in that moment."""
    for part in parts:
        for attribute in part.attributes:
            if isinstance(attribute.owner, Cache):
                attribute.owner.wrapper.cache_clear()
    memos.forget(attribute for part in parts for attribute in part.attributes)
    generic.empty_again(attribute for part in parts for attribute in part.attributes)


def _labels(part: Part) -> Iterator[str]:
    yield from (switch.name for switch in part.switches)
    yield from (attribute.label for attribute in part.attributes)


def _emptied(wrapper: Any, label: str) -> Iterator[Attribute]:
    kept = [one for one in gc.get_referents(wrapper) if type(one) is dict and one is not vars(wrapper)]
    if len(kept) == 1:
        yield Attribute(Cache(wrapper, kept[0]), "", None, None, label)


def _wrappers(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The caches of functions of this module, in it and in its classes, by name."""
    queue: list[tuple[str, Any]] = list(vars(module).items())
    met: set[int] = set()
    for number, (name, value) in enumerate(queue):  # grows
        if number % 200 == 199:
            give_way()
        thing = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        thing = thing.fget if isinstance(thing, property) else thing
        if id(thing) in met:
            continue
        met.add(id(thing))
        if type(thing) is _Wrapper:
            if any(function.__globals__ is vars(module) for function in unwrap(thing)):
                yield name, thing
        elif isinstance(thing, type) and thing.__module__ == module.__name__:
            queue += [(f"{name}.{key}", inner) for key, inner in vars(thing).items()]


def _users(module: ModuleType, changed: set[str]) -> set[str]:
    """The names of the module's functions that use one of the names ``changed``, directly or through each other."""
    mentions: dict[str, set[str]] = {}
    queue: list[Any] = list(vars(module).values())
    met: set[int] = set()
    for number, value in enumerate(queue):  # grows
        if number % 200 == 199:
            give_way()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, type):
            queue += vars(value).values() if value.__module__ == module.__name__ else ()
            continue
        for function in unwrap(value):
            if isinstance(function, FunctionType) and function.__globals__ is vars(module):
                mentions.setdefault(function.__name__, set()).update(_names(function.__code__))
    found: set[str] = set()
    while True:
        more = {name for name, used in mentions.items() if name not in found and used & (changed | found)}
        if not more:
            return found
        found |= more


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


# --- other people's caches ----------------------------------------------------------------------------------


def tell_others(patch: str, modules: Iterable[str]) -> list[dict[str, str]]:
    """Call what the group's entry points name. What came of each: ``name``, and ``error`` where it failed."""
    names, outcomes = frozenset(modules), []
    for name, target in _entry_points():
        outcome = {"name": name}
        try:
            _found(target)(names)
        except Exception as error:
            outcome["error"] = f"{type(error).__name__}: {error}"
            events.log.warning("%s: emptying the caches of %s failed: %s", patch, name, outcome["error"])
        outcomes.append(outcome)
    return outcomes


def _found(target: str) -> Callable[[frozenset[str]], Any]:
    home, _, name = target.partition(":")
    found: Any = importlib.import_module(home)
    for part in name.split(".") if name else ():
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{target} is no callable")
    return partial(found)


_listed: dict[str, tuple[int, list[str]]] = {}
"""Folder → when it changed, and the folders of distributions in it."""
_named: dict[str, tuple[int, int, list[tuple[str, str]]]] = {}
"""A distribution's folder → when it changed, when its list of entry points did (0: it has none), and the group's."""
_SETTLED = 2.0  # seconds; a file system's clock is coarse: what changed just now may change again at the same time


def _entry_points() -> list[tuple[str, str]]:
    """Name and target of each entry point of the group. Read here: ``importlib.metadata`` is a large import.

    What did not change since the last switch is not read again: that asks for two times of change a distribution.
    """
    found: dict[str, str] = {}
    for folder in filter(os.path.isdir, dict.fromkeys(os.path.abspath(path) for path in sys.path)):
        for place in _distributions(folder):
            for name, target in _group_of(place):
                found.setdefault(name, target)
    return list(found.items())


def _distributions(folder: str) -> list[str]:
    changed = _changed(folder)
    known = _listed.get(folder)
    if known is not None and known[0] == changed:
        return known[1]
    places: list[str] = []
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info"))]
        places += [os.path.join(folder, name) for name in names]
    if _is_settled(changed):
        _listed[folder] = changed, places
    return places


def _group_of(place: str) -> list[tuple[str, str]]:
    changed = _changed(place)
    known = _named.get(place)
    file = os.path.join(place, "entry_points.txt")
    if known is not None and known[0] == changed and (not known[1] or known[1] == _changed(file)):
        return known[2]
    give_way()
    text, written = "", _changed(file) if os.path.isfile(file) else 0
    with suppress(OSError, UnicodeError):
        text += Path(file).read_text("utf-8") if written else ""
    entries = list(_section(text)) if f"[{GROUP}]" in text else []
    if _is_settled(max(changed, written)):
        _named[place] = changed, written, entries
    return entries


def _changed(path: str) -> int:
    """When a file or folder changed, in nanoseconds; 0 where it is gone meanwhile."""
    with suppress(OSError):
        return os.stat(path).st_mtime_ns
    return 0


def _is_settled(changed: int) -> bool:
    return 0 < changed < (time.time() - _SETTLED) * 1e9


def _section(text: str) -> Iterator[tuple[str, str]]:
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield name.strip(), target.partition("[")[0].strip()

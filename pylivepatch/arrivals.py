"""Modules that are not imported yet: told of as they arrive, as the kernel tells livepatch of a coming module.

An import hook stands in ``sys.meta_path`` only while somebody waits. It lets the ordinary finders find the module
and wraps its loader, so that the waiting part of a patch is applied when the module's code has run and before
anybody who imports it goes on.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from types import ModuleType
from typing import Any

Arrived = Callable[[ModuleType], None]
_waiting: dict[str, list[tuple[object, Arrived]]] = {}  # by module name: who waits, and what to call


def expect(names: Iterable[str], waiter: object, arrived: Arrived) -> None:
    """Call ``arrived`` with each of these modules, once, as soon as it has been executed."""
    for name in names:
        _waiting.setdefault(name, []).append((waiter, arrived))
    if _waiting and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget(waiter: object, *, but: Collection[str] = ()) -> None:
    """``waiter`` waits no longer, except for the modules in ``but``. Others may, for the same modules."""
    for name, those in list(_waiting.items()):
        if name in but:
            continue
        those[:] = [entry for entry in those if entry[0] is not waiter]
        if not those:
            _waiting.pop(name, None)
    _leave_if_idle()


def _leave_if_idle() -> None:
    if not _waiting and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The module's own loader, and a word to those who wait after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:  # get_source, get_data, is_package …
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        if sys.modules.get(module.__name__) is not module:
            return  # somebody executed the file for himself: the real import is still to come
        for _, arrived in _waiting.pop(module.__name__, ()):
            arrived(module)
        _leave_if_idle()


_finder = _Finder()

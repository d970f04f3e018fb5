"""The process's own portrait: which of its modules, and what they run, in lines that an agent can send one by one."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from types import ModuleType
from typing import Any

from pylivepatch import core, underway
from pylivepatch.errors import TargetBusy
from pylivepatch.part import live_modules
from pylivepatch.portrait import portray
from pylivepatch.portrait.process import describe_process

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def portrait(modules: Sequence[str] = (), packages: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """First ``{"process", "applied", "modules"}``, then ``{"portrait": module, "symbols"}`` of each, part by part.

    ``modules`` are wanted by name, as a patch names them. Beside them come the loaded modules of the top-level
    ``packages``; ``None`` means all that lie outside of the standard library. Only modules made from Python source.

    Raises :class:`TargetBusy` where a transition is under way, or came in between.
    """
    _check_quiet(None)
    stack = core.patches()
    chosen, copies = _choose(modules, packages)
    yield {
        "process": describe_process(),
        "applied": [applied.name for applied in stack],
        "modules": [[name, _script(module)] for name, module in chosen.items()],
    }
    for name, symbols in portray(chosen):
        yield {"portrait": name, "symbols": symbols}
    for name, copy in copies.items():
        for part, symbols in portray({**chosen, name: copy}):
            if part == name:
                yield {"portrait": f"{name} as {copy.__name__}", "symbols": symbols}
    _check_quiet(stack)


def _check_quiet(stack: tuple[core.Applied, ...] | None) -> None:
    if underway.status() is not None or (stack is not None and core.patches() != stack):
        raise TargetBusy(
            "a patch is being loaded or unloaded in this process, so it runs neither version as a whole",
            advice="verify again when it is done; `pylivepatch status` tells",
        )


def _choose(
    modules: Sequence[str], packages: Collection[str] | None
) -> tuple[dict[str, ModuleType], dict[str, ModuleType]]:
    """The modules by name, in the order of their first import, and second copies of some (``__main__``)."""
    chosen: dict[str, ModuleType] = {}
    copies: dict[str, ModuleType] = {}
    wanted: dict[int, str] = {}
    for name in modules:
        for module in live_modules(name):  # sys.modules' own first
            if name not in wanted.values():
                wanted[id(module)] = name
            else:
                copies[name] = module
    taken = {*map(id, copies.values())}
    for key, module in list(sys.modules.items()):
        if not issubclass(type(module), ModuleType) or id(module) in taken:
            continue
        name = wanted.get(id(module)) or (_name_of_main(module) if key == "__main__" else key)
        if id(module) in wanted or (name and _is_among(name, module, packages)):
            chosen[name] = module
            taken.add(id(module))
    main = sys.modules.get("__main__")
    if isinstance(main, ModuleType) and id(main) not in taken:
        stem = _stem(main)  # a script that is imported, too, has run twice
        if stem in chosen and vars(chosen[stem]).get("__file__") == os.path.abspath(str(vars(main)["__file__"])):
            copies.setdefault(stem, main)
    return chosen, copies


def _is_among(name: str, module: ModuleType, packages: Collection[str] | None) -> bool:
    file = vars(module).get("__file__")
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    top = name.partition(".")[0]
    if packages is not None:
        return top in packages
    if os.path.abspath(file).startswith(_OURS) or top == "bytecode":
        return False
    library = os.path.dirname(os.__file__) + os.sep
    return not file.startswith(library) or "-packages" in file[len(library) :]


def _name_of_main(main: ModuleType) -> str:
    spec = vars(main).get("__spec__")
    if spec is not None:
        return str(spec.name)
    stem = _stem(main)
    return stem if stem not in sys.modules else ""


def _stem(main: ModuleType) -> str:
    """The name that a script would be imported by, ``""`` for what is none."""
    stem, _ = os.path.splitext(os.path.basename(str(vars(main).get("__file__") or "")))
    return stem if stem.isidentifier() else ""


def _script(module: ModuleType) -> str:
    """The file of the module that was started as a program; ``""`` for one that was imported."""
    if module is not sys.modules.get("__main__"):
        return ""
    return os.path.abspath(str(vars(module).get("__file__") or ""))

"""What a process runs, module by module: to compare a patched one with a fresh one of the new release."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.functions import unwrap
from pylivepatch.compiled import normal_form

_PLAIN = (int, float, complex, str, bytes, bool, type(None), frozenset, tuple, re.Pattern)


def portrait(names: Iterable[str]) -> dict[str, str]:
    """``module:name`` → what it is, for every function, method, class and plain value of the modules."""
    found: dict[str, str] = {}
    for name in names:
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            for key, value in list(vars(module).items()):
                if not key.startswith("__") or key == "__all__":
                    _look(found, f"{name}:{key}", value, name)
    return found


def import_all(names: Iterable[str]) -> list[str]:
    """Import what can be imported here."""
    done = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as problem:  # a module of another platform, or one with needs of its own
            print(f"{name}: {type(problem).__name__}: {problem}", file=sys.stderr)
        else:
            done.append(name)
    return done


def _look(found: dict[str, str], key: str, value: Any, home: str) -> None:
    if _is(value, type):
        found[key] = f"class {value.__module__}.{value.__qualname__}"
        if value.__module__ == home and found[key].endswith(key.rpartition(":")[2]):
            for name, inner in list(vars(value).items()):
                if name not in ("__dict__", "__weakref__", "__doc__", "__static_attributes__", "__firstlineno__"):
                    _look(found, f"{key}.{name}", inner, home)
        return
    functions = unwrap(value)
    if functions:
        found[key] = " ".join(map(_function, functions))
    elif _is(value, ModuleType):
        if value.__name__.startswith(f"{home}."):
            return  # a submodule is an attribute of its package from when it is imported
        found[key] = f"module {value.__name__}"
    elif _is(value, *_PLAIN) and " object at 0x" not in repr(value) and " at 0x" not in repr(value):
        found[key] = f"{type(value).__name__} {_digest(value)}"
    else:
        found[key] = f"a {type(value).__qualname__}"


def _is(value: Any, *kinds: type) -> bool:
    """By the real type: to ask a lazy object for its class may run its code."""
    return issubclass(type(value), kinds)


def _function(function: FunctionType) -> str:
    code = normal_form(_without_lines(function.__code__))
    parts = code, function.__defaults__, function.__kwdefaults__, function.__doc__
    return f"{function.__module__}.{function.__qualname__} {_digest(parts)}"


def _without_lines(code: CodeType) -> CodeType:
    """Classes know their first line from Python 3.13 on, as a constant."""
    known = code.co_firstlineno if "__firstlineno__" in code.co_names else None
    consts = (
        _without_lines(one) if isinstance(one, CodeType) else 0 if type(one) is int and one == known else one
        for one in code.co_consts
    )
    return code.replace(co_consts=tuple(consts))


def _digest(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-f]+", "", _text(value))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    # A lazy text of Django's would ask for settings.
    return repr(value) if _is(value, *_PLAIN) or type(value) in (list, dict) else f"a {type(value).__qualname__}"

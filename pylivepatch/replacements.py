"""Hand-written pairs of functions (``Patch.replace``): the part of a patch for each."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.references import version_of
from pylivepatch.below import NOTHING, Below
from pylivepatch.errors import TargetNotFound, UnswappableShape
from pylivepatch.groups import unit_name
from pylivepatch.pairs import make_pair
from pylivepatch.part import ANNOTATIONS, Part, short
from pylivepatch.patch import Replacement
from pylivepatch.switches import function_switch
from pylivepatch.transition.swap import MISSING, Attribute, alike


def prepare_replacement(replacement: Replacement, below: Below = NOTHING) -> Part:
    """The part for one pair of live functions. Raises a :class:`PrepareError`."""
    _check_accessors(replacement)
    _check_layers(replacement)
    olds, news = unwrap(replacement.old), unwrap(replacement.new)
    label = getattr(replacement.old, "__qualname__", None) or repr(replacement.old)
    if not olds:
        raise TargetNotFound(
            f"{label} is no Python function and wraps none",
            where=str(label),
            advice="give the Python function that it calls; C functions cannot be patched",
        )
    if len(olds) != len(news):
        raise UnswappableShape(
            f"{label} stands for {len(olds)} functions, its replacement for {len(news)}",
            where=str(label),
            advice="give a Python function, or a property with the same accessors",
        )
    modules = [m for m in (sys.modules.get(olds[0].__module__ or ""),) if isinstance(m, ModuleType)]
    part = Part(olds[0].__module__ or "?", modules, unit=unit_name(olds[0].__qualname__), below=below)
    for old, new in zip(olds, news, strict=True):
        where = f"{old.__module__}:{old.__qualname__}"
        if old is new:
            raise UnswappableShape("a function cannot replace itself", where=where, advice="give another function")
        code = below.code(old)
        if "__class__" in new.__code__.co_freevars and "__class__" not in code.co_freevars:
            raise UnswappableShape(
                "the replacement uses super() or __class__ of its own class, and the function has none",
                where=where,
                advice="name the class instead: super(Class, self)",
            )
        fits = new.__code__.co_freevars == code.co_freevars and _same_globals(old, new)
        # A copy: the replacement itself may be called by others, and their references are not ours.
        pair = make_pair(code, new.__code__.replace(co_name=new.__code__.co_name))
        part.keep.append(version_of(new.__code__))
        switch = function_switch(part, pair, [old], where, owner=None, new=None if fits else new)
        switch.everywhere = False
        part.switches.append(switch)
        for name in ("__defaults__", "__kwdefaults__", ANNOTATIONS, "__doc__"):
            before, after = below.value(old, name, getattr(old, name)), getattr(new, name)
            if _differ(before, after):
                part.attributes.append(Attribute(old, name, before, after, f"{where}.{name}"))
    return part


def _layers(thing: Any) -> list[tuple[str, Any]]:
    """What stands around the function that ``thing`` leads to, from the outside in."""
    found: list[tuple[str, Any]] = []
    while len(found) < 20:
        if isinstance(thing, functools.partial):
            found.append(("a partial", (thing.args, thing.keywords)))
            thing = thing.func
        elif isinstance(thing, MethodType | staticmethod | classmethod):
            found.append(("a method", None))
            thing = thing.__func__
        elif hasattr(thing, "__wrapped__"):
            found.append(("a decorator", None))
            thing = thing.__wrapped__
        else:
            break
    return found


def _check_layers(replacement: Replacement) -> None:
    """Only the innermost function moves: what stands around the new one must stand around the old one too."""
    old, new = _layers(replacement.old), _layers(replacement.new)
    if new and not alike(new, old):
        raise UnswappableShape(
            f"the replacement is inside {' in '.join(label for label, _ in new)}, which would be left out",
            where=str(getattr(replacement.new, "__qualname__", None) or short(replacement.new)),
            advice="only its function moves: give the plain one, or one with the decorators that the old one has",
        )


def _check_accessors(replacement: Replacement) -> None:
    """A property's accessors are paired one by one: both must have the same."""
    old, new = replacement.old, replacement.new
    if not (isinstance(old, property) and isinstance(new, property)):
        return
    for name in ("fget", "fset", "fdel"):
        if (getattr(old, name) is None) is not (getattr(new, name) is None):
            raise UnswappableShape(
                f"one of the properties has {name}, and the other has not",
                where=getattr(old.fget or old.fset or old.fdel, "__qualname__", "property"),
                advice="give a property with the same accessors",
            )


def _differ(before: Any, after: Any) -> bool:
    """Whether two attributes of functions differ. Values by identity: 1 equals True, and an array may equal nothing."""
    if type(before) is tuple and type(after) is tuple:
        return len(before) != len(after) or any(map(operator.is_not, before, after))
    if type(before) is dict and type(after) is dict:
        return list(before) != list(after) or any(map(operator.is_not, before.values(), after.values()))
    if type(before) is str and type(after) is str:
        return before != after
    return before is not after


def _same_globals(old: FunctionType, new: FunctionType) -> bool:
    """Whether every global name that the new code may look up means the same in the old function's module."""
    if old.__globals__ is new.__globals__:
        return True
    if any(inspect.iscode(const) for const in new.__code__.co_consts):
        return False
    builtins = vars(sys.modules["builtins"])
    return all(
        old.__globals__.get(name, builtins.get(name, MISSING)) is new.__globals__.get(name, builtins.get(name, MISSING))
        and (name in new.__globals__ or name in builtins)
        for name in _global_names(new.__code__)
    )


def _global_names(code: CodeType) -> set[str]:
    import dis

    looks_up = ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME")
    return {str(i.argval) for i in dis.get_instructions(code) if i.opname in looks_up}

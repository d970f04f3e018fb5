"""Memos that instances keep of what the old version made, and would make again: forgotten in the switch, both ways.

``self.memo = {}`` in ``__init__``, and methods that look something up in it or make and remember it. The instances
that have one are not known, and need not be: at the switch their class gets a data descriptor of that name, which comes
before what is in the instance. It gives each instance a memo of its own, empty at first, and at the unload it goes,
with all that the new version has made; the instance has its old one again.

So a memo never holds what the other version made, for all instances and at one instant, whenever they were made. One
way would remain: a call that has made something of the old value, and remembers it a moment after the switch, in the
new memo. The methods that fill it are therefore left like functions that go (``switches.leave``): nobody may be inside
one at the switch, nor at the unload, and what they put in they have made themselves, of nothing older
(``build/kept.py``).
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.pace import give_way
from pylivepatch.errors import DataMismatch, UnswappableShape
from pylivepatch.items import Item
from pylivepatch.locate import locate
from pylivepatch.part import Part, bind_in_class, class_key, class_named, short
from pylivepatch.switches import leave
from pylivepatch.transition.swap import MISSING, Attribute


class Memo:
    """Gives each instance a memo of what this version made. On the class itself there is no such attribute.

    It is an item of the memo that the instance has, under a key that nobody else has: so it lives as long as the
    instance, and no longer (a memo often leads back to its instance), and copies of the instance share it as they share
    the other. The methods that use the memo ask for their keys only, and do not see it. When the patch is gone,
    :meth:`forget` takes it out. ``replaced`` is that of a patch whose place this one's takes.
    """

    def __init__(self, name: str, replaced: Memo | None = None) -> None:
        self.name, self.replaced = name, replaced
        self.key = f"<livepatch memo {os.urandom(16).hex()}>"  # another process may get it with a pickle
        self._having: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self.name!r}")
        try:
            whole = object.__getattribute__(instance, "__dict__")[self.name]
        except KeyError:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}") from None
        try:
            return whole[self.key]
        except KeyError:
            self._note(instance)
            return whole.setdefault(self.key, {})  # one C call: all threads get one

    def __set__(self, instance: Any, value: Any) -> None:
        self._note(instance)
        object.__getattribute__(instance, "__dict__")[self.name] = {self.key: value}

    def __delete__(self, instance: Any) -> None:
        if object.__getattribute__(instance, "__dict__").pop(self.name, None) is None:
            raise AttributeError(self.name)

    def _note(self, instance: Any) -> None:
        with suppress(TypeError):  # it cannot be referenced weakly: then it keeps the item
            self._having[id(instance)] = instance

    def forget(self) -> None:
        """After the unload: let the instances have nothing of it."""
        for instance in list(self._having.values()):
            whole = object.__getattribute__(instance, "__dict__").get(self.name)
            if isinstance(whole, dict):
                whole.pop(self.key, None)

    def __repr__(self) -> str:
        return f"<livepatch memo of {self.name}>"


def forget(attributes: Iterable[Attribute]) -> None:
    """After a switch: let nothing be left of the memos that are no longer in force."""
    for attribute in attributes:
        memo = attribute.new
        if isinstance(memo, Memo):
            gone = memo.replaced if attribute.current() is memo else memo
            if gone is not None:
                gone.forget()


def verify_memo(part_of: ModuleType, item: Item, below: Any) -> None:
    """Find the methods that use it. Raises a :class:`PrepareError`."""
    _, _, made, used = marshal.loads(item.payload)
    for qualname, code in (made, *((qualname, goes[0]) for qualname, goes in used)):
        locate(part_of, qualname, code, below)


def load_memo(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner, name, made, used = marshal.loads(item.payload)
    cls = class_named(module, owner, where)
    key = class_key(cls, name)
    current = vars(cls).get(key, MISSING)
    found = part.below.value(cls, key, current)
    if found is not MISSING and type(found) is not Memo:
        raise DataMismatch(
            f"the class has {short(found)} of that name, and instances would not find their own",
            where=where,
            advice="somebody set it at run time: take that out first",
        )
    if not cls.__dictoffset__:
        raise UnswappableShape(
            f"instances of {owner} have no __dict__",
            where=where,
            advice="give the instances new memos in a callback (--hooks)",
        )
    known = locate(module, made[0], made[1], part.below)
    for qualname, goes in used:
        functions = locate(module, qualname, goes[0], part.below)
        known += functions
        for function in functions:
            leave(part, function, goes, f"{module.__name__}:{qualname}")
    _check_others(cls, {name, key}, {id(function) for function in known}, where)
    replaced = current if isinstance(current, Memo) and current is not found else None
    bind_in_class(part, cls, key, Memo(key, replaced), where)


def _check_others(cls: type, names: set[str], known: set[int], where: str) -> None:
    """Raise :class:`UnswappableShape` where a class that the builder has not seen uses the memo, too: one that derives
    from ``cls``, or is a base of one that does.
    """
    heirs: list[type] = [cls]
    for heir in heirs:  # grows
        children: list[type] = type.__subclasses__(heir)
        heirs += [child for child in children if child not in heirs]
    for one in dict.fromkeys(base for heir in heirs for base in heir.__mro__ if base is not object):
        give_way()
        others = [f"{one.__module__}:{one.__qualname__}"] if one is not cls and not names.isdisjoint(vars(one)) else []
        for value in list(vars(one).values()):
            others += [
                f"{function.__module__}:{function.__qualname__}"
                for function in unwrap(value)
                if id(function) not in known and not names.isdisjoint(_words(function.__code__))
            ]
        if others:
            raise UnswappableShape(
                f"{others[0]} uses it, too, in a way that the patch does not know",
                where=where,
                advice="give the instances new memos in a callback (--hooks) that knows this class",
            )


def _words(code: CodeType) -> Iterator[str]:
    """The names and texts in a function."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _words(const)
        elif isinstance(const, str):
            yield const

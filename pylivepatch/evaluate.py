"""The values of a new version, made in the live process while nobody can see them yet.

Expressions run in a namespace of their own: the module's names, and over them what the patch has made for the module
so far. A name that asks for another module's (or a class's) value of the same patch (``symbols``) gets what was made
there. Where a list, dict or set is to get its new content in place, what keeps the container itself must keep the live
one: the result is looked through for the new content, and gets the container in its stead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any, Protocol

from pylivepatch.commit import MISSING
from pylivepatch.errors import PrepareError
from pylivepatch.symbols import asked_for
from pylivepatch.transition.swap import alike

IN_PLACE = (list, dict, set)
"""What gets new content instead of being replaced: of exactly these types."""


@dataclass(slots=True)
class Made:
    """What a patch has made for one module: by qualified name, the value before and after.

    ``containers``: by the ``id`` of a new content, that and the live container that is to get it. ``constants``: what
    an expression gave, where that is a constant: ``a = b = "text"`` is compiled for each name, and makes one object.
    """

    values: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    containers: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    constants: dict[CodeType, Any] = field(default_factory=dict)


class HasMade(Protocol):
    """A module's part of a patch, as far as it is prepared."""

    made: Made


Original = Callable[[Any, str, Any], Any]
"""Owner (a module's dict, or a class), name, and what it is bound to now → what it was bound to."""


def evaluate(
    code: CodeType,
    module: ModuleType,
    scratch: Mapping[str, Any],
    prepared: Mapping[str, HasMade],
    seen: Mapping[str, Any] | None = None,
    original: Original | None = None,
) -> Any:
    """The value of the expression ``code``. ``seen`` are names of the module that are to mean something else;
    ``original`` says what names of other modules meant, where patches that are to be replaced have bound them.

    Raises :class:`PrepareError` where it asks for what is not prepared, and whatever the expression raises.
    """
    space = {**vars(module), **(seen or {}), **scratch}  # one dict: a comprehension sees the global names only
    for name, is_new, home, symbol in asked_for(code):
        space[name] = value_of(home, symbol, is_new, prepared, original)
    value = eval(code, space)
    containers = {key: pair for part in prepared.values() for key, pair in part.made.containers.items()}
    return _with_live(value, containers) if containers and id(value) not in containers else value


def value_of(
    home: str, symbol: str, is_new: bool, prepared: Mapping[str, HasMade], original: Original | None = None
) -> Any:
    """What the patch has made of another module's (or class's) ``symbol``, or what that was before.

    Raises :class:`PrepareError` where it is not prepared.
    """
    part = prepared.get(home)
    value: Any = MISSING
    if part is not None and symbol in part.made.values:
        value = part.made.values[symbol][1 if is_new else 0]
    elif not is_new:
        value = importlib.import_module(home)
        for name in symbol.split("."):
            owner = value
            value = vars(owner).get(name, MISSING) if isinstance(owner, ModuleType | type) else MISSING
            if original is not None and isinstance(owner, ModuleType | type):
                value = original(vars(owner) if isinstance(owner, ModuleType) else owner, name, value)
    if value is MISSING:
        raise PrepareError(
            f"{symbol} of the module {home} is not there" + (", or not prepared yet" if is_new else ""),
            where=f"{home}:{symbol}",
            advice="build the patch again, against the version that this process runs",
        )
    return value


def _with_live(value: Any, containers: Mapping[int, tuple[Any, Any]]) -> Any:
    """``value`` with live containers in the place of their new contents. What holds none stays the same object."""
    if id(value) in containers:
        return containers[id(value)][1]
    if type(value) is dict:
        items = {key: _with_live(item, containers) for key, item in value.items()}
        return items if any(item is not value[key] for key, item in items.items()) else value
    if type(value) in (list, tuple):
        parts = [_with_live(item, containers) for item in value]
        same = all(one is other for one, other in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    return value


def content_for(live: Any, value: Any) -> Any:
    """The new content of the live container: items of a dict that did not change stay the same objects."""
    if type(live) is dict:
        return {key: live[key] if key in live and alike(live[key], item) else item for key, item in value.items()}
    return value

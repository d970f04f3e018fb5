"""What a patch does to one module, prepared: what it binds, in what, and whether that can be bound at all."""

from __future__ import annotations

import inspect
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.references import Version
from pylivepatch.below import NOTHING, Below
from pylivepatch.commit import read_attribute
from pylivepatch.errors import DataMismatch, TargetNotFound, UnswappableShape
from pylivepatch.evaluate import Made
from pylivepatch.locate import REBUILD, mangled, static_lookup
from pylivepatch.transition.swap import Attribute, Guard, Switch

ANNOTATIONS = "__annotate__" if sys.version_info >= (3, 14) else "__annotations__"


@dataclass(slots=True, weakref_slot=True)
class Part:
    """What a patch does to one module, ready to be switched and, later, to be switched back (``klp_object``).

    ``added`` are functions that only the new version has: on the way back nobody may be inside them.
    ``guards_old`` must be idle when it is loaded, ``guards_new`` when it is taken out.
    """

    name: str
    modules: list[ModuleType]
    switches: list[Switch] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    added: list[Switch] = field(default_factory=list)
    guards_old: list[Guard] = field(default_factory=list)
    guards_new: list[Guard] = field(default_factory=list)
    source: tuple[str, bytes] | None = None  # file name of the new code, and the compressed source
    keep: list[Version] = field(default_factory=list)
    arriving: bool = False
    wrapped: list[str] = field(default_factory=list)  # functions that another tool has wrapped: what is inside moves
    unit: str = ""  # of a pair made by hand: what is never divided, see groups.py
    below: Below = NOTHING
    prepared: MutableMapping[str, Any] = field(default_factory=dict)  # the parts of the same patch, by module
    made: Made = field(default_factory=Made)
    brought: Any = None  # the new module that this is the part of (see ``brought``)


def live_modules(name: str) -> list[ModuleType]:
    """The loaded module of that name, and ``__main__`` where it was started as that module or from its file."""
    found: list[ModuleType] = []
    module = sys.modules.get(name)
    if isinstance(module, ModuleType):
        found.append(module)
    elif module is not None:
        raise TargetNotFound(
            f"sys.modules has something else under this name: {short(module)}",
            where=name,
            advice="patch the module that it stands for, by that one's name",
        )
    main = sys.modules.get("__main__")
    if isinstance(main, ModuleType) and main not in found:
        spec = getattr(main, "__spec__", None)
        file = str(getattr(main, "__file__", None) or "").replace("\\", "/")
        if spec is not None:  # python -m
            matches = name == spec.name
        else:  # python scripts/serve.py, patched as serve or scripts.serve
            matches = not found and file.endswith("/" + name.replace(".", "/") + ".py")
        if matches:
            found.append(main)
    return found


def bind(part: Part, owner: Any, name: str, value: Any, where: str) -> None:
    check_bindable(owner, name, where, new=(vars(owner) if isinstance(owner, type) else owner).get(name) is None)
    old = part.below.value(owner, name, read_attribute(owner, name)())
    # A property that gets several accessors is bound once, as the last of them makes it.
    part.attributes[:] = [a for a in part.attributes if not (a.owner is owner and a.name == name)]
    part.attributes.append(Attribute(owner, name, old, value, where))


def carry(part: Part, function: FunctionType, name: str, value: Any, where: str) -> None:
    old = part.below.value(function, name, getattr(function, name, None))
    part.attributes.append(Attribute(function, name, old, value, f"{where}.{name}"))


def bind_in_class(part: Part, owner: type, name: str, value: Any, where: str) -> None:
    """Have the switch bind a new class attribute.

    Raises a :class:`PrepareError` where the class cannot take it, or it would hide a property of a base.
    """
    check_unhidden(owner, name, where)
    bind(part, owner, name, value, where)


def check_bindable(owner: Any, name: str, where: str, *, new: bool) -> None:
    """A class must take the name in, and let it go again, without anybody having a say."""
    if not isinstance(owner, type):
        return
    for meta in inspect.getmro(type(owner)):
        if meta not in (type, object) and hasattr(type(vars(meta).get(name)), "__set__"):
            raise UnswappableShape(
                f"the metaclass {meta.__qualname__} has a descriptor named {name}, which would be called instead",
                where=where,
                advice="choose another name, or restart the process with the new version",
            )
    if new and name == "__new__":
        raise UnswappableShape(
            "a class that has got a __new__ cannot be made to forget it again: CPython goes on calling it",
            where=where,
            advice="do it in __init__, or in a function that makes the objects",
        )


def check_unhidden(owner: type, key: str, where: str) -> None:
    """A new class attribute must not hide a property of a base, through which instances get what they set."""
    for base in owner.__mro__[1:]:
        if hasattr(type(vars(base).get(key)), "__set__"):
            raise DataMismatch(
                f"the base class {base.__qualname__} has a property {key}, which a new class attribute would hide",
                where=where,
                advice="build the patch without this attribute, or give it another name",
            )


def class_key(owner: type, name: str) -> str:
    """How the class's dict spells the name: private ones are mangled."""
    return mangled(owner, name)


def owner_of(module: ModuleType, qualname: str) -> type | None:
    """The class that a method's qualified name is in; ``None`` for a module-level function."""
    outer = qualname.rpartition(".")[0]
    if not outer or outer.endswith("<locals>"):
        return None
    return class_named(module, outer, f"{module.__name__}:{qualname}")


def class_named(module: ModuleType, qualname: str, where: str) -> type:
    cls = static_lookup(module, qualname)
    if not isinstance(cls, type):
        raise TargetNotFound(f"the module has no class {qualname}", where=where, advice=REBUILD)
    return cls


def annotations_of(values: dict[str, Any]) -> Any:
    """What to assign to ``ANNOTATIONS``: the dict itself, or, since 3.14, a function that gives it (PEP 649)."""
    if ANNOTATIONS == "__annotations__":
        return values

    def __annotate__(format: int, /) -> dict[str, Any]:
        if format == 4:  # annotationlib.Format.STRING; the module is not imported for the other formats
            from annotationlib import annotations_to_string  # type: ignore[import-not-found]

            return dict(annotations_to_string(values))
        if format == 2:  # VALUE_WITH_FAKE_GLOBALS: nothing here looks a name up
            raise NotImplementedError(format)
        return dict(values)

    return __annotate__


def short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 60 else text[:57] + "..."

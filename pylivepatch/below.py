"""The process as it would be without some patches: what a cumulative patch, which replaces them, is built against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

from pylivepatch.activeness.functions import unwrap
from pylivepatch.activeness.references import Version
from pylivepatch.commit import MISSING, Entry, owner_key
from pylivepatch.transition.swap import Attribute, Switch


class Layer(Protocol):
    """What is read of a part of a patch."""

    switches: list[Switch]
    attributes: list[Attribute]


class Below:
    """Sees through ``layers``, the parts of the patches that are to be replaced, oldest first; without any, sees what
    is there.
    """

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        self._under: dict[int, Version] = {}  # by the id of the code; a Version's own reference is on the books
        self._values: dict[tuple[int, str], Any] = {}
        self._entries: dict[int, dict[type, Any]] = {}
        for layer in layers:
            for switch in (s for top in layer.switches for s in top):
                self._under[id(switch.new.code)] = switch.old
            for attribute in layer.attributes:
                self._values.setdefault(attribute.key, attribute.old)
                if isinstance(attribute.owner, Entry):
                    entries = self._entries.setdefault(id(attribute.owner.items), {})
                    entries.setdefault(attribute.owner.key, attribute.old)

    def code(self, function: FunctionType) -> CodeType:
        """What the function ran before the patches."""
        code = function.__code__
        while id(code) in self._under:
            code = self._under[id(code)].code
        return code

    def value(self, owner: Any, name: str, current: Any) -> Any:
        """What ``name`` was bound to before the patches; ``current`` is what it is bound to now."""
        return self._values.get(owner_key(owner, name), current)

    def entries(self, items: dict[Any, Any]) -> dict[Any, Any]:
        """What the registry of a generic function had before the patches."""
        found = {**items, **self._entries.get(id(items), {})}
        return {key: value for key, value in found.items() if value is not MISSING}

    def taken_out(self, module: ModuleType) -> Iterator[FunctionType]:
        """The module's functions that registries had before the patches: nothing else may lead to those taken out."""
        for entries in self._entries.values():
            for value in entries.values():
                yield from (function for function in unwrap(value) if function.__globals__ is vars(module))


NOTHING = Below()
"""No patch is to be replaced."""

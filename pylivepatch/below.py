"""The process as it would be without some patches: what a cumulative patch, which replaces them, is built against."""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, FunctionType
from typing import Any, Protocol

from pylivepatch.activeness.references import Version
from pylivepatch.commit import owner_key
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
        for layer in layers:
            for switch in (s for top in layer.switches for s in top):
                self._under[id(switch.new.code)] = switch.old
            for attribute in layer.attributes:
                self._values.setdefault(attribute.key, attribute.old)

    def code(self, function: FunctionType) -> CodeType:
        """What the function ran before the patches."""
        code = function.__code__
        while id(code) in self._under:
            code = self._under[id(code)].code
        return code

    def value(self, owner: Any, name: str, current: Any) -> Any:
        """What ``name`` was bound to before the patches; ``current`` is what it is bound to now."""
        return self._values.get(owner_key(owner, name), current)


NOTHING = Below()
"""No patch is to be replaced."""

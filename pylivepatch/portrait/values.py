"""Data as text: by value where that is safe and says all, else by type.

A text is whole up to :data:`LONGEST` characters; what is longer is its beginning and a digest of all of it. What was
met before within one description is referred to by its number, so that cycles end and sharing is told.
"""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import hashlib
import operator
import pathlib
import re
import sys
import time
import types
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any

from pylivepatch.portrait.kinds import base_in_c, ids_of, module_of, mro_of, name_of, space_of

LONGEST = 240
DEEPEST = 40  # data within data; what lies deeper is told by its type
_INSTANCES = 4  # instances within instances
_MOST = 200_000  # values looked at for one name
_SLICE = 0.0004  # seconds of the GIL at a time

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_WRITTEN = ids_of(float, complex, bool, types.NoneType, types.EllipsisType, types.NotImplementedType, range)
_WRITTEN |= ids_of(datetime.date, datetime.timedelta, datetime.timezone, decimal.Decimal, fractions.Fraction)
_WRITTEN |= ids_of(uuid.UUID, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath)
"""Types whose own ``repr`` says all, in the same words everywhere."""
_BUFFERS = ids_of(bytearray, array.array)
_REDUCED = ids_of(operator.itemgetter, operator.attrgetter, operator.methodcaller)
_MOMENTS = ids_of(datetime.datetime, datetime.time)
_FIXED = ids_of(types.NoneType, datetime.timezone)
_ORDINARY = ids_of(tuple, list, dict, set, frozenset)
_TYPING = ("typing", "types")
_OURS = frozenset({"dataclasses.Field", "dataclasses._DataclassParams", "types.SimpleNamespace", "string.Template"})
"""Classes of the standard library whose instances are no more than their attributes."""


class Pace:
    """Gives up the GIL within each millisecond: see ``activeness/pace.py`` for why."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def step(self) -> None:
        if time.perf_counter() - self._since > _SLICE:
            time.sleep(0)
            self._since = time.perf_counter()


class Values:
    """Writes data down. ``thing`` writes what is no data (a function, a class, a descriptor), or gives ``None``.

    ``changeable`` says of the last text whether something in it can change without the name being bound anew, and
    ``opaque`` counts what was told by its type only.
    """

    def __init__(self, pace: Pace, thing: Callable[[Any], str | None]) -> None:
        self.pace = pace
        self.thing = thing
        self.changeable = False
        self.opaque = 0
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []  # what was met stays alive, so that no id is used again
        self._left = _MOST
        self._instances = self._deep = 0
        self._unordered = 0

    def begin(self) -> None:
        """Begin the description of another name."""
        self._met, self._kept, self._left = {}, [], _MOST
        self.changeable = False

    def aside(self, value: Any) -> str:
        """A text that not every process writes at this point: what is met in it gets no number."""
        met, self._met = self._met, dict(self._met)
        try:
            return self.text(value)
        finally:
            self._met = met

    def text(self, value: Any) -> str:
        self.pace.step()
        self._left -= 1
        kind = type(value)
        if kind is str:
            return _bounded(repr(value)) if len(value) <= LONGEST else _long(repr(value[:80]), value)
        if kind is bytes:
            return repr(value) if len(value) <= LONGEST else _long(repr(value[:80]), value)
        if kind is int:
            return repr(value) if -(10**60) < value < 10**60 else _long(hex(value)[:60], hex(value))
        if id(kind) in _WRITTEN:
            return _bounded(repr(value))
        if self._left < 0 or self._deep > DEEPEST:
            return self._opaque(kind)
        self._deep += 1
        try:
            return self._inner(kind, value)
        finally:
            self._deep -= 1

    def _inner(self, kind: type, value: Any) -> str:
        told = self.thing(value)
        if told is not None:
            return told
        if issubclass(kind, ModuleType):
            return f"module {ModuleType.__getattribute__(value, '__name__')}"
        if issubclass(kind, enum.Enum):
            return f"{name_of(kind)}.{object.__getattribute__(value, '__dict__').get('_name_')}"
        if kind is re.Pattern:
            return f"re.compile({self.text(value.pattern)}, {value.flags:#x})"
        if module_of(kind) in _TYPING and kind is not types.SimpleNamespace:
            return _bounded(self._typing(kind, value))
        if id(kind) in _REDUCED:
            return f"{kind.__name__} {self.text(value.__reduce__()[1])}"
        if id(kind) in _MOMENTS and id(type(value.tzinfo)) in _FIXED:
            return repr(value)
        if id(kind) in _BUFFERS:
            self.changeable = True
            return f"{name_of(kind)} {getattr(value, 'typecode', '')} {self.text(bytes(value))}"
        if kind is slice:
            return f"slice({self.text(value.start)}, {self.text(value.stop)}, {self.text(value.step)})"
        for base, write in _PLAIN:
            if issubclass(kind, base):  # a class of somebody's own, that has a value all the same
                return self._with_state(kind, value, write(value))
        container = self._container(kind, value)
        if container is not None:
            return container
        return self._instance(kind, value)

    # --- containers -----------------------------------------------------------------------------------------

    def _container(self, kind: type, value: Any) -> str | None:
        name = "" if id(kind) in _ORDINARY else f"{name_of(kind)} "
        if issubclass(kind, tuple):
            return self._items(f"{name}(", map(self.text, tuple.__iter__(value)), ")")
        if issubclass(kind, frozenset):
            return self._unordered_items(name, frozenset.__iter__(value))
        mapping = issubclass(kind, dict) or kind is MappingProxyType
        if not mapping and not issubclass(kind, list | set | deque):
            return None
        self.changeable = True
        if (before := self._met_before(value)) is not None:
            return before
        try:
            if mapping:
                pairs = MappingProxyType.items(value) if kind is MappingProxyType else dict.items(value)
                if issubclass(kind, defaultdict):
                    name += f"of {self.text(value.default_factory)} "
                return self._items(f"{name}{{", (f"{self.text(k)}: {self.text(v)}" for k, v in pairs), "}")
            if issubclass(kind, list):
                return self._items(f"{name}[", map(self.text, list.__iter__(value)), "]")
            if issubclass(kind, deque):
                return self._items(f"{name}[", map(self.text, deque.__iter__(value)), "]")
            return self._unordered_items(name, set.__iter__(value))
        except RuntimeError:  # it changed while it was read
            return f"{name or name_of(kind) + ' '}(changing)"

    def _items(self, opening: str, texts: Iterator[str], closing: str) -> str:
        """The joined texts, put together piece by piece: no C call may take long."""
        shown, length, count = [], 0, 0
        whole = hashlib.sha256()
        for count, text in enumerate(texts, 1):  # noqa: B007
            whole.update(text.encode("utf-8", "surrogatepass") + b"\0")
            if length <= LONGEST:
                shown.append(text)
                length += len(text) + 2
        if length <= LONGEST:
            return f"{opening}{', '.join(shown)}{closing}"
        return f"{opening}{', '.join(shown)[:100]} … {count} items, {whole.hexdigest()[:16]}{closing}"

    def _unordered_items(self, name: str, items: Iterable[Any]) -> str:
        self._unordered += 1  # what is met in here is met in no order, and so gets no number
        try:
            texts = [self.text(item) for item in items]
        finally:
            self._unordered -= 1
        return self._items(f"{name}{{", iter(sorted(texts)), "}") if texts else f"{name}{{/}}"

    def _met_before(self, value: Any) -> str | None:
        number = self._met.get(id(value))
        if number is not None:
            return "…" if self._unordered else f"…{number}"
        self._kept.append(value)
        self._met[id(value)] = -1 if self._unordered else len(self._met)
        return None

    # --- instances ------------------------------------------------------------------------------------------

    def _instance(self, kind: type, value: Any) -> str:
        self.changeable = True
        state = self._state(kind, value)
        if state is None:
            return self._opaque(kind)
        if (before := self._met_before(value)) is not None:
            return f"{name_of(kind)} {before}"
        self._instances += 1
        try:
            return self._items(f"{name_of(kind)}(", (f"{k}={self.text(state[k])}" for k in sorted(state)), ")")
        finally:
            self._instances -= 1

    def _with_state(self, kind: type, value: Any, text: str) -> str:
        return f"{name_of(kind)}({_bounded(text)})"

    def _state(self, kind: type, value: Any) -> dict[str, Any] | None:
        """The attributes of an instance, read without running anything; ``None`` where they do not say what it is."""
        if kind is object or self._instances >= _INSTANCES or self._unordered:
            return None
        base = base_in_c(kind)
        if base is kind:
            return None
        self.opaque += base is not object  # some of what it is lies in C
        if module_of(kind).partition(".")[0] in sys.stdlib_module_names and name_of(kind) not in _OURS:
            return None
        try:
            found = object.__getattribute__(value, "__dict__")
        except AttributeError:
            found = None
        state = {str(key): item for key, item in dict.items(found)} if type(found) is dict else {}
        for cls in mro_of(kind):
            for name, member in space_of(cls).items():
                if type(member) is MemberDescriptorType and not name.startswith("__"):
                    try:
                        state.setdefault(name, member.__get__(value))
                    except AttributeError:
                        continue
        return state if state or type(found) is dict else None

    def _typing(self, kind: type, value: Any) -> str:
        if kind.__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple", "TypeAliasType", "NewType"):
            return f"{kind.__name__} {getattr(value, '__name__', '?')}"
        try:
            return _ADDRESS.sub("", repr(value))
        except Exception:
            return self._opaque(kind)

    def _opaque(self, kind: type) -> str:
        self.opaque += 1
        return f"a {name_of(kind)}"


_PLAIN: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (str, str.__repr__),
    (int, lambda value: hex(int.__index__(value))),
    (float, float.__repr__),
    (bytes, bytes.__repr__),
    (complex, complex.__repr__),
)


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else _long(text[:80], text)


def _long(beginning: str, whole: str | bytes) -> str:
    data = whole.encode("utf-8", "surrogatepass") if isinstance(whole, str) else whole
    return f"{beginning} … {len(whole)} long, {hashlib.sha256(data).hexdigest()[:16]}"

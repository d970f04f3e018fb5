"""Functions, classes and what stands around functions: described aspect by aspect.

A description is ``{aspect: text}``. ``kind`` is always there. What stands around another function (a ``property``, a
``partial``, a decorator's wrapper, an ``lru_cache``) has the inner one's aspects under a prefix, such as
``wrapped code``. :data:`NOT_COMPARED` names the aspects that are there for people.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator, Mapping
from operator import itemgetter
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from pylivepatch.portrait.code import code_digest, digest, kind, lines_digest, signature
from pylivepatch.portrait.kinds import bases_of, ids_of, module_of, mro_of, qualname_of, space_of
from pylivepatch.portrait.values import Pace, Values

Aspects = dict[str, str]
NOT_COMPARED = frozenset({"file", "line", "lines", "changeable", "opaque", "overrides"})
_NOT_IN_DIGESTS = NOT_COMPARED | ({"annotate", "annotations"} if sys.version_info >= (3, 14) else set())
"""Not all processes have both forms of annotations: see :meth:`Things._annotations`."""
_SLOTS = ids_of(types.MemberDescriptorType, types.GetSetDescriptorType)
_BUILT_IN = ids_of(types.WrapperDescriptorType, types.MethodWrapperType, types.MethodDescriptorType)
_BUILT_IN |= ids_of(types.ClassMethodDescriptorType, BuiltinFunctionType)
_RUNNING = "repr_running"
"""Where ``reprlib.recursive_repr``, which dataclasses use, notes who is in the function at this moment."""

LRU = type(functools.lru_cache(lambda: None))
def _documentation(cls: type, space: Any) -> Any:
    """A class's own docstring; since 3.15 dataclasses write theirs when it is first read."""
    own = space.get("__doc__")
    return type.__getattribute__(cls, "__doc__") if type(own).__name__ == "_AutoDocstring" else own


_CLASS_ASPECTS = frozenset({"__doc__", "__module__", "__qualname__", "__slots__", "__annotations__"})
_OF_NO_MATTER = frozenset({"__dict__", "__weakref__", "__firstlineno__", "__static_attributes__", "_abc_impl"})
_OF_NO_MATTER |= {"__slotnames__"}  # what copyreg notes on a class of which an instance is pickled or copied
_OF_NO_MATTER |= {"__annotate__", "__annotate_func__", "__annotations_cache__", "__abstractmethods__"}
_PROXIES = frozenset({"FunctionWrapper", "_FunctionWrapperBase", "BoundFunctionWrapper"})
_DEEPEST = 8


class Things:
    """Describes the things of some modules.

    ``names`` knows each object that has a name in them by identity: ``module:name``. ``homes`` says how modules are
    called (``__main__`` has another name). With ``evaluate`` annotations are asked for, which runs code.
    """

    def __init__(self, names: Mapping[int, str], homes: Mapping[str, str], *, evaluate: bool) -> None:
        self._names, self._homes, self._evaluate = names, homes, evaluate
        self.values = Values(Pace(), self._within)
        self._under_way: list[int] = []

    def describe(self, value: Any) -> Aspects:
        """Everything about ``value``: of functions and what stands around them all aspects, of data its value."""
        self.values.begin()
        found = self._callable(value)
        if found is None and issubclass(type(value), type):
            found = {"kind": "class", "name": self._class_name(value)}
        if found is None:
            before = self.values.opaque
            found = {"kind": qualname_of(type(value))}
            self._put(found, "value", value)
            if self.values.opaque > before:
                found["opaque"] = "1"
        return found

    def describe_class(self, cls: type) -> Aspects:
        """What is said of a class itself; its members are told by :meth:`members`."""
        self.values.begin()
        space = space_of(cls)
        found = {
            "kind": "class",
            "name": self._class_name(cls),
            "metaclass": self._class_name(type(cls)),
            "bases": ", ".join(map(self._class_name, bases_of(cls))),
            "documentation": self._short(_documentation(cls, space)),
        }
        if "__slots__" in space:
            found["slots"] = self._short(space["__slots__"])
        abstract = space.get("__abstractmethods__")
        if type(abstract) is frozenset and abstract:
            found["abstract"] = ", ".join(sorted(abstract))
        annotations = space.get("__annotations__")
        if type(annotations) is dict and annotations:  # up to 3.13, who asks a class without any gives it an empty one
            found["annotations"] = self._short(annotations)
        elif type(annotate := space.get("__annotate_func__")) is FunctionType:
            found["annotate"] = code_digest(annotate.__code__)
        return found

    @staticmethod
    def members(cls: type) -> list[tuple[str, Any]]:
        return [
            (name, value)
            for name, value in list(space_of(cls).items())
            if type(name) is str and name not in _CLASS_ASPECTS | _OF_NO_MATTER
        ]

    # --- functions and what stands around them --------------------------------------------------------------

    def _callable(self, value: Any) -> Aspects | None:
        """All aspects, or ``None`` for what is no callable that we know."""
        if id(value) in self._under_way or len(self._under_way) > _DEEPEST:
            return {"kind": "…"}
        self._under_way.append(id(value))
        try:
            return self._one(type(value), value)
        finally:
            self._under_way.pop()

    def _one(self, cls: type, value: Any) -> Aspects | None:
        if cls is FunctionType:
            return self._singledispatch(value) or self._function(value)
        if cls is property:
            parts = {"get": value.fget, "set": value.fset, "delete": value.fdel}
            found = {"kind": "property", "documentation": self.values.text(value.__doc__)}
            for name, part in parts.items():
                found |= self._part(name, part) if part is not None else {}
            return found
        if cls is staticmethod or cls is classmethod:
            return {"kind": cls.__name__, **self._part("", value.__func__)}
        if issubclass(cls, MethodType):
            method = {"kind": "method"}
            self._put(method, "of", value.__self__)
            return method | self._part("", value.__func__)
        if cls is functools.partial or cls is functools.partialmethod:
            arguments = {"kind": cls.__name__}
            self._put(arguments, "arguments", value.args)
            self._put(arguments, "keywords", tuple(value.keywords.items()))
            return arguments | self._part("", value.func)
        if cls is functools.cached_property:
            return {"kind": "cached_property", "attribute": str(value.attrname), **self._part("", value.func)}
        if cls is functools.singledispatchmethod:
            registry = self._registry(value.dispatcher.registry)
            return {"kind": "singledispatchmethod", "registry": registry, **self._part("", value.func)}
        if cls is LRU:
            parameters = value.__dict__.get("cache_parameters")
            settings = self.values.text(parameters()) if type(parameters) is FunctionType else "?"
            return {"kind": "lru_cache", "parameters": settings, **self._part("wrapped", value.__wrapped__)}
        if any(qualname_of(base) in _PROXIES for base in mro_of(cls)):
            return self._proxy(cls, value)
        if id(cls) in _SLOTS:
            return {"kind": "slot", "name": value.__name__}
        if id(cls) in _BUILT_IN:
            owner = getattr(value, "__objclass__", None) or getattr(value, "__module__", None)
            owner = self._class_name(owner) if isinstance(owner, type) else owner
            return {"kind": "built-in", "name": f"{owner}.{value.__qualname__}"}
        return None

    def _proxy(self, cls: type, value: Any) -> Aspects | None:
        """A function wrapper of wrapt's. Its attributes are those of what is inside, so its C descriptors are asked."""
        parts: dict[str, Any] = {}
        for base in reversed(mro_of(cls)):
            for name, member in space_of(base).items():
                if name in ("__wrapped__", "_self_wrapper") and id(type(member)) in _SLOTS:
                    parts[name] = member.__get__(value)
        if "__wrapped__" not in parts:
            return None
        wrapper = parts.get("_self_wrapper")
        found = {"kind": qualname_of(cls), **self._part("wrapped", parts["__wrapped__"])}
        return found | (self._part("wrapper", wrapper) if wrapper is not None else {})

    def _part(self, prefix: str, value: Any) -> Aspects:
        """The aspects of what is inside, under its prefix."""
        inner = self._callable(value)
        lead = f"{prefix} " if prefix else ""
        if inner is None:
            return {f"{lead}function": self._short(value)}
        known = self._names.get(id(value))
        found = {(f"{lead}inner kind" if name == "kind" else f"{lead}{name}"): text for name, text in inner.items()}
        return found | ({f"{lead}is": known} if known else {})

    def _function(self, function: FunctionType) -> Aspects:
        outer, function = function, _behind_keeper(function)
        code = function.__code__
        kwdefaults = outer.__kwdefaults__ or {}
        found = {
            "kind": kind(code),
            "name": f"{self._home(outer.__module__)}.{outer.__qualname__}",
            "code": code_digest(code),
            "lines": lines_digest(code),
            "file": code.co_filename,
            "line": str(code.co_firstlineno),
            "signature": signature(code, outer.__defaults__ or (), kwdefaults),
            "documentation": self._short(outer.__doc__),
        }
        if outer.__defaults__:
            self._put(found, "defaults", outer.__defaults__)
        if kwdefaults:
            self._put(found, "keyword defaults", tuple(sorted(kwdefaults.items())))
        found |= self._annotations(outer)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
            if name != _RUNNING:
                self._closure(found, name, cell)
        for name, value in sorted(outer.__dict__.items()):
            if name != "__wrapped__":
                self._put(found, f"attribute {name}", value)
        return found

    def _closure(self, found: Aspects, name: str, cell: types.CellType) -> None:
        try:
            value = cell.cell_contents
        except ValueError:
            found[f"closure {name}"] = "(empty)"
            return
        if type(value) is FunctionType or type(value) is LRU:
            found |= self._part(f"closure {name}", value)
        else:
            self._put(found, f"closure {name}", value)

    def _annotations(self, function: FunctionType) -> Aspects:
        """Since 3.14 they are code (PEP 649): compared as code, or by value where a patch has brought them."""
        if sys.version_info < (3, 14):
            return {"annotations": self._short(function.__annotations__)} if function.__annotations__ else {}
        annotate = getattr(function, "__annotate__", None)
        if annotate is None:
            return {}
        brought = annotate.__module__ == "pylivepatch.part" and annotate.__closure__
        found = {} if brought else {"annotate": code_digest(annotate.__code__)}
        if brought:
            found["annotations"] = self.values.aside(annotate.__closure__[0].cell_contents)
        elif self._evaluate:
            try:
                found["annotations"] = self.values.aside(annotate(1))
            except Exception:  # what they name is there for type checkers only
                return found
        return found

    def _singledispatch(self, function: FunctionType) -> Aspects | None:
        registry = function.__dict__.get("registry")
        if type(registry) is not types.MappingProxyType or "dispatch" not in function.__dict__:
            return None
        wrapped = function.__dict__.get("__wrapped__")
        return {"kind": "singledispatch", "registry": self._registry(registry), **self._part("wrapped", wrapped)}

    def _registry(self, registry: Mapping[Any, Any]) -> str:
        named = sorted(((self._class_name(cls), one) for cls, one in list(registry.items())), key=itemgetter(0))
        return ", ".join(f"{name}: {self._short(one)}" for name, one in named)

    # --- within data ----------------------------------------------------------------------------------------

    def _within(self, value: Any) -> str | None:
        """A function, class or descriptor that lies in data."""
        if issubclass(type(value), type):
            return f"class {self._class_name(value)}"
        found = self._callable(value)
        if found is None:
            return None
        known = self._names.get(id(value))
        if known is not None:
            return f"{found['kind']} {known}"
        text = digest(repr(sorted((k, v) for k, v in found.items() if k.rpartition(" ")[2] not in _NOT_IN_DIGESTS)))
        return f"{found['kind']} {found.get('name', '')} {text}"

    def _short(self, value: Any) -> str:
        return self.values.text(value)

    def _put(self, found: Aspects, aspect: str, value: Any) -> None:
        """An aspect that is data. ``changeable`` lists those that can change without being bound anew."""
        outside, self.values.changeable = self.values.changeable, False
        found[aspect] = self.values.text(value)
        if self.values.changeable:
            found["changeable"] = ", ".join(filter(None, (found.get("changeable"), aspect)))
        self.values.changeable |= outside

    def _class_name(self, cls: type) -> str:
        module = module_of(cls)
        return qualname_of(cls) if module == "builtins" else f"{self._home(module)}.{qualname_of(cls)}"

    def _home(self, module: Any) -> str:
        return self._homes.get(module, module) if type(module) is str else "?"


def _behind_keeper(function: FunctionType) -> FunctionType:
    """The function that a redirector of ours calls (``ftrace/keeper.py``), by name: nothing of the engine is needed."""
    for const in function.__code__.co_consts:
        if type(const).__name__ == "Forward" and type(const).__module__ == "pylivepatch.ftrace.keeper":
            inner: FunctionType = const._function
            return inner
    return function


def functions_of(value: Any) -> Iterator[CodeType]:
    """The code of the functions that ``value`` is or stands around, one deep."""
    if type(value) is property:
        for part in (value.fget, value.fset, value.fdel):
            yield from functions_of(part)
    elif type(value) is staticmethod or type(value) is classmethod:
        yield from functions_of(value.__func__)
    elif type(value) is FunctionType:
        yield _behind_keeper(value).__code__
        yield from functions_of(value.__dict__.get("__wrapped__"))
    elif type(value) is LRU:
        yield from functions_of(value.__wrapped__)

"""Classes in the target: new ones made aside, and the bases of live ones rehearsed before they are assigned.

A class statement of the new source is carried out as the interpreter would (``types.new_class``), with two
differences. The names that the same patch brings to the module are not in the module yet: they are *lent* to the body,
in the namespace that it fills, and taken out again before the class is made of that. And nothing is bound. The methods
have the module's own globals, so they find at the switch what everybody finds.

Making a class is visible in one place, ``Base.__subclasses__()``. So only what keeps quiet otherwise is carried out: a
metaclass or an ``__init_subclass__`` of somebody's own might do anything.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from types import FunctionType, MemberDescriptorType
from typing import Any

from pylivepatch.activeness.functions import contents, unwrap
from pylivepatch.commit import MISSING
from pylivepatch.errors import DataMismatch, UnswappableShape
from pylivepatch.pairs import normal_form
from pylivepatch.transition.swap import alike

_QUIET = frozenset({"builtins", "abc", "enum", "typing", "typing_extensions", "types"})
"""Modules whose metaclasses and ``__init_subclass__`` do nothing but look at the class."""

Space = dict[str, Any]
Bases = dict[type, tuple[type, ...]]


def make_class(payload: tuple[Any, ...], globals: Space, scratch: Space, where: str) -> Any:
    """What the class statement gives, decorators included. Raises :class:`UnswappableShape`, and whatever the
    statement raises.
    """
    name, body, bases, keywords, decorators, lent, kept = payload
    written = tuple(eval(base, globals, scratch) for base in bases)
    resolved = types.resolve_bases(written)
    given = {key: eval(value, globals, scratch) for key, value in keywords}
    check_quiet(resolved, types.prepare_class(name, resolved, given)[0], where)

    def fill(space: Any) -> None:
        loan = {key: scratch[key] for key in (*lent, *kept) if key in scratch}
        dict.update(space, loan)  # not through the __setitem__ of an enum's namespace
        exec(body, globals, space)
        for key in lent:
            if key in loan:
                dict.pop(space, key)
        if resolved is not written:
            space.setdefault("__orig_bases__", written)

    made: Any = types.new_class(name, resolved, given, fill)
    for decorator in reversed(decorators):
        made = eval(decorator, globals, scratch)(made)
    return made


def check_quiet(bases: tuple[Any, ...], metaclass: Any, where: str) -> None:
    """Raise :class:`UnswappableShape` unless a class with these bases can be made without anybody's taking notice."""
    noisy = [kind for kind in _mro_of(metaclass) if kind.__module__ not in _QUIET]
    if noisy:
        raise UnswappableShape(
            f"the metaclass {noisy[0].__module__}.{noisy[0].__qualname__} would run while the patch is prepared, and "
            "what it does is not known",
            where=where,
            advice="leave the class out of the patch, or restart the process with the new version",
        )
    for base in bases:
        for kind in _mro_of(base):
            if "__init_subclass__" in vars(kind) and kind is not object and kind.__module__ not in _QUIET:
                raise UnswappableShape(
                    f"the __init_subclass__ of {kind.__module__}.{kind.__qualname__} would run while the patch is "
                    "prepared, and what it does is not known",
                    where=where,
                    advice="leave the class out of the patch, or restart the process with the new version",
                )


def functions_of(cls: type) -> Iterator[FunctionType]:
    """The functions in a class's body, those of its inner classes included."""
    for value in vars(cls).values():
        if isinstance(value, type) and value.__qualname__.startswith(cls.__qualname__ + "."):
            yield from functions_of(value)
        else:
            yield from unwrap(value)


# --- fields -------------------------------------------------------------------------------------------------

_NOT_MOVED = frozenset(
    {"__dict__", "__weakref__", "__module__", "__qualname__", "__slots__", "__firstlineno__", "__static_attributes__"}
    | {"__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__type_params__"}
    | {"__annotations_cache__"}  # emptied by the assignment of __annotate__
)


def check_fields(own: Callable[[str], Any], before: Iterable[str], where: str) -> None:
    """Raise :class:`DataMismatch` unless the class has these fields. ``own`` gives what it has under a name."""
    kinds = (own(name) for name in ("__dataclass_fields__", "__attrs_attrs__", "_fields"))
    kinds = (kind for kind in kinds if kind is not MISSING)
    live = {getattr(field, "name", field) for field in next(filter(None, kinds), ())}
    missing = [name for name in before if name not in live]
    if missing:
        raise DataMismatch(
            f"the class has no field {missing[0]}, and the old source gives it one",
            where=where,
            advice="build the patch against the version that this process runs",
        )


def made_anew(
    cls: type, before: Callable[[str], Any], aside: type, own: Collection[str], gone: Iterable[str], where: str
) -> dict[str, Any]:
    """What was made of the fields of ``aside``, a class like ``cls`` with other ones, and differs: name → value.

    ``before`` gives what ``cls`` has under a name, or had before the patches that are to be replaced: what these have
    made the same already is to stay, and so must be brought. ``own`` are names of the body that other changes carry;
    ``gone`` are fields that ``aside`` does not have. What the values know of ``aside`` is made to mean ``cls``.
    """
    if before("__slots__") != vars(aside).get("__slots__", MISSING):
        raise UnswappableShape(
            "the slots of the class are others", where=where, advice="keep what is new outside of the class"
        )
    found: dict[str, Any] = {}
    _ = cls.__doc__, aside.__doc__  # since 3.15 a dataclass writes it when it is first asked for
    for name, value in vars(aside).items():
        if name in _NOT_MOVED or name in own or isinstance(value, MemberDescriptorType):
            continue
        live = before(name)
        if _is_same(live, value, cls, aside):
            continue
        if name == "__hash__" and unwrap(live):  # the live one stays: attrs mixes in a number that is of this class
            if [f.__code__.co_names for f in unwrap(live)] == [f.__code__.co_names for f in unwrap(value)]:
                continue
            raise UnswappableShape(
                "instances would be hashed by other fields, and those that are in a dict or a set not be found",
                where=where,
                advice="leave the fields that instances are hashed by as they were",
            )
        _rename(value, aside, cls)
        found["__annotate__" if name == "__annotate_func__" else name] = value
    return found | {name: MISSING for name in gone if before(name) is not MISSING and name not in vars(aside)}


def _is_same(live: Any, value: Any, cls: type, aside: type) -> bool:
    if live is value or (live is cls and value is aside):
        return True
    olds, news = unwrap(live), unwrap(value)
    if not olds or type(live) is not type(value):
        return alike(live, value)
    return len(olds) == len(news) and all(
        normal_form(old.__code__) == normal_form(new.__code__)
        and old.__globals__ is new.__globals__
        and alike((old.__defaults__, old.__kwdefaults__), (new.__defaults__, new.__kwdefaults__))
        and alike(_annotations(old), _annotations(new))
        and len(old.__closure__ or ()) == len(new.__closure__ or ())
        and all(
            _is_same(contents(one), contents(other), cls, aside)
            for one, other in zip(old.__closure__ or (), new.__closure__ or (), strict=True)
        )
        for old, new in zip(olds, news, strict=True)
    )


def _annotations(function: FunctionType) -> Any:
    try:
        return function.__annotations__
    except Exception:  # since 3.14 they are worked out here; what cannot be is like nothing else
        return object()


def _rename(value: Any, aside: type, cls: type) -> None:
    """Let the functions in ``value`` that know ``aside`` know ``cls`` instead."""
    queue, seen = [value], set()
    for thing in queue:  # grows as it goes
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, property):
            queue += [thing.fget, thing.fset, thing.fdel]
        elif isinstance(thing, staticmethod | classmethod):
            queue.append(thing.__func__)
        elif isinstance(thing, FunctionType):
            queue.append(getattr(thing, "__wrapped__", None))
            for cell in thing.__closure__ or ():
                if contents(cell) is aside:
                    cell.cell_contents = cls
                queue.append(contents(cell))
            if "__spec__" not in thing.__globals__:  # a namespace that was made for it
                for name, known in list(thing.__globals__.items()):
                    if known is aside:
                        thing.__globals__[name] = cls


def is_generated(function: FunctionType) -> bool:
    """Whether a decorator wrote the function's source, so that its code is nobody else's."""
    file = function.__code__.co_filename
    return file.startswith("<") and not file.startswith("<frozen ")


def written_by_dataclass(own: Callable[[str], Any]) -> set[str]:
    """The methods of a class that ``dataclass`` makes or not, by its settings, and has made. ``own`` gives what the
    class has under a name.
    """
    fields: Any = own("__dataclass_fields__")
    fields = () if fields is MISSING else fields.values()
    taken = (one.name for one in fields if one.init and not one.kw_only and one._field_type.name != "_FIELD_CLASSVAR")
    found = {"__match_args__"} if own("__match_args__") == tuple(taken) else set()
    for name in _BY_SETTINGS:
        # An earlier patch may have brought one: that is the class's own.
        files = [function.__code__.co_filename for function in unwrap(own(name)) if is_generated(function)]
        found |= {name for file in files if not file.startswith("<livepatch ")}
    return found


_BY_SETTINGS = ("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__")


# --- bases --------------------------------------------------------------------------------------------------


def check_bases(
    cls: type, live: tuple[Any, ...], old: tuple[Any, ...], new: tuple[Any, ...], others: Bases, where: str
) -> None:
    """Make sure that ``cls`` can be given the bases ``new``.

    ``live`` are those that it has; ``others`` are classes that the same switch gives other bases before. Raises
    :class:`DataMismatch` where they are not ``old``, and :class:`UnswappableShape` for whatever CPython, a metaclass or
    a subclass would object to. ``cls`` is not touched.
    """
    if live != old:
        raise DataMismatch(
            f"the bases are {_names(live)}, but the old source gives {_names(old)}",
            where=where,
            advice="something changed them at run time; set them back first, or build the patch without this class",
        )
    if not all(isinstance(base, type) for base in new):
        raise UnswappableShape("one of the new bases is no class", where=where, advice="name classes only")
    if any(cls in base.__mro__ for base in new):
        raise UnswappableShape(
            "one of the new bases derives from the class itself", where=where, advice="leave the bases as they were"
        )
    moved = [kind for kind in _all_of(new) + _all_of(live) if (kind in _all_of(new)) is not (kind in _all_of(live))]
    check_quiet(live + new, object, where)
    for kind in moved:
        if hasattr(kind, "_abc_impl") and "_abc_impl" in vars(kind):
            raise UnswappableShape(
                f"{kind.__qualname__} is an abstract base class, which remembers who derives from it",
                where=where,
                advice="use a plain class as the new base",
            )
    for base in new:
        if not issubclass(type(cls), type(base)):
            raise UnswappableShape(
                f"the class would need the metaclass of {base.__qualname__}, {type(base).__qualname__}",
                where=where,
                advice="use bases with the metaclass that the class has",
            )
    _check_orders(cls, {**others, cls: new}, where)
    _try_layout(cls, live, new, where)


def _check_orders(cls: type, bases: Bases, where: str) -> None:
    """The method resolution order of the class and of all below it."""
    orders: dict[type, list[type]] = {}
    queue: list[type] = [cls]
    for kind in queue:  # grows as it goes
        if type(kind).mro is not type.mro:
            raise UnswappableShape(
                f"the metaclass of {kind.__qualname__} has an mro() of its own, which would run in the switch",
                where=where,
                advice="leave the bases as they were, or restart the process with the new version",
            )
        children: list[type] = type.__subclasses__(kind)
        queue += [child for child in children if child not in queue]
    for kind in queue:
        _order(kind, bases, orders, where)


def _order(kind: type, bases: Bases, known: dict[type, list[type]], where: str) -> list[type]:
    """C3, with other bases for some classes."""
    if kind in known:
        return known[kind]
    mine = bases.get(kind, kind.__bases__)
    rows = [list(_order(base, bases, known, where)) for base in mine] + [list(mine)]
    found = [kind]
    while any(rows):
        rows = [row for row in rows if row]
        head = next((row[0] for row in rows if not any(row[0] in other[1:] for other in rows)), None)
        if head is None:
            raise UnswappableShape(
                f"the bases have no consistent order for {kind.__qualname__}",
                where=where,
                advice="order the bases as the classes below it need them",
            )
        found.append(head)
        rows = [row[1:] if row[0] is head else row for row in rows]
    known[kind] = found
    return found


class _Retired:
    """Where classes go that were only made to try something: out of the ``__subclasses__`` of everybody else."""


def retire(cls: type) -> None:
    """Take a class that nobody else has out of its bases' ``__subclasses__``, as far as CPython can."""
    with suppress(TypeError):
        type.__setattr__(cls, "__bases__", (_Retired,))


def _try_layout(cls: type, live: tuple[type, ...], new: tuple[type, ...], where: str) -> None:
    """CPython compares the memory layouts of the bases. It is asked with a class that is like ``cls``."""
    probe = type.__new__(type(cls), "probe", live, {"__module__": __name__})
    try:
        type.__setattr__(probe, "__bases__", new)
    except TypeError as error:
        raise UnswappableShape(
            f"CPython cannot give the class these bases: {error}",
            where=where,
            advice="a class whose only base is object keeps it; use composition, or restart the process",
        ) from None
    finally:
        retire(probe)


def _mro_of(kind: Any) -> tuple[Any, ...]:
    return kind.__mro__ if isinstance(kind, type) else ()


def _all_of(bases: tuple[Any, ...]) -> list[type]:
    return list(dict.fromkeys(kind for base in bases for kind in _mro_of(base)))


def _names(bases: tuple[Any, ...]) -> str:
    return f"({', '.join(getattr(base, '__qualname__', repr(base)) for base in bases)})"

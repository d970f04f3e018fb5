"""From a patch to what a transition switches: every target found, verified, and its new value made.

Nothing here is visible to the process: new functions, values and imports are made in a scratch namespace over the
module's own, and bound at the switch. What cannot be found, or is not what the patch was built against, refuses the
whole patch.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import marshal
import operator
import sys
import time
import weakref
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from pylivepatch import generic
from pylivepatch.activeness.functions import unwrap, wrappers
from pylivepatch.activeness.references import Version, nested_code, version_of
from pylivepatch.below import NOTHING, Below
from pylivepatch.classes import (
    check_bases,
    check_fields,
    functions_of,
    is_generated,
    made_anew,
    make_class,
    retire,
    written_by_dataclass,
)
from pylivepatch.commit import Contents, owner_key, read_attribute
from pylivepatch.compiled import (
    CompiledModule,
    Item,
    Pair,
    checked_trampoline,
    children,
    code_at,
    equal_nested,
    load_pair,
    make_pair,
    nested_paths,
)
from pylivepatch.elsewhere import held_elsewhere, is_known, names_of
from pylivepatch.errors import CodeMismatch, DataMismatch, PrepareError, TargetNotFound, UnswappableShape
from pylivepatch.evaluate import IN_PLACE, Made, content_for, evaluate
from pylivepatch.ftrace.hooks import kind
from pylivepatch.ftrace.keeper import keeper
from pylivepatch.ftrace.late import change_places
from pylivepatch.ftrace.trampoline import Path, Template
from pylivepatch.groups import unit_name
from pylivepatch.locate import REBUILD, around, locate, mangled, static_lookup
from pylivepatch.patch import Replacement
from pylivepatch.symbols import ASIDE
from pylivepatch.transition.swap import MISSING, Attribute, Guard, Switch, alike
from pylivepatch.transition.twins import relate

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
            f"sys.modules has something else under this name: {_short(module)}",
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


# --- built patches ------------------------------------------------------------------------------------------


def verify_module(
    compiled: CompiledModule, module: ModuleType, *, arriving: bool = False, below: Below = NOTHING
) -> None:
    """Find every target of one module, and run nothing of the new version. Raises a :class:`PrepareError`."""
    for item in compiled.items:
        if _is_absent(module, item):
            continue
        where = f"{module.__name__}:{item.target}"
        if item.kind == "function":
            locate(module, item.target, load_pair(item.payload)[0].old, below)
        elif item.kind == "value":
            _check_value(module, item, where, arriving, below, compiled.prepared)
        elif item.kind == "replaced":
            locate(module, item.target, marshal.loads(item.payload)[1][0], below)
        elif item.kind in ("new", "class", "fields", "bases"):
            _owner(module, item.target)
        time.sleep(0)


def prepare_module(
    compiled: CompiledModule, module: ModuleType, *, arriving: bool = False, below: Below = NOTHING
) -> Part:
    """Make everything that the patch brings to one module. Raises a :class:`PrepareError`.

    ``arriving`` says that the module has just been imported, so that it may have copied values that the patch set.
    ``below`` sees through the patches that this one replaces.
    """
    part = Part(compiled.name, [module], source=(compiled.filename, compiled.source), arriving=arriving, below=below)
    part.prepared = compiled.prepared
    part.prepared[module.__name__] = part
    scratch: dict[str, Any] = {}
    for item in compiled.items:
        if _is_absent(module, item):
            continue
        where = f"{module.__name__}:{item.target}"
        try:
            _LOADERS[item.kind](part, module, item, scratch, where)
        except PrepareError:
            raise
        except Exception as error:  # the new version's own code: a default, a decorator, an import
            raise PrepareError(
                f"preparing the new version failed: {type(error).__name__}: {error}",
                where=where,
                advice="the expression or import must work in the live process; nothing was switched",
            ) from error
        time.sleep(0)  # marshal.loads is one C call a function; let others run between two
    return part


def _is_absent(module: ModuleType, item: Item) -> bool:
    """Whether it changes a function or class that this process does not have, nor would have of the new version."""
    return item.optional and item.target.partition(".")[0] not in vars(module)


def _load_function(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    pair, values = load_pair(item.payload)
    names = ("__defaults__", "__kwdefaults__", ANNOTATIONS)
    functions = locate(module, item.target, pair.old, part.below)
    if not item.decorated and (wrapper := around(module, item.target, functions)):
        part.wrapped.append(f"{where} in {wrapper}")
    for live in _by_code(functions, part.below):
        switch = _switch(part, pair, live, where, owner=_owner(module, item.target))
        for function in live:
            _carry_documentation(part, function, pair.new, where)
            for name, code, before in zip(names, values, values[3:] or [None] * 3, strict=False):
                if code is None:
                    continue
                value = evaluate(code, module, scratch, part.prepared)
                value = annotations_of(value) if name == ANNOTATIONS else value or None
                if part.arriving and before is not None:  # it was made with the new values of other modules
                    old = evaluate(before, module, {}, part.prepared)
                    old = annotations_of(old) if name == ANNOTATIONS else old or None
                    label = f"{where}.{name}"
                    part.attributes.append(Attribute(function, name, old, getattr(function, name), label, settled=True))
                else:
                    _carry(part, function, name, value, where)
            _carry_to_wrappers(part, static_lookup(module, item.target), function)
        part.switches.append(switch)


def _load_registered(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    """A new implementation of a generic function, which alone has it: its name is that of another one."""
    _load_new(part, module, item, scratch, where, bound=False)


def _load_unregistered(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    goes, dispatchers = marshal.loads(item.payload)
    functions = locate(module, item.target, goes[0], part.below)
    for code in dispatchers:
        for register, cls in generic.registered(eval(code, vars(module)), functions, where):
            _bind_entry(part, register, cls, MISSING, where)
    for function in functions:
        _leave(part, function, goes, where)


def _register(part: Part, found: generic.Registration, value: Any, space: Mapping[str, Any], where: str) -> None:
    """Let the switch do what the decorator would do at once."""
    probe = value
    if type(value) is FunctionType:  # annotations in quotes may name what comes with the patch
        names = {**value.__globals__, **space}
        probe = FunctionType(value.__code__, names, value.__name__, None, value.__closure__)
        setattr(probe, ANNOTATIONS, getattr(value, ANNOTATIONS))
    for cls in found.classes(probe):
        entry = generic.entry(found.register, cls, where)
        other = part.below.value(entry, "", entry.read()())
        before = [a for one in part.prepared.values() for a in one.attributes if a.key == owner_key(entry, "")]
        if other is not MISSING and not before:
            raise DataMismatch(
                f"{generic.called(found.register)} has one for {cls.__qualname__} already: {_short(other)}",
                where=where,
                advice="it was registered at run time, or by other code: take that out first",
            )
        _bind_entry(part, found.register, cls, value, where)


def _bind_entry(part: Part, register: FunctionType, cls: type, value: Any, where: str) -> None:
    entry = generic.entry(register, cls, where)
    for one in list(part.prepared.values()):  # one that goes and one that comes are one change
        one.attributes[:] = [a for a in one.attributes if a.key != owner_key(entry, "")]
    label = f"{where.partition(':')[0]}:{generic.called(register)}"
    part.attributes.append(Attribute(entry, "", part.below.value(entry, "", entry.read()()), value, label))


def _is_new(part: Part, register: FunctionType) -> bool:
    """Whether the same patch brings the generic function, which nobody has yet."""
    made = [value for one in part.prepared.values() for _, value in one.made.values.values()]
    return any(generic.registration(getattr(value, "register", None)) == (register, None) for value in made)


def _load_new(
    part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str, *, bound: bool = True
) -> None:
    code, values, decorators, template = marshal.loads(item.payload)
    owner = _owner(module, item.target)
    # As in a class statement: the names of the body first, then those of the module, the new ones among them.
    body = {} if owner is None else scratch.setdefault(f"class {owner.__qualname__}", {})
    space = scratch if owner is None else {**scratch, **vars(owner), **body}
    defaults, kwdefaults, annotations = (
        None if c is None else evaluate(c, module, space, part.prepared) for c in values
    )
    closure = tuple(_class_cell(name, owner, where) for name in code.co_freevars) or None
    function = FunctionType(code, vars(module), code.co_name, defaults or None, closure)
    function.__kwdefaults__ = kwdefaults or None
    if annotations is not None:
        setattr(function, ANNOTATIONS, annotations_of(annotations))
    function.__module__ = module.__name__
    value: Any = function
    for decorator in reversed(decorators):
        made = eval(decorator, vars(module), space)
        found = generic.registration(made)
        if found is None or _is_new(part, found.register):
            value = made(value)
        else:
            _register(part, found, value, space, where)
    name = code.co_name
    if bound:
        part.made.values[item.target] = MISSING, value
    if not bound:
        pass  # the registry has it
    elif owner is None:
        scratch[name] = value
        _bind(part, vars(module), name, value, where)
    else:
        key = mangled(owner, name)
        if isinstance(value, functools.cached_property):
            value.__set_name__(owner, key)
        scratch[f"class {owner.__qualname__}"][name] = value
        _bind(part, owner, key, value, where)
    version = version_of(code)
    template = Template.from_bytes(template)
    part.added.append(Switch(where, version, version, template, template, [weakref.ref(function)]))


def _load_replaced(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    """Another function object takes the place of the old one, wherever that has a name; the old one is left."""
    made, goes = marshal.loads(item.payload)
    old, owner = goes[0], _owner(module, item.target)
    space: Any = vars(module) if owner is None else owner
    name = old.co_name if owner is None else mangled(owner, old.co_name)
    functions = locate(module, item.target, old, part.below)
    live = read_attribute(space, name)()
    if len(functions) != 1 or not is_known(live, functions[0]):
        raise CodeMismatch(
            f"the name leads to {_short(live)}, which is not what the old source's decorators make",
            where=where,
            advice="another tool wrapped or replaced it; take its change out first",
        )
    places = names_of(live)
    places.sort(key=lambda place: not (place[0] is space and place[1] == name))
    del live
    others = held_elsewhere(places, functions)
    if others:
        raise UnswappableShape(
            f"{others} reference{'s' if others > 1 else ''} to the function beside its names: a container, a bound "
            "method, a closure or a call that goes on; they would stay with the old one, as its decorators or kind "
            "differ",
            where=where,
            advice="load the patch when nothing holds the function, or keep its decorators and kind",
        )
    _leave(part, functions[0], goes, where)
    _load_new(part, module, item._replace(payload=made), scratch, where)
    new = next(a.new for a in reversed(part.attributes) if a.owner is space and a.name == name)
    for owner, other in places[1:]:
        _bind(part, owner, other, new, f"{where} as {other}")


def _leave(part: Part, function: FunctionType, goes: tuple[CodeType, bytes, bytes], where: str) -> None:
    """Nobody may be inside the function at the switch, nor at the one back; who still has it calls it as it was."""
    _, forward, backward = goes
    was = version_of(part.below.code(function))
    stays = version_of(was.code.replace())
    templates = Template.from_bytes(forward), Template.from_bytes(backward)
    switch = Switch(f"{where} (as it was)", was, stays, *templates, [weakref.ref(function)])
    switch.everywhere = False
    part.switches.append(switch)
    part.guards_old += [_guard(was.code, path, part.name) for path in nested_paths(was.code)]


def _load_removed(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner_name, name, goes = marshal.loads(item.payload)
    space: Any = _class_named(module, owner_name, where) if owner_name else vars(module)
    key = mangled(space, name) if owner_name else name
    if read_attribute(space, key)() is MISSING:
        raise TargetNotFound(f"{item.target} is not there; the old source sets it", where=where, advice=REBUILD)
    for function in locate(module, item.target, goes[0], part.below) if goes else ():
        _leave(part, function, goes, where)
    _bind(part, space, key, MISSING, where)


def _load_class(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    parts, templates = marshal.loads(item.payload)
    owner = _owner(module, item.target)
    value = make_class(parts, vars(module), scratch, where)
    if owner is None:
        scratch[parts[0]] = value
    part.made.values[item.target] = MISSING, value
    _bind(part, vars(module) if owner is None else owner, parts[0], value, where)
    body, made = parts[1], value if isinstance(value, type) else object
    functions: dict[int, list[weakref.ref[FunctionType]]] = {}
    for function in functions_of(made):
        functions.setdefault(id(function.__code__), []).append(weakref.ref(function))
    for path, data in templates:
        version, template = version_of(code_at(body, path)), Template.from_bytes(data)
        name = f"{module.__name__}:{version.code.co_qualname}"
        part.added.append(Switch(name, version, version, template, template, functions.get(id(version.code), [])))


def _load_fields(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    statement, own, before, after = marshal.loads(item.payload)
    owner = _class_named(module, item.target.rpartition(".")[0], where)

    def under(name: str) -> Any:
        key = "__annotate__" if name == "__annotate_func__" else name  # as made_anew names it
        return part.below.value(owner, key, vars(owner).get(name, MISSING))

    check_fields(under, before, where)
    aside = make_class(marshal.loads(statement)[0], vars(module), scratch, where)
    own = {mangled(owner, name) for name in own}
    gone = {*before} - {*after} | written_by_dataclass(under, before)
    for name, value in made_anew(owner, under, aside, own, gone, where).items():
        label = f"{where.removesuffix('<fields>')}{name}"
        current = read_attribute(owner, name)()
        _check_bindable(owner, name, label, new=current is MISSING)
        if current is MISSING and name in after:
            _check_bases(owner, name, label)
        old = part.below.value(owner, name, current)
        part.attributes.append(Attribute(owner, name, old, value, label))
        # Nobody may be inside what goes, on the way in, nor inside what comes, on the way out. Both are counted, and
        # whoever still holds the old function calls it as it was.
        for function in filter(is_generated, unwrap(old)):
            code = part.below.code(function)
            was, stays = version_of(code), version_of(code.replace())
            forward, backward = (checked_trampoline(version.code, []) for version in (was, stays))
            leaving = Switch(f"{label} (as it was)", was, stays, forward, backward, [weakref.ref(function)])
            leaving.everywhere = False
            part.switches.append(leaving)
        for function in filter(is_generated, unwrap(value)):
            version, template = version_of(function.__code__), checked_trampoline(function.__code__, [])
            part.added.append(Switch(label, version, version, template, template, [weakref.ref(function)]))
    retire(aside)


def _load_bases(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner_name, before, after = marshal.loads(item.payload)
    owner = _class_named(module, owner_name, where)
    live = part.below.value(owner, "__bases__", owner.__bases__)
    new = evaluate(after, module, scratch, part.prepared)
    before_it = [a for other in part.prepared.values() for a in other.attributes if a.name == "__bases__"]
    others = {a.owner: a.new for a in before_it if a.owner is not owner}
    check_bases(owner, live, eval(before, vars(module)), new, others, where)
    part.attributes.append(Attribute(owner, "__bases__", live, new, where))


def _check_value(
    module: ModuleType, item: Item, where: str, arriving: bool, below: Below, prepared: Mapping[str, Any]
) -> tuple[Any, Any, str]:
    """The owner, the value that is there, and the key, if it is what the old source gives."""
    owner_name, name, before, after = marshal.loads(item.payload)
    owner = _class_named(module, owner_name, where) if owner_name else None
    space = vars(module) if owner is None else vars(owner)
    key = name if owner is None else mangled(owner, name)
    live = below.value(vars(module) if owner is None else owner, key, space.get(key, MISSING))
    expected = MISSING
    if before is not None:
        names = {one for code in nested_code(before) for one in code.co_names}  # a comprehension has its own
        there = vars(module)
        seen = {one: _original(below, there, one, there[one]) for one in names if one in there}
        expected = evaluate(before, module, {}, prepared, seen, partial(_original, below))
    if live is MISSING and expected is not MISSING:
        raise TargetNotFound(f"{item.target} is not there; the old source sets it", where=where, advice=REBUILD)
    known = below.value(Contents(live), "", live) if type(live) in IN_PLACE else live
    if live is not MISSING and (expected is MISSING or not alike(known, expected)):
        if arriving and expected is not MISSING and alike(live, evaluate(after, module, {}, prepared)):
            return vars(module) if owner is None else owner, expected, key  # a copy of what the patch has set elsewhere
        raise DataMismatch(
            f"{item.target} is {_short(live)}, but the old source "
            + ("does not set it" if expected is MISSING else f"gives {_short(expected)}"),
            where=where,
            advice="it was changed at run time; build the patch without this value, or set it back first",
        )
    if owner is not None and live is MISSING:
        _check_bases(owner, key, where)
    return vars(module) if owner is None else owner, live, key


def _original(below: Below, owner: Any, name: str, now: Any) -> Any:
    """What the name meant without the patches that are to be replaced. ``now`` is what it means."""
    value = below.value(owner, name, now)
    return below.value(Contents(value), "", value) if type(value) in IN_PLACE else value


def _check_bases(owner: type, key: str, where: str) -> None:
    """A new class attribute must not hide a property of a base, through which instances get what they set."""
    for base in owner.__mro__[1:]:
        if hasattr(type(vars(base).get(key)), "__set__"):
            raise DataMismatch(
                f"the base class {base.__qualname__} has a property {key}, which a new class attribute would hide",
                where=where,
                advice="build the patch without this attribute, or give it another name",
            )


def _load_value(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner, live, key = _check_value(module, item, where, part.arriving, part.below, part.prepared)
    _check_bindable(owner, key, where, new=live is MISSING)
    value = evaluate(marshal.loads(item.payload)[3], module, scratch, part.prepared)
    part.made.values[item.target] = live, value
    if owner is vars(module):
        scratch[key] = value
    current = part.below.value(owner, key, read_attribute(owner, key)())
    if current is not live:  # the new value is there already: on the way back the old one comes
        part.attributes.append(Attribute(owner, key, live, current, where, settled=True))
    elif type(live) in IN_PLACE and type(value) is type(live):
        contents = Contents(live)
        old = part.below.value(contents, "", contents.read()())
        part.made.containers[id(value)] = value, live
        part.made.values[item.target] = old, value
        part.attributes.append(Attribute(contents, "", old, content_for(live, value), where))
    else:
        part.attributes.append(Attribute(owner, key, live, value, where))


def _load_state(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner_name, name, cls_name, code = marshal.loads(item.payload)
    cls = _class_named(module, cls_name, where)
    owner = _class_named(module, owner_name, where) if owner_name else None
    live = (vars(module) if owner is None else vars(owner)).get(name, MISSING)
    arguments, keywords = evaluate(code, module, {}, part.prepared)
    expected = vars(cls(*arguments, **keywords))
    current = {} if type(live) is not cls else {k: part.below.value(live, k, v) for k, v in vars(live).items()}
    made: Any = object.__new__(cls)
    _new_constructor(part, module, cls, scratch)(made, *arguments, **keywords)
    if type(live) is not cls or not alike(current, expected) or vars(made).keys() != expected.keys():
        raise DataMismatch(
            f"{item.target} is not what the old constructor gives: {_short(live)}",
            where=where,
            advice="it was changed at run time; build the patch without what it is made of, or set it back first",
        )
    part.made.values[item.target] = live, live
    for key, value in vars(made).items():
        if not alike(expected[key], value):
            part.attributes.append(Attribute(live, key, current[key], value, f"{where}.{key}"))


def _new_constructor(part: Part, module: ModuleType, cls: type, scratch: dict[str, Any]) -> FunctionType:
    """``cls.__init__`` as it will be, over the module's names as they will be."""
    live = vars(cls)["__init__"]
    switched = [switch for switch in part.switches if live in switch.live()]
    code = switched[0].new.code if switched else live.__code__
    after = {a.name: a.new for a in part.attributes if a.owner is live}
    space = {**vars(module), **scratch}
    function = FunctionType(code, space, live.__name__, after.get("__defaults__", live.__defaults__))
    function.__kwdefaults__ = after.get("__kwdefaults__", live.__kwdefaults__)
    return function


def _load_import(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    name, statement, origin, before, whole = marshal.loads(item.payload)
    live = part.below.value(vars(module), name, vars(module).get(name, MISSING))
    if whole is not None and not part.arriving:
        exec(whole, {**vars(module), ASIDE: partial(new_module, part.prepared)}, scratch)
    elif origin is not None and not part.arriving:
        scratch[name] = _brought(part, origin[0], origin[1], where)
    else:  # where the module arrives, the patch is applied, and the name is there
        exec(statement, vars(module), scratch)
    if name not in scratch:  # a statement that binds it only in some processes, and not in this one
        return
    part.made.values[name] = live, scratch[name]
    if live is not scratch[name]:
        if live is not MISSING and not part.arriving and live is not _imported(before, part.below):
            raise DataMismatch(
                f"{name} is {_short(live)}, which the old source does not {'import' if before else 'bind'}",
                where=where,
                advice="it was set at run time; set it back first, or build the patch without this import",
            )
        _bind(part, vars(module), name, scratch[name], where)
    elif part.arriving and origin is not None and before is not None:
        made = _made_there(part, origin).get(origin[1])
        if made is not None:  # its import has copied the new value; on the way back it gets the old one
            part.made.values[name] = made
            part.attributes.append(Attribute(vars(module), name, made[0], live, where, settled=True))


def _made_there(part: Part, origin: tuple[str, str]) -> dict[str, tuple[Any, Any]]:
    sibling = part.prepared.get(origin[0])
    return sibling.made.values if sibling is not None else {}


def new_module(prepared: Mapping[str, Any], name: str) -> ModuleType:
    """The module ``name`` that the same patch brings, executed aside if it was not yet. Raises what it raises."""
    brought = getattr(prepared.get(name), "brought", None)
    if brought is None:
        raise PrepareError(f"the patch does not bring the module {name}", where=name, advice=REBUILD)
    module: ModuleType = brought.get(prepared)
    return module


def _imported(origin: tuple[str, str] | None, below: Below) -> Any:
    """What an import that ran long ago has given, as far as it is still there."""
    if origin is None:
        return None
    source, name = origin
    whole = sys.modules.get(source)
    if not name or whole is None:
        return whole
    found = vars(whole).get(name, sys.modules.get(f"{source}.{name}"))
    return below.value(vars(whole), name, found)


def _brought(part: Part, source: str, name: str, where: str) -> Any:
    """What the same patch is about to bind as ``name`` in the module ``source``, which is prepared already."""
    was_there = source in sys.modules
    origin = importlib.import_module(source)
    sibling = part.prepared.get(source)
    if sibling is not None and sibling.modules[0] is origin and name in sibling.made.values:
        value = sibling.made.values[name][1]
        return sibling.made.containers.get(id(value), (value, value))[1]
    raise PrepareError(
        f"{name} comes with this patch to {source}, which "
        + ("is not prepared yet" if was_there else "was not imported until just now"),
        where=where,
        advice="build the patch again" if was_there else "load the patch again; nothing was changed",
    )


_LOADERS = {
    "function": _load_function,
    "new": _load_new,
    "registered": _load_registered,
    "unregistered": _load_unregistered,
    "replaced": _load_replaced,
    "removed": _load_removed,
    "value": _load_value,
    "import": _load_import,
    "class": _load_class,
    "fields": _load_fields,
    "bases": _load_bases,
    "state": _load_state,
}


def _check_bindable(owner: Any, name: str, where: str, *, new: bool) -> None:
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


def _bind(part: Part, owner: Any, name: str, value: Any, where: str) -> None:
    _check_bindable(owner, name, where, new=(vars(owner) if isinstance(owner, type) else owner).get(name) is None)
    old = part.below.value(owner, name, read_attribute(owner, name)())
    # A property that gets several accessors is bound once, as the last of them makes it.
    part.attributes[:] = [a for a in part.attributes if not (a.owner is owner and a.name == name)]
    part.attributes.append(Attribute(owner, name, old, value, where))


def _carry(part: Part, function: FunctionType, name: str, value: Any, where: str) -> None:
    old = part.below.value(function, name, getattr(function, name, None))
    part.attributes.append(Attribute(function, name, old, value, f"{where}.{name}"))


def bind_in_class(part: Part, owner: type, name: str, value: Any, where: str) -> None:
    """Have the switch bind a new class attribute.

    Raises a :class:`PrepareError` where the class cannot take it, or it would hide a property of a base.
    """
    _check_bases(owner, name, where)
    _bind(part, owner, name, value, where)


def class_key(owner: type, name: str) -> str:
    """How the class's dict spells the name: private ones are mangled."""
    return mangled(owner, name)


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


def _carry_documentation(part: Part, function: FunctionType, new: CodeType, where: str) -> None:
    """The docstring moves, unless somebody gave the function another one than its code's."""
    old_doc = FunctionType(part.below.code(function), {}, closure=function.__closure__).__doc__
    new_doc = FunctionType(new, {}, closure=tuple(CellType() for _ in new.co_freevars) or None).__doc__
    if part.below.value(function, "__doc__", function.__doc__) == old_doc and new_doc != old_doc:
        _carry(part, function, "__doc__", new_doc, where)


def _carry_to_wrappers(part: Part, thing: Any, function: FunctionType) -> None:
    """What ``functools.wraps`` and its like copied of the function moves with it, where it is the function's still."""
    copied = [a for a in part.attributes if a.owner is function and a.name in ("__doc__", ANNOTATIONS)]
    for wrapper in wrappers(thing, function) if copied else ():
        part.attributes += [replace(a, owner=wrapper) for a in copied if getattr(wrapper, a.name, None) is a.current()]


# --- classes, and functions by their code -------------------------------------------------------------------


def _owner(module: ModuleType, qualname: str) -> type | None:
    """The class that a method's qualified name is in; ``None`` for a module-level function."""
    outer = qualname.rpartition(".")[0]
    if not outer or outer.endswith("<locals>"):
        return None
    return _class_named(module, outer, f"{module.__name__}:{qualname}")


def _class_named(module: ModuleType, qualname: str, where: str) -> type:
    cls = static_lookup(module, qualname)
    if not isinstance(cls, type):
        raise TargetNotFound(f"the module has no class {qualname}", where=where, advice=REBUILD)
    return cls


def _by_code(functions: list[FunctionType], below: Below) -> list[list[FunctionType]]:
    groups: dict[int, list[FunctionType]] = {}
    for function in functions:
        groups.setdefault(id(below.code(function)), []).append(function)
    return list(groups.values())


# --- one function -------------------------------------------------------------------------------------------


def _switch(
    part: Part, pair: Pair, live: list[FunctionType], where: str, *, owner: type | None, new: FunctionType | None = None
) -> Switch:
    """The switch for functions that share one live code object. ``new`` is given for hand-written replacements."""
    old = part.below.code(live[0])
    # From 3.13 on CPython warns of such an assignment: Python code would run in the middle of the switch.
    if kind(old) != kind(pair.new):
        raise UnswappableShape(
            f"a {kind(old)} would become a {kind(pair.new)}",
            where=where,
            advice="objects made by the old one may be waiting to run; give the new one another name",
        )
    moved = change_places(old, pair.new)
    if moved:
        raise UnswappableShape(
            f"the parameters {', '.join(moved)} change places, and of a call that is under way at the switch it is not "
            "known whether its arguments were passed by position or by name",
            where=where,
            advice="keep their order, or give the new function another name and change its callers",
        )
    for one, other in equal_nested(old, pair.new):
        relate(one, other)
    if new is not None or pair.new.co_freevars != old.co_freevars:
        return _kept(part, pair, live, where, owner=owner, new=new)
    return pair_switch(part, replace(pair, old=old), live, where)


def pair_switch(part: Part, pair: Pair, live: list[FunctionType], where: str) -> Switch:
    """The switch of ``live``, which run the pair's old code now. Its guards go to ``part``."""
    switch = _tree(pair, (), (), pair.old, pair.new, where, top=Switch(
        where, version_of(pair.old), version_of(pair.new), pair.forward, pair.backward, [weakref.ref(f) for f in live]
    ))
    prefix = where.partition(":")[0]
    part.guards_old += [_guard(pair.old, path, prefix) for path in pair.guards_old]
    part.guards_new += [_guard(pair.new, path, prefix) for path in pair.guards_new]
    return switch


def _guard(code: CodeType, path: Path, module: str) -> Guard:
    inner = code_at(code, path)
    return Guard(f"{module}:{inner.co_qualname}", version_of(inner))


def _tree(pair: Pair, old_at: Path, new_at: Path, old: CodeType, new: CodeType, where: str, *, top: Switch) -> Switch:
    """Hang the nested switches below ``top``, each under its nearest outer one."""
    by_old = {n.old_path: n for n in pair.nested}
    for relative in children(list(by_old), old_at):
        nested = by_old[(*old_at, *relative)]
        inner_old, inner_new = code_at(old, nested.old_path), code_at(new, nested.new_path)
        inner = Switch(
            f"{where.partition(':')[0]}:{inner_old.co_qualname}",
            version_of(inner_old),
            version_of(inner_new),
            nested.forward,
            nested.backward,
            [],
            is_nested=True,
        )
        top.nested.append((relative, nested.new_path[len(new_at) :], inner))
        _tree(pair, nested.old_path, nested.new_path, old, new, where, top=inner)
    return top


def _kept(
    part: Part, pair: Pair, live: list[FunctionType], where: str, *, owner: type | None, new: FunctionType | None
) -> Switch:
    """The switch where the new code cannot run as the old function's: a redirector takes its place (see ``keeper``)."""
    if len(live) > 1:
        raise UnswappableShape(
            "several live functions share this code, and the new version needs another closure",
            where=where,
            advice="keep the free variables of the function as they are",
        )
    function, old = live[0], part.below.code(live[0])
    if new is None:
        cells = dict(zip(old.co_freevars, function.__closure__ or (), strict=True))
        closure = tuple(cells.get(name) or _class_cell(name, owner, where) for name in pair.new.co_freevars)
        new = FunctionType(pair.new, function.__globals__, function.__name__, None, closure or None)
    code = keeper(new, old.co_freevars, new.__code__.co_filename)
    part.keep.append(version_of(new.__code__))
    prefix = where.partition(":")[0]
    part.guards_old += [_guard(old, path, prefix) for path in pair.guards_old]
    part.guards_old += [_guard(old, n.old_path, prefix) for n in pair.nested]
    return Switch(
        where,
        version_of(old),
        version_of(code),
        checked_trampoline(old, []),
        checked_trampoline(code, []),
        [weakref.ref(function)],
    )


def _class_cell(name: str, owner: type | None, where: str) -> CellType:
    if name == "__class__" and owner is not None:
        return CellType(owner)
    raise UnswappableShape(
        f"the new version needs the variable {name!r} of an enclosing scope, which the live function does not have",
        where=where,
        advice="pass the value in another way, or restart the process",
    )


# --- hand-written replacements ------------------------------------------------------------------------------


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
        switch = _switch(part, pair, [old], where, owner=None, new=None if fits else new)
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
            where=str(getattr(replacement.new, "__qualname__", None) or _short(replacement.new)),
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


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 60 else text[:57] + "..."

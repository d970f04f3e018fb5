"""From a patch to what a transition switches: every target found, verified, and its new value made.

Nothing here is visible to the process: new functions, values and imports are made in a scratch namespace over the
module's own, and bound at the switch. What cannot be found, or is not what the patch was built against, refuses the
whole patch.
"""

from __future__ import annotations

import functools
import marshal
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch import generic
from pylivepatch.activeness.functions import unwrap, wrappers
from pylivepatch.activeness.references import version_of
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
from pylivepatch.commit import owner_key, read_attribute
from pylivepatch.elsewhere import held_elsewhere, is_known, names_of
from pylivepatch.errors import CodeMismatch, DataMismatch, PrepareError, TargetNotFound, UnswappableShape
from pylivepatch.evaluate import evaluate
from pylivepatch.ftrace.trampoline import Template
from pylivepatch.items import CompiledModule, Item
from pylivepatch.locate import REBUILD, around, locate, mangled, static_lookup
from pylivepatch.memos import load_memo, verify_memo
from pylivepatch.pairs import checked_trampoline, code_at, load_pair
from pylivepatch.part import (
    ANNOTATIONS,
    Part,
    annotations_of,
    bind,
    carry,
    check_bindable,
    check_unhidden,
    class_named,
    owner_of,
    short,
)
from pylivepatch.switches import by_code, class_cell, function_switch, leave
from pylivepatch.transition.swap import MISSING, Attribute, Switch
from pylivepatch.values import check_value, load_import, load_state, load_value


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
            check_value(module, item, where, arriving, below, compiled.prepared)
        elif item.kind == "replaced":
            locate(module, item.target, marshal.loads(item.payload)[1][0], below)
        elif item.kind == "memo":
            verify_memo(module, item, below)
        elif item.kind in ("new", "class", "fields", "bases"):
            owner_of(module, item.target)
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
    for live in by_code(functions, part.below):
        switch = function_switch(part, pair, live, where, owner=owner_of(module, item.target))
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
                    carry(part, function, name, value, where)
            _carry_to_wrappers(part, static_lookup(module, item.target), function)
        part.switches.append(switch)


def _load_registered(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    """A new implementation of a generic function, which alone has it: its name is that of another one."""
    _load_new(part, module, item, scratch, where, bound=False)


def _load_unregistered(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    goes, dispatchers = marshal.loads(item.payload)
    functions = locate(module, item.target, goes[0], part.below)
    for code in dispatchers:
        for register, cls in generic.registered(eval(code, vars(module)), functions, part.below.entries, where):
            _bind_entry(part, register, cls, MISSING, where)
    for function in functions:
        leave(part, function, goes, where)


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
                f"{generic.called(found.register)} has one for {cls.__qualname__} already: {short(other)}",
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
    owner = owner_of(module, item.target)
    # As in a class statement: the names of the body first, then those of the module, the new ones among them.
    body = {} if owner is None else scratch.setdefault(f"class {owner.__qualname__}", {})
    space = scratch if owner is None else {**scratch, **vars(owner), **body}
    defaults, kwdefaults, annotations = (
        None if c is None else evaluate(c, module, space, part.prepared) for c in values
    )
    closure = tuple(class_cell(name, owner, where) for name in code.co_freevars) or None
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
        bind(part, vars(module), name, value, where)
    else:
        key = mangled(owner, name)
        if isinstance(value, functools.cached_property):
            value.__set_name__(owner, key)
        scratch[f"class {owner.__qualname__}"][name] = value
        bind(part, owner, key, value, where)
    version = version_of(code)
    template = Template.from_bytes(template)
    part.added.append(Switch(where, version, version, template, template, [weakref.ref(function)]))


def _load_replaced(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    """Another function object takes the place of the old one, wherever that has a name; the old one is left."""
    made, goes = marshal.loads(item.payload)
    old, owner = goes[0], owner_of(module, item.target)
    space: Any = vars(module) if owner is None else owner
    name = old.co_name if owner is None else mangled(owner, old.co_name)
    functions = locate(module, item.target, old, part.below)
    live = read_attribute(space, name)()
    if len(functions) != 1 or not is_known(live, functions[0]):
        raise CodeMismatch(
            f"the name leads to {short(live)}, which is not what the old source's decorators make",
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
    leave(part, functions[0], goes, where)
    _load_new(part, module, item._replace(payload=made), scratch, where)
    new = next(a.new for a in reversed(part.attributes) if a.owner is space and a.name == name)
    for owner, other in places[1:]:
        bind(part, owner, other, new, f"{where} as {other}")


def _load_removed(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner_name, name, goes = marshal.loads(item.payload)
    space: Any = class_named(module, owner_name, where) if owner_name else vars(module)
    key = mangled(space, name) if owner_name else name
    if read_attribute(space, key)() is MISSING:
        raise TargetNotFound(f"{item.target} is not there; the old source sets it", where=where, advice=REBUILD)
    for function in locate(module, item.target, goes[0], part.below) if goes else ():
        leave(part, function, goes, where)
    bind(part, space, key, MISSING, where)


def _load_class(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    parts, templates = marshal.loads(item.payload)
    owner = owner_of(module, item.target)
    value = make_class(parts, vars(module), scratch, where)
    if owner is None:
        scratch[parts[0]] = value
    part.made.values[item.target] = MISSING, value
    bind(part, vars(module) if owner is None else owner, parts[0], value, where)
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
    owner = class_named(module, item.target.rpartition(".")[0], where)

    def under(name: str) -> Any:
        key = "__annotate__" if name == "__annotate_func__" else name  # as made_anew names it
        return part.below.value(owner, key, vars(owner).get(name, MISSING))

    check_fields(under, before, where)
    aside = make_class(marshal.loads(statement)[0], vars(module), scratch, where)
    own = {mangled(owner, name) for name in own}
    gone = {*before} - {*after} | written_by_dataclass(under)
    for name, value in made_anew(owner, under, aside, own, gone, where).items():
        label = f"{where.removesuffix('<fields>')}{name}"
        current = read_attribute(owner, name)()
        check_bindable(owner, name, label, new=current is MISSING)
        if current is MISSING and name in after:
            check_unhidden(owner, name, label)
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
    owner = class_named(module, owner_name, where)
    live = part.below.value(owner, "__bases__", owner.__bases__)
    new = evaluate(after, module, scratch, part.prepared)
    before_it = [a for other in part.prepared.values() for a in other.attributes if a.name == "__bases__"]
    others = {a.owner: a.new for a in before_it if a.owner is not owner}
    check_bases(owner, live, eval(before, vars(module)), new, others, where)
    part.attributes.append(Attribute(owner, "__bases__", live, new, where))


def _carry_documentation(part: Part, function: FunctionType, new: CodeType, where: str) -> None:
    """The docstring moves, unless somebody gave the function another one than its code's."""
    old_doc = FunctionType(part.below.code(function), {}, closure=function.__closure__).__doc__
    new_doc = FunctionType(new, {}, closure=tuple(CellType() for _ in new.co_freevars) or None).__doc__
    if part.below.value(function, "__doc__", function.__doc__) == old_doc and new_doc != old_doc:
        carry(part, function, "__doc__", new_doc, where)


def _carry_to_wrappers(part: Part, thing: Any, function: FunctionType) -> None:
    """What ``functools.wraps`` and its like copied of the function moves with it, where it is the function's still."""
    copied = [a for a in part.attributes if a.owner is function and a.name in ("__doc__", ANNOTATIONS)]
    for wrapper in wrappers(thing, function) if copied else ():
        part.attributes += [replace(a, owner=wrapper) for a in copied if getattr(wrapper, a.name, None) is a.current()]


_LOADERS = {
    "function": _load_function,
    "new": _load_new,
    "registered": _load_registered,
    "unregistered": _load_unregistered,
    "replaced": _load_replaced,
    "removed": _load_removed,
    "value": load_value,
    "import": load_import,
    "class": _load_class,
    "fields": _load_fields,
    "bases": _load_bases,
    "state": load_state,
    "memo": load_memo,
}

"""Values, imports and objects that were made at import: verified against what is live, and made as they will be."""

from __future__ import annotations

import importlib
import marshal
import sys
from collections.abc import Mapping
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.references import nested_code
from pylivepatch.below import Below
from pylivepatch.commit import Contents, read_attribute
from pylivepatch.errors import DataMismatch, PrepareError, TargetNotFound
from pylivepatch.evaluate import IN_PLACE, content_for, evaluate
from pylivepatch.items import Item
from pylivepatch.locate import REBUILD, mangled
from pylivepatch.part import Part, bind, check_bindable, check_unhidden, class_named, short
from pylivepatch.symbols import ASIDE
from pylivepatch.transition.swap import MISSING, Attribute, alike


def check_value(
    module: ModuleType, item: Item, where: str, arriving: bool, below: Below, prepared: Mapping[str, Any]
) -> tuple[Any, Any, str]:
    """The owner, the value that is there, and the key, if it is what the old source gives."""
    owner_name, name, before, after = marshal.loads(item.payload)
    owner = class_named(module, owner_name, where) if owner_name else None
    space = vars(module) if owner is None else vars(owner)
    key = name if owner is None else mangled(owner, name)
    live = below.value(vars(module) if owner is None else owner, key, space.get(key, MISSING))
    expected = MISSING if before is None else _expected(before, module, below, prepared)
    if live is MISSING and expected is not MISSING:
        raise TargetNotFound(f"{item.target} is not there; the old source sets it", where=where, advice=REBUILD)
    known = below.value(Contents(live), "", live) if type(live) in IN_PLACE else live
    if live is not MISSING and (expected is MISSING or not alike(known, expected)):
        if arriving and expected is not MISSING and alike(live, evaluate(after, module, {}, prepared)):
            return vars(module) if owner is None else owner, expected, key  # a copy of what the patch has set elsewhere
        raise DataMismatch(
            f"{item.target} is {short(live)}, but the old source "
            + ("does not set it" if expected is MISSING else f"gives {short(expected)}"),
            where=where,
            advice="it was changed at run time; build the patch without this value, or set it back first",
        )
    if owner is not None and live is MISSING:
        check_unhidden(owner, key, where)
    return vars(module) if owner is None else owner, live, key


def _expected(before: CodeType, module: ModuleType, below: Below, prepared: Mapping[str, Any]) -> Any:
    """What the old source gives."""
    names = {one for code in nested_code(before) for one in code.co_names}  # a comprehension has its own
    there = vars(module)
    seen = {one: _original(below, there, one, there[one]) for one in names if one in there}
    return evaluate(before, module, {}, prepared, seen, partial(_original, below))


def _original(below: Below, owner: Any, name: str, now: Any) -> Any:
    """What the name meant without the patches that are to be replaced. ``now`` is what it means."""
    value = below.value(owner, name, now)
    return below.value(Contents(value), "", value) if type(value) in IN_PLACE else value


def load_value(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner, live, key = check_value(module, item, where, part.arriving, part.below, part.prepared)
    check_bindable(owner, key, where, new=live is MISSING)
    code = marshal.loads(item.payload)[3]
    value = evaluate(code, module, scratch, part.prepared)
    if any(constant is value for constant in code.co_consts):
        value = part.made.constants.setdefault(code, value)  # equal code is of one line, too
    part.made.values[item.target] = live, value
    if owner is vars(module):
        scratch[key] = value
    current = part.below.value(owner, key, read_attribute(owner, key)())
    if current is not live:  # the new value is there already: on the way back the old one comes
        part.attributes.append(Attribute(owner, key, live, current, where, settled=True))
    elif type(live) in IN_PLACE and type(value) is type(live) and not _is_shared(part, module, item, scratch):
        contents = Contents(live)
        old = part.below.value(contents, "", contents.read()())
        part.made.containers[id(value)] = value, live
        part.made.values[item.target] = old, value
        part.attributes.append(Attribute(contents, "", old, content_for(live, value), where))
    else:
        value = part.made.containers.get(id(value), (value, value))[1]
        part.made.values[item.target] = live, value
        if value is not live:
            part.attributes.append(Attribute(owner, key, live, value, where))


def _is_shared(part: Part, module: ModuleType, item: Item, scratch: Mapping[str, Any]) -> bool:
    """Whether the old or the new expression gives no container of its own, but one that has another name as well
    (``A = B``): filled in place, that name would change, too.
    """
    before, after = marshal.loads(item.payload)[2:]
    new = evaluate(after, module, scratch, part.prepared)
    if new is evaluate(after, module, scratch, part.prepared):
        return True
    old = None if before is None else _expected(before, module, part.below, part.prepared)
    return old is not None and old is _expected(before, module, part.below, part.prepared)


def load_state(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
    owner_name, name, cls_name, code = marshal.loads(item.payload)
    cls = class_named(module, cls_name, where)
    owner = class_named(module, owner_name, where) if owner_name else None
    live = (vars(module) if owner is None else vars(owner)).get(name, MISSING)
    arguments, keywords = evaluate(code, module, {}, part.prepared)
    expected = vars(cls(*arguments, **keywords))
    current = {} if type(live) is not cls else {k: part.below.value(live, k, v) for k, v in vars(live).items()}
    made: Any = object.__new__(cls)
    _new_constructor(part, module, cls, scratch)(made, *arguments, **keywords)
    if type(live) is not cls or not alike(current, expected) or vars(made).keys() != expected.keys():
        raise DataMismatch(
            f"{item.target} is not what the old constructor gives: {short(live)}",
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


def load_import(part: Part, module: ModuleType, item: Item, scratch: dict[str, Any], where: str) -> None:
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
                f"{name} is {short(live)}, which the old source does not {'import' if before else 'bind'}",
                where=where,
                advice="it was set at run time; set it back first, or build the patch without this import",
            )
        bind(part, vars(module), name, scratch[name], where)
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

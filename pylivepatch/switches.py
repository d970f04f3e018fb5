"""The switches of functions: from live code to new, with what is nested in it; and of functions that are left."""

from __future__ import annotations

import weakref
from dataclasses import replace
from types import CellType, CodeType, FunctionType

from pylivepatch.activeness.references import version_of
from pylivepatch.below import Below
from pylivepatch.errors import UnswappableShape
from pylivepatch.ftrace.hooks import kind
from pylivepatch.ftrace.keeper import keeper
from pylivepatch.ftrace.late import change_places
from pylivepatch.ftrace.trampoline import Path, Template
from pylivepatch.pairs import Pair, checked_trampoline, children, code_at, equal_nested, nested_paths
from pylivepatch.part import Part
from pylivepatch.transition.swap import Guard, Switch
from pylivepatch.transition.twins import relate


def function_switch(
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
    part.guards_old += [guard_of(pair.old, path, prefix) for path in pair.guards_old]
    part.guards_new += [guard_of(pair.new, path, prefix) for path in pair.guards_new]
    return switch


def leave(part: Part, function: FunctionType, goes: tuple[CodeType, bytes, bytes], where: str) -> None:
    """Nobody may be inside the function at the switch, nor at the one back; who still has it calls it as it was."""
    _, forward, backward = goes
    was = version_of(part.below.code(function))
    stays = version_of(was.code.replace())
    templates = Template.from_bytes(forward), Template.from_bytes(backward)
    switch = Switch(f"{where} (as it was)", was, stays, *templates, [weakref.ref(function)])
    switch.everywhere = False
    part.switches.append(switch)
    part.guards_old += [guard_of(was.code, path, part.name) for path in nested_paths(was.code)]


def guard_of(code: CodeType, path: Path, module: str) -> Guard:
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
        closure = tuple(cells.get(name) or class_cell(name, owner, where) for name in pair.new.co_freevars)
        new = FunctionType(pair.new, function.__globals__, function.__name__, None, closure or None)
    code = keeper(new, old.co_freevars, new.__code__.co_filename)
    part.keep.append(version_of(new.__code__))
    prefix = where.partition(":")[0]
    part.guards_old += [guard_of(old, path, prefix) for path in pair.guards_old]
    part.guards_old += [guard_of(old, n.old_path, prefix) for n in pair.nested]
    return Switch(
        where,
        version_of(old),
        version_of(code),
        checked_trampoline(old, []),
        checked_trampoline(code, []),
        [weakref.ref(function)],
    )


def class_cell(name: str, owner: type | None, where: str) -> CellType:
    if name == "__class__" and owner is not None:
        return CellType(owner)
    raise UnswappableShape(
        f"the new version needs the variable {name!r} of an enclosing scope, which the live function does not have",
        where=where,
        advice="pass the value in another way, or restart the process",
    )


def by_code(functions: list[FunctionType], below: Below) -> list[list[FunctionType]]:
    groups: dict[int, list[FunctionType]] = {}
    for function in functions:
        groups.setdefault(id(below.code(function)), []).append(function)
    return list(groups.values())

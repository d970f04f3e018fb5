"""Implementations of generic functions (``functools.singledispatch``), which the registry has, whatever their names.

A new one is registered at the switch, and one that is gone is taken out. What import-time code computed with the
generic function before stays: that is looked for as for any changed function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pylivepatch.build import codes
from pylivepatch.build.context import Ambiguous, Context
from pylivepatch.build.names import SAFE_DECORATORS, Unsafe, check_expression, is_private, mangle
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import FunctionNode, Item, items_of
from pylivepatch.build.source import is_plain
from pylivepatch.build.stale import check_function
from pylivepatch.build.world import Version
from pylivepatch.patch import Unregistered

_DISPATCHERS = frozenset({"functools.singledispatch", "functools.singledispatchmethod"})


def is_registered(context: Context, item: Item, *, old: bool = False) -> bool:
    """Whether a ``singledispatch`` function of the tree keeps the function, so that it is found without its name."""
    return bool(dispatchers_of(context, item, old=old))


def registered_by_annotation(item: Item) -> bool:
    """``@f.register`` without arguments: the first parameter's annotation says for which type."""
    return any(
        isinstance(decorator, ast.Attribute) and decorator.attr == "register"
        for decorator in item.function.decorator_list
    )


def dispatchers_of(context: Context, item: Item, *, old: bool = False) -> list[ast.expr]:
    """What the decorators of the function name before ``.register``, where these are generic functions of the tree."""
    version = context.world.old if old else context.world.new
    bases = [base for base in map(_registering, item.function.decorator_list) if base is not None]
    return [base for base in bases if _found(version, context.module, context.owner, base)]


def registers(context: Context, decorator: ast.expr) -> bool:
    """Whether the decorator does nothing but to register with a generic function of the tree. Raises ``Unsafe``."""
    base = _registering(decorator)
    if base is None or not _found(context.world.new, context.module, context.owner, base):
        return False
    if isinstance(decorator, ast.Call):
        if len(decorator.args) != 1 or decorator.keywords:
            raise Unsafe(ast.unparse(decorator))
        check_expression(
            decorator.args[0], context.new.names, hidden=context.new_hidden, class_name=context.class_name
        )
    return True


def reaches_everything(context: Context, item: Item, *, old: bool = False) -> bool:
    """Whether no import-time result was made with the generic functions of the function; reports what was."""
    version = context.world.old if old else context.world.new
    whole = [check_function(context, item, [name], module=home) for home, name in _generics(context, version, item)]
    return all(whole)


def taken_already(context: Context, item: Item) -> str:
    """Why a new implementation would take the place of another one, which the registry has by then; ``""`` if not."""
    if "object" in _with_other_names(context.world.new, _own_classes(item)):
        return "it is for object, for which the generic function itself is registered"
    if place := _registered_again(context, context.world.new, item):
        return f"the new version registers another one for the class, too ({place})"
    return ""


def share_a_class(context: Context, one: Item, other: Item) -> bool:
    """Whether both implementations of the old version are registered with one generic function for one class."""
    version = context.world.old
    if not _generics(context, version, one) & _generics(context, version, other):
        return False
    return not _with_other_names(version, _own_classes(one)).isdisjoint(_own_classes(other))


def registrations(version: Version, module: str, item: Item) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """What a definition or statement of a module's top level registers with generic functions of the tree: which one,
    and what the classes are called.
    """
    node = item.node
    function = node if isinstance(node, FunctionNode) else None
    calls = [node.value] if isinstance(node, ast.Expr) else []
    for decorator in function.decorator_list if function is not None else calls:
        base = _registering(decorator)
        found = _found(version, module, "", base) if base is not None else None
        if found is not None:
            yield found, _with_other_names(version, _classes(decorator, function))


def unregister(context: Context, item: Item) -> bool:
    """Carry that a function of the old version is no implementation any more; reports why that cannot be done."""

    def refuse(why: str) -> bool:
        return not context.report.refused(
            codes.FUNCTION_REMOVED,
            context.symbol(item.name),
            f"the function was registered with {names}, which does without it now, but {why}",
            "keep it, and give it the body that its callers should meet",
            old_line=item.line,
        )

    bases = dispatchers_of(context, item, old=True)
    names = ", ".join(map(ast.unparse, bases))
    others = [one for one in item.function.decorator_list if _registering(one) not in bases]
    unknown = [one for one in others if context.old.names.dotted(one) not in SAFE_DECORATORS]
    if item.guard:
        return refuse(f"the process may not have it ({item.guard[-1]})")
    if unknown:
        return refuse(f"the decorator {ast.unparse(unknown[0])} may have handed it on")
    if "object" in _own_classes(item):
        return refuse("what it did for object before that is not known")
    if place := _registered_again(context, context.world.old, item):
        return refuse(f"the class was registered with another one, too ({place}), which would be found without it")
    if any(is_private(part.id) for base in bases for part in ast.walk(base) if isinstance(part, ast.Name)):
        return refuse("the generic function has a private name")
    try:
        context.code(context.old.source, item.function)
    except Ambiguous as problem:
        return refuse(f"it cannot be told apart in the compiled module: {problem}")
    if not reaches_everything(context, item, old=True):
        return False
    texts = tuple(_as_seen_by_the_module(context, base) for base in bases)
    context.changes.append(Unregistered(context.ref(item.function), item.line, texts))
    return True


def _registered_again(context: Context, version: Version, item: Item) -> str:
    """Where another implementation is registered for a class of this one, by the class's name."""
    own = _with_other_names(version, _own_classes(item))
    generics = _generics(context, version, item)
    names = {name.rpartition(".")[2] for _, name in generics}
    for module, uses in version.modules.items():
        if not uses.has_attribute("register"):
            continue
        owners = {
            id(one.node): owner
            for (home, owner), cls in version.classes.all.items()
            if home == module
            for one in cls.items
        }
        known = {id(decorator) for decorator in item.function.decorator_list}
        for node in walk(uses.source.tree):
            registering: list[tuple[ast.expr, FunctionNode | None]] = []
            if isinstance(node, FunctionNode) and node is not item.node:
                registering = [(decorator, node) for decorator in node.decorator_list]
                known |= {id(decorator) for decorator in node.decorator_list}
            elif isinstance(node, ast.Call) and id(node) not in known:
                registering = [(node, None)]
            for one, function in registering:
                base = _registering(one)
                if base is None or own.isdisjoint(_classes(one, function)):
                    continue
                found = _found(version, module, owners.get(id(function), ""), base)
                if found in generics if found else _last(base) in names:
                    return f"{uses.source.path}:{one.lineno}"
    return ""


def _generics(context: Context, version: Version, item: Item) -> set[tuple[str, str]]:
    """The generic functions of the tree that the function is registered with: module, and name in it."""
    bases = filter(None, map(_registering, item.function.decorator_list))
    return set(filter(None, (_found(version, context.module, context.owner, base) for base in bases)))


def _with_other_names(version: Version, found: set[str]) -> set[str]:
    """Those that ``Text = str`` and ``import … as`` give and take, too."""
    items = [one for uses in version.modules.values() for one in uses.items]
    pairs = [(one.name, _last(one.value)) for one in items if one.kind == "value" and not is_plain(one.value)]
    pairs += [(one.name, one.alias.name) for one in items if one.alias is not None]
    more = found
    while more:
        more = {name for pair in pairs if not found.isdisjoint(pair) for name in pair} - {*found, ""}
        found = found | more
    return found


def _own_classes(item: Item) -> set[str]:
    return {name for decorator in item.function.decorator_list for name in _classes(decorator, item.function)}


def _classes(decorator: ast.expr, function: FunctionNode | None) -> set[str]:
    """What the classes are called that it registers for, without the modules that they are of."""
    part: ast.AST | None = None
    if isinstance(decorator, ast.Call):
        part = decorator.args[0] if decorator.args else None
    elif function is not None and (first := [*function.args.posonlyargs, *function.args.args]):
        # A method's comes after its instance.
        part = next((one.annotation for one in first if one.annotation is not None), None)
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        try:
            part = ast.parse(part.value, mode="eval")
        except SyntaxError:
            return set()
    return {_last(node) for node in ast.walk(part)} - {"", "Union", "Optional"} if part is not None else set()


def _last(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=None):
            return "None"
    return ""


def _as_seen_by_the_module(context: Context, base: ast.expr) -> str:
    if context.owner and isinstance(base, ast.Name):
        return f"{context.owner}.__dict__[{mangle(base.id, context.class_name)!r}]"
    return ast.unparse(base)


def _registering(decorator: ast.expr) -> ast.expr | None:
    """``f`` of ``@f.register`` and of ``@f.register(int)``."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return node.value if isinstance(node, ast.Attribute) and node.attr == "register" else None


def _found(version: Version, module: str, owner: str, node: ast.expr) -> tuple[str, str] | None:
    """The module and the name in it of the generic function that ``node`` names, in a body of the name ``owner``."""
    uses = version.modules[module]
    if owner and isinstance(node, ast.Name):
        cls = version.classes.all.get((module, owner))
        if cls is not None and _defines(items_of(cls.node.body), node.id, module, version):
            return module, f"{owner}.{node.id}"
    home, name = version.resolve(module, uses.names.dotted(node))
    there = version.modules.get(home)
    return (home, name) if there is not None and _defines(there.items, name, home, version) else None


def _defines(items: list[Item], name: str, module: str, version: Version) -> bool:
    found = [item for item in items if item.name == name]
    names = version.modules[module].names
    return (
        len(found) == 1
        and found[0].kind == "function"
        and any(names.dotted(decorator) in _DISPATCHERS for decorator in found[0].function.decorator_list)
    )

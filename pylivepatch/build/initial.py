"""What ``__init__`` makes an attribute of: the values, as far as the source shows them."""

from __future__ import annotations

import ast
from typing import NamedTuple, TypeGuard

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import is_literal, shown
from pylivepatch.build.nodes import walk
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import FunctionNode, items_of
from pylivepatch.build.source import is_plain

Store = tuple[FunctionNode, ast.stmt]
"""A method, and the statement in it that binds an attribute of ``self``."""


_KINDS = frozenset(
    {"Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier", "Queue", "LifoQueue"}
    | {"SimpleQueue", "PriorityQueue", "deque", "OrderedDict", "defaultdict", "Counter", "StringIO", "BytesIO"}
    | {"WeakSet", "WeakKeyDictionary", "WeakValueDictionary"}
)
"""Classes of the standard library whose objects do not stand for each other: a lock that is taken twice hangs."""


class Stays(NamedTuple):
    """What instances that exist keep of an attribute; ``what`` says why."""

    name: str
    stores: list[Store]
    what: str
    before: list[Store] | None = None


def tell_what_stays(context: Context, stay: list[Stays]) -> None:
    """Note it, unless the new ``__init__`` is refused as a whole."""
    if any(finding.stops and finding.symbol == context.symbol("__init__") for finding in context.report.findings):
        return
    for one in stay:
        context.report.note(
            codes.MAY_BE_STALE,
            context.symbol(one.name),
            one.what,
            old_line=one.before[0][1].lineno if one.before else 0,
            new_line=one.stores[0][1].lineno,
        )


def kind_of(value: ast.expr | None) -> str:
    """The kind of value that an expression gives, where it is plain to see; ``""`` where it is not."""
    match value:
        case ast.Constant(value=constant):
            return type(constant).__name__
        case ast.List() | ast.Dict() | ast.Set() | ast.Tuple() as display:
            return type(display).__name__.lower()
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" | "tuple" as name), args=[]):
            return name
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _KINDS:
            return name
    return ""


def value_of(statement: ast.stmt, name: str) -> ast.expr | None:
    """What a statement sets the attribute ``name`` to, its part of ``self.a, self.b = 1, 2``; ``None`` where that
    cannot be seen.
    """
    match statement:
        case ast.Assign(targets=targets, value=value):
            found = [_part_for(target, value, name) for target in targets if _names(target, name)]
            return found[0] if len(found) == 1 else None
        case ast.AnnAssign(value=value):
            return value
        case ast.Expr(value=ast.Call(func=ast.Name(id="setattr"), args=[_, _, value])):
            return value
    return None


def _part_for(target: ast.expr, value: ast.expr, name: str) -> ast.expr | None:
    match target, value:
        case ast.Attribute(), _:
            return value
        case ast.Tuple(elts=targets) | ast.List(elts=targets), ast.Tuple(elts=values) | ast.List(elts=values):
            if len(targets) == len(values) and not any(isinstance(one, ast.Starred) for one in (*targets, *values)):
                found = [pair for pair in zip(targets, values, strict=True) if _names(pair[0], name)]
                return _part_for(*found[0], name) if len(found) == 1 else None
    return None


def _names(target: ast.expr, name: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
        for node in walk(target)
    )


def made_by_init(name: str, stores: list[Store], old_parameters: set[str] | None) -> list[ast.expr | None]:
    """What ``__init__`` sets the attribute to, in each statement that does. With ``old_parameters``, a parameter that
    is none of them stands for its literal default, which is what the old calls get.
    """
    found: list[ast.expr | None] = []
    for function, statement in stores:
        if function.name == "__init__":
            value = value_of(statement, name)
            if isinstance(value, ast.Name) and old_parameters is not None and value.id not in old_parameters:
                default = defaults_of(function).get(value.id)
                value = default if is_plain(default) else value
            found.append(value)
    return found


def another_literal(before: list[ast.expr | None], after: list[ast.expr | None]) -> bool:
    """Whether a literal is among what only one of the two has."""
    old, new = ({ast.dump(one): one for one in values if one is not None} for values in (before, after))
    return any(is_literal((old | new)[text]) for text in old.keys() ^ new.keys())


def is_other_call(
    old: ast.ClassDef, new: ast.ClassDef, before: list[ast.expr | None], after: list[ast.expr | None]
) -> bool:
    """Whether an attribute is made of something else now, which is the same for each instance: ``re.compile("…")``."""
    match before, after, constructor_of(old), constructor_of(new):
        case [ast.Call() as was], [ast.Call() as now], ast.FunctionDef() as first, ast.FunctionDef() as second:
            own = {one.arg for init in (first, second) for one in walk(init.args) if isinstance(one, ast.arg)}
            own |= {node.id for init in (first, second) for node in walk(init) if _is_bound(node)}
            names = {node.id for one in (was, now) for node in walk(one) if isinstance(node, ast.Name)}
            return not same_tree(was, now) and names.isdisjoint(own)
    return False


def _is_bound(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def sets(made: list[ast.expr | None]) -> str:
    """For a message: ``sets it to 1``."""
    values = [shown(one) for one in made if one is not None]
    return f"sets it to {' or '.join(dict.fromkeys(values))}" if values else "sets it otherwise"


class OtherDefault(NamedTuple):
    """A parameter of ``__init__`` that an attribute is made of, whose default is another one now."""

    parameter: str
    was: ast.expr
    now: ast.expr

    @property
    def is_another_kind(self) -> bool:
        match self.was, self.now:
            case ast.Constant(value=was), ast.Constant(value=now):
                return type(was) is not type(now)
        return False

    def __str__(self) -> str:
        was, now = shown(self.was), shown(self.now)
        return f"is made of the parameter {self.parameter}, whose default {was} became {now}"


def other_default(old: ast.ClassDef, new: ast.ClassDef, name: str, stores: list[Store]) -> OtherDefault | None:
    """What ``__init__`` makes the attribute of, where that is another thing by default now. Where it is another kind of
    value (``None`` became ``True``), new methods may take the old one for something else than it meant.
    """
    before, after = ({} if init is None else defaults_of(init) for init in map(constructor_of, (old, new)))
    found: list[OtherDefault] = []
    for function, statement in stores:
        value = value_of(statement, name)
        if function.name != "__init__" or value is None:
            continue
        for node in walk(value):
            if isinstance(node, ast.Name):
                was, now = before.get(node.id), after.get(node.id)
                if was is not None and now is not None and not same_tree(was, now):
                    found.append(OtherDefault(node.id, was, now))
    return max(found, key=lambda one: one.is_another_kind, default=None)


def constructor_of(node: ast.ClassDef) -> FunctionNode | None:
    """The class's own ``__init__``."""
    for item in items_of(node.body):
        if item.kind == "function" and item.name == "__init__" and not item.typing_only:
            return item.function
    return None


def defaults_of(function: FunctionNode) -> dict[str, ast.expr | None]:
    """Parameter → its default; none that the body binds anew."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    found: dict[str, ast.expr | None] = dict(
        zip([argument.arg for argument in positional][::-1], arguments.defaults[::-1], strict=False)
    )
    found |= {one.arg: value for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
    bound = {node.id for node in walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name: value for name, value in found.items() if name not in bound}

"""Where the methods of a class set attributes of their instance, and what a constructor surely does."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pylivepatch.build.initial import Store, constructor_of
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import FunctionNode, items_of


def stores_of(node: ast.ClassDef) -> dict[str, list[Store]]:
    """Every ``self.name = …`` in the methods of a class."""
    found: dict[str, list[Store]] = {}
    for item in items_of(node.body):
        if item.kind != "function" or item.typing_only or not instance_name(item.function):
            continue
        for own in _made_by_new(item.function) or [instance_name(item.function)]:
            for statement, name in _stored(item.function.body, own):
                found.setdefault(name, []).append((item.function, statement))
    return found


def _made_by_new(function: FunctionNode) -> list[str]:
    """What ``__new__`` calls the instance that it makes: ``one = super().__new__(cls)``."""
    return [
        node.targets[0].id
        for node in (walk(function) if function.name == "__new__" else ())
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Attribute) and node.value.func.attr == "__new__"
    ]


def counted_by(old: ast.ClassDef, new: ast.ClassDef) -> dict[str, list[Store]]:
    """The attributes of ``self`` that methods of the new version alone add to (``+=``)."""
    before, after = (
        [
            (name, (item.function, node))
            for item in items_of(side.body)
            if item.kind == "function" and not item.typing_only and instance_name(item.function)
            for node in walk(item.function)
            if isinstance(node, ast.AugAssign) and (name := self_attribute(node, instance_name(item.function)))
        ]
        for side in (old, new)
    )
    found: dict[str, list[Store]] = {}
    for name, store in after:
        if name not in {known for known, _ in before}:
            found.setdefault(name, []).append(store)
    return found


def run_by_init(node: ast.ClassDef) -> set[str]:
    """The methods that ``__init__`` calls for each instance."""
    init = constructor_of(node)
    found = set()
    for statement in certainly_run(init.body) if init is not None else ():
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=base), attr=name))):
                if init is not None and base == instance_name(init):
                    found.add(name)
    return found


def certainly_run(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a function that run whenever it ends without an error."""
    returns = [any(isinstance(node, ast.Return) for node in ast.walk(statement)) for statement in body]
    return body[: returns.index(True)] if True in returns else body


def passes_on(statement: ast.stmt, cls: ast.ClassDef) -> bool:
    """Whether it calls the next class's constructor: ``super().__init__()``, or ``Base.__init__(self)`` of the only
    base. Of several bases the latter leaves those before it out.
    """
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="__init__", value=whose))):
            match whose:
                case ast.Call(func=ast.Name(id="super"), args=args):
                    return not args or ast.unparse(args[0]) == cls.name
            return [ast.unparse(base) for base in cls.bases] == [ast.unparse(whose)]
    return False


def instance_name(function: FunctionNode) -> str:
    """What a method calls its instance; ``""`` for a static or class method."""
    decorated = {ast.unparse(decorator) for decorator in function.decorator_list}
    arguments = [*function.args.posonlyargs, *function.args.args]
    return arguments[0].arg if arguments and not decorated & {"staticmethod", "classmethod"} else ""


def _stored(body: list[ast.stmt], self_name: str) -> Iterator[tuple[ast.stmt, str]]:
    for statement in body:
        for name in targets_of(statement, self_name):
            yield statement, name
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(statement, field, [])
            if isinstance(inner, list) and not isinstance(statement, ast.ClassDef):
                yield from _stored(inner, self_name)
        for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _stored(handler.body, self_name)


def targets_of(statement: ast.stmt, self_name: str) -> Iterator[str]:
    """The attributes of ``self`` that the statement itself binds; an annotation without a value binds none."""
    match statement:
        case ast.Assign(targets=targets):
            roots: list[ast.expr] = list(targets)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            roots = [target]
        case ast.For(target=target) | ast.AsyncFor(target=target):
            roots = [target]
        case ast.With(items=items) | ast.AsyncWith(items=items):
            roots = [entry.optional_vars for entry in items if entry.optional_vars is not None]
        case ast.Expr(value=ast.Call(func=function, args=args, keywords=keywords)):
            match function, args:
                case ast.Name(id="setattr"), [ast.Name(id=base), ast.Constant(value=str(name)), _] if base == self_name:
                    yield name
                case ast.Attribute(value=whole, attr="update"), _ if _is_dict_of(whole, self_name):
                    yield from (one.arg for one in keywords if one.arg)
            return
        case _:
            return
    for root in roots:
        for node in walk(root):
            match node:
                case ast.Attribute(value=ast.Name(id=base), attr=name, ctx=ast.Store()) if base == self_name:
                    yield name
                case ast.Subscript(value=whole, slice=ast.Constant(value=str(name))) if _is_dict_of(whole, self_name):
                    yield name


def _is_dict_of(node: ast.expr, self_name: str) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id=base), attr="__dict__"):
            return base == self_name
    return False


def self_attribute(node: ast.stmt, self_name: str) -> str:
    match node:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            match target:
                case ast.Attribute(value=ast.Name(id=base), attr=name) if base == self_name:
                    return name
    return ""

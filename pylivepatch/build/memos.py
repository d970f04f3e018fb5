"""Memos: dicts in which instances remember what they have made, and would make again.

``self.memo = {}`` in ``__init__``, and methods that look a key up in it, make the value where it is missing, and
remember that. Where the value is made of nothing but what the key is made of and what the object and its module have, a
memo may be forgotten at any time: a fresh object begins with an empty one, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from pylivepatch.build.classes import Class
from pylivepatch.build.names import Unsafe, is_private
from pylivepatch.build.nodes import parents_in, walk
from pylivepatch.build.remade import Remade
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import FunctionNode
from pylivepatch.build.stores import certainly_run, instance_name
from pylivepatch.build.world import Version

_MISSES = frozenset({"KeyError", "LookupError", "Exception"})


@dataclass(frozen=True)
class Memo:
    """``cls`` is the class whose ``init`` makes the dict ``name``; ``fillers`` are all methods that use it."""

    cls: Class
    name: str
    init: FunctionNode
    fillers: tuple[tuple[Class, FunctionNode], ...]


def filled_by(function: FunctionNode) -> str:
    """The attribute of ``self`` that a method puts items into; ``""`` for none."""
    own = instance_name(function)
    for node in walk(function):
        match node:
            case ast.Assign(targets=[ast.Subscript(value=ast.Attribute(value=ast.Name(id=base), attr=name))]):
                if base == own:
                    return name
    return ""


def memo_of(version: Version, family: list[Class], remade: Remade, name: str) -> Memo:
    """The memo ``self.name`` of one of the classes ``family``. Raises :class:`Unsafe` where it is none."""
    if any(name in cls.defines for cls in family):
        raise Unsafe(f"the class's own {name}")
    makers = [
        (cls, item.function)
        for cls in family
        if (item := cls.defines.get("__init__")) and item.kind == "function" and not item.function.decorator_list
        if any(_is_emptied(node, instance_name(item.function), name) for node in certainly_run(item.function.body))
    ]
    if len(makers) != 1:
        raise Unsafe(f"who makes {name}")
    cls, init = makers[0]
    if len(_mentions(init, name)) != 1:
        raise Unsafe(f"{init.name}, which uses {name} otherwise")
    below = [cls, *version.classes.descendants(cls)]
    fillers = [
        (one, item.function)
        for one in below
        for item in one.items
        if item.kind == "function" and item.function is not init and _mentions(item.function, name)
    ]
    _check_nobody_else(version, name, [init, *(function for _, function in fillers)])
    for one, function in fillers:
        if one.symbol[0] != cls.symbol[0] or (is_private(name) and one is not cls):
            raise Unsafe(f"{one.symbol[1]}, which is of another module")
        if function.decorator_list or one.defines.get(function.name) is None:
            raise Unsafe(f"the decorated {function.name}")
        _Filler(function, name).check()
        remade.check(one, function, name)
    return Memo(cls, name, init, tuple(fillers))


def _mentions(function: FunctionNode, name: str) -> list[ast.Attribute]:
    return [node for node in walk(function) if isinstance(node, ast.Attribute) and node.attr == name]


def _check_nobody_else(version: Version, name: str, functions: list[FunctionNode]) -> None:
    known = {id(node) for function in functions for node in _mentions(function, name)}
    for uses in version.modules.values():
        if name not in uses.attributes:
            continue
        for node in walk(uses.source.tree):
            match node:
                case ast.Attribute(attr=found) if found == name and id(node) not in known:
                    raise Unsafe(f"{uses.source.path}:{node.lineno}")
                case ast.Constant(value=text) if text == name:
                    raise Unsafe(f"{uses.source.path}:{node.lineno}")


def _is_emptied(node: ast.stmt, own: str, name: str) -> bool:
    """``self.name = {}``"""
    match node:
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=value):
            match target, value:
                case (
                    ast.Attribute(value=ast.Name(id=base), attr=found),
                    ast.Dict(keys=[]) | ast.Call(func=ast.Name(id="dict"), args=[], keywords=[]),
                ):
                    return base == own and found == name
    return False


class _Filler:
    """A method that uses a memo: in the known ways only, always by the same key, and ready for a miss."""

    def __init__(self, function: FunctionNode, name: str) -> None:
        self._function, self._name, self._own = function, name, instance_name(function)
        self._parents = parents_in(function)

    def check(self) -> None:
        if any(isinstance(node, ast.Lambda | FunctionNode | ast.Yield | ast.YieldFrom) for node in self._inner()):
            raise Unsafe(f"{self._function.name}, which is more than a plain method")
        fills: list[ast.Assign] = []
        reads: list[ast.expr] = []
        keys: list[ast.expr] = []
        for node in _mentions(self._function, self._name):
            use, key = self._use(node)
            keys.append(key)
            if isinstance(use, ast.Assign):
                fills.append(use)
            elif isinstance(use, ast.expr):
                reads.append(use)
        if not fills or not reads or any(not same_tree(key, keys[0]) for key in keys):
            raise Unsafe(f"{self._function.name}, which does not look up and remember by one key")
        self._check_key(keys[0])
        for fill in fills:
            self._check_miss(fill)
        for read in reads:
            if isinstance(read, ast.Subscript) and not self._is_guarded(read, fills):
                raise Unsafe(f"line {read.lineno}, which fails on a miss")

    def _inner(self) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self._function) if node is not self._function)

    def _use(self, node: ast.Attribute) -> tuple[ast.AST, ast.expr]:
        """The whole of what is done with the memo at one place, and the key."""
        parent = self._parents[id(node)]
        match node.value, parent:
            case ast.Name(id=base), ast.Subscript(slice=key, ctx=ast.Load()) if base == self._own:
                return parent, key
            case ast.Name(id=base), ast.Subscript(slice=key, ctx=ast.Store()) if base == self._own:
                statement = self._parents[id(parent)]
                if isinstance(statement, ast.Assign) and statement.targets == [parent]:
                    return statement, key
            case ast.Name(id=base), ast.Attribute(attr="get") if base == self._own:
                call = self._parents[id(parent)]
                if isinstance(call, ast.Call) and call.func is parent and call.args and not call.keywords:
                    return call, call.args[0]
            case ast.Name(id=base), ast.Compare(left=key, ops=[ast.In() | ast.NotIn()]) if base == self._own:
                if parent.comparators == [node]:
                    return parent, key
        raise Unsafe(f"line {node.lineno}, which uses {self._name} otherwise")

    def _check_key(self, key: ast.expr) -> None:
        """All that the caller gives and that is used is in the key."""
        arguments = [one.arg for one in ast.walk(self._function.args) if isinstance(one, ast.arg)]
        stored: dict[str, list[ast.AST]] = {}
        loaded: set[str] = set()
        for node in ast.walk(self._function):
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Load):
                    loaded.add(node.id)
                else:
                    stored.setdefault(node.id, []).append(self._parents[id(node)])
        if stored.keys() & {*arguments}:
            raise Unsafe(f"{self._function.name}, which binds a parameter anew")
        inside = {node.id for node in ast.walk(key) if isinstance(node, ast.Name)}
        for name in inside - {*arguments}:
            match stored.get(name, []):
                case [ast.Assign(targets=[ast.Name()], value=value) as statement] if statement in self._function.body:
                    inside |= {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
                case []:
                    pass  # a name of the module
                case _:
                    raise Unsafe(f"the key {name}")
        if missing := (loaded & {*arguments}) - inside - {self._own}:
            raise Unsafe(f"{', '.join(sorted(missing))}, which is not in the key")

    def _check_miss(self, fill: ast.Assign) -> None:
        """Whenever the key is missing, the value is made: no condition but that stands before it."""
        node: ast.AST = fill
        while (parent := self._parents[id(node)]) is not self._function:
            match parent:
                case ast.If(test=test, body=body) if self._asks(test, miss=any(node is one for one in body)):
                    pass
                case ast.ExceptHandler() if self._catches_miss(parent):
                    pass
                case ast.Try():
                    pass
                case _:
                    raise Unsafe(f"line {fill.lineno}, which may not be reached")
            node = parent

    def _asks(self, test: ast.expr, *, miss: bool) -> bool:
        """Whether a test is true where the memo does not have the key (``miss``), or where it does."""
        looked_up = {
            target.id
            for node in ast.walk(self._function)
            if isinstance(node, ast.Assign) and _mentions_in(node.value, self._name)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return self._asks(inner, miss=not miss)
            case ast.Compare(left=ast.Name(id=name), ops=[operator], comparators=[ast.Constant(value=None)]):
                return name in looked_up and isinstance(operator, ast.Is if miss else ast.IsNot)
            case ast.Compare(ops=[operator]):
                return _mentions_in(test, self._name) and isinstance(operator, ast.NotIn if miss else ast.In)
            case ast.Name(id=name):
                return name in looked_up and not miss
        return False

    def _catches_miss(self, handler: ast.ExceptHandler) -> bool:
        return handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id in _MISSES)

    def _is_guarded(self, read: ast.expr, fills: list[ast.Assign]) -> bool:
        """Whether ``self.memo[key]`` surely finds it, or a miss is caught."""
        node: ast.AST = read
        while node is not self._function:
            parent = self._parents[id(node)]
            match parent:
                case ast.If(test=test, body=body) if any(node is one for one in body):
                    if self._asks(test, miss=False):
                        return True
                case ast.Try(body=body, handlers=handlers) if any(node is one for one in body):
                    if any(map(self._catches_miss, handlers)):
                        return True
            body = getattr(parent, "body", [])
            before = body[: next((at for at, one in enumerate(body) if one is node), 0)] if type(body) is list else ()
            if any(fill in before for fill in fills):
                return True
            for one in before:
                match one:
                    case ast.If(test=test, body=inner):
                        if self._asks(test, miss=True) and any(fill in inner for fill in fills):
                            return True
                    case ast.Try(body=[ast.Return(value=value) | ast.Assign(value=value)], handlers=[handler]):
                        looked = value is not None and _mentions_in(value, self._name)
                        if looked and self._catches_miss(handler) and any(fill in handler.body for fill in fills):
                            return True
            node = parent
        return False


def _mentions_in(node: ast.expr, name: str) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr == name for part in ast.walk(node))

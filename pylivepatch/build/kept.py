"""Where a class attribute goes that is found by a computed name, as far as the tree's own code can tell.

Followed are the value itself, out of the method that looks it up, and what a method makes of it and remembers in a memo
(``memos``), out of that method. What is got by *using* such an object is a result like any other. Whatever else would
last (an attribute, a container, an argument of a call, a closure) is not followed: then it is not known who keeps it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pylivepatch.build.classes import Class
from pylivepatch.build.memos import Memo, filled_by, memo_of
from pylivepatch.build.names import Unsafe
from pylivepatch.build.nodes import parents_in, walk
from pylivepatch.build.remade import Remade, check_asks, may_be
from pylivepatch.build.scope import FunctionNode
from pylivepatch.build.stores import instance_name
from pylivepatch.build.world import Version


def memos_of(version: Version, cls: Class, name: str) -> list[Memo]:
    """The memos that the class attribute ``name`` comes into, and nothing else of the tree that lasts.

    Raises :class:`Unsafe` where it may come into something else, or it is not known.
    """
    return _Flow(version, cls).memos(cls, name)


_WHOLE = frozenset(
    {"__dict__", "vars", "dir", "getmembers", "getmembers_static", "attrgetter", "locals", "eval", "exec"}
)
"""What gives attributes without saying which."""


class _Flow:
    def __init__(self, version: Version, cls: Class) -> None:
        self._version = version
        classes = version.classes
        found = {cls.symbol: cls}
        for base in (cls, *classes.ancestors(cls)):
            found |= {one.symbol: one for one in (base, *classes.descendants(base))}
        self._family = list(found.values())
        self._remade = Remade(version, self._family)
        self._around: dict[str, dict[int, ast.AST]] = {}
        self._methods = {
            id(item.function): (one, item.function)
            for one in self._family
            for item in one.items
            if item.kind == "function"
        }

    def memos(self, cls: Class, name: str) -> list[Memo]:
        memos: dict[str, Memo] = {}
        raw = list(dict.fromkeys(self._sources(cls, name)))
        made: list[str] = []
        for method in raw:  # grows
            for one, function in self._remade.definitions(method):
                memo = filled_by(function)
                if not memo:
                    self._remade.check(one, function)
                    raw += [caller for caller in self._callers(method) if caller not in raw]
                elif memo not in memos:
                    memos[memo] = memo_of(self._version, self._family, self._remade, memo)
                    made += [filler.name for _, filler in memos[memo].fillers if filler.name not in made]
        for method in made:  # grows
            made += [caller for caller in self._users(method) if caller not in made]
        if not memos:
            raise Unsafe("nothing of the tree that remembers it")
        return list(memos.values())

    def _sources(self, cls: Class, name: str) -> Iterator[str]:
        """The methods that look attributes up by a text that may be ``name``."""
        known = {id(node) for one in self._family for node in one.computed_lookups}
        for module, uses in self._version.modules.items():
            for node in walk(uses.source.tree):
                match node:
                    case ast.Call(func=ast.Name(id="getattr"), args=[_, text, *_]):
                        if not isinstance(text, ast.Constant) and may_be(text, name):
                            if id(node) not in known:
                                raise Unsafe(f"{uses.source.path}:{node.lineno}")
                            yield self._method_around(module, node)[1].name
                    case ast.Name(id="vars"):
                        raise Unsafe(f"{uses.source.path}:{node.lineno}")  # would show both versions' memos
                    case ast.Attribute(value=base, attr="__dict__"):
                        if not (isinstance(base, ast.Name) and base.id == "self"):  # the family's own: below
                            raise Unsafe(f"{uses.source.path}:{node.lineno}")
        for one in self._family:
            for node in walk(one.node):
                match node:
                    case ast.Name(id=found) | ast.Attribute(attr=found) if found in _WHOLE:
                        raise Unsafe(f"{found} in {one.symbol[1]}")

    def _method_around(self, module: str, node: ast.AST) -> tuple[Class, FunctionNode]:
        """The method in whose body ``node`` stands, by itself. Raises :class:`Unsafe`."""
        function = self._enclosing(module, node)
        if function is None or id(function) not in self._methods:
            raise Unsafe(f"line {getattr(node, 'lineno', 0)}")
        return self._methods[id(function)]

    def _enclosing(self, module: str, node: ast.AST) -> FunctionNode | None:
        parents = self._parents(module)
        at: ast.AST | None = node
        while at is not None and not isinstance(at, FunctionNode | ast.Lambda | ast.ClassDef):
            at = parents.get(id(at))
        return at if isinstance(at, FunctionNode) else None

    def _parents(self, module: str) -> dict[int, ast.AST]:
        tree = self._version.modules[module].source.tree
        if module not in self._around:
            self._around[module] = parents_in(tree)
        return self._around[module]

    def _mentions(self, method: str) -> Iterator[tuple[str, ast.Attribute]]:
        """Every attribute of that name in the tree. Raises :class:`Unsafe` where it is a text, too."""
        for module, uses in self._version.modules.items():
            if method in uses.attributes:
                if method in uses.texts:
                    raise Unsafe(f"{method}, which is a text in {uses.source.path}")
                for node in walk(uses.source.tree):
                    if isinstance(node, ast.Attribute) and node.attr == method:
                        yield module, node

    def _callers(self, method: str) -> Iterator[str]:
        """The methods that call ``self.method``. Raises :class:`Unsafe` where anything else has to do with it."""
        for module, node in self._mentions(method):
            _, function = self._method_around(module, node)
            call = self._parents(module)[id(node)]
            if not (isinstance(call, ast.Call) and call.func is node and _is_own(node, function)):
                raise Unsafe(f"line {node.lineno}")
            yield function.name

    def _users(self, method: str) -> Iterator[str]:
        """The methods that give on what ``method`` has made. Raises :class:`Unsafe` where anybody may keep it."""
        for module, node in self._mentions(method):
            parents = self._parents(module)
            function = self._enclosing(module, node)
            call = parents[id(node)]
            if function is None or not (isinstance(call, ast.Call) and call.func is node):
                raise Unsafe(f"line {node.lineno}")
            match parents[id(call)]:
                case ast.Return():
                    yield function.name
                case ast.Assign(targets=[ast.Name(id=local)]):
                    self._check_local(module, function, local)
                case ast.Expr():
                    pass
                case _:
                    self._check_used(module, call)

    def _check_local(self, module: str, function: FunctionNode, local: str) -> None:
        for node in ast.walk(function):
            if isinstance(node, FunctionNode | ast.Lambda | ast.Global | ast.Nonlocal) and node is not function:
                raise Unsafe(f"line {node.lineno}")
            if isinstance(node, ast.Name) and node.id == local and isinstance(node.ctx, ast.Load):
                self._check_used(module, node)

    def _check_used(self, module: str, node: ast.AST) -> None:
        """Whether a method of the object is called there, and the result kept nowhere but in names of the function."""
        parents = self._parents(module)
        reader = parents[id(node)]
        call = parents[id(reader)]
        if not (isinstance(reader, ast.Attribute) and isinstance(call, ast.Call) and call.func is reader):
            raise Unsafe(f"line {getattr(node, 'lineno', 0)}")
        check_asks(reader.attr)
        statement: ast.AST = call
        while not isinstance(statement, ast.stmt):
            statement = parents[id(statement)]
        match statement:
            case ast.Assign(targets=[ast.Name()]) | ast.Return() | ast.Expr() | ast.For() | ast.If():
                return
        raise Unsafe(f"line {statement.lineno}")


def _is_own(node: ast.Attribute, function: FunctionNode) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == instance_name(function)

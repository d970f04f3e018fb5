"""Whether what a method gives could be made again: it computes, and changes nothing but names of its own.

Stricter than it need be. What cannot be told from the source (a call through a variable, a decorated method, an
attribute that something sets, loops over what may be used up) counts as an effect.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from pylivepatch.build.classes import Class, Symbol
from pylivepatch.build.names import Unsafe, shown
from pylivepatch.build.nodes import walk
from pylivepatch.build.pure import is_text_or_container_method
from pylivepatch.build.scope import FunctionNode
from pylivepatch.build.stores import instance_name
from pylivepatch.build.world import Version

_BUILTINS = frozenset(
    {"getattr", "hasattr", "isinstance", "issubclass", "callable", "len", "str", "int", "float", "bool", "repr"}
    | {"tuple", "list", "dict", "set", "frozenset", "sorted", "min", "max", "sum", "any", "all"}
    | {"range", "zip", "enumerate"}
)
_KNOWN = frozenset({"re.compile", "re.escape", "re.Scanner"})
_PLAIN_BASES = frozenset({"object", "re.Scanner"})
_ACTS = frozenset({"__new__", "__setattr__", "__getattribute__", "__getattr__", "__del__", "__init_subclass__"})
_GROW = frozenset({"append", "extend", "add", "update", "insert", "setdefault"})
_CHANGES = _GROW | frozenset(
    {"pop", "popitem", "popleft", "remove", "discard", "clear", "sort", "reverse", "appendleft", "extendleft", "rotate"}
    | {"difference_update", "intersection_update", "symmetric_difference_update", "subtract", "put", "write", "send"}
    | {"__setitem__", "__delitem__", "__setattr__", "__delattr__", "__next__", "__init__", "__iadd__", "__ior__"}
)
_PARTS = (
    ast.Constant | ast.Name | ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.IfExp | ast.Tuple | ast.List
    | ast.Set | ast.Dict | ast.Subscript | ast.Slice | ast.Starred | ast.JoinedStr | ast.FormattedValue | ast.keyword
)


class Remade:
    """The question, for the methods of the classes ``family`` of one version."""

    def __init__(self, version: Version, family: list[Class]) -> None:
        self._version, self._family = version, family
        self._known: set[int] = set()
        self._classes: set[Symbol] = set()

    def definitions(self, method: str) -> list[tuple[Class, FunctionNode]]:
        """Every definition of a method. Raises :class:`Unsafe` where it is something else, too, or has decorators."""
        found = [(cls, cls.defines[method]) for cls in self._family if method in cls.defines]
        if not found or any(item.kind != "function" or item.function.decorator_list for _, item in found):
            raise Unsafe(f"what {method} is")
        if any(item.guard for _, item in found) or self._is_stored(method):
            raise Unsafe(f"which {method} is called")
        return [(cls, item.function) for cls, item in found]

    def check(self, cls: Class, function: FunctionNode, memo: str = "") -> None:
        """Raise :class:`Unsafe` (it names the part) unless it does nothing but compute; it may fill ``self.memo``."""
        if id(function) not in self._known:
            self._known.add(id(function))
            _Body(self, self._version, cls, function, memo=memo).check(function.body)

    def check_calls(self, method: str) -> None:
        for cls, function in self.definitions(method):
            self.check(cls, function)

    def check_class_attribute(self, name: str) -> None:
        """``self.name(…)``, where the classes give it: raise :class:`Unsafe` unless it makes plain objects."""
        found = [(cls, cls.defines[name]) for cls in self._family if name in cls.defines]
        if not found or self._is_stored(name):
            raise Unsafe(f"self.{name}")
        for cls, item in found:
            if item.kind != "value" or item.guard:
                raise Unsafe(f"self.{name}")
            module = cls.symbol[0]
            self.check_class(self._version.resolve(module, self._version.modules[module].names.dotted(item.value)))

    def check_class(self, symbol: Symbol) -> None:
        """Raise :class:`Unsafe` unless calling the class makes an object and does nothing else."""
        module, name = symbol
        if not module:
            if name not in _KNOWN | _PLAIN_BASES:
                raise Unsafe(name or "a class that is not known")
            return
        if symbol in self._classes:
            return
        self._classes.add(symbol)
        cls = self._version.classes.all.get(symbol)
        if cls is None or cls.node.decorator_list or cls.node.keywords or _ACTS & cls.defines.keys():
            raise Unsafe(f"the class {name}")
        for base in cls.bases:
            self.check_class(base)
        init = cls.defines.get("__init__")
        for item in cls.items:
            if item.kind == "function" and item is not init:
                _check_stays(item.function)
        if init is not None:
            if init.kind != "function" or init.function.decorator_list:
                raise Unsafe(f"{name}.__init__")
            _Body(self, self._version, cls, init.function, makes=True).check(init.function.body)

    def check_lookup(self, text: ast.expr) -> None:
        """``getattr(self, text)``: raise :class:`Unsafe` where that may call a property."""
        for cls in self._family:
            for name, item in cls.defines.items():
                kinds = {ast.unparse(one) for one in getattr(item.node, "decorator_list", ())}
                if kinds - {"staticmethod", "classmethod"} and may_be(text, name):
                    raise Unsafe(f"the decorated {name}")

    def _is_stored(self, name: str) -> bool:
        return any(name in uses.stored for uses in self._version.modules.values())


def check_asks(method: str) -> None:
    """Raise :class:`Unsafe` where a method of this name may change its object."""
    if method in _CHANGES:
        raise Unsafe(f"{method}, which changes what was made")


def _check_stays(function: FunctionNode) -> None:
    """Raise :class:`Unsafe` where a method may change its object: one that was made again would not be like it."""
    for node in walk(function):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                raise Unsafe(f"{function.name}, which sets {shown(node)}")
            case ast.Global() | ast.Nonlocal() | ast.Name(id="setattr" | "delattr" | "next" | "vars"):
                raise Unsafe(f"{function.name}, which may change its object")
            case ast.Attribute(attr="__dict__"):
                raise Unsafe(f"{function.name}, which may change its object")
            case ast.Call(func=ast.Attribute(attr=name)):
                check_asks(name)


def may_be(text: ast.expr, name: str) -> bool:
    """Whether an expression may give the text ``name``."""
    match text:
        case ast.Constant(value=value):
            return bool(value == name)
        case ast.BinOp(left=ast.Constant(value=str(begin)), op=ast.Add()):
            return name.startswith(begin)
        case ast.BinOp(op=ast.Add(), right=ast.Constant(value=str(end))):
            return name.endswith(end)
        case ast.BinOp(left=ast.Constant(value=str(form)), op=ast.Mod()):
            return name.startswith(form.partition("%")[0])
        case ast.JoinedStr(values=[ast.Constant(value=str(begin)), *_]):
            return name.startswith(begin)
        case ast.Call(func=ast.Attribute(attr="upper"), args=[]):
            return name == name.upper()
        case ast.Call(func=ast.Attribute(attr="lower"), args=[]):
            return name == name.lower()
    return True


class _Body:
    """One function's statements. ``makes``: it is a constructor, which sets attributes of its new object."""

    def __init__(
        self,
        remade: Remade,
        version: Version,
        cls: Class,
        function: FunctionNode,
        *,
        memo: str = "",
        makes: bool = False,
    ) -> None:
        self._remade, self._version, self._cls, self._memo, self._makes = remade, version, cls, memo, makes
        self._names = version.modules[cls.symbol[0]].names
        self._self = instance_name(function)
        arguments = function.args
        defaults = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
        if not self._self or not isinstance(function, ast.FunctionDef):
            raise Unsafe(f"{function.name}, which is no plain method")
        if any(not isinstance(one, ast.Constant) for one in defaults):
            raise Unsafe(f"a default of {function.name}")
        stored = [
            (node.id, statement)
            for statement in ast.walk(function)
            if isinstance(statement, ast.stmt)
            for target in _targets(statement)
            for node in ast.walk(target)
            if isinstance(node, ast.Name)
        ]
        names = {name for name, _ in stored}
        given = {one.arg for one in ast.walk(arguments) if isinstance(one, ast.arg)}
        self._local = names | given
        self._own = names - given - {name for name, statement in stored if not _makes_container(statement)}
        if self._self in names:
            raise Unsafe(f"{self._self}, which is bound again")

    def check(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Pass() | ast.Break() | ast.Continue() | ast.Expr(value=ast.Constant()):
                return
            case ast.Expr(value=value) | ast.Return(value=value):
                self._expression(value)
            case ast.Raise(exc=error, cause=cause):
                self._expression(cause)
                if not isinstance(error.func if isinstance(error, ast.Call) else error, ast.Name):
                    raise Unsafe(shown(node))
                for part in error.args if isinstance(error, ast.Call) else ():
                    self._expression(part)
            case ast.Assign(targets=[target], value=value):
                self._target(target)
                self._expression(value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._target(target)
                self._expression(value)
            case ast.If(test=test, body=body, orelse=orelse):
                self._expression(test)
                self.check([*body, *orelse])
            case ast.For(target=target, iter=loop, body=body, orelse=orelse):
                self._target(target)
                self._loop(loop)
                self.check([*body, *orelse])
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                for handler in handlers:
                    self._expression(handler.type)
                    self.check(handler.body)
                self.check([*body, *orelse, *final])
            case _:
                raise Unsafe(f"line {node.lineno}")

    def _target(self, node: ast.expr) -> None:
        match node:
            case ast.Name():
                return
            case ast.Tuple(elts=parts) if all(isinstance(part, ast.Name) for part in parts):
                return
            case ast.Attribute(value=ast.Name(id=base)) if self._makes and base == self._self:
                return
            case ast.Subscript(value=ast.Attribute(value=ast.Name(id=base), attr=name), slice=key):
                if self._memo and name == self._memo and base == self._self:
                    self._expression(key)
                    return
        raise Unsafe(shown(node))

    def _loop(self, node: ast.expr) -> None:
        """What is looped over; an attribute may be an iterator, which can be used up once."""
        if isinstance(node, ast.Attribute):
            raise Unsafe(f"a loop over {shown(node)}")
        self._expression(node)

    def _expression(self, node: ast.AST | None, *, used_up: bool = False) -> None:
        match node:
            case None:
                return
            case ast.Attribute(value=ast.Name(id=base), attr=name) if base == self._self:
                self._remade.check_lookup(ast.Constant(name))
            case ast.Attribute(value=value):
                self._expression(value)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                if isinstance(node, ast.GeneratorExp) and not used_up:
                    raise Unsafe("a generator, which runs later")
                for loop in node.generators:
                    self._target(loop.target)
                    self._loop(loop.iter)
                    for test in loop.ifs:
                        self._expression(test)
                for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                    self._expression(part)
            case ast.Call():
                self._call(node)
                for part in (*node.args, *(keyword.value for keyword in node.keywords)):
                    if isinstance(part, ast.Attribute) and isinstance(node.func, ast.Name):
                        self._loop(part)  # list(self.pending)
                    self._expression(part, used_up=_uses_up(node.func))
            case _ if isinstance(node, _PARTS):
                for child in ast.iter_child_nodes(node):
                    if not isinstance(child, ast.expr_context | ast.operator | ast.unaryop | ast.boolop | ast.cmpop):
                        self._expression(child)
            case _:
                raise Unsafe(type(node).__name__)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        match function:
            case ast.Attribute(value=ast.Name(id=base), attr=name) if base == self._self:
                if any(name in cls.defines and cls.defines[name].kind == "value" for cls in self._family()):
                    self._remade.check_class_attribute(name)
                else:
                    self._remade.check_calls(name)
                return
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"), args=[]), attr="__init__") if self._makes:
                return  # the bases are looked at with the class
            case ast.Attribute(value=ast.Name(id=base), attr=name) if name in _GROW and base in self._own:
                return
            case ast.Name(id="getattr") if self._is_builtin("getattr"):
                match node.args:
                    case [ast.Name(id=base), text, *_] if base == self._self:
                        self._remade.check_lookup(text)
                        return
                raise Unsafe(shown(node))
            case ast.Name(id=name) if name in _BUILTINS and self._is_builtin(name):
                return
        module = self._cls.symbol[0]
        dotted = self._names.dotted(function)
        if dotted and not isinstance(function, ast.Attribute) and dotted in self._local:
            raise Unsafe(shown(node))
        root: ast.expr = function
        while isinstance(root, ast.Attribute):
            root = root.value
        if dotted and isinstance(root, ast.Name) and root.id not in self._local:
            symbol = self._version.resolve(module, dotted)
            if symbol in self._version.classes.all or (not symbol[0] and symbol[1] in _KNOWN):
                self._remade.check_class(symbol)
                return
        if isinstance(function, ast.Attribute) and is_text_or_container_method(function.attr):
            asks = bool(node.args) and not (isinstance(node.args[0], ast.Constant) and type(node.args[0].value) is bool)
            if self._is_plain(function.value) and (function.attr != "get" or asks):  # a queue's takes something out
                self._expression(function.value)
                return
        raise Unsafe(shown(node))

    def _is_plain(self, node: ast.expr) -> bool:
        """Whether it is a text or container as far as can be seen, and no session, file or database with methods that
        are called like theirs.
        """
        match node:
            case ast.Name(id=name):
                return name in self._local or self._version.is_data((self._cls.symbol[0], name))
            case ast.Attribute(value=ast.Name(id=base), attr=name):
                return bool(self._memo) and base == self._self and name == self._memo
            case ast.Attribute():
                return False
            case ast.Call(func=ast.Attribute(value=value)):
                return self._is_plain(value)
        return True

    def _family(self) -> Iterator[Class]:
        yield from self._remade._family

    def _is_builtin(self, name: str) -> bool:
        names = self._names
        return hasattr(builtins, name) and not (name in names.bound or name in names.imports or name in self._local)


def _uses_up(function: ast.expr) -> bool:
    """Whether a call goes through an iterable that it is given, before it returns."""
    match function:
        case ast.Name(id=name):
            return name in _BUILTINS - {"zip", "enumerate", "range"}
        case ast.Attribute(attr="join"):
            return True
    return False


def _targets(node: ast.stmt) -> list[ast.expr]:
    match node:
        case ast.Assign(targets=targets):
            return [one for one in targets if isinstance(one, ast.Name | ast.Tuple)]
        case ast.AnnAssign(target=ast.Name() as target) | ast.For(target=target):
            return [target]
    return []


def _makes_container(node: ast.stmt) -> bool:
    """Whether an assignment gives a name a container that nobody else has."""
    value = getattr(node, "value", None)
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp) or (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("list", "dict", "set", "sorted")
    )

"""What a piece of code runs and reads when it runs: the calls and names in it, as far as the source tells.

Of a function's body, of an import-time expression. A call through a variable, an operator or a descriptor is not
seen. What is under a condition, or is handed to somebody who may call it, is *unsure*.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pylivepatch.build.classes import Symbol
from pylivepatch.build.names import absolute_module
from pylivepatch.build.nodes import children, walk
from pylivepatch.build.scope import FunctionNode, bound_name
from pylivepatch.build.uses import Evaluated, Uses

if TYPE_CHECKING:
    from pylivepatch.build.world import Version

# They call the functions that they are given, at once or when their result is used up.
_EAGER = frozenset({"map", "filter", "sorted", "min", "max", "functools.reduce", "itertools.starmap"})
# They keep the functions that they are given.
_KEEPERS = frozenset(
    {"functools.partial", "functools.partialmethod", "functools.wraps", "functools.update_wrapper", "property"}
    | {"staticmethod", "classmethod", "functools.lru_cache", "functools.cache", "functools.cached_property"}
    | {"functools.singledispatch", "contextlib.contextmanager", "atexit.register", "codecs.register"}
    | {"signal.signal", "threading.Thread", "isinstance", "issubclass", "hasattr", "getattr", "setattr"}
    | {"callable", "id", "repr"}
    | {"dataclasses.field", "collections.defaultdict", "weakref.finalize", "weakref.ref", "contextvars.ContextVar"}
)
_KEEPING = ("typing.", "typing_extensions.", "collections.", "enum.", "abc.", "re.", "logging.", "warnings.")
# Nodes that bind names, and expressions that say something by themselves: of the others, only the children count.
_BINDING = frozenset(
    {ast.Name, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Global, ast.ExceptHandler}
    | {ast.Import, ast.ImportFrom}
)
_TELLING = frozenset({ast.Lambda, ast.IfExp, ast.BoolOp, ast.Call, ast.Name, ast.Attribute, ast.Constant})
_DYNAMIC = frozenset({"globals", "vars", "locals", "getattr", "eval", "exec", "sys.modules"})


class Ref(NamedTuple):  # there are many of them: a tuple is made, and sent between processes, in no time
    """A call or a reading of ``symbol``.

    ``name()`` as a symbol stands for what calling ``name`` gave. ``via_self``: written as ``self.name`` or
    ``cls.name``, so that a subclass may have another. ``kept`` is false for a statement that is nothing but the call.
    """

    symbol: Symbol
    is_call: bool
    line: int
    sure: bool = True
    via_self: bool = False
    kept: bool = True


@dataclass(slots=True)
class Run:
    """What one piece of code runs and reads. ``symbol`` names a function (``outer.<locals>.inner`` for nested ones).

    ``gives`` are the inner functions that it hands out; ``texts`` the strings in it if it looks names up by text.
    """

    symbol: Symbol
    refs: list[Ref] = field(default_factory=list)
    gives: set[str] = field(default_factory=set)
    inner: list[Run] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)

    def everything(self) -> Iterator[Run]:
        """This, and the functions nested in it."""
        yield self
        for inner in self.inner:
            yield from inner.everything()


def run_of_piece(version: Version, uses: Uses, piece: Evaluated) -> Run:
    """What an import-time piece runs. A decorator is called with what it decorates."""
    run, root = Run((uses.source.name, "")), piece.node
    comprehensions = (part for part in walk(root) if isinstance(part, ast.comprehension))
    stored = {part.id for one in comprehensions for part in walk(one.target) if isinstance(part, ast.Name)}
    reader = _Reader(version, uses, run, piece.scope, frozenset(stored))
    cls = version.classes.all.get((uses.source.name, piece.scope))
    reader.body_names = frozenset(
        name for name, item in (cls.defines if cls else {}).items() if item.line < piece.line
    )
    if isinstance(root, ast.stmt):
        reader.statements([root], True)
    else:
        reader.expression(root, True)
    if piece.role == "decorator":
        reader.call(root, True, piece.line, True)
    if not reader.is_dynamic:
        run.texts.clear()
    return run


def run_of_function(version: Version, uses: Uses, node: FunctionNode, qualname: str, owner: str) -> Run:
    """What a call of the function runs: its body, and the decorators' wrappers around it."""
    run = Run((uses.source.name, qualname))
    reader = _Reader(version, uses, run, owner, _local_names(node))
    arguments = [*node.args.posonlyargs, *node.args.args]
    static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in node.decorator_list)
    if owner and arguments and not static:
        reader.self_name = arguments[0].arg
    reader.statements(node.body, True)
    reader.finish()
    outside = _Reader(version, uses, run, owner, frozenset())
    for decorator in node.decorator_list:
        outside.call(ast.Call(decorator, [], []), True, decorator.lineno, True)
    return run


def _local_names(node: FunctionNode | ast.Lambda) -> frozenset[str]:
    arguments = node.args
    found = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    found |= {one.arg for one in (arguments.vararg, arguments.kwarg) if one}
    declared: set[str] = set()
    stack: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
    while stack:
        part = stack.pop()
        if part.__class__ not in _BINDING:
            stack.extend(children(part))
            continue
        match part:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
                continue
            case ast.Lambda():
                continue
            case ast.Global(names=names):
                declared.update(names)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found.update(bound_name(part, alias) for alias in aliases)
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
        stack.extend(children(part))
    return frozenset(found - declared)


class _Reader:
    """Reads one function's body or one expression into a :class:`Run`."""

    def __init__(self, version: Version, uses: Uses, run: Run, owner: str, local: frozenset[str]) -> None:
        self.version, self.uses, self.run, self.owner, self.local = version, uses, run, owner, local
        self.module = uses.source.name
        self.functions: dict[str, str] = {}  # the inner functions in reach: name → qualified name
        self.own: dict[str, FunctionNode] = {}
        self.lambdas: list[ast.Lambda] = []  # those that are handed out
        self.imported: dict[str, str] = {}  # names that the body imports → dotted names
        self.body_names: frozenset[str] = frozenset()  # of the class body that an import-time piece stands in
        self.self_name = ""
        self.is_dynamic = False

    def inner_name(self, name: str) -> str:
        return f"{self.run.symbol[1]}.<locals>.{name}"

    # --- statements

    def statements(self, body: Sequence[ast.stmt], sure: bool) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.own[node.name] = node
                self.functions[node.name] = self.inner_name(node.name)
        for node in body:
            self.statement(node, sure)

    def statement(self, node: ast.stmt, sure: bool) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                defaults = [value for value in (*node.args.defaults, *node.args.kw_defaults) if value]
                for part in (*node.decorator_list, *defaults):
                    self.expression(part, sure)
                for decorator in node.decorator_list:
                    self.call(decorator, sure, decorator.lineno, True)
            case ast.ClassDef(body=body):
                for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
                    self.expression(part, sure)
                self.statements([one for one in body if not isinstance(one, FunctionNode)], sure)
            case ast.If(test=test, body=body, orelse=orelse) | ast.While(test=test, body=body, orelse=orelse):
                self.expression(test, sure)
                self.statements(body, False)
                self.statements(orelse, False)
            case ast.Try() | ast.TryStar():
                self.statements(node.body, sure)
                for handler in node.handlers:
                    self.statements(handler.body, False)
                self.statements(node.orelse, False)
                self.statements(node.finalbody, sure)
            case ast.Match(subject=subject, cases=cases):
                self.expression(subject, sure)
                for case in cases:
                    self.statements(case.body, False)
            case ast.ImportFrom(names=aliases):
                module = absolute_module(node, self.uses.source.package)
                for alias in aliases:
                    self.imported[bound_name(node, alias)] = f"{module}.{alias.name}"
                    self.add(self.version.resolve(self.module, f"{module}.{alias.name}"), False, node.lineno, sure)
            case ast.Import(names=aliases):
                for alias in aliases:
                    self.imported[bound_name(node, alias)] = alias.name if alias.asname else bound_name(node, alias)
            case ast.Expr(value=ast.Call() as call):
                self.expression(call, sure, kept=False)
            case ast.Return(value=value) if value is not None:
                self.given(value)
                self.expression(value, sure)
            case _:
                for child in children(node):
                    if isinstance(child, ast.stmt):
                        self.statement(child, sure)
                    else:
                        self.expression(child, sure)

    # --- expressions

    def expression(self, node: ast.AST, sure: bool, *, kept: bool = True) -> None:
        if node.__class__ not in _TELLING:
            for part in children(node):
                self.expression(part, sure)
            return
        match node:
            case ast.Lambda():
                for default in (*node.args.defaults, *node.args.kw_defaults):
                    if default is not None:
                        self.expression(default, sure)
                return
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.expression(test, sure)
                self.expression(body, False)
                self.expression(orelse, False)
                return
            case ast.BoolOp(values=values):
                self.expression(values[0], sure)
                for value in values[1:]:
                    self.expression(value, False)
                return
            case ast.Call():
                self.call(node.func, sure, node.lineno, kept)
                self.arguments(node, sure)
            case ast.Name(ctx=ast.Load()) | ast.Attribute():
                self.is_dynamic |= self.dotted(node) in _DYNAMIC
                target, via_self = self.target(node)
                if target:
                    self.add(target, False, node.lineno, sure, via_self)
            case ast.Constant(value=str(text)):
                self.run.texts.setdefault(text, node.lineno)
        for part in children(node):
            self.expression(part, sure)

    def call(self, function: ast.AST, sure: bool, line: int, kept: bool) -> None:
        """A call of what the expression ``function`` gives."""
        if isinstance(function, ast.Lambda):
            self.expression(function.body, sure)
            return
        target, via_self = self.target(function)
        if target:
            self.add(target, True, line, sure, via_self, kept)

    def arguments(self, node: ast.Call, sure: bool) -> None:
        """Functions that a call is given: some callees call them."""
        callee = self.dotted(node.func)
        eager = callee in _EAGER or (isinstance(node.func, ast.Attribute) and node.func.attr == "sort")
        keeps = callee in _KEEPERS or callee.startswith(_KEEPING)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.Lambda):
                if eager or not keeps:
                    self.expression(argument.body, sure and eager)
                continue
            target, via_self = self.target(argument)
            if target and (eager or not keeps):
                self.add(target, True, node.lineno, sure and eager, via_self)
            if not eager:
                self.given(argument)

    def given(self, value: ast.AST) -> None:
        for part in walk(value):
            if isinstance(part, ast.Name) and part.id in self.own:
                self.run.gives.add(self.inner_name(part.id))
            elif isinstance(part, ast.Lambda):
                self.lambdas.append(part)
                self.run.gives.add(self.inner_name("<lambda>"))

    def add(
        self, symbol: Symbol, is_call: bool, line: int, sure: bool, via_self: bool = False, kept: bool = True
    ) -> None:
        if symbol[0]:
            if is_call or "." in symbol[1]:
                symbol = self.version.canonical(symbol)
            self.run.refs.append(Ref(symbol, is_call, line, sure, via_self, kept))

    # --- names

    def dotted(self, node: ast.AST) -> str:
        return self.uses.names.dotted(node) if isinstance(node, ast.expr) else ""

    def is_super(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"

    def target(self, node: ast.AST) -> tuple[Symbol | None, bool]:
        """What an expression stands for, and whether it was reached through ``self``. ``None`` where it is not
        known.
        """
        match node:
            case ast.Call(func=function) if not self.is_super(node):
                found, via_self = self.target(function)
                return ((found[0], found[1] + "()"), via_self) if found else (None, False)
            case ast.Name(id=name):
                return self.target_of_name(name, node), name == self.self_name
            case ast.Attribute(value=value, attr=attr):
                if self.is_super(value):
                    return ((self.module, f"{self.owner}.<super>.{attr}"), False) if self.owner else (None, False)
                root = value
                while isinstance(root, ast.Attribute):
                    root = root.value
                name = root.id if isinstance(root, ast.Name) else ""
                if name in self.imported:
                    rest = ast.unparse(node).partition(".")[2]
                    return self.in_tree(f"{self.imported[name]}.{rest}"), False
                if name and name not in {*self.local, *self.functions, *self.body_names, self.self_name}:
                    return self.in_tree(self.dotted(node)), False
                found, via_self = self.target(value)
                if found:
                    return (found[0], f"{found[1].removesuffix('()')}.{attr}"), via_self
        return None, False

    def target_of_name(self, name: str, node: ast.Name) -> Symbol | None:
        if self.self_name and name == self.self_name:
            return self.module, self.owner
        if name in self.functions:
            return self.module, self.functions[name]
        if name in self.imported:
            return self.in_tree(self.imported[name])
        if name in self.body_names:
            return self.module, f"{self.owner}.{name}"
        return None if name in self.local else self.in_tree(self.dotted(node))

    def in_tree(self, dotted: str) -> Symbol | None:
        home, symbol = self.version.resolve(self.module, dotted)
        return (home, symbol) if home else None

    def finish(self) -> None:
        """Read the functions nested in this one."""
        for name, node in [*self.own.items(), *(("<lambda>", one) for one in self.lambdas)]:
            local = _local_names(node)
            run = Run((self.module, self.inner_name(name)))
            reader = _Reader(self.version, self.uses, run, self.owner, self.local | local)
            reader.functions = {one: where for one, where in self.functions.items() if one not in local}
            reader.imported = {one: where for one, where in self.imported.items() if one not in local}
            reader.self_name = "" if self.self_name in local else self.self_name
            if isinstance(node, ast.Lambda):
                reader.given(node.body)
                reader.expression(node.body, True)
            else:
                reader.statements(node.body, True)
            reader.finish()
            self.run.inner.append(run)

"""Objects that were made at import by a constructor that does nothing but set attributes: they can be made anew.

``Retry.DEFAULT = Retry(3)``, where ``Retry.__init__`` has a default that changed. All that goes into such a call is
data, and all that the constructor does is to compute data from it and keep that on the new object; so calling the new
constructor aside is safe, and tells which attributes of the live object are to be set. The object stays the same one.
"""

from __future__ import annotations

import ast
import copy

from pylivepatch.build.context import Context
from pylivepatch.build.names import Unsafe
from pylivepatch.build.pure import Purity
from pylivepatch.build.scope import FunctionNode
from pylivepatch.build.uses import Evaluated
from pylivepatch.patch import NewState

_MEDDLERS = frozenset({"__new__", "__slots__", "__setattr__", "__getattribute__", "__eq__", "__delattr__"})


def made_anew(context: Context, piece: Evaluated) -> NewState | None:
    """The change that makes anew what ``piece``, import-time code of the module, has made; ``None`` where it cannot."""
    match piece.node, piece.role:
        case ast.Assign(targets=[ast.Name() | ast.Attribute() as target], value=ast.Call() as call), "code":
            name = ast.unparse(target)
        case ast.Call() as call, "value":
            name = piece.owner
        case _:
            return None
    if not isinstance(call.func, ast.Name) or piece.scope:
        return None
    node = _quiet_class(context, call.func.id)
    owner, _, last = name.rpartition(".")
    if node is None or (owner and (context.module, owner) not in context.world.new.classes.all):
        return None
    if not owner and last in context.new.rebound:
        return None
    purity = context.purity()
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not all(keyword.arg for keyword in call.keywords) or not all(map(purity.is_data, given)):
        return None
    if any(isinstance(one, ast.Starred) for one in call.args):
        return None
    keywords = ", ".join(f"{keyword.arg!r}: {ast.unparse(keyword.value)}" for keyword in call.keywords)
    positional = "".join(f"{ast.unparse(one)}, " for one in call.args)
    return NewState(owner, last, piece.line, call.func.id, f"(({positional}), {{{keywords}}})")


def _quiet_class(context: Context, name: str) -> ast.ClassDef | None:
    """The class of the module, in both versions alike but for its methods, if making an object of it is quiet."""
    for version in (context.world.old, context.world.new):
        cls = version.classes.all.get((context.module, name))
        if cls is None or cls.node.decorator_list or cls.node.keywords or _MEDDLERS & cls.defines.keys():
            return None
        if any(not (isinstance(base, ast.Name) and base.id == "object") for base in cls.node.bases):
            return None
        init = cls.defines.get("__init__")
        if init is None or init.kind != "function" or init.guard or init.function.decorator_list:
            return None
        if not _is_quiet(context, name, init.function, old=version is context.world.old):
            return None
    return cls.node if cls else None


def _is_quiet(context: Context, owner: str, function: FunctionNode, *, old: bool) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    if arguments.vararg or arguments.kwarg or not every or isinstance(function, ast.AsyncFunctionDef):
        return False
    scope = context.inside(owner, [], [], "plain", False) if context.owner != owner else context
    purity = context.purity(old=old)
    try:
        defaults = [
            scope.expression(value, function.lineno, old=old)
            for value in (*arguments.defaults, *arguments.kw_defaults)
            if value is not None
        ]
    except Unsafe:
        return False
    if not all(map(purity.is_data, defaults)):
        return False
    quiet = _Quiet(purity, every[0].arg, {one.arg for one in every[1:]})
    return quiet.body(function.body)


class _Quiet:
    """A walk through the constructor's body. ``known`` are the names that stand for data."""

    def __init__(self, purity: Purity, self_name: str, known: set[str]) -> None:
        self._purity, self._self, self._known = purity, self_name, known

    def body(self, body: list[ast.stmt]) -> bool:
        return all(map(self._statement, body))

    def _statement(self, node: ast.stmt) -> bool:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
                return True
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                return self._is_data(value) and self._store(target)
            case ast.If(test=test, body=body, orelse=orelse):
                return self._is_data(test) and self.body(body) and self.body(orelse)
        return False

    def _store(self, target: ast.expr) -> bool:
        match target:
            case ast.Name(id=name) if name != self._self:
                self._known.add(name)
                return True
            case ast.Attribute(value=ast.Name(id=base), attr=attr) if base == self._self and not attr.startswith("__"):
                self._known.add(f"{base}.{attr}")
                return True
        return False

    def _is_data(self, node: ast.expr) -> bool:
        spelled = _Own(self._self).visit(copy.deepcopy(node))
        return self._purity.is_data(spelled, frozenset(self._known))


class _Own(ast.NodeTransformer):
    """``self.x`` as one name, to be looked up among those that are known."""

    def __init__(self, self_name: str) -> None:
        self._self = self_name

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == self._self:
            return ast.Name(f"{self._self}.{node.attr}", ast.Load())
        return self.generic_visit(node)

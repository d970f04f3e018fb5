"""What the names of a module stand for, and which expressions may be evaluated in it without side effects.

Names are followed through the module's own import statements to a dotted name (``wraps`` →
``functools.wraps``); nothing is imported to find out.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import Item
from pylivepatch.build.source import Source

_BUILTINS = frozenset(dir(builtins))

SAFE_DECORATORS = frozenset(
    [
        "staticmethod",
        "classmethod",
        "property",
        "functools.wraps",
        "functools.lru_cache",
        "functools.cache",
        "functools.cached_property",
        "functools.singledispatch",
        "functools.singledispatchmethod",
        "functools.partialmethod",
        "contextlib.contextmanager",
        "contextlib.asynccontextmanager",
        "typing.overload",
        "typing.final",
        "typing.no_type_check",
        "typing.override",
        "typing.type_check_only",
        "typing_extensions.overload",
        "typing_extensions.final",
        "typing_extensions.override",
        "typing_extensions.deprecated",
        "warnings.deprecated",
        "types.coroutine",
    ]
)
OVERLOADS = frozenset({"typing.overload", "typing_extensions.overload"})
_PURE_CALLS = frozenset(
    [
        "frozenset",
        "set",
        "tuple",
        "list",
        "dict",
        "bytes",
        "bytearray",
        "range",
        "slice",
        "int",
        "float",
        "complex",
        "str",
        "bool",
        "re.compile",
        "re.escape",
        "datetime.timedelta",
        "decimal.Decimal",
        "fractions.Fraction",
        "types.MappingProxyType",
    ]
)
# Fresh objects with an identity: fine for a new name, but an old one cannot be compared with the live one.
_NEW_OBJECT_CALLS = frozenset(
    [
        "object",
        "typing.TypeVar",
        "typing.ParamSpec",
        "typing.TypeVarTuple",
        "typing.NewType",
        "typing.cast",
        "typing_extensions.TypeVar",
        "typing_extensions.ParamSpec",
        "logging.getLogger",
        "contextvars.ContextVar",
        "threading.Lock",
        "threading.RLock",
        "threading.local",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "collections.Counter",
        "weakref.WeakKeyDictionary",
        "weakref.WeakValueDictionary",
        "weakref.WeakSet",
        "struct.Struct",
        "operator.attrgetter",
        "operator.itemgetter",
        "operator.methodcaller",
        "functools.partial",
        "itertools.count",
    ]
)
_FIELD_CALLS = frozenset(
    {"dataclasses.field", "attr.ib", "attr.attrib", "attr.field", "attrs.field", "attr.Factory", "attrs.Factory"}
    | {"enum.auto", "property", "staticmethod", "classmethod"}
)
_PATTERN_METHODS = frozenset({"match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"})


@dataclass(frozen=True)
class Names:
    """The names of one module: ``bound`` at run time, and ``imports``: name → dotted name."""

    bound: frozenset[str]
    imports: dict[str, str]
    constants: Set[str] = frozenset()
    """Names that the module binds once, unconditionally, to what :func:`is_constant` accepts."""

    def dotted(self, node: ast.expr) -> str:
        """``functools.wraps`` for ``wraps`` or ``functools.wraps`` or ``f.wraps``; ``""`` for what is no
        dotted name.
        """
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        if node.id in self.imports:
            return ".".join((self.imports[node.id], *parts))
        if node.id in self.bound:
            return ".".join(("<module>", node.id, *parts))
        return ".".join((node.id, *parts))


def names_of(source: Source, items: Sequence[Item]) -> Names:
    """The names that a module with these items binds at its top level, conditional ones included."""
    imports: dict[str, str] = {}
    bound: set[str] = set()
    for item in items:
        if item.kind == "import":
            imports.setdefault(item.name, import_target(item, source.package))
        if item.typing_only:
            continue
        if item.kind in ("function", "class", "value", "import"):
            bound.add(item.name)
        elif item.kind == "code" and not item.skeleton:
            bound.update(
                node.id
                for node in walk(item.node)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )
    constants: set[str] = set()
    names = Names(frozenset(bound), imports, constants)
    once = Counter(item.name for item in items if item.kind in ("value", "function", "class", "import"))
    for item in items:
        if item.kind != "value" or item.guard or once[item.name] > 1 or item.name in source.declared_global:
            continue
        if _is_constant_at_all(item.value, names):
            constants.add(item.name)  # seen by those that follow, through ``names``
    return names


def import_target(item: Item, package: str) -> str:
    """The dotted name of what an import binds."""
    assert item.alias is not None
    if isinstance(item.node, ast.ImportFrom):
        module = absolute_module(item.node, package)
        return f"{module}.{item.alias.name}" if module else item.alias.name
    return item.alias.name if item.alias.asname else item.name


def absolute_module(node: ast.ImportFrom, package: str) -> str:
    """The module that a ``from`` import names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    base = parts[: len(parts) - node.level + 1]
    return ".".join((*base, node.module) if node.module else base)


class Unsafe(Exception):
    """An expression (the message names the part) cannot be evaluated without side effects."""


def check_expression(
    node: ast.expr,
    names: Names,
    *,
    hidden: Collection[str] = (),
    fresh: bool = False,
    class_name: str = "",
    in_class: bool = False,
) -> None:
    """Raise :class:`Unsafe` unless ``node`` can be evaluated in the module's namespace without side
    effects.

    ``hidden`` are names of the class body that the expression stands in: they mean something else there.
    ``fresh`` allows calls that make an object with an identity of its own. In a class, private names are
    mangled. ``in_class`` is for the body of a class that is made as a whole: fields, and functions without a name.
    """

    def check(node: ast.expr | None) -> None:
        match node:
            case None | ast.Constant():
                return
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                for part in parts:
                    check(part)
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if key is None:
                        raise Unsafe(shown(node))
                    check(key)
                    check(value)
            case ast.UnaryOp(operand=operand) if is_literal(operand):
                return
            case ast.BinOp() if is_literal(node):
                return
            case ast.BinOp() | ast.JoinedStr() if is_constant(node, names, hidden):
                return
            case ast.Call(func=ast.Attribute(attr="join")) if is_constant(node, names, hidden):
                return
            case ast.Attribute(value=ast.Call() as call, attr=attr) if (
                attr in _PATTERN_METHODS and names.dotted(call.func) == "re.compile"
            ):
                check(call)
            case ast.BinOp(op=ast.BitOr(), left=left, right=right) if _is_flags(node, names):
                check(left)
                check(right)
            case ast.Name(id=name):
                if name in hidden:
                    raise Unsafe(f"{name}, a name of the class body")
                if class_name and is_private(name):
                    raise Unsafe(f"{name}, a private name in a class")
                if name not in names.bound and name not in _BUILTINS and name != "__name__":
                    raise Unsafe(f"{name}, which the module does not bind when it runs")
            case ast.Attribute(value=value):
                base = _root(node)
                if base is None or base.id in hidden or base.id not in names.imports:
                    raise Unsafe(shown(node))
                if class_name and is_private(node.attr):
                    raise Unsafe(f"{node.attr}, a private name in a class")
                check(value)
            case ast.Lambda(args=arguments) if in_class:
                for default in (*arguments.defaults, *arguments.kw_defaults):
                    check(default)
            case ast.Call():
                target = names.dotted(node.func)
                allowed = target in _PURE_CALLS or (fresh and target in _NEW_OBJECT_CALLS)
                if not allowed and not (in_class and target in _FIELD_CALLS):
                    raise Unsafe(f"the call {shown(node)}")
                check(node.func)
                for argument in node.args:
                    check(argument)
                for keyword in node.keywords:
                    if keyword.arg is None:
                        raise Unsafe(shown(node))
                    check(keyword.value)
            case _:
                raise Unsafe(shown(node))

    check(node)


def check_annotation(
    node: ast.expr, names: Names, *, hidden: Collection[str] = (), class_name: str = ""
) -> None:
    """Raise :class:`Unsafe` unless the annotation ``node`` can be evaluated in the module's namespace."""
    for part in walk(node):
        match part:
            case ast.Name(id=name):
                if name in hidden or (class_name and is_private(name)):
                    raise Unsafe(f"{name}, a name of the class body")
                if name not in names.bound and name not in _BUILTINS:
                    raise Unsafe(f"{name}, which the module does not bind when it runs")
            case (
                ast.Attribute() | ast.Subscript() | ast.Tuple() | ast.List() | ast.Constant() | ast.Starred()
            ):
                continue
            case ast.BinOp(op=ast.BitOr()) | ast.BitOr() | ast.expr_context():
                continue
            case ast.UnaryOp() | ast.USub():  # Literal[-1]
                continue
            case _:
                raise Unsafe(shown(part))


def _is_constant_at_all(node: ast.expr, names: Names) -> bool:
    try:
        return is_constant(node, names)
    except RecursionError:  # nobody needs to know of such a one
        return False


def is_constant(node: ast.expr, names: Names, hidden: Collection[str] = ()) -> bool:
    """Text and numbers put together of literals and of the module's own literal constants."""
    match node:
        case ast.Name(id=name):
            return name in names.constants and name not in hidden
        case ast.BinOp(op=ast.Add() | ast.Mod() | ast.Sub() | ast.Mult(), left=left, right=right):
            return is_constant(left, names, hidden) and is_constant(right, names, hidden)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.JoinedStr(values=parts):
            return all(is_constant(part, names, hidden) for part in parts)
        case ast.FormattedValue(value=value, format_spec=None):
            return is_constant(value, names, hidden)
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[argument], keywords=[]):
            return is_constant(argument, names, hidden)
        case ast.Call(func=function, args=[argument], keywords=[]):
            return names.dotted(function) == "re.escape" and is_constant(argument, names, hidden)
    return is_literal(node)


def is_literal(node: ast.expr) -> bool:
    """Constants, displays of constants, and arithmetic on them."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=operand):
            return is_literal(operand)
        case ast.BinOp(left=left, right=right):
            return is_small(node) and is_literal(left) and is_literal(right)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return all(map(is_literal, parts))
        case ast.Dict():
            return all(key is not None and is_literal(key) for key in node.keys) and all(
                map(is_literal, node.values)
            )
    return False


def is_shareable(node: ast.expr, names: Names) -> bool:
    """A value that is as good as an equal one: no identity of its own that somebody could hold."""
    match node:
        case ast.Tuple(elts=parts):
            return all(is_shareable(part, names) for part in parts)
        case ast.Call():
            target = names.dotted(node.func)
            return target in {
                "re.compile",
                "frozenset",
                "datetime.timedelta",
                "decimal.Decimal",
                "bytes",
                "int",
                "str",
            }
        case ast.List() | ast.Set() | ast.Dict():
            return False
        case ast.Name() | ast.Attribute():
            return True
    return is_literal(node)


def is_small(node: ast.BinOp) -> bool:
    """Whether the operation is done at once."""
    # `9 ** 9 ** 9` is arithmetic on literals that nobody wants to wait for.
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift(), right=ast.Constant(value=int(exponent))):
            return exponent <= 256
        case ast.BinOp(op=ast.Pow() | ast.LShift()):
            return False
    return True


def _is_flags(node: ast.expr, names: Names) -> bool:
    match node:
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _is_flags(left, names) and _is_flags(right, names)
        case ast.Attribute() | ast.Name():
            return names.dotted(node).startswith(("re.", "socket.", "os.", "stat.", "select.", "ssl."))
    return False


def is_private(name: str) -> bool:
    """Whether a class mangles the name."""
    return name.startswith("__") and not name.endswith("__")


def _root(node: ast.expr) -> ast.Name | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node if isinstance(node, ast.Name) else None


def shown(node: ast.AST | None) -> str:
    """A piece of source for a message."""
    text = ast.unparse(node) if node is not None else "nothing"
    return text if len(text) <= 60 else text[:59] + "…"


def mangle(name: str, class_name: str) -> str:
    """A private name as the compiler spells it in a class."""
    stripped = class_name.lstrip("_")
    if not stripped or not name.startswith("__") or name.endswith("__"):
        return name
    return f"_{stripped}{name}"

"""Which expressions may be evaluated again in the live process: those that provably do nothing but give a value.

Two notions. *Data* is what evaluates to numbers, text and the builtin containers of them, so that operators and
methods on it run nobody's code: literals, names and class attributes of the tree that are set once to data, a few
attributes of the standard library, and what operators, comprehensions, text methods and builtins make of these.
*Pure* is wider: data, names of the module, attributes of imported modules, displays of pure things, and calls that
are known to do nothing else (``re.compile``).

A name of a class body means something there only. :func:`qualified` spells it as an attribute of the class, so that
the expression means the same in the module's namespace.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

from pylivepatch.build.names import Unsafe, check_expression, is_literal, is_private, is_small, shown
from pylivepatch.build.scope import Item

if TYPE_CHECKING:
    from pylivepatch.build.world import Version

_DATA_CALLS = frozenset(
    {"frozenset", "set", "tuple", "list", "dict", "bytes", "bytearray", "range", "int", "float", "complex", "str"}
    | {"bool", "len", "min", "max", "sum", "sorted", "reversed", "enumerate", "zip", "abs", "round", "divmod", "ord"}
    | {"chr", "any", "all", "hex", "oct", "bin", "repr", "ascii", "slice", "re.escape", "textwrap.dedent"}
    | {"os.path.join", "os.path.basename", "os.path.dirname", "itertools.chain", "itertools.chain.from_iterable"}
    | {"array.array"}
)
_DATA_METHODS = frozenset(
    {"join", "lower", "upper", "title", "capitalize", "casefold", "split", "rsplit", "splitlines", "strip", "lstrip"}
    | {"rstrip", "replace", "encode", "decode", "format", "partition", "rpartition", "removeprefix", "removesuffix"}
    | {"startswith", "endswith", "isdigit", "isidentifier", "zfill", "center", "ljust", "rjust", "count", "index"}
    | {"find", "rfind", "union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset"}
    | {"keys", "values", "items", "get", "copy", "translate", "expandtabs"}
)
_LIBRARY_DATA = frozenset(
    {"os.sep", "os.altsep", "os.linesep", "os.pathsep", "os.extsep", "os.curdir", "os.pardir", "os.name", "os.devnull"}
    | {"os.path.sep", "os.path.altsep", "os.path.pardir", "os.path.curdir", "sys.platform", "sys.maxsize"}
    | {"sys.version_info", "sys.byteorder", "sys.maxunicode", "sys.hexversion", "math.pi", "math.e", "math.inf"}
)
_LIBRARY_CONSTANTS = ("string.", "re.", "stat.", "errno.", "socket.", "ssl.", "select.", "logging.", "signal.")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Mod, ast.Div, ast.FloorDiv, ast.BitOr, ast.BitAnd, ast.BitXor, ast.RShift)


def is_text_or_container_method(name: str) -> bool:
    """Whether texts and builtin containers have a method of this name that changes nothing."""
    return name in _DATA_METHODS


class Purity:
    """The question, for expressions of one module of one version. Names of class bodies must be qualified."""

    def __init__(self, version: Version, module: str) -> None:
        self._version, self._module = version, module
        self._names = version.modules[module].names

    def check(self, node: ast.expr, *, fresh: bool = False) -> None:
        """Raise :class:`Unsafe` (it names the part) unless ``node`` is pure. ``fresh`` allows what makes an object
        with an identity of its own.
        """
        try:
            self._check(node, fresh, frozenset())
        except RecursionError:
            raise Unsafe("it is nested too deeply") from None

    def is_data(self, node: ast.expr, local: frozenset[str] = frozenset()) -> bool:
        """Whether ``node`` is data, where the names ``local`` are."""
        try:
            return self._is_data(node, local)
        except RecursionError:
            return False

    def is_builtin(self, name: str) -> bool:
        """Whether the module means the builtin by this name."""
        return name not in self._names.bound and name not in self._names.imports

    def _check(
        self, node: ast.expr, fresh: bool, local: frozenset[str], opaque: frozenset[str] = frozenset()
    ) -> None:
        """``local`` are names of loops that stand for data, ``opaque`` those that stand for who knows what."""
        if not opaque & _names_in(node) and self._is_data(node, local):
            return
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                for part in parts:
                    self._check(part, fresh, local, opaque)
            case ast.Dict(keys=keys, values=values) if None not in keys:
                for part in (*filter(None, keys), *values):
                    self._check(part, fresh, local, opaque)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self._check_test(test, local)
                self._check(body, fresh, local, opaque)
                self._check(orelse, fresh, local, opaque)
            case ast.BoolOp(values=parts) if all(self._is_data(part, local) for part in parts[:-1]):
                self._check(parts[-1], fresh, local, opaque)
            case ast.ListComp(generators=[ast.comprehension(target=target, iter=loop, ifs=[], is_async=0)]) if (
                isinstance(loop, ast.List | ast.Tuple) and _fits(target, loop.elts)
            ):
                self._check(loop, fresh, local)
                names = {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
                self._check(node.elt, fresh, local, opaque | names)
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                inner = None if opaque & _names_in(node) else self._comprehension(node.generators, local)
                if inner is None:
                    raise Unsafe(shown(node))
                for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                    self._check(part, fresh, inner)
            case ast.Attribute(value=ast.Name(id=base)) if base not in local and self._class_value(node) is not None:
                return
            case ast.Call(func=ast.Name(id="type"), args=[ast.Constant()], keywords=[]) if (
                "type" not in self._names.bound
            ):
                return
            case ast.Call(func=function, args=args, keywords=keywords) if self._names.dotted(function) == "re.compile":
                for part in (*args, *(keyword.value for keyword in keywords)):
                    self._check(part, fresh, local, opaque)
            case ast.Attribute(value=ast.Call() as call, attr="match" | "search" | "fullmatch" | "sub" | "split") if (
                self._names.dotted(call.func) == "re.compile"
            ):
                self._check(call, fresh, local, opaque)
            case ast.Name(id=name) if name in local or name in opaque:
                return
            case _:
                check_expression(node, self._names, hidden=local | opaque, fresh=fresh)

    def _check_test(self, node: ast.expr, local: frozenset[str]) -> None:
        match node:
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[other]):
                self._check(left, False, local)
                self._check(other, False, local)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._check_test(operand, local)
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check_test(part, local)
            case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id=name), ast.Constant()], keywords=[]) if (
                name in self._names.imports and "hasattr" not in self._names.bound
            ):
                return
            case _ if not self._is_data(node, local):
                raise Unsafe(shown(node))

    def check_test(self, node: ast.expr) -> None:
        """Raise :class:`Unsafe` unless ``node``, asked for its truth, does nothing: data, and tests of identity."""
        self._check_test(node, frozenset())

    def _is_data(self, node: ast.expr, local: frozenset[str]) -> bool:
        def every(*parts: ast.expr | None) -> bool:
            return all(part is None or self._is_data(part, local) for part in parts)

        match node:
            case ast.Constant():
                return True
            case ast.Name(id=name):
                return name in local or self._is_data_name(node)
            case ast.Attribute():
                return self._is_data_name(node)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return every(*parts)
            case ast.Dict(keys=keys, values=values):
                return every(*keys, *values)
            case ast.Starred(value=value):
                return every(value)
            case ast.JoinedStr(values=parts):
                return every(*parts)
            case ast.FormattedValue(value=value, format_spec=spec):
                return every(value, spec)
            case ast.UnaryOp(operand=operand):
                return every(operand)
            case ast.BinOp(op=operator, left=left, right=right):
                # `9 ** 9 ** 9` is arithmetic that nobody wants to wait for.
                return (isinstance(operator, _OPERATORS) and every(left, right)) or (
                    is_literal(node) and is_small(node)
                )
            case ast.BoolOp(values=parts):
                return every(*parts)
            case ast.Compare(left=left, comparators=others):
                return every(left, *others)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return every(test, body, orelse)
            case ast.Subscript(value=value, slice=index):
                return every(value, index)
            case ast.Slice(lower=lower, upper=upper, step=step):
                return every(lower, upper, step)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                inner = self._comprehension(node.generators, local)
                parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
                return inner is not None and all(self._is_data(part, inner) for part in parts)
            case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args, keywords=keywords) if (
                attr in _DATA_METHODS and self._is_data(value, local)
            ):
                return every(*args, *(keyword.value for keyword in keywords))
            case ast.Call(func=function, args=args, keywords=keywords):
                dotted = "" if _root(function) in local else self._names.dotted(function)
                named = all(keyword.arg for keyword in keywords)
                return dotted in _DATA_CALLS and named and every(*args, *(keyword.value for keyword in keywords))
        return False

    def _comprehension(self, generators: list[ast.comprehension], local: frozenset[str]) -> frozenset[str] | None:
        """The names that the loops bind, those outside included; ``None`` where a loop may run foreign code."""
        for part in generators:
            targets = [node for node in ast.walk(part.target) if isinstance(node, ast.expr)]
            if part.is_async or not self._is_data(part.iter, local):
                return None
            if not all(isinstance(node, ast.Name | ast.Tuple | ast.List | ast.Starred) for node in targets):
                return None
            local = local | {node.id for node in targets if isinstance(node, ast.Name)}
            if not all(self._is_data(test, local) for test in part.ifs):
                return None
        return local

    def _is_data_name(self, node: ast.expr) -> bool:
        dotted = self._names.dotted(node)
        if not dotted:
            return False
        home, symbol = self._version.resolve(self._module, dotted)
        if home:
            return self._version.is_data((home, symbol))
        last = dotted.rpartition(".")[2]
        return dotted in _LIBRARY_DATA or (dotted.startswith(_LIBRARY_CONSTANTS) and _is_constant_name(dotted, last))

    def _class_value(self, node: ast.expr) -> ast.expr | None:
        """The value of the class attribute of the tree that ``node`` names, if it is set once, to what is pure."""
        home, symbol = self._version.resolve(self._module, self._names.dotted(node))
        value = self._version.class_values.get((home, symbol)) if home else None
        return value if value is not None and self._version.is_pure((home, symbol)) else None


def _is_constant_name(dotted: str, last: str) -> bool:
    """Constants of the library are written in capitals; those of ``string`` in small letters."""
    return last.isupper() or (dotted.startswith("string.") and last.islower() and last != "capwords")


def qualified(
    version: Version, module: str, owner: str, node: ast.expr, line: int, bound: Collection[str] = ()
) -> ast.expr:
    """``node``, which stands in the body of the class ``owner``, for the module's namespace. Raises :class:`Unsafe`
    where it reads a name of the body that is no plain value set once, and before it.

    ``bound`` are the names that the body binds; none for the module itself.
    """
    if not owner:
        return node
    try:
        result = _Qualifier(version, module, owner, line, frozenset(bound)).visit(copy.deepcopy(node))
    except RecursionError:
        raise Unsafe("it is nested too deeply") from None
    assert isinstance(result, ast.expr)
    return result


class _Qualifier(ast.NodeTransformer):
    def __init__(self, version: Version, module: str, owner: str, line: int, bound: frozenset[str]) -> None:
        self._version, self._module, self._owner, self._line, self._bound = version, module, owner, line, bound

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if is_private(node.id):
            raise Unsafe(f"{node.id}, a private name in a class")
        if node.id not in self._bound:
            return node
        symbol = f"{self._owner}.{node.id}"
        line = self._version.class_lines.get((self._module, symbol))
        if line is None or line >= self._line or not isinstance(node.ctx, ast.Load):
            raise Unsafe(f"{node.id}, a name of the class body")
        root, *parts = symbol.split(".")
        result: ast.expr = ast.Name(root, ast.Load())
        for part in parts:
            result = ast.Attribute(result, part, ast.Load())
        return ast.copy_location(result, node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if is_private(node.attr):
            raise Unsafe(f"{node.attr}, a private name in a class")
        return self.generic_visit(node)

    def _comprehension(self, node: ast.AST, generators: list[ast.comprehension]) -> ast.AST:
        # Only the first iterable is evaluated in the class body; the rest sees the module.
        generators[0].iter = self.visit(generators[0].iter)
        if any(isinstance(part, ast.Name | ast.Attribute) and _is_private_part(part) for part in ast.walk(node)):
            raise Unsafe("a private name in a class")
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node, node.generators)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node, node.generators)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._comprehension(node, node.generators)

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node, node.generators)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        raise Unsafe(shown(node))


def _is_private_part(part: ast.Name | ast.Attribute) -> bool:
    return is_private(part.id if isinstance(part, ast.Name) else part.attr)


def _names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _fits(target: ast.expr, items: list[ast.expr]) -> bool:
    """Whether a loop over a display of ``items`` takes apart nothing but tuples that are written there."""
    match target:
        case ast.Name():
            return not any(isinstance(item, ast.Starred) for item in items)
        case ast.Tuple(elts=parts) if all(isinstance(part, ast.Name) for part in parts):
            return all(isinstance(item, ast.Tuple) and len(item.elts) == len(parts) for item in items)
    return False


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def container_kind(node: ast.expr, purity: Purity) -> str:
    """``list``, ``dict`` or ``set`` where ``node`` surely makes one of these, which can be changed in place."""
    match node:
        case ast.List() | ast.ListComp():
            return "list"
        case ast.Dict() | ast.DictComp():
            return "dict"
        case ast.Set() | ast.SetComp():
            return "set"
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" as name)) if purity.is_builtin(name):
            return name
        case ast.Call(func=ast.Name(id="sorted")) if purity.is_builtin("sorted"):
            return "list"
        case ast.BinOp(op=ast.Add() | ast.BitOr(), left=left, right=right):
            kind = container_kind(left, purity)
            return kind if kind == container_kind(right, purity) else ""
    return ""


def once(items: list[Item]) -> dict[str, Item]:
    """The values among ``items`` whose names are bound there once, without a condition."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.name] = counts.get(item.name, 0) + 1
    return {
        item.name: item
        for item in items
        if item.kind == "value" and counts[item.name] == 1 and not item.guard and not item.main_only
    }

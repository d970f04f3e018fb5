"""New ``try`` and ``if`` statements of a module that bind new names: carried whole, run while the patch is prepared.

What such a statement binds may depend on the process (which library is installed, which version of Python runs), so
it is the target that runs it. It is carried only where it can do nothing else: imports from elsewhere, and values
whose evaluation is known to be free of side effects.
"""

from __future__ import annotations

import ast
from collections import Counter

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import Names, Unsafe, absolute_module, check_expression
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import Item, is_main, is_type_checking
from pylivepatch.patch import NewImport

_TEXT_METHODS = frozenset(
    {"split", "rsplit", "partition", "rpartition", "strip", "lstrip", "rstrip", "lower", "upper"}
    | {"startswith", "endswith", "removeprefix", "removesuffix", "isdigit"}
)
_TESTS = frozenset({"hasattr", "getattr", "isinstance", "issubclass", "len", "callable", "int", "tuple", "str", "bool"})


def carry_new_blocks(context: Context, items: list[Item]) -> list[Item]:
    """Carry the new statements of a module that only bind new names; gives the items that are left."""
    olds = context.old.source.tree.body
    taken: set[int] = set()
    for node in context.new.source.tree.body:
        if not isinstance(node, ast.Try | ast.If) or any(type(o) is type(node) and same_tree(o, node) for o in olds):
            continue
        inside = {id(inner) for inner in ast.walk(node)}
        block = [item for item in items if id(item.node) in inside]
        names = list(dict.fromkeys(item.name for item in block if item.name))
        if not names or not _is_all_new(context, items, block, names) or not _is_pure(context, node):
            continue
        taken |= {id(item) for item in block}
        text = ast.unparse(node)
        for name in names:
            context.changes.append(NewImport(name, node.lineno, text))
            context.report.applied(
                codes.IMPORT_NEW,
                name,
                f"new, as the process has it: {text.splitlines()[0]} …",
                new_line=node.lineno,
            )
    return [item for item in items if id(item) not in taken]


def _is_all_new(context: Context, items: list[Item], block: list[Item], names: list[str]) -> bool:
    """Whether the old module has none of the names, and the new one binds them only here."""
    everywhere = Counter(item.name for item in items if item.name in names)
    here = Counter(item.name for item in block)
    return not any(
        name in context.old.names.bound
        or name in context.old.mentioned  # a builtin, or set from outside
        or name in context.new.rebound
        or everywhere[name] != here[name]
        for name in names
    ) and not any(item.typing_only or item.main_only for item in block)


def _is_pure(context: Context, node: ast.stmt) -> bool:
    names = context.new.names
    match node:
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=[]):
            inner = [*body, *orelse, *(part for handler in handlers for part in handler.body)]
            caught = all(handler.name is None for handler in handlers)
            return caught and all(_is_pure(context, part) for part in inner)
        case ast.If(test=test, body=body, orelse=orelse):
            if is_type_checking(test) or is_main(test) or not _is_test(test, names):
                return False
            return all(_is_pure(context, part) for part in (*body, *orelse))
        case ast.Import(names=aliases):
            return not any(alias.name in context.world.new.modules for alias in aliases)
        case ast.ImportFrom(names=aliases):
            # What the same patch brings to the tree's own modules is not there yet, and an `except` would hide that.
            module = absolute_module(node, context.new.source.package)
            return module not in context.world.new.modules and aliases[0].name != "*"
        case ast.Assign(targets=[ast.Name()], value=value):
            return _is_test(value, names)
        case ast.Pass():
            return True
    return False


def _is_test(node: ast.expr, names: Names) -> bool:
    """An expression that asks: comparisons, text methods, versions, attributes of modules, and what is known pure."""
    match node:
        case ast.BoolOp(values=parts):
            return all(_is_test(part, names) for part in parts)
        case ast.Compare(left=left, comparators=others):
            return all(_is_test(part, names) for part in (left, *others))
        case ast.UnaryOp(operand=operand):
            return _is_test(operand, names)
        case ast.Subscript(value=value, slice=ast.Constant() | ast.Slice() | ast.UnaryOp()):
            return _is_test(value, names)
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args, keywords=[]) if attr in _TEXT_METHODS:
            return _is_test(value, names) and all(_is_test(one, names) for one in args)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _TESTS - names.bound:
            return all(_is_test(one, names) for one in args)
    try:
        check_expression(node, names, fresh=True)
    except Unsafe:
        return False
    return True

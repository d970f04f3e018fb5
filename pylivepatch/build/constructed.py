"""What constructors make of values that changed: instances that exist keep it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pylivepatch.build import codes
from pylivepatch.build.context import Root
from pylivepatch.build.initial import value_of
from pylivepatch.build.nodes import walk
from pylivepatch.build.pure import container_kind
from pylivepatch.build.scope import FunctionNode, Item
from pylivepatch.build.stores import instance_name, stores_of


class Made(NamedTuple):
    """``__init__`` of a class makes an attribute of ``value``."""

    cls: str
    attribute: str
    init: FunctionNode
    statement: ast.stmt
    value: ast.expr


def made_by_word(items: Sequence[Item]) -> dict[str, list[Made]]:
    """What the constructors of a module's classes make of each name, of a variable or an attribute."""
    found: dict[str, list[Made]] = {}
    for item in items:
        for attribute, stores in stores_of(item.class_node).items() if item.kind == "class" else ():
            for init, statement in stores:
                value = value_of(statement, attribute) if init.name == "__init__" else None
                if value is None:
                    continue
                for word in sorted({_word(node) for node in walk(value)} - {""}):
                    found.setdefault(word, []).append(Made(item.name, attribute, init, statement, value))
    return found


def _word(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def tell_what_is_made_of(root: Root, known: Mapping[str, list[Made]]) -> None:
    """Tell of attributes that ``__init__`` makes of a value that changed: instances that exist keep what it made."""
    owner, _, name = root.change.target.rpartition(".")
    purity = root.context.purity
    for cls, attribute, init, statement, value in known.get(name, ()):
        if (owner and owner != cls) or not _mentions(value, init, owner, name):
            continue
        kinds = container_kind(root.old_expr, purity(old=True)), container_kind(root.new_expr, purity())
        if isinstance(value, ast.Name | ast.Attribute) and kinds[0] and kinds[0] == kinds[1]:
            continue  # it is filled in place
        root.context.report.note(
            codes.MAY_BE_STALE,
            f"{cls}.{attribute}",
            f"__init__ makes it of {root.change.target}, whose value changed; instances that exist keep what was made "
            "of the old one",
            new_line=statement.lineno,
        )


def _mentions(value: ast.expr, init: FunctionNode, owner: str, name: str) -> bool:
    if owner:
        whose = {instance_name(init), "cls", owner}
        return any(
            node.attr == name and isinstance(node.value, ast.Name) and node.value.id in whose
            for node in walk(value)
            if isinstance(node, ast.Attribute)
        )
    own = {one.arg for one in walk(init.args) if isinstance(one, ast.arg)}
    return name not in own and any(isinstance(node, ast.Name) and node.id == name for node in walk(value))

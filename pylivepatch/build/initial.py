"""What ``__init__`` makes an attribute of: the values, as far as the source shows them."""

from __future__ import annotations

import ast
from typing import NamedTuple

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import is_literal, shown
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import FunctionNode
from pylivepatch.build.source import is_plain

Store = tuple[FunctionNode, ast.stmt]
"""A method, and the statement in it that binds an attribute of ``self``."""


class Stays(NamedTuple):
    """What instances that exist keep of an attribute, ``what`` the new ``__init__`` does with it."""

    name: str
    stores: list[Store]
    what: str
    before: list[Store] | None = None


def tell_what_stays(context: Context, stay: list[Stays]) -> None:
    """Note it, unless the new ``__init__`` is refused as a whole."""
    if any(finding.stops and finding.symbol == context.symbol("__init__") for finding in context.report.findings):
        return
    for one in stay:
        context.report.note(
            codes.MAY_BE_STALE,
            context.symbol(one.name),
            f"__init__ {one.what}",
            old_line=one.before[0][1].lineno if one.before else 0,
            new_line=one.stores[0][1].lineno,
        )


def kind_of(value: ast.expr | None) -> str:
    """The kind of value that an expression gives, where it is plain to see; ``""`` where it is not."""
    match value:
        case ast.Constant(value=constant):
            return type(constant).__name__
        case ast.List() | ast.Dict() | ast.Set() | ast.Tuple() as display:
            return type(display).__name__.lower()
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" | "tuple" as name), args=[]):
            return name
    return ""


def made_by_init(stores: list[Store], old_parameters: set[str] | None) -> list[ast.expr | None]:
    """What ``__init__`` sets the attribute to, in each statement that does. With ``old_parameters``, a parameter that
    is none of them stands for its literal default, which is what the old calls get.
    """
    found: list[ast.expr | None] = []
    for function, statement in stores:
        if function.name == "__init__":
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Name) and old_parameters is not None and value.id not in old_parameters:
                default = defaults_of(function).get(value.id)
                value = default if is_plain(default) else value
            found.append(value)
    return found


def another_literal(before: list[ast.expr | None], after: list[ast.expr | None]) -> bool:
    """Whether a literal is among what only one of the two has."""
    old, new = ({ast.dump(one): one for one in values if one is not None} for values in (before, after))
    return any(is_literal((old | new)[text]) for text in old.keys() ^ new.keys())


def sets(made: list[ast.expr | None]) -> str:
    """For a message: ``sets it to 1``."""
    values = [shown(one) for one in made if one is not None]
    return f"sets it to {' or '.join(dict.fromkeys(values))}" if values else "sets it otherwise"


def defaults_of(function: FunctionNode) -> dict[str, ast.expr | None]:
    """Parameter → its default; none that the body binds anew."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    found: dict[str, ast.expr | None] = dict(
        zip([argument.arg for argument in positional][::-1], arguments.defaults[::-1], strict=False)
    )
    found |= {one.arg: value for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
    bound = {node.id for node in walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name: value for name, value in found.items() if name not in bound}

"""Defaults and annotations of functions, as texts for the module's namespace, and whether they may be evaluated."""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import Unsafe, check_annotation, mangle
from pylivepatch.build.scope import FunctionNode, Item, first_line
from pylivepatch.build.uses import Uses, annotations_of


def positional_defaults(context: Context, node: FunctionNode, *, old: bool = False) -> str:
    """``__defaults__`` as a tuple display, for the module's namespace. Raises :class:`Unsafe`."""
    line = first_line(node)
    texts = [ast.unparse(context.expression(value, line, old=old)) for value in node.args.defaults]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def keyword_defaults(context: Context, node: FunctionNode, *, old: bool = False) -> str:
    """``__kwdefaults__`` as a dict display, for the module's namespace. Raises :class:`Unsafe`."""
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    line = first_line(node)
    return "{%s}" % ", ".join(  # noqa: UP031 - braces
        f"{mangle(argument.arg, context.class_name)!r}: {ast.unparse(context.expression(value, line, old=old))}"
        for argument, value in pairs
        if value
    )


def displays(context: Context, node: FunctionNode, *, old: bool = False) -> tuple[str, str]:
    """Both; where they cannot be evaluated in the module's namespace, as written, to be compared only."""
    try:
        return positional_defaults(context, node, old=old), keyword_defaults(context, node, old=old)
    except Unsafe:
        return ast.unparse(ast.Tuple(node.args.defaults)), ast.unparse(ast.List([*filter(None, node.args.kw_defaults)]))


def annotations_display(context: Context, uses: Uses, node: FunctionNode) -> str:
    """``__annotations__`` as a dict display: of strings where the module has ``from __future__ import
    annotations``.
    """
    entries = []
    for name, annotation in annotations_of(node).items():
        text = ast.unparse(annotation)
        entries.append(
            f"{mangle(name, context.class_name)!r}: {text!r}"
            if uses.future_annotations
            else f"{name!r}: {text}"
        )
    return "{%s}" % ", ".join(entries)  # noqa: UP031 - braces


def check_defaults(context: Context, new: Item, values: list[ast.expr]) -> None:
    for value in values:
        try:
            context.purity().check(context.expression(value, first_line(new.node)), fresh=True)
        except Unsafe as part:
            context.report.refused(
                codes.UNSAFE_DEFAULT,
                context.symbol(new.name),
                f"the default {ast.unparse(value)} cannot be evaluated again without side effects: {part}",
                "use a literal, or None and work it out in the body",
                new_line=value.lineno,
            )


def check_annotations(context: Context, new: Item) -> None:
    if context.new.future_annotations:
        return
    for name, annotation in annotations_of(new.function).items():
        try:
            check_annotation(
                annotation, context.new.names, hidden=context.new_hidden, class_name=context.class_name
            )
        except Unsafe as part:
            context.report.refused(
                codes.UNSAFE_ANNOTATION,
                context.symbol(new.name),
                f"the annotation of {name} cannot be evaluated in the module: {part}",
                "put the annotation in quotes, or leave it out",
                new_line=annotation.lineno,
            )

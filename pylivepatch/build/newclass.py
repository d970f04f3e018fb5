"""A new class, and new bases of one that exists: whether the class statement can be carried out in a process at all.

The target executes the statement while the patch is prepared, when nothing may have an effect elsewhere. So everything
in it that runs must be known: the bases' metaclasses and ``__init_subclass__``, the decorators, what the body calls.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pylivepatch.build import codes
from pylivepatch.build.classes import Class
from pylivepatch.build.context import Context
from pylivepatch.build.machinery import check_new_member
from pylivepatch.build.names import SAFE_DECORATORS, Names, Unsafe, check_annotation, check_expression
from pylivepatch.build.same import describe_difference
from pylivepatch.build.scope import Item, first_line, items_of
from pylivepatch.build.stdlib import METACLASSES, subclassing
from pylivepatch.build.uses import annotations_of, evaluated_of, executed_nodes
from pylivepatch.patch import CodeRef, NewBases, NewClass, NewFields, ValueChange

REMAKERS = frozenset(
    {"dataclasses.dataclass", "attr.s", "attr.attrs", "attr.attributes", "attr.dataclass"}
    | {f"{module}.{name}" for module in ("attr", "attrs") for name in ("define", "frozen", "mutable")}
)
"""Class decorators that make methods of the class's fields, and nothing else."""
_CLASS_DECORATORS = REMAKERS | {
    "functools.total_ordering",
    "enum.unique",
    "typing.final",
    "typing.runtime_checkable",
    "typing_extensions.final",
    "typing_extensions.runtime_checkable",
    "warnings.deprecated",
    "typing_extensions.deprecated",
}
_METHOD_DECORATORS = SAFE_DECORATORS | {
    f"abc.{name}"
    for name in ("abstractmethod", "abstractproperty", "abstractclassmethod", "abstractstaticmethod")
}
_CONTINUES = frozenset({"setter", "getter", "deleter", "validator", "default", "register"})
_NOISY_BASES = ("pydantic.", "msgspec.", "sqlalchemy.", "django.", "marshmallow.", "ctypes.")
_SPECIAL_BASES = frozenset(
    f"{module}.{name}"
    for module in ("typing", "typing_extensions")
    for name in ("NamedTuple", "TypedDict", "Generic", "Protocol")
)


def new_class(context: Context, item: Item) -> None:
    """Report and carry a class that the old version does not have."""
    symbol, node = context.symbol(item.name), item.class_node
    if item.guard:
        _refuse(
            context,
            codes.CONDITIONAL,
            symbol,
            node,
            f"the new class is defined only under a condition ({item.guard[-1]})",
            "define it unconditionally, and test the condition in its methods",
        )
        return
    try:
        check_statement(context, symbol, node)
    except Unsafe as part:
        _refuse(
            context,
            codes.CLASS_NEW,
            symbol,
            node,
            f"the new class cannot be made without side effects: {part}",
            "leave that out of the class statement, or put what the class does into functions",
        )
        return
    if context.shape == "enum":
        _refuse(context, codes.CLASS_NEW, symbol, node, "the new class is in an enum", "define it at module level")
        return
    if not check_new_member(context, item):
        return
    context.changes.append(NewClass(CodeRef(symbol, first_line(node))))
    context.report.applied(codes.CLASS_ADDED, symbol, "new class", new_line=item.line)


def refuser_of_statement(context: Context, old: Item, new: Item, difference: str) -> Callable[[str, str], None]:
    """What reports, with a message and an advice, that the statement of a class that exists may not differ so."""

    def refuse(message: str, advice: str) -> None:
        context.report.refused(
            codes.CLASS_STATEMENT,
            context.symbol(new.name),
            message,
            advice,
            difference=difference,
            old_line=old.line,
            new_line=new.line,
        )

    return refuse


def compare_bases(context: Context, old: Item, new: Item) -> None:
    """Report and carry other bases of a class that exists."""
    symbol, before, after = context.symbol(new.name), old.class_node, new.class_node
    names_old, names_new = context.old.names, context.new.names
    difference = describe_difference(before.bases, after.bases)
    refuse = refuser_of_statement(context, old, new, difference)
    if not all(map(names_old.dotted, before.bases)) or not all(map(names_new.dotted, after.bases)):
        refuse("the class's bases changed, and some are no plain names", "leave the bases as they were")
        return
    if not (_real(before, names_old) and _real(after, names_new)):
        refuse(
            "the class's bases changed from or to object alone, which CPython does not allow on a class that exists",
            "leave the bases as they were, and change the methods",
        )
        return
    shape = context.world.new.class_shape(context.module, after)
    if shape in ("enum", "fields") or context.world.old.class_shape(context.module, before) in ("enum", "fields"):
        refuse("the class's bases changed, and what was made of them at its creation stays", "keep the bases")
        return
    try:
        for base in (*before.bases, *after.bases):
            _check_base(context, base)
    except Unsafe as part:
        refuse(f"the class's bases changed, and what {part}", "leave the bases as they were")
        return
    texts = [f"({', '.join(map(ast.unparse, node.bases))},)" for node in (before, after)]
    context.changes.append(NewBases(symbol, new.line, *texts))
    context.report.applied(
        codes.BASES_CHANGED,
        symbol,
        f"its bases are {', '.join(map(ast.unparse, after.bases))} now",
        difference=difference,
        old_line=old.line,
        new_line=new.line,
    )


def check_statement(context: Context, symbol: str, node: ast.ClassDef) -> None:
    """Raise ``Unsafe`` unless the class statement has no effect but the class."""
    names = context.new.names
    if getattr(node, "type_params", []):
        raise Unsafe("it has type parameters")
    found = context.new.source.codes.get((symbol, first_line(node)), [])
    if len(found) != 1:
        raise Unsafe("it cannot be told apart in the compiled module")
    for decorator in node.decorator_list:
        target = names.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if target not in _CLASS_DECORATORS:
            raise Unsafe(f"what the decorator {ast.unparse(decorator)} does is not known")
        _check_arguments(decorator, names)
    for base in node.bases:
        _check_base(context, base)
    for keyword in node.keywords:
        if keyword.arg is None or (keyword.arg == "metaclass" and names.dotted(keyword.value) not in METACLASSES):
            raise Unsafe(f"what {ast.unparse(keyword)} does is not known")
        check_expression(keyword.value, names)
    _check_body(context, symbol, node)


def check_reads(contexts: Mapping[str, Context]) -> None:
    """Refuse class statements that read what the same patch changes and cannot hand to them.

    The names of their own module are handed over. What is read through another module, and a container whose content
    changes in place, is there at the switch only.
    """
    changed = {
        (name, change.target): change
        for name, context in contexts.items()
        for change in context.changes
        if isinstance(change, ValueChange)
    }
    for context in contexts.values():
        for change in [one for one in context.changes if isinstance(one, NewClass | NewFields)]:
            cls = context.world.new.classes.all.get((context.module, change.new.qualname))
            for line, is_name, symbol in _read_by(context, cls) if cls is not None else ():
                value = changed.get(symbol)
                if value is None or (is_name and not _is_container(value)):
                    continue
                _refuse(
                    context,
                    codes.CLASS_NEW if isinstance(change, NewClass) else codes.CLASS_SHAPE,
                    change.new.qualname,
                    cls.node,  # type: ignore[union-attr]
                    f"line {line} of the class reads {':'.join(symbol)}, which this patch changes at the switch only",
                    "write the value into the class, or read it in a method",
                )
                break


def _read_by(context: Context, cls: Class) -> Iterator[tuple[int, bool, tuple[str, str]]]:
    """What the class statement reads while it runs: line, whether by a plain name, and module and name."""
    item = Item("class", cls.node.name, cls.node)
    for piece in evaluated_of(item, cls.symbol[1].rpartition(".")[0], context.new.future_annotations):
        for node in executed_nodes(piece.node):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                symbol = context.world.new.resolve(context.module, context.new.names.dotted(node))
                yield node.lineno, isinstance(node, ast.Name), symbol


def _is_container(change: ValueChange) -> bool:
    sides = (ast.parse(text, mode="eval").body for text in (change.old, change.new) if text is not None)
    return change.old is not None and all(isinstance(side, ast.List | ast.Dict | ast.Set) for side in sides)


def _check_arguments(decorator: ast.expr, names: Names) -> None:
    if isinstance(decorator, ast.Call):
        for value in (*decorator.args, *(keyword.value for keyword in decorator.keywords)):
            check_expression(value, names)


def _check_body(context: Context, symbol: str, node: ast.ClassDef) -> None:
    names = context.new.names
    items = items_of(node.body)
    bound = frozenset(item.name for item in items if item.name)
    imports = {name: target for name, target in names.imports.items() if name not in bound}
    inside = replace(names, bound=names.bound | bound | {"__qualname__", "__module__"}, imports=imports)
    future = context.new.future_annotations
    for item in items:
        if item.kind == "docstring" or item.typing_only:
            continue
        if item.guard:
            raise Unsafe(f"{item.name} is defined under a condition ({item.guard[-1]})")
        if item.kind == "function":
            _check_method(context, symbol, item, inside)
        elif item.kind == "class":
            check_statement(context, f"{symbol}.{item.name}", item.class_node)
        elif item.kind in ("value", "annotation"):
            if item.kind == "value":
                check_expression(item.value, inside, fresh=True, in_class=True)
            if isinstance(item.node, ast.AnnAssign) and not future:
                check_annotation(item.node.annotation, inside)
        else:
            raise Unsafe(f"`{ast.unparse(item.node).splitlines()[0]}` runs when the class is created")


def _check_method(context: Context, symbol: str, item: Item, names: Names) -> None:
    node = item.function
    bound = names.bound
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        continues = isinstance(target, ast.Attribute) and target.attr in _CONTINUES and (
            isinstance(target.value, ast.Name) and target.value.id in bound
        )
        if not continues and names.dotted(target) not in _METHOD_DECORATORS:
            raise Unsafe(f"what the decorator {ast.unparse(decorator)} of {item.name} does is not known")
        _check_arguments(decorator, names)
    for default in (*node.args.defaults, *node.args.kw_defaults):
        if default is not None:
            check_expression(default, names, fresh=True)
    if not context.new.future_annotations:
        for annotation in annotations_of(node).values():
            check_annotation(annotation, names)


def _check_base(context: Context, base: ast.expr) -> None:
    """Raise ``Unsafe`` where making a class below ``base`` may do more than that."""
    names, version = context.new.names, context.world.new
    dotted = names.dotted(base.value if isinstance(base, ast.Subscript) else base)
    home, name = version.resolve(context.module, dotted) if dotted else ("", "")
    if not home:
        _check_foreign(name or ast.unparse(base))
        return
    cls = version.classes.all.get((home, name))
    if cls is None:
        raise Unsafe(f"the base {ast.unparse(base)} does with a new class is not known")
    _check_own(context, cls)


def _check_own(context: Context, cls: Class) -> None:
    version = context.world.new
    for one in (cls, *version.classes.ancestors(cls)):
        where = f"{one.symbol[1]} ({version.modules[one.symbol[0]].source.path}:{one.node.lineno})"
        if "__init_subclass__" in one.defines:
            raise Unsafe(f"the __init_subclass__ of {where} does with a new class is not known")
        names = version.modules[one.symbol[0]].names
        if one.metaclass is not None and names.dotted(one.metaclass) not in METACLASSES:
            raise Unsafe(f"the metaclass of {where} does with a new class is not known")
    for dotted in version.classes.outside(cls):
        _check_foreign(dotted)


def _check_foreign(dotted: str) -> None:
    """A class of the standard library is looked at; one from elsewhere is, when the patch is loaded."""
    if dotted in _SPECIAL_BASES:
        return
    nowhere = "." not in dotted and subclassing(dotted) == "elsewhere"
    if nowhere or dotted.startswith(_NOISY_BASES) or subclassing(dotted) == "unknown":
        raise Unsafe(f"the base {dotted} does with a new class is not known")


def _real(node: ast.ClassDef, names: Names) -> bool:
    return any(names.dotted(base) != "object" for base in node.bases)


def _refuse(context: Context, code: str, symbol: str, node: ast.ClassDef, message: str, advice: str) -> None:
    context.report.refused(code, symbol, message, advice, new_line=first_line(node))

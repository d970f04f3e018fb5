"""The two versions of a scope, a module or a class body, paired definition by definition."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pylivepatch.build import codes
from pylivepatch.build.bindings import final_value
from pylivepatch.build.blocks import carry_new_blocks
from pylivepatch.build.context import Context
from pylivepatch.build.decorated import is_overload
from pylivepatch.build.fields import compare_fields, other_settings, without
from pylivepatch.build.functions import compare_function
from pylivepatch.build.gone import lose_accessors
from pylivepatch.build.imports import compare_futures, compare_imports, compare_stars
from pylivepatch.build.initial import tell_what_stays
from pylivepatch.build.instances import compare_instances
from pylivepatch.build.lambdas import is_compiled_otherwise
from pylivepatch.build.modulecode import compare_code
from pylivepatch.build.names import Names, is_literal, is_shareable
from pylivepatch.build.newclass import compare_bases, new_class
from pylivepatch.build.newfunctions import new_function
from pylivepatch.build.nomore import removed_class, removed_function, removed_value
from pylivepatch.build.registered import is_registered
from pylivepatch.build.same import describe_difference, same_tree
from pylivepatch.build.scope import Item, items_of
from pylivepatch.build.sequence import check_order, continues, pair_functions
from pylivepatch.build.values import compare_annotation, compare_value, new_value

_DEFINES = ("function", "class", "value", "import")
_WHAT = {"function": "a function", "class": "a class", "value": "a value", "import": "an import"}


def compare_scope(context: Context, old: list[Item], new: list[Item]) -> None:
    """Report and carry every difference between two versions of a body."""
    _compare_docstring(context, old, new)
    compare_futures(context, old, new)
    compare_stars(context, old, new)
    if not context.owner:
        new = carry_new_blocks(context, new)
    reused = _reused_names(context, old, new)
    check_order(context, old, new, reused)
    old = [item for item in old if item.name not in reused]
    new = [item for item in new if item.name not in reused]
    if context.owner:
        compare_code(context, _of(old, "code", "import"), _of(new, "code", "import"))
    else:
        compare_code(context, _of(old, "code"), _of(new, "code"))
        compare_imports(context, old, new)
    _compare_values(context, old, new)
    _compare_functions(context, _of(old, "function"), _of(new, "function"))
    _compare_classes(context, _of(old, "class"), _of(new, "class"))


def _of(items: Sequence[Item], *kinds: str) -> list[Item]:
    return [item for item in items if item.kind in kinds]


def _grouped(items: Sequence[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.name, []).append(item)
    return found


def _reused_names(context: Context, old: list[Item], new: list[Item]) -> set[str]:
    """Names that were one kind of thing and became another; reported here, and looked at no further."""

    def kinds(items: list[Item]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in items:
            if item.kind in _DEFINES and not item.typing_only:
                found.setdefault(item.name, set()).add(item.kind)
        return found

    before, after, reused = kinds(old), kinds(new), set()
    for name, now in after.items():
        then = before.get(name, set())
        if then == now or not then:
            continue
        reused.add(name)
        if _same_by_import(context, name, old, new):
            continue
        first, last = (next(item for item in items if item.name == name) for items in (old, new))
        context.report.refused(
            codes.NAME_REUSED,
            context.symbol(name),
            f"the name was {' and '.join(_WHAT[kind] for kind in sorted(then))} and became "
            f"{' and '.join(_WHAT[kind] for kind in sorted(now))}",
            "give the new definition a name of its own",
            old_line=first.line,
            new_line=last.line,
            difference=describe_difference(first.node, last.node),
        )
    return reused


def _same_by_import(context: Context, name: str, old: list[Item], new: list[Item]) -> bool:
    """Whether a literal of the old module is now imported from another that sets it to the same: nothing to do."""
    befores, afters = ([item for item in items if item.name == name] for items in (old, new))
    if len(befores) != 1 or len(afters) != 1 or befores[0].kind != "value" or afters[0].kind != "import":
        return False
    if befores[0].guard or afters[0].guard or context.owner or name in context.old.rebound:
        return False
    home, symbol = context.world.new.resolve(context.module, context.new.names.imports.get(name, ""))
    uses = context.world.new.modules.get(home)
    values = [item for item in uses.items if item.name == symbol] if uses else []
    if uses is None or len(values) != 1 or values[0].kind != "value" or values[0].guard or symbol in uses.rebound:
        return False
    value = befores[0].value
    if not (is_literal(value) and is_shareable(value, context.old.names) and same_tree(value, values[0].value)):
        return False
    context.report.note(
        codes.LEFT_IN_PLACE,
        name,
        f"it is imported from {home} now, which sets it to the same; it stays",
        old_line=befores[0].line,
        new_line=afters[0].line,
    )
    return True


def _compare_docstring(context: Context, old: list[Item], new: list[Item]) -> None:
    before, after = _of(old, "docstring"), _of(new, "docstring")
    if same_tree([item.node for item in before], [item.node for item in after]):
        return
    context.report.note(
        codes.DOCSTRING_LEFT,
        context.symbol("__doc__"),
        f"the docstring of the {'class' if context.owner else 'module'} changed; the live one stays",
        old_line=before[0].line if before else 0,
        new_line=after[0].line if after else 0,
    )


def _compare_values(context: Context, old: list[Item], new: list[Item]) -> None:
    before, after = _grouped(_of(old, "value")), _grouped(_of(new, "value"))
    declared, declares = _grouped(_of(old, "annotation")), _grouped(_of(new, "annotation"))
    for name, items in after.items():
        olds = before.get(name, [])
        if not olds and len(items) == 1:
            new_value(context, items[0])
        elif len(olds) == len(items) == 1:
            if olds[0].guard != items[0].guard and not (olds[0].typing_only and items[0].typing_only):
                _refuse_moved(context, olds[0], items[0])
            else:
                compare_value(context, olds[0], items[0])
        elif not _same_list(olds, items):
            was, now = final_value(context, name, olds, old=True), final_value(context, name, items, old=False)
            if olds and was is not None and now is not None:
                compare_value(context, was, now)
                continue
            context.report.refused(
                codes.ASSIGNED_TWICE,
                context.symbol(name),
                "the name is assigned more than once, so which value is the live one is not known",
                "assign it once",
                old_line=olds[0].line if olds else 0,
                new_line=items[-1].line,
                difference=describe_difference([item.node for item in olds], [item.node for item in items]),
            )
    for name, items in before.items():
        if name not in after:
            removed_value(context, items[0])
    for name in dict.fromkeys((*declared, *declares)):
        pair = declared.get(name, []), declares.get(name, [])
        if same_tree([item.node for item in pair[0]], [item.node for item in pair[1]]):
            continue
        what = describe_difference([item.node for item in pair[0]], [item.node for item in pair[1]])
        compare_annotation(
            context,
            (pair[1] or pair[0])[0],
            old_line=pair[0][0].line if pair[0] else 0,
            new_line=pair[1][0].line if pair[1] else 0,
            what=what,
        )


def _same_list(old: list[Item], new: list[Item]) -> bool:
    return [item.guard for item in old] == [item.guard for item in new] and same_tree(
        [item.node for item in old], [item.node for item in new]
    )


def _refuse_moved(context: Context, old: Item, new: Item) -> None:
    context.report.refused(
        codes.CONDITIONAL,
        context.symbol(new.name),
        f"it is defined under another condition now: {' / '.join(old.guard) or 'always'} became "
        f"{' / '.join(new.guard) or 'always'}",
        "leave the condition as it was",
        old_line=old.line,
        new_line=new.line,
    )


def _compare_functions(context: Context, old: list[Item], new: list[Item]) -> None:
    before, after = _grouped(old), _grouped(new)
    for name in dict.fromkeys((*after, *before)):
        pairs, gone, added = pair_functions(before.get(name, []), after.get(name, []))
        carried = len(context.changes)
        for was, now in pairs:
            if was.guard != now.guard:
                _refuse_moved(context, was, now)
            else:
                shadowed = _is_shadowed(now, after[name], context.new.names) and not is_registered(context, now)
                compare_function(context, was, now, shadowed=shadowed)
        _refuse_alternatives(context, pairs, len(context.changes) - carried)
        for now in added:
            new_function(context, now)
        if pairs and gone and not added and lose_accessors(context, gone):
            continue
        for was in gone:
            removed_function(context, was, bool(pairs))


def _refuse_alternatives(context: Context, pairs: list[tuple[Item, Item]], changed: int) -> None:
    """Of definitions under different conditions one is live; a patch that changes several finds the others
    missing.
    """
    if changed < 2 or len({now.guard for _, now in pairs}) < 2:
        return
    was, now = pairs[-1]
    context.report.refused(
        codes.CONDITIONAL,
        context.symbol(now.name),
        "several definitions of it under different conditions changed, and only one of them is live",
        "make the patch for one condition: change only the definition that the process runs",
        old_line=was.line,
        new_line=now.line,
    )


def _is_shadowed(item: Item, group: list[Item], names: Names) -> bool:
    """Whether a later definition of the same name, under the same condition, takes its place."""
    for later in reversed(group):  # the last one mostly does
        if later.line <= item.line or later.guard != item.guard[: len(later.guard)]:
            continue
        decorators = later.function.decorator_list
        if is_overload(later, names) or any(continues(decorator, item.name) for decorator in decorators):
            continue
        return True
    return False


def _compare_classes(context: Context, old: list[Item], new: list[Item]) -> None:
    before, after = _grouped(old), _grouped(new)
    for name in dict.fromkeys((*after, *before)):
        olds, news = before.get(name, []), after.get(name, [])
        if [item.guard for item in olds] == [item.guard for item in news]:
            for was, now in zip(olds, news, strict=True):
                _compare_class(context, was, now, len(news) > 1)
            continue
        if olds and news:
            _refuse_moved(context, olds[0], news[0])
            continue
        item = (news or olds)[0]
        if item.typing_only:
            context.report.note(codes.TYPING_ONLY, context.symbol(name), "only type checkers see this class")
        elif news:
            new_class(context, item)
        else:
            removed_class(context, item)


def _compare_class(context: Context, old: Item, new: Item, repeated: bool) -> None:
    if same_tree(old.node, new.node) and not is_compiled_otherwise(context, new.node):
        return
    symbol, report = context.symbol(new.name), context.report
    before, after = old.class_node, new.class_node
    if new.typing_only:
        report.note(
            codes.TYPING_ONLY,
            symbol,
            "only type checkers see this class; nothing to do",
            old_line=old.line,
            new_line=new.line,
        )
        return
    for field, what in (
        ("decorator_list", "decorators"),
        ("bases", "bases"),
        ("keywords", "keywords (metaclass and others)"),
        ("type_params", "type parameters"),
    ):
        was, now = getattr(before, field, []), getattr(after, field, [])
        if same_tree(was, now):
            continue
        if field == "bases":
            compare_bases(context, old, new)
        elif field != "decorator_list" or not other_settings(context, old, new):
            report.refused(
                codes.CLASS_STATEMENT,
                symbol,
                f"the class's {what} changed; the class exists already and was made with the old ones",
                "leave the class statement as it was, and change the methods",
                difference=describe_difference(was, now),
                old_line=old.line,
                new_line=new.line,
            )
    if repeated and not old.guard:
        report.refused(
            codes.AMBIGUOUS,
            symbol,
            "the class is defined more than once, so which one is live is not known",
            "give each class a name of its own",
            old_line=old.line,
            new_line=new.line,
        )
        return
    old_items, new_items = items_of(before.body), items_of(after.body)
    shapes = (
        context.world.old.class_shape(context.module, before),
        context.world.new.class_shape(context.module, after),
    )
    shape = next((shape for shape in ("enum", "fields", "unknown") if shape in shapes), "plain")
    has_bases = any(not (isinstance(base, ast.Name) and base.id == "object") for base in after.bases)
    inner = context.inside(new.name, old_items, new_items, shape, has_bases or bool(after.keywords))
    stay = compare_instances(inner, before, after)
    taken = compare_fields(context, old, new) if shape == "fields" else frozenset()
    compare_scope(inner, without(old_items, taken), without(new_items, taken))
    tell_what_stays(inner, stay)

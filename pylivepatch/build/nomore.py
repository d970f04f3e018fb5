"""Definitions that the new version has no more: left where they are, or taken away."""

from __future__ import annotations

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.decorated import is_overload
from pylivepatch.build.gone import siblings, take_away
from pylivepatch.build.registered import is_registered, unregister
from pylivepatch.build.removed import tell_defaults, who_keeps_class, who_keeps_function
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import Item


def removed_value(context: Context, item: Item) -> None:
    symbol = context.symbol(item.name)
    if item.typing_only or item.main_only:
        context.report.note(
            codes.TYPING_ONLY, symbol, "a running process does not have this name", old_line=item.line
        )
        return
    if context.owner:
        if any(item.name in uses.stored for uses in context.world.new.modules.values()):
            context.report.note(
                codes.LEFT_IN_PLACE,
                symbol,
                "the class attribute is gone, and the new version sets it on instances; it stays for those without",
                old_line=item.line,
            )
            return
        take_away(context, item, codes.ATTRIBUTE_REMOVED, "instances and subclasses would go on finding it")
        return
    place = context.world.still_refers(context.module, item.name)
    if place is None:
        context.report.note(
            codes.LEFT_IN_PLACE,
            symbol,
            "the name is gone and nothing refers to it; it stays",
            old_line=item.line,
        )
        return
    take_away(context, item, codes.VALUE_REMOVED, f"it still means something in the new version: {place}")


def removed_function(context: Context, item: Item, name_lives_on: bool) -> None:
    symbol, report = context.symbol(item.name), context.report
    if item.typing_only or is_overload(item, context.old.names):
        report.note(codes.TYPING_ONLY, symbol, "only type checkers saw this function", old_line=item.line)
        return
    if context.owner:
        place = context.world.attribute_needed(item.name)
        special = item.name.startswith("__") and item.name.endswith("__")
        why = (
            "a property or function loses one of its parts"
            if name_lives_on
            else "it is a special method"
            if special
            else "a base class may have one of its name"
            if context.has_bases
            else f"the new version still mentions it: {place}"
            if place
            else ""
        )
    else:
        still = context.world.still_refers(context.module, item.name)
        why = (
            "another definition of its name stays"
            if name_lives_on
            else f"it still means something in the new version: {still}"
            if still
            else ""
        )
    if is_registered(context, item, old=True):
        _lose_implementation(context, item, why)
        return
    kept = who_keeps_function(context, item)
    if not why and not kept:
        tell_defaults(context, item)
        report.note(
            codes.LEFT_IN_PLACE, symbol, "it is gone and nothing refers to it; it stays", old_line=item.line
        )
        return
    if not name_lives_on and not kept:
        tell_defaults(context, item)
        take_away(context, item, codes.FUNCTION_REMOVED, why)
        return
    report.refused(
        codes.FUNCTION_REMOVED,
        symbol,
        f"the function is gone, and its absence could matter: {why or kept}",
        "keep it, and give it the body that its callers should meet",
        old_line=item.line,
    )


def _lose_implementation(context: Context, item: Item, why: str) -> None:
    """A generic function does without it; its name stays, which nothing reads, or another one has."""
    symbol = context.symbol(item.name)
    before, after = (
        [one for one in siblings(context, version) if one.name == item.name]
        for version in (context.world.old, context.world.new)
    )
    is_last = before[-1].line == item.line
    if after and is_last and any(same_tree(after[-1].node, one.node) for one in before):
        why = "its name means an earlier definition now"
    elif after:
        why = ""
    if why:
        context.report.refused(
            codes.FUNCTION_REMOVED,
            symbol,
            f"the function is gone from its generic function, and the absence of its name could matter: {why}",
            "keep it, and give it the body that its callers should meet",
            old_line=item.line,
        )
        return
    if unregister(context, item):
        tell_defaults(context, item)
        context.report.applied(codes.NAME_REMOVED, symbol, "its generic function does without it", old_line=item.line)
        if not after:
            context.report.note(
                codes.LEFT_IN_PLACE, symbol, "nothing refers to the name; it stays", old_line=item.line
            )


def removed_class(context: Context, item: Item) -> None:
    symbol = context.symbol(item.name)
    place = context.world.still_refers(context.module, item.name) if not context.owner else None
    kept = who_keeps_class(context, item)
    if place is None and not context.owner and not kept:
        context.report.note(
            codes.LEFT_IN_PLACE, symbol, "the class is gone and nothing refers to it; it stays", old_line=item.line
        )
        return
    why = f"it still means something in the new version: {place}" if place else "it is found in the class around it"
    if kept:
        context.report.refused(
            codes.CLASS_REMOVED, symbol, f"the class is gone, and {kept}", "keep it", old_line=item.line
        )
        return
    take_away(context, item, codes.CLASS_REMOVED, why)

"""Class attributes that are found by a computed name: what was made of the old value, and whether that is forgotten."""

from __future__ import annotations

from pylivepatch.build import codes
from pylivepatch.build.classes import Class
from pylivepatch.build.context import Context
from pylivepatch.build.kept import memos_of
from pylivepatch.build.lambdas import is_compiled_otherwise
from pylivepatch.build.memos import Memo
from pylivepatch.build.names import Unsafe
from pylivepatch.build.same import same_tree
from pylivepatch.build.scope import FunctionNode, Item, first_line
from pylivepatch.patch import CodeRef, Forgotten


def check_computed(context: Context, cls: Class, item: Item, difference: str) -> bool:
    """Whether something of the tree reads the attribute by its name, where the class looks others up by text.

    What such a lookup gives often goes into a table that the instance keeps. Where that is a memo, and nothing else
    keeps it, the patch lets instances forget it.
    """
    world = context.world
    named = any(uses.has_attribute(item.name) for uses in (*world.old.modules.values(), *world.new.modules.values()))
    classes = world.old.classes
    for one in (cls, *classes.ancestors(cls), *classes.descendants(cls)):
        if one.computed_lookups:
            if _forget(context, cls, item) or named:
                return True
            path = world.old.modules[one.symbol[0]].source.path
            return not context.report.refused(
                codes.COMPUTED_NAME,
                context.symbol(item.name),
                "nothing reads the attribute by its name, and attributes are looked up by a text that is put "
                "together: what instances that exist keep of the old value is not known: "
                f"{path}:{one.computed_lookups[0].lineno}",
                "look whether something keeps what it made of the old value; where it does, forget that in a "
                "callback",
                new_line=item.line,
                difference=difference,
            )
    return True


def _forget(context: Context, cls: Class, item: Item) -> bool:
    """Carry that the memos are forgotten which the attribute comes into, if it comes into nothing else."""
    world = context.world
    after = world.new.classes.all.get(cls.symbol)
    if after is None:
        return False
    try:
        pairs = [
            (old, new)
            for old, new in zip(
                memos_of(world.old, cls, item.name), memos_of(world.new, after, item.name), strict=True
            )
        ]
    except (Unsafe, ValueError, RecursionError):
        return False
    if not all(old.cls.symbol[0] in context.peers and _is_same(context, old, new) for old, new in pairs):
        return False
    for memo, _ in pairs:
        module, owner = memo.cls.symbol
        home = context.peers[module]
        change = Forgotten(
            owner,
            memo.name,
            memo.cls.node.lineno,
            _ref(memo.cls, memo.init),
            tuple(_ref(one, function) for one, function in memo.fillers),
        )
        if change in home.changes:
            continue
        home.changes.append(change)
        home.report.applied(
            codes.MEMO_FORGOTTEN,
            f"{owner}.{memo.name}",
            f"instances remember in it what they made of {context.symbol(item.name)}, and make it again: from the "
            "switch on of what they then have, after an unload they have what they had",
            new_line=first_line(memo.init),
        )
    return True


def _is_same(context: Context, old: Memo, new: Memo) -> bool:
    """Whether both versions use the memo in the same way: what fills it does not change."""
    home = context.peers[old.cls.symbol[0]]
    before, after = ([(one.symbol, function.name) for one, function in memo.fillers] for memo in (old, new))
    return (old.cls.symbol, old.name, before) == (new.cls.symbol, new.name, after) and all(
        same_tree(was, now) and not is_compiled_otherwise(home, now)
        for (_, was), (_, now) in zip(old.fillers, new.fillers, strict=True)
    )


def _ref(cls: Class, function: FunctionNode) -> CodeRef:
    return CodeRef(f"{cls.symbol[1]}.{function.name}", first_line(function))

"""Class attributes that are found by a computed name: what was made of the old value is not known."""

from __future__ import annotations

from pylivepatch.build import codes
from pylivepatch.build.classes import Class
from pylivepatch.build.context import Context
from pylivepatch.build.scope import Item


def check_computed(context: Context, cls: Class, item: Item, difference: str) -> bool:
    """Whether something of the tree reads the attribute by its name, where the class looks others up by text.

    What such a lookup gives often goes into a table that the instance keeps.
    """
    world = context.world
    if any(item.name in uses.attributes for uses in (*world.old.modules.values(), *world.new.modules.values())):
        return True
    classes = world.old.classes
    for one in (cls, *classes.ancestors(cls), *classes.descendants(cls)):
        if one.computed_lookup:
            path = world.old.modules[one.symbol[0]].source.path
            return not context.report.refused(
                codes.COMPUTED_NAME,
                context.symbol(item.name),
                "nothing reads the attribute by its name, and attributes are looked up by a text that is put "
                f"together: what instances that exist keep of the old value is not known: {path}:{one.computed_lookup}",
                "look whether something keeps what it made of the old value; where it does, forget that in a "
                "callback",
                new_line=item.line,
                difference=difference,
            )
    return True

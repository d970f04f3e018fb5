"""Whether a patch can be taken out, and what of it still is in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any

from pylivepatch.activeness.functions import reachable, unwrap
from pylivepatch.errors import DataMismatch, NotRemovable
from pylivepatch.locate import static_lookup
from pylivepatch.part import Part
from pylivepatch.tracing.attach import own_code
from pylivepatch.transition.swap import MISSING, alike


def check_removable(name: str, parts: Sequence[Part], later: Iterable[tuple[str, Sequence[Part]]]) -> None:
    """Make sure that the patch ``name`` can go. ``later``: name and parts of those that were loaded after it.

    Raises :class:`NotRemovable` where a later patch stands on it or another tool changed one of its functions, and
    :class:`DataMismatch` where a value that it bound was changed since.
    """
    above = list(later)
    for part in parts:
        for other, other_parts in above:
            what = _stands_on(part, other_parts)
            if what:
                raise NotRemovable(
                    f"{other!r} was loaded on top of it: {what}", where=what, advice=f"unload {other!r} first"
                )
        for switch in (s for top in part.switches for s in top):
            for function in switch.live():
                if function.__code__ is not switch.new.code and not switch.is_nested:
                    raise NotRemovable(
                        f"{switch.name} no longer runs the code of {name!r}: something else changed it",
                        where=switch.name,
                        advice="take that tool's change out first",
                    )
        for attribute in part.attributes:
            if attribute.old is MISSING:
                continue  # nothing that stays reads it: what the new code has made of it goes with the name
            now, ours = attribute.current(), (attribute.new, attribute.old)
            if not attribute.is_cache and not any(now is value or alike(now, value) for value in ours):
                raise DataMismatch(
                    f"{attribute.label} was changed after the patch had bound it",
                    where=attribute.label,
                    advice="set it back to the patch's value first; unloading would lose the change",
                )


def overridden(parts: Iterable[Part], later: Iterable[Part]) -> list[str]:
    """The patch's functions that are not in force: the module was executed again, or something changed the code."""
    above = {id(switch.old): switch.new for part in later for switch in part.switches}
    found = []
    for part in parts:
        for switch in part.switches:
            version = switch.new
            codes = [version.code]
            while id(version) in above:
                version = above[id(version)]
                codes.append(version.code)
            live = switch.live()
            things = _things_named(part, switch.name)
            named = [function for thing in things for function in unwrap(thing)]
            changed = any(all(own_code(function) is not code for code in codes) for function in live)
            replaced = named and not _among(live, named)
            if replaced:  # a wrapper may have it inside in other ways than those that all know
                replaced = not any(_among(live, reachable(thing, part.name)) for thing in things)
            if changed or replaced:
                found.append(switch.name)
    return found


def _among(live: list[FunctionType], found: Iterable[FunctionType]) -> bool:
    return any(function is other for function in found for other in live)


def _things_named(part: Part, label: str) -> list[Any]:
    """What the name leads to now."""
    path = label.partition(":")[2]
    return [static_lookup(module, path) for module in part.modules]


def _stands_on(part: Part, other_parts: Sequence[Part]) -> str:
    """What of ``part`` a later patch builds on: a function or value that both change, or names that it added."""
    versions = {id(s.new): s.name for top in (*part.switches, *part.added) for s in top}
    bound = {a.key: a.label for a in part.attributes}
    added = [a.label for a in part.attributes if a.old is MISSING]
    for other in other_parts:
        for switch in (s for top in other.switches for s in top):
            if id(switch.old) in versions:
                return versions[id(switch.old)]
        for attribute in other.attributes:
            if attribute.key in bound:
                return bound[attribute.key]
        if added and other.name == part.name:
            return added[0]  # its new code may use the name
    return ""

"""Two portraits told apart: what the process has, and what a fresh import gives."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pylivepatch.portrait import Portrait, Symbols
from pylivepatch.portrait.things import NOT_COMPARED, Aspects
from pylivepatch.verification.report import Difference

_VERSION = re.compile(r"_*version(_info|_tuple)?_*", re.IGNORECASE)
_TOLD = frozenset({"annotations", "annotate", "documentation"})  # of a class or module: `build` says that they stay
_DATA = re.compile(r"\b(value|(keyword )?defaults|arguments|keywords|registry|of|(closure|attribute) \S+)$")
_PRIVATE = re.compile(r".*\._[^.]*[^._]__[^.]*(?<!__)")  # an attribute of a class that a class statement mangled
_BY_CODE = re.compile(r"(.* )?(code|lines)")


@dataclass
class Found:
    """Differences by what they mean; see :class:`pylivepatch.verification.report.Report`."""

    different: list[Difference] = field(default_factory=list)
    modified: list[Difference] = field(default_factory=list)
    noted: list[Difference] = field(default_factory=list)
    varies: list[Difference] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def differing(live: Symbols, fresh: Symbols) -> list[tuple[str, str]]:
    """``(symbol, aspect)`` of everything that is not equal. A class that one side lacks stands for its members."""
    found = []
    for symbol in (*live, *(symbol for symbol in fresh if symbol not in live)):
        one, other = live.get(symbol), fresh.get(symbol)
        if one is None or other is None:
            outer, has_it = symbol.rpartition(".")[0], live if one is not None else fresh
            if not (outer in has_it and outer not in (fresh if has_it is live else live)):
                found.append((symbol, "name"))
        elif one["kind"] != other["kind"]:
            found.append((symbol, "kind"))
        else:
            found += [(symbol, aspect) for aspect in _compared(one, other) if one.get(aspect) != other.get(aspect)]
    return found


def _compared(one: Aspects, other: Aspects) -> list[str]:
    """The aspects that count. Annotations of the two forms are compared in the one that both have."""
    names = [name for name in {**one, **other} if name.rpartition(" ")[2] not in NOT_COMPARED and name != "rebound"]
    for name in [name for name in names if name.rpartition(" ")[2] == "annotations"]:
        code = f"{name.removesuffix('annotations')}annotate"
        if code in names:
            names.remove(code if name in one and name in other else name)
    return names


def sort_out(
    module: str,
    live: Symbols,
    fresh: Symbols,
    other: Symbols | None,
    unsteady: Collection[tuple[str, str]],
    carried: Mapping[str, str],
    found: Found,
) -> None:
    """Put every difference of a module where it belongs.

    ``other`` is the portrait of the version that is not wanted, where there is one. ``unsteady`` are what two fresh
    imports differ in. ``carried`` is what the patch binds: target → ``new`` or ``changed``.
    """
    rebound = set(fresh.get("", {}).get("rebound", "").split(", "))
    for symbol, what in differing(live, fresh):
        one, another = live.get(symbol, {}), fresh.get(symbol, {})
        difference = Difference(module, symbol, what, _shown(one, what), _shown(another, what))
        if (symbol, what) in unsteady:
            found.varies.append(difference)
        elif other is not None and _was_told(symbol, what, one, another, other, carried):
            found.noted.append(difference)
        elif _is_state(symbol, what, one, another, other, rebound):
            found.modified.append(difference)
        else:
            found.different.append(difference)
    _positions(module, live, fresh, found)


def note_versions(found: Found) -> None:
    """What only has the version's name in it was left with it: ``USER_AGENT = f"fetch/{__version__}"``."""
    names = [(one.live.strip("'"), one.fresh.strip("'")) for one in found.noted if one.what == "value"]
    for one in [one for one in found.different if one.what == "value"]:
        if any(old and old in one.live and one.live.replace(old, new) == one.fresh for old, new in names):
            found.different.remove(one)
            found.noted.append(one)


def without(portrait: Portrait, left_out: Collection[str]) -> Portrait:
    """The portrait as it would be without these modules: what has a name in them comes first by another one."""
    gone = {f"{name}:{symbol}" for name in left_out for symbol in portrait.get(name, ())}
    found = _named_without(portrait, gone)
    return {name: symbols for name, symbols in found.items() if name not in left_out}


def named_as_in(portrait: Portrait, other: Portrait) -> Portrait:
    """The portrait with what comes first by a name that ``other`` lacks (one left in place, say) described under the
    first name that both have, as it is there.
    """
    alone = {
        f"{name}:{symbol}"
        for name in portrait.keys() & other.keys()
        for symbol in portrait[name].keys() - other[name].keys()
    }
    return _named_without(portrait, alone)


def _named_without(portrait: Portrait, gone: Collection[str]) -> Portrait:
    """What comes first by a name in ``gone`` comes first by its next one instead, where it has any."""
    found = {name: dict(portrait[name]) for name in sorted(portrait)}
    renamed: dict[str, str] = {}
    for name, symbols in found.items():
        for symbol, aspects in list(symbols.items()):
            first = aspects.get("is", "") if aspects["kind"] == "alias" else ""
            if first not in gone:
                continue
            if first not in renamed and f"{name}:{symbol}" not in gone:
                renamed[first] = f"{name}:{symbol}"
                module, _, original = first.partition(":")
                symbols[symbol] = portrait[module][original]
            elif first in renamed:
                symbols[symbol] = {"kind": "alias", "is": renamed[first]}
    for first, second in renamed.items():
        module, _, original = first.partition(":")
        found[module][original] = {"kind": "alias", "is": second}
    return found


def _was_told(
    symbol: str, what: str, live: Aspects, fresh: Aspects, other: Symbols, carried: Mapping[str, str]
) -> bool:
    """Whether it is one of the differences that `pylivepatch build` tells of and leaves (PLP215, PLP220 to PLP222)."""
    before = other.get(symbol, {})
    member = "." in symbol
    if what == "name" and not fresh:
        if member and not before:
            return carried.get(symbol) == "new"  # a default for instances that exist
        return _same(live, before) and "overrides" not in live
    as_before = live.get(what) == before.get(what)
    if what in _TOLD and live["kind"] in ("class", "module", "property"):
        return as_before
    return what == "value" and not member and as_before and bool(_VERSION.fullmatch(symbol)) and symbol not in carried


def _same(one: Aspects, other: Aspects) -> bool:
    return bool(one) and not differing({"": one}, {"": other})


def _is_state(
    symbol: str, what: str, live: Aspects, fresh: Aspects, other: Symbols | None, rebound: Collection[str]
) -> bool:
    """Whether the process made it so while it ran, as far as can be told.

    Data that neither version gives has been changed at run time: surely so where both give the same, or where it can
    change without being bound anew, or where code of the module binds it anew. Otherwise somebody meant it to be
    another value: that is a difference.
    """
    before = None if other is None else other.get(symbol, {})
    if what == "name":
        if not live:  # gone from the process
            return symbol in rebound
        if _PRIVATE.fullmatch(symbol):
            return not before  # only the class's own code calls it so
        return "." not in symbol and _is_data(live) and (before == {} or (before is None and _changes(live)))
    if what == "kind":
        if not (_is_data(live) and _is_data(fresh)):
            return False
        what = "value"
    elif not _is_data_aspect(what):
        return False
    if before is not None:
        if live.get(what) == before.get(what):
            return False  # it is of the other version
        if before.get(what) == fresh.get(what):
            return True
    lead, name = _lead(what)
    return (
        any(name in side.get(f"{lead}changeable", "").split(", ") for side in (live, fresh))
        or (symbol if what == "value" else name) in rebound
    )


def _is_data(aspects: Aspects) -> bool:
    return "value" in aspects


def _is_data_aspect(what: str) -> bool:
    return _DATA.search(what) is not None


def _changes(aspects: Aspects) -> bool:
    return "changeable" in aspects


def _lead(what: str) -> tuple[str, str]:
    """``wrapped keyword defaults`` → ``wrapped `` and the aspect of what is wrapped."""
    match = _DATA.search(what)
    return (what[: match.start()], match[0]) if match else ("", what)


def _positions(module: str, live: Symbols, fresh: Symbols, found: Found) -> None:
    """Lines count where both sides come from the same text. A patch's text is; a file may have been written since."""
    for symbol, one in live.items():
        another = fresh.get(symbol, {})
        for aspect in [name for name in one if name.rpartition(" ")[2] == "lines"]:
            lead = aspect.removesuffix("lines")
            if one[aspect] == another.get(aspect, one[aspect]) or one[f"{lead}code"] != another.get(f"{lead}code"):
                continue
            if one[f"{lead}file"] != another.get(f"{lead}file"):
                continue
            if one[f"{lead}file"].startswith("<livepatch "):
                shown = _shown(one, aspect), _shown(another, aspect)
                found.different.append(Difference(module, symbol, aspect, *shown))
            elif module not in found.moved:
                found.moved.append(module)


def _shown(aspects: Aspects, what: str) -> str:
    """For people. Of code, where it stands beside its digest."""
    if not aspects:
        return ""
    if what in ("name", "kind"):
        return " ".join(aspects[key] for key in ("kind", "name", "value", "is") if key in aspects)
    text = aspects.get(what, "")
    if text and (match := _BY_CODE.fullmatch(what)):
        lead = match[1] or ""
        return f"{aspects[f'{lead}file']}:{aspects[f'{lead}line']} ({text})"
    return text


def unsteady(one: Portrait, another: Portrait) -> dict[str, set[tuple[str, str]]]:
    """What two fresh imports of the same version differ in, by module."""
    return {name: set(differing(one[name], another[name])) for name in one.keys() & another.keys()}

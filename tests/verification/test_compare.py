"""Two portraits told apart."""

from __future__ import annotations

from pylivepatch.portrait import Portrait
from pylivepatch.verification.compare import differing, named_as_in

FRESH: Portrait = {
    "a": {"f": {"kind": "function"}},
    "b": {"TABLE": {"kind": "list", "value": "[1]"}, "USED": {"kind": "alias", "is": "b:TABLE"}},
    "c": {"TABLE": {"kind": "alias", "is": "b:TABLE"}},
}


def live(value: str) -> Portrait:
    """As if ``a`` kept ``from b import TABLE as left``, which the new version does without."""
    return {
        "a": {"f": {"kind": "function"}, "left": {"kind": "list", "value": value}},
        "b": {"TABLE": {"kind": "alias", "is": "a:left"}, "USED": {"kind": "alias", "is": "a:left"}},
        "c": {"TABLE": {"kind": "alias", "is": "a:left"}},
    }


def differences(one: Portrait, other: Portrait) -> list[tuple[str, str, str]]:
    return [(name, *found) for name in one for found in differing(one[name], other[name])]


def test_what_comes_first_by_a_name_that_was_left_is_told_by_the_first_that_both_have() -> None:
    assert differences(named_as_in(live("[1]"), FRESH), FRESH) == [("a", "left", "name")]
    assert differences(named_as_in(live("[2]"), FRESH), FRESH) == [("a", "left", "name"), ("b", "TABLE", "value")]


def test_what_has_the_name_of_both_keeps_it() -> None:
    assert named_as_in(FRESH, live("[1]")) == FRESH
    apart = {**live("[1]"), "c": {"TABLE": {"kind": "list", "value": "[1]"}}}
    assert differences(named_as_in(apart, FRESH), FRESH) == [("a", "left", "name"), ("c", "TABLE", "kind")]

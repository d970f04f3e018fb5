"""What the classes of the standard library do, as far as the builder must know: read, not guessed."""

from __future__ import annotations

import pytest

from pylivepatch.build.stdlib import made_with


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("codecs.BufferedIncrementalEncoder", {"buffer"}),
        ("collections.UserDict", {"data"}),
        ("json.JSONEncoder", {"ensure_ascii", "sort_keys", "indent"}),
        ("collections.deque", set()),  # in C
        ("object", set()),
        ("somebody.elses.Class", set()),
        ("json.nothing", set()),
        ("json.dumps", set()),
    ],
)
def test_what_a_constructor_sets_always_is_known(name: str, attributes: set[str]) -> None:
    found = made_with(name)
    assert attributes <= found
    assert bool(found) is bool(attributes)
    assert "default" not in found  # json's sets it under a condition


def test_what_the_library_deletes_again_is_not_counted() -> None:
    found = made_with("threading.Thread")
    assert "_name" in found
    assert "_target" not in found

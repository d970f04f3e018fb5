"""System states: found among the applied patches, and the rule that decides whether a new patch may come on top."""

from __future__ import annotations

import pytest

from pylivepatch.errors import IncompatibleState, PrepareError
from pylivepatch.state import PatchStates, State, check_compatible, get_prev_state, get_state


def patch(name: str, **versions: int) -> PatchStates:
    return PatchStates(name, tuple(State(id, version) for id, version in versions.items()))


STACK = (patch("a", cache=1), patch("b", table=2), patch("c", cache=3))


def test_a_state_is_found_by_patch_and_id() -> None:
    assert get_state(STACK, "a", "cache") is STACK[0].states[0]
    assert get_state(STACK, "b", "cache") is None
    assert get_state(STACK, "nobody", "cache") is None


def test_the_previous_state_is_that_of_the_newest_patch_below() -> None:
    assert get_prev_state(STACK, "new", "cache") is STACK[2].states[0]
    assert get_prev_state(STACK, "c", "cache") is STACK[0].states[0]
    assert get_prev_state(STACK, "b", "table") is None
    assert get_prev_state(STACK, "a", "cache") is None


def test_data_is_handed_from_patch_to_patch() -> None:
    below = State("cache", 1)
    below.data = {"size": 5}
    found = get_prev_state((PatchStates("a", (below,)),), "new", "cache")
    assert found is not None
    assert found.data == {"size": 5}


@pytest.mark.parametrize(
    ("replace", "known", "accepted"),
    [  # the applied patch has the state in version 2; klp_is_state_compatible
        (False, None, True),
        (False, 1, False),
        (False, 2, True),
        (False, 3, True),
        (True, None, False),
        (True, 1, False),
        (True, 2, True),
        (True, 3, True),
    ],
)
def test_a_patch_is_compatible_as_in_linux(replace: bool, known: int | None, accepted: bool) -> None:
    new = patch("new") if known is None else patch("new", cache=known)
    applied = (patch("old", cache=2),)
    if accepted:
        check_compatible(new, applied, replace=replace)
    else:
        with pytest.raises(IncompatibleState):
            check_compatible(new, applied, replace=replace)


@pytest.mark.parametrize("replace", [False, True])
def test_a_state_that_only_the_new_patch_has_is_no_conflict(replace: bool) -> None:
    check_compatible(patch("new", cache=0), (), replace=replace)
    check_compatible(patch("new", cache=0), (patch("old"),), replace=replace)


def test_the_error_names_every_conflict_and_what_to_declare() -> None:
    with pytest.raises(IncompatibleState) as caught:
        check_compatible(patch("new", cache=2), STACK, replace=True)
    text = str(caught.value)
    assert isinstance(caught.value, PrepareError)
    assert text.startswith("PLP132: ")
    assert "state 'table' was brought to version 2 by 'b', and the new patch does not know it" in text
    assert "state 'cache' was brought to version 3 by 'c', and the new patch knows it in version 2 only" in text
    assert "by 'a'" not in text
    assert "State('table', 2)" in text
    assert "State('cache', 3)" in text
    assert "unload 'c', 'b' first" in text
    assert [c["patch"] for c in caught.value.details["conflicts"]] == ["b", "c"]


@pytest.mark.parametrize("version", [-1, 1.0, True, "1", None])
def test_a_version_is_a_whole_number(version: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        State("cache", version)  # type: ignore[arg-type]


def test_id_and_version_cannot_be_changed() -> None:
    state = State("cache", 1)
    for name in ("id", "version"):
        with pytest.raises(AttributeError):
            setattr(state, name, 2)


def test_an_id_must_be_hashable() -> None:
    with pytest.raises(TypeError):
        State(["cache"], 1)  # type: ignore[arg-type]


def test_a_patch_declares_a_state_once() -> None:
    with pytest.raises(ValueError, match="'cache' twice"):
        PatchStates("a", (State("cache", 1), State("cache", 2)))

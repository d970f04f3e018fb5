"""What a late entry passes on to a function of another signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pylivepatch.ftrace.late import _defaults, bind, change_places


def late(old: Callable[..., Any], new: Any, *args: Any, **kwargs: Any) -> Any:
    """What ``new`` gives for a call of ``old`` whose arguments are bound."""
    values = old(*args, **kwargs)
    positional, keywords = bind(old.__code__, _defaults(old), new, values)  # type: ignore[arg-type]
    return new(*positional, **keywords)


def both(a: Any, b: Any = 1) -> Any:
    return a, b


def test_a_renamed_parameter_is_passed_by_position() -> None:
    assert late(both, lambda x, y=1: (x, y), 7) == (7, 1)
    assert late(both, lambda x, y=1: (x, y), 7, 8) == (7, 8)
    assert late(both, lambda a, other=1: (a, other), 7, b=8) == (7, 8)


def test_a_parameter_that_moved_is_passed_by_name() -> None:
    assert late(both, lambda a, more=0, b=1: (a, more, b), 7, 8) == (7, 0, 8)


def test_a_parameter_that_is_gone_is_left_out_where_it_was_the_default() -> None:
    def three(a: Any, flag: Any = False, b: Any = 1) -> Any:
        return a, flag, b

    assert late(three, lambda a, b=1: (a, b), 7, b=8) == (7, 8)


def test_a_new_default_takes_the_place_of_the_old_one() -> None:
    assert late(both, lambda a, b=2: (a, b), 7) == (7, 2)
    assert late(both, lambda a, b=2: (a, b), 7, 9) == (7, 9)


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        (lambda a, b: 0, lambda b, a: 0, ["a", "b"]),
        (lambda a, b: 0, lambda a, x, b: 0, []),
        (lambda a, b: 0, lambda a, *, b: 0, []),
        (lambda a, b, /: 0, lambda b, a, /: 0, []),
        (lambda a, b, c: 0, lambda c, a: 0, ["a", "c"]),
    ],
)
def test_parameters_that_change_places_are_found(old: Any, new: Any, moved: list[str]) -> None:
    assert change_places(old.__code__, new.__code__) == moved


def test_a_renamed_parameter_gets_its_own_default() -> None:
    assert late(both, lambda a, other=5: (a, other), 7) == (7, 5)

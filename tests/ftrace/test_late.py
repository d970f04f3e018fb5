"""The arguments of a call that was bound by the old signature, as the new function is to get them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from pylivepatch.counter import Counter
from pylivepatch.ftrace.late import LateEntry, bind, signature_key


def call(old: Callable[..., Any], new: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Bind a call by ``old`` (which gives its parameters' values), then pass it to ``new``."""
    assert isinstance(old, FunctionType)
    assert isinstance(new, FunctionType)
    values = old(*args, **kwargs)
    from pylivepatch.ftrace.late import _defaults

    positional, keywords = bind(old.__code__, _defaults(old), new, values)
    return new(*positional, **keywords)


def switched() -> Counter:
    counter = Counter()
    counter.discount()
    return counter


def two(a: Any, b: Any = 2) -> Any:
    return a, b


def rest(a: Any, *more: Any, k: Any = 0, **named: Any) -> Any:
    return a, k, more, named


def only(a: Any, /, b: Any = 2, *, c: Any = 3) -> Any:
    return a, b, c


def test_the_same_signature_passes_all() -> None:
    assert call(rest, rest, 1, 2, 3, k=4, x=5) == (1, 4, (2, 3), {"x": 5})
    assert call(only, only, 1, c=9) == (1, 2, 9)


def test_a_default_that_changed_is_the_new_one_where_the_caller_gave_none() -> None:
    def new(a: Any, b: Any = "new default") -> Any:
        return a, b

    assert call(two, new, 1) == (1, "new default")
    assert call(two, new, 1, 7) == (1, 7)


def test_a_new_parameter_gets_its_default() -> None:
    def new(a: Any, b: Any = 2, c: Any = 3) -> Any:
        return a, b, c

    assert call(two, new, 1, 5) == (1, 5, 3)


def test_parameters_that_changed_places_are_passed_by_name() -> None:
    def new(b: Any, a: Any) -> Any:
        return {"a": a, "b": b}

    assert call(two, new, 1, 5) == {"a": 1, "b": 5}


def test_a_parameter_that_became_keyword_only_is_passed_by_name() -> None:
    def new(a: Any, *, b: Any) -> Any:
        return a, b

    assert call(two, new, 1, 5) == (1, 5)


def test_a_parameter_that_became_positional_only_is_passed_by_place() -> None:
    def new(a: Any, b: Any = 0, /) -> Any:
        return a, b

    assert call(two, new, 1, 5) == (1, 5)


def test_variable_arguments_keep_their_places() -> None:
    def new(a: Any, *more: Any, k: Any = 1, extra: Any = "x", **named: Any) -> Any:
        return a, more, k, extra, named

    assert call(rest, new, 1, 2, 3, z=4) == (1, (2, 3), 1, "x", {"z": 4})


def test_what_the_new_signature_does_not_take_is_an_error_of_the_call() -> None:
    def new(a: Any) -> Any:
        return a

    with pytest.raises(TypeError, match="b"):
        call(two, new, 1, 5)
    assert call(two, lambda a, b=3: (a, b), 1) == (1, 3)


def test_signatures_differ_by_names_kinds_and_order() -> None:
    keys = [signature_key(f.__code__) for f in (two, rest, only, lambda b, a: 0, lambda a, b: 0, lambda a, /, b: 0)]
    assert len(set(keys)) == 5  # defaults are not part of it: two and lambda a, b are alike
    assert keys[0] == keys[4]


def test_a_late_entry_commits_before_it_calls() -> None:
    done: list[str] = []

    def function() -> str:
        done.append("call")
        return "new"

    late = LateEntry(function, function.__code__, lambda: function, lambda: done.append("commit"), switched())
    assert late(()) == "new"
    assert done == ["commit", "call"]


def test_a_late_entry_does_not_keep_its_function() -> None:
    """A function that nobody else holds must go at once: it would be a cycle through a code object, for ever."""

    def function() -> str:
        return "old"

    def new() -> str:
        return "new"

    late = LateEntry(function, function.__code__, lambda: new, lambda: None, switched())
    gone = weakref.ref(function)
    gc.disable()
    try:
        del function
        assert gone() is None
    finally:
        gc.enable()
    assert late(()) == "new"


def test_a_late_entry_does_not_call_another_trampoline() -> None:
    def function() -> str:
        return "a trampoline"

    def new() -> str:
        return "new"

    late = LateEntry(function, function.__code__, lambda: new, lambda: None, switched())
    function.__code__ = function.__code__.replace(co_consts=(*function.__code__.co_consts, late))
    assert late(()) == "new"

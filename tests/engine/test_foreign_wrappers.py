"""Functions that another tool wrapped or replaced before the patch came: what is inside moves, or it is refused."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

import pylivepatch
from pylivepatch.errors import CodeMismatch

OLD = "def price(x):\n    return f'old {x}'\n\nclass Shop:\n    def sell(self, x):\n        return f'old {x}'\n"
NEW = OLD.replace("old", "new")


def by_wraps(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return f"<{function(*arguments)}>"

    return wrapper


def by_closure(function: Any) -> Any:
    return lambda *arguments: f"<{function(*arguments)}>"


def by_wrapt(function: Any) -> Any:
    wrapt = pytest.importorskip("wrapt")
    return wrapt.FunctionWrapper(function, lambda wrapped, _, arguments, keywords: f"<{wrapped(*arguments)}>")


def by_mock(function: Any) -> Any:
    return mock.Mock(side_effect=lambda *arguments: f"<{function(*arguments)}>", wraps=function)


def by_an_object(function: Any) -> Any:
    class Traced:
        def __init__(self) -> None:
            self.function = function

        def __call__(self, *arguments: Any) -> str:
            return f"<{self.function(*arguments)}>"

    return Traced()


WRAPPERS = [by_wraps, by_closure, by_wrapt, by_mock, by_an_object]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_function_inside_a_foreign_wrapper_is_patched_and_the_wrapper_stays(
    sources: Any, wrap: Callable[[Any], Any]
) -> None:
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    wrapper = module.price = wrap(module.price)
    assert module.price(1) == "<old 1>"
    applied = pylivepatch.load(patch)
    assert module.price is wrapper
    assert (module.price(1), module.Shop().sell(2)) == ("<new 1>", "new 2")
    (told,) = applied.report["wrapped"]
    assert told.startswith(f"{module.__name__}:price in ")
    assert applied.overridden == ()
    applied.unload()
    assert (module.price(1), module.Shop().sell(2)) == ("<old 1>", "old 2")


def test_the_programs_own_decorators_are_no_foreign_wrappers(sources: Any) -> None:
    old = "import functools\n\n@functools.lru_cache\ndef price(x):\n    return f'old {x}'\n"
    module = sources.load(old)
    applied = pylivepatch.load(sources.patch(module, old.replace("old", "new")))
    assert applied.report["wrapped"] == []


def aside(*arguments: Any) -> str:
    return "elsewhere"


@pytest.mark.parametrize(
    ("stranger", "name"),
    [
        (aside, f"{__name__}.aside"),
        (lambda x: x, f"{__name__}.<lambda>"),
        (functools.partial(aside, 1), f"{__name__}.aside"),
        (mock.Mock(), "unittest.mock.Mock"),
        (mock.create_autospec(aside), "unittest.mock"),
    ],
    ids=["function", "lambda", "partial", "mock", "autospec"],
)
def test_a_stranger_in_the_functions_place_is_refused_and_named(sources: Any, stranger: Any, name: str) -> None:
    """The old function is still there under another name: to patch that would change nothing that anybody calls."""
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    module.price_of_old, module.price = module.price, stranger
    code = module.price_of_old.__code__
    with pytest.raises(CodeMismatch) as caught:
        pylivepatch.load(patch)
    assert name in caught.value.message
    assert caught.value.advice
    assert module.price_of_old.__code__ is code
    assert module.Shop().sell(2) == "old 2"


def test_a_tool_that_changed_the_code_in_place_is_refused(sources: Any) -> None:
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    code = module.price.__code__
    traced = tuple("traced " if const == "old " else const for const in code.co_consts)
    module.price.__code__ = code.replace(co_consts=traced)
    with pytest.raises(CodeMismatch):
        pylivepatch.load(patch)
    assert module.price(1) == "traced 1"


def test_a_method_replaced_by_hand_is_refused(sources: Any) -> None:
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    module.Shop.sell = types.MethodType(aside, module)
    with pytest.raises(CodeMismatch):
        pylivepatch.load(patch)
    assert module.price(1) == "old 1"

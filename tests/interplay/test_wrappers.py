"""``unittest.mock``, ``wrapt`` and other wrappers around patched functions, put on and taken off at any moment."""

from __future__ import annotations

import functools
import weakref
from typing import Any
from unittest import mock

import pytest

import pylivepatch
from pylivepatch import LivePatchError, Patch
from pylivepatch.compiled import compile_patch
from tests.conftest import PATIENCE

from .life import stages


def greet(name: str) -> str:
    return f"old {name}"


def greet_anew(name: str) -> str:
    return f"new {name}"


class Greeter:
    def greet(self, name: str) -> str:
        return f"old {name}"


class GreeterAnew:
    def greet(self, name: str) -> str:
        return f"new {name}"


def test_a_mock_in_its_place_stays_a_mock_and_the_function_comes_back(hold: Any) -> None:
    for stage in stages(hold, (greet, greet_anew)):
        with mock.patch(f"{__name__}.greet", return_value="mocked") as mocked:
            assert greet("x") == "mocked"
        mocked.assert_called_once_with("x")
        assert greet("x") == f"{stage.version} x"


@pytest.mark.parametrize("options", [{"autospec": True}, {"wraps": Greeter.greet}, {}], ids=str)
def test_a_mocked_method_stays_mocked_while_the_patch_comes_and_goes(options: Any, hold: Any) -> None:
    """The mock is put on in one stage and taken off in the next."""
    original = Greeter.greet
    patcher = None
    for stage in stages(hold, (Greeter.greet, GreeterAnew.greet)):
        if patcher is not None:
            patcher.stop()
        assert Greeter.greet is original
        assert Greeter().greet("x") == f"{stage.version} x"
        patcher = mock.patch.object(Greeter, "greet", **options)
        mocked = patcher.start()
        if "wraps" in options:
            assert mocked(None, "y") == f"{stage.version} y"
        else:
            mocked.return_value = "mocked"
            assert Greeter().greet("y") == "mocked"
    assert patcher is not None
    patcher.stop()


def test_a_patch_from_source_refuses_a_mock_and_says_so(sources: Any) -> None:
    module = sources.load("def f():\n    return 'old'\n")
    patch = compile_patch(sources.patch(module, "def f():\n    return 'new'\n"))
    function, original = module.f, weakref.ref(module.f.__code__)
    with mock.patch.object(module, "f"), pytest.raises(LivePatchError) as caught:
        pylivepatch.load(patch, timeout=PATIENCE)
    assert caught.value.code.startswith("PLP11")
    assert caught.value.advice
    assert module.f is function
    assert function.__code__ is original()
    pylivepatch.load(patch, timeout=PATIENCE)
    assert module.f() == "new"
    with mock.patch.object(module, "f", wraps=module.f):
        assert module.f() == "new"
        pylivepatch.unload("fix", timeout=PATIENCE)
        assert module.f() == "old"
    assert function.__code__ is original()


def test_a_wrapt_decorator_keeps_its_argument_and_its_instance(hold: Any) -> None:
    wrapt = pytest.importorskip("wrapt")
    seen: list[Any] = []

    @wrapt.decorator
    def noting(wrapped: Any, instance: Any, arguments: Any, keywords: Any) -> Any:
        seen.append((wrapped.__name__, type(instance).__name__, arguments))
        return "noted " + wrapped(*arguments, **keywords)

    class Polite:
        @noting
        def greet(self, name: str) -> str:
            return f"old {name}"

    class PoliteAnew:
        @noting
        def greet(self, name: str) -> str:
            return f"new {name}"

    inside, anew = Polite.__dict__["greet"].__wrapped__, PoliteAnew.__dict__["greet"].__wrapped__
    bound = Polite().greet
    for stage in stages(hold, (inside, anew)):
        seen.clear()
        assert Polite().greet("x") == f"noted {stage.version} x"
        assert bound("y") == f"noted {stage.version} y"
        assert seen == [("greet", "Polite", ("x",)), ("greet", "Polite", ("y",))]


def test_wrapt_may_wrap_and_unwrap_in_each_stage(hold: Any) -> None:
    wrapt = pytest.importorskip("wrapt")

    def loud(wrapped: Any, instance: Any, arguments: Any, keywords: Any) -> Any:
        return str(wrapped(*arguments, **keywords)).upper()

    function = greet
    proxies: list[tuple[str, Any]] = []
    for stage in stages(hold, (function, greet_anew)):
        wrapt.wrap_function_wrapper(__name__, "greet", loud)
        try:
            assert greet("x") == f"{stage.version} x".upper()
            assert greet.__name__ == "greet"
            proxies.append((stage.name, greet))
        finally:
            globals()["greet"] = function
        for _, proxy in proxies:  # those made in earlier stages follow
            assert proxy("z") == f"{stage.version} z".upper()
    assert len(proxies) == 5


def test_wrappers_made_in_mid_transition_hold_nothing_afterwards(hold: Any) -> None:
    made: list[Any] = []
    for stage in stages(hold, (greet, greet_anew)):
        made += [
            functools.wraps(greet)(lambda *a: greet(*a)),
            functools.partial(greet),
            functools.lru_cache(greet),
            functools.cache(greet),
            staticmethod(greet),
            mock.create_autospec(greet, side_effect=greet),
            Greeter().greet.__func__.__get__(Greeter()),
        ]
        for each in made[:-1]:
            if hasattr(each, "cache_clear"):
                each.cache_clear()
        for each in (e for e in made if getattr(e, "__self__", None) is None):
            assert each("x") == f"{stage.version} x"


def test_a_patch_of_what_a_decorated_function_wraps_is_reached_through_the_decorator(hold: Any) -> None:
    def doubled(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any) -> Any:
            return function(*arguments) * 2

        return wrapper

    def plain(name: str) -> str:
        return f"old {name}"

    decorated = doubled(plain)
    original = weakref.ref(plain.__code__)
    pylivepatch.load(Patch("interplay").replace(decorated, greet_anew), timeout=PATIENCE)
    assert decorated("x") == "new xnew x"
    pylivepatch.unload("interplay", timeout=PATIENCE)
    assert decorated("x") == "old xold x"
    assert plain.__code__ is original()

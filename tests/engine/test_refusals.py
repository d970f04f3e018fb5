"""What is refused, with which code, and that nothing was touched by it."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, PrepareError, journal
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import (
    CodeMismatch,
    CompileError,
    DataMismatch,
    LivePatchError,
    NotApplied,
    PatchExists,
    TargetBusy,
    TargetNotFound,
    UnswappableShape,
    WrongPython,
)


def old(a: int = 1) -> str:
    return "old"


def new(a: int = 2) -> str:
    return "new"


def other() -> str:
    return "other"


def generator() -> Any:
    yield "old"


async def coroutine() -> str:
    return "old"


FUNCTIONS: list[Any] = [old, new, other, generator, coroutine]


def snapshot() -> list[Any]:
    """No code object itself: a reference that nothing explains would hold every transition."""
    return [
        (id(f.__code__), f.__defaults__, f.__kwdefaults__, dict(f.__dict__), f.__doc__) for f in FUNCTIONS
    ]


@pytest.fixture(autouse=True)
def _untouched() -> Any:
    before = snapshot()
    yield
    assert snapshot() == before


REFUSED: dict[str, tuple[Callable[[], Patch], type[PrepareError]]] = {
    "a C function": (lambda: Patch("p").replace(len, new), TargetNotFound),
    "a class": (lambda: Patch("p").replace(dict, new), TargetNotFound),
    "an object": (lambda: Patch("p").replace(3, new), TargetNotFound),  # type: ignore[arg-type]
    "by a C function": (lambda: Patch("p").replace(old, len), UnswappableShape),
    "by itself": (lambda: Patch("p").replace(old, old), UnswappableShape),
    "by nothing": (lambda: Patch("p"), PrepareError),
    "a property by a function": (
        lambda: Patch("p").replace(property(old, new), other),  # type: ignore[arg-type]
        UnswappableShape,
    ),
    "a generator by a function": (lambda: Patch("p").replace(generator, new), UnswappableShape),
    "a coroutine by a function": (lambda: Patch("p").replace(coroutine, new), UnswappableShape),
    "a coroutine by a generator": (lambda: Patch("p").replace(coroutine, generator), UnswappableShape),
    "one function twice": (lambda: Patch("p").replace(old, new).replace(old, other), PrepareError),
    "one function twice, once in a partial": (
        lambda: Patch("p").replace(old, new).replace(functools.partial(old), other),
        PrepareError,
    ),
    "a good one and a bad one": (lambda: Patch("p").replace(old, new).replace(len, other), TargetNotFound),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_patched_is_refused_whole(what: str, each_path: str) -> None:
    make, error = REFUSED[what]
    with pytest.raises(error) as caught:
        pylivepatch.load(make(), timeout=0.5)
    assert caught.value.code.startswith("PLP11")
    assert caught.value.advice
    assert pylivepatch.patches() == ()


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_leaves_no_reference_behind(what: str) -> None:
    make, _ = REFUSED[what]

    def references() -> list[int]:
        gc.collect()
        return [n for f in FUNCTIONS for n in (sys.getrefcount(f), sys.getrefcount(f.__code__))]

    def refuse() -> None:
        with contextlib.suppress(PrepareError):
            pylivepatch.load(make(), timeout=0.5)

    refuse()
    before = references()
    for _ in range(3):
        refuse()
    assert references() == before


def test_a_function_never_becomes_another_kind(each_path: str) -> None:
    """From 3.13 on assigning such code warns: Python code would run in the middle of the switch."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for newer in (generator, coroutine):
            with pytest.raises(UnswappableShape):
                pylivepatch.load(Patch("p").replace(old, newer))
    assert old() == "old"


def test_a_name_is_taken_once(each_path: str) -> None:
    applied = pylivepatch.load(Patch("p").replace(old, new))
    with pytest.raises(PatchExists):
        pylivepatch.load(Patch("p").replace(other, new))
    assert other() == "other"
    applied.unload()
    del applied


def test_unloading_what_is_not_applied_is_an_error() -> None:
    with pytest.raises(NotApplied):
        pylivepatch.unload("nothing")


def test_a_second_load_during_a_transition_is_refused(hold: Any) -> None:
    held = hold(Patch("p").replace(old, new))
    with pytest.raises(TargetBusy) as caught:
        pylivepatch.load(Patch("q").replace(other, new))
    assert "load of 'p'" in str(caught.value)
    with pytest.raises(TargetBusy):
        pylivepatch.unload("p")
    held.finish()
    assert (old(), other()) == ("new", "other")
    held.unloading().finish()
    held.applied = None


@pytest.mark.parametrize("kind", ["prepare", "enable", "drain", "release", "commit"])
def test_a_load_from_within_a_transition_is_refused(kind: str, counted: None) -> None:
    """By a subscriber, say, or a signal handler: on the thread that runs the transition."""
    seen: list[BaseException] = []

    def nested(event: pylivepatch.Event) -> None:
        if event.kind == kind and not seen:
            try:
                pylivepatch.load(Patch("q").replace(old, other))
            except BaseException as error:
                seen.append(error)

    unsubscribe = pylivepatch.subscribe(nested)
    applied = pylivepatch.load(Patch("p").replace(old, new))
    unsubscribe()
    assert [type(e) for e in seen] == [TargetBusy]
    seen.clear()
    assert [a.name for a in pylivepatch.patches()] == ["p"]
    assert old() == "new"
    applied.unload()
    del applied


def test_a_subscriber_that_raises_changes_nothing(each_path: str, caplog: Any) -> None:
    def broken(event: pylivepatch.Event) -> None:
        raise ValueError("broken")

    unsubscribe = pylivepatch.subscribe(broken)
    applied = pylivepatch.load(Patch("p").replace(old, new))
    assert old() == "new"
    applied.unload()
    unsubscribe()
    caplog.clear()
    del applied


# --- built patches ------------------------------------------------------------------------------------------

SOURCE = """\
LIMIT = 10
class C:
    level = 1
    def method(self): return 'old', self.level
def function(a=1): return 'old', LIMIT
def untouched(): return 'old'
"""
CHANGED = SOURCE.replace("'old', self", "'new', self").replace("'old', LIMIT", "'new', LIMIT").replace("10", "20")


def tamper_code(module: Any) -> None:
    module.function.__code__ = module.untouched.__code__


def tamper_rebind(module: Any) -> None:
    module.function = module.untouched


def tamper_delete(module: Any) -> None:
    del module.function


def tamper_class(module: Any) -> None:
    del module.C


def tamper_class_kind(module: Any) -> None:
    module.C = 3


def tamper_value(module: Any) -> None:
    module.LIMIT = 11


def tamper_value_type(module: Any) -> None:
    module.LIMIT = 10.0


def tamper_no_value(module: Any) -> None:
    del module.LIMIT


def tamper_mock(module: Any) -> None:
    from unittest import mock

    module.function = mock.Mock(wraps=module.function)


TAMPERED = {
    tamper_code: CodeMismatch,
    tamper_rebind: CodeMismatch,
    tamper_delete: TargetNotFound,
    tamper_class: TargetNotFound,
    tamper_class_kind: TargetNotFound,
    tamper_value: DataMismatch,
    tamper_value_type: DataMismatch,
    tamper_no_value: TargetNotFound,
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda f: f.__name__.removeprefix("tamper_"))
def test_a_module_that_is_not_what_the_patch_was_built_against_is_refused(tamper: Any, sources: Any) -> None:
    module = sources.load(SOURCE)
    patch = compile_patch(sources.patch(module, CHANGED))
    tamper(module)
    before = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    codes = {name: value.__code__ for name, value in before.items() if isinstance(value, FunctionType)}
    with pytest.raises(TAMPERED[tamper]) as caught:
        pylivepatch.load(patch)
    assert module.__name__ in caught.value.where
    assert {name: value for name, value in vars(module).items() if not name.startswith("__")} == before
    assert all(before[name].__code__ is code for name, code in codes.items())


def test_code_of_another_python_is_refused(sources: Any) -> None:
    module = sources.load(SOURCE)
    data = compile_patch(sources.patch(module, CHANGED))
    from dataclasses import replace

    with pytest.raises(WrongPython):
        pylivepatch.load(replace(data, magic=b"none"))
    with pytest.raises(WrongPython):
        pylivepatch.load(replace(data, optimize=2))
    with pytest.raises(CompileError):
        type(data).from_bytes(b"nothing")
    with pytest.raises(CompileError, match="another version of pylivepatch"):
        type(data).from_bytes(b"pylivepatch compiled 3" + data.to_bytes()[len(b"pylivepatch compiled 3") :])


def test_a_default_that_fails_refuses_the_patch(sources: Any) -> None:
    module = sources.load("def f(a=1): return a\n")
    patch = compile_patch(sources.patch(module, "def f(a=1 // 0): return a\n"))
    with pytest.raises(PrepareError, match="ZeroDivisionError"):
        pylivepatch.load(patch)
    assert module.f() == 1


def test_nothing_is_under_way_after_a_refusal() -> None:
    with pytest.raises(PrepareError):
        pylivepatch.load(Patch("p").replace(len, new))
    assert journal._undertakings == []


def test_parameters_that_change_places_are_refused() -> None:
    def old(a: int, b: int) -> tuple[int, int]:
        return a, b

    def new(b: int, a: int) -> tuple[int, int]:
        return a, b

    with pytest.raises(UnswappableShape, match="change places"):
        pylivepatch.load(Patch("fix").replace(old, new))
    assert old(1, 2) == (1, 2)


def test_what_stands_around_a_replacement_is_not_left_out_silently() -> None:
    class Owner:
        def method(self, x: int) -> int:
            return x

    def old(x: int) -> int:
        return x

    def other(x: int, y: int = 0) -> int:
        return x + y

    for new in (functools.partial(other, y=1), Owner().method, functools.lru_cache(other)):
        with pytest.raises(UnswappableShape, match="left out"):
            pylivepatch.load(Patch("fix").replace(old, new))
    cached = functools.lru_cache(old)
    with pylivepatch_loaded(Patch("fix").replace(cached, functools.lru_cache(other))):
        assert cached(3) == 3


@contextlib.contextmanager
def pylivepatch_loaded(patch: Patch) -> Iterator[None]:
    applied = pylivepatch.load(patch)
    yield
    applied.unload()


def test_a_class_whose_metaclass_would_be_asked_is_refused(sources: Any) -> None:
    source = (
        "class M(type):\n    @property\n    def limit(cls): return 1\n"
        "class C(metaclass=M):\n    limit = 1\ndef f(): return 'old'\n"
    )
    module = sources.load(source)
    new = source.replace("limit = 1", "limit = 2").replace("'old'", "'new'")
    with pytest.raises(UnswappableShape, match="metaclass"):
        pylivepatch.load(sources.patch(module, new))
    assert module.f() == "old"


def test_a_new_dunder_new_is_refused(sources: Any) -> None:
    module = sources.load("class C:\n    pass\n")
    new = "class C:\n    def __new__(cls, *args): return super().__new__(cls)\n"
    try:
        patch = sources.patch(module, new)
    except LivePatchError:
        return  # refused as early as by the builder
    with pytest.raises(UnswappableShape, match="__new__"):
        pylivepatch.load(patch)


def test_something_else_than_a_module_is_refused(sources: Any) -> None:
    module = sources.load("def f(): return 'old'\n")
    patch = sources.patch(module, "def f(): return 'new'\n")
    sys.modules[module.__name__] = types.SimpleNamespace(f=module.f)  # type: ignore[assignment]
    with pytest.raises(TargetNotFound, match="something else"):
        pylivepatch.load(patch)


def test_a_live_value_that_cannot_be_compared_or_shown_is_refused(sources: Any) -> None:
    module = sources.load("LIMIT = 1\n")
    patch = sources.patch(module, "LIMIT = 2\n")

    class Sulky(int):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        def __repr__(self) -> str:
            raise RuntimeError

    module.LIMIT = Sulky(1)
    with pytest.raises(DataMismatch):
        pylivepatch.load(patch)

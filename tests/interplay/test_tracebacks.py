"""What tracebacks, ``faulthandler`` and deep recursion show and do, before, in and after a transition."""

from __future__ import annotations

import asyncio
import faulthandler
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from tests.conftest import PATIENCE

from .life import stages


def inner(text: str) -> int:
    return int(text) + len(text)


def outer(text: str) -> int:
    try:
        return inner(text)
    except ValueError as error:
        raise RuntimeError(
            "old " + text
        ) from error


def each(text: str) -> Iterator[int]:
    for letter in text:
        yield inner(letter)


async def awaited(text: str) -> int:
    await asyncio.sleep(0)
    return inner(text[0]) + inner(text[1])


def inner_anew(text: str) -> int:
    x = 1
    return x + int("anew " + text)


def outer_anew(text: str) -> int:
    return inner(text)


def each_anew(text: str) -> Iterator[int]:
    yield 1
    yield inner(text)


async def awaited_anew(text: str) -> int:
    return await asyncio.wait_for(asyncio.sleep(0, inner(text)), 1)


PAIRS = (inner, inner_anew), (outer, outer_anew), (each, each_anew), (awaited, awaited_anew)
WAYS: dict[str, Callable[[], Any]] = {
    "raised again": lambda: outer("x"),
    "in a generator": lambda: list(each("1x")),
    "in a coroutine": lambda: asyncio.run(awaited("1x")),
    "under a C callback": lambda: sorted(["2", "x"], key=inner),
}


def shown(call: Callable[[], Any]) -> tuple[str, list[tuple[str, Any, Any, Any]]]:
    """The text with its carets, and every position."""
    try:
        call()
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        frames = traceback.extract_tb(error.__traceback__)
        error.__traceback__ = None  # it keeps frames
        return text, [(f.name, f.lineno, f.end_lineno, (f.colno, f.end_colno)) for f in frames]
    raise AssertionError("it does not raise")


@pytest.mark.parametrize("way", WAYS)
def test_a_traceback_is_the_same_to_the_letter(way: str, hold: Any) -> None:
    seen = {stage.name: shown(WAYS[way]) for stage in stages(hold, *PAIRS)}
    assert seen["loading"] == seen["before"]
    assert seen["unloaded"] == seen["before"]
    assert seen["unloading"] == seen["loaded"]
    assert "int(text) + len(text)" in seen["before"][0]
    assert 'int("anew " + text)' in seen["loaded"][0]


def test_a_patch_from_source_shows_each_versions_own_lines(sources: Any, hold: Any) -> None:
    old = "def f(x):\n    return 1 / x  # old\n"
    module = sources.load(old)
    space = vars(module)
    new = "# a new line\n\ndef f(x):\n    y = 2\n    return y / x  # new\n"
    from pylivepatch.compiled import compile_patch

    patch = compile_patch(sources.patch(module, new))

    def lines() -> str:
        return shown(lambda: space["f"](0))[0]

    before = lines()
    assert "return 1 / x  # old" in before
    pylivepatch.load(patch, timeout=PATIENCE)
    loaded = lines()
    assert "return y / x  # new" in loaded
    assert "line 5" in loaded
    pylivepatch.unload("fix", timeout=PATIENCE)
    assert lines() == before


def stand(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    leave.wait(PATIENCE)
    return "old"


def stand_anew(inside: threading.Event, leave: threading.Event) -> str:
    one = 1
    inside.set()
    leave.wait(PATIENCE * one)
    return "new"


def test_faulthandler_names_function_and_line_of_every_thread(hold: Any) -> None:
    lines = {"old": stand.__code__.co_firstlineno + 2, "new": stand_anew.__code__.co_firstlineno + 3}
    for stage in stages(hold, (stand, stand_anew)):
        inside, leave = threading.Event(), threading.Event()
        answers: list[str] = []
        thread = threading.Thread(target=lambda i, j, a: a.append(stand(i, j)), args=(inside, leave, answers))
        thread.start()
        assert inside.wait(PATIENCE)
        while True:  # until it stands in the wait, not before it
            with tempfile.TemporaryFile("w+") as file:
                faulthandler.dump_traceback(file, all_threads=True)
                file.seek(0)
                found = re.findall(r'test_tracebacks.py", line (\d+) in (\w+)', file.read())
            stood = [int(line) for line, name in found if name.startswith("stand")]
            if stood == [lines[stage.version]]:
                break
            assert stood in ([], [lines[stage.version] - 1])
        leave.set()
        thread.join(PATIENCE)
        assert answers == [stage.version]


def deep(n: int) -> int:
    return 1 + deep(n - 1) if n else 0


def deep_anew(n: int) -> int:
    return 1 + deep(n - 1) if n else 1000


def test_a_recursion_is_as_deep_as_before(hold: Any) -> None:
    """Nothing is added to the stack: the deepest call that succeeds is the same."""

    def limit() -> int:
        n = 10
        while True:
            try:
                deep(n)
            except RecursionError:
                return n
            n += 1

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        seen = {stage.name: (limit(), deep(50)) for stage in stages(hold, (deep, deep_anew))}
    finally:
        sys.setrecursionlimit(before)
    assert {depth for depth, _ in seen.values()} == {seen["before"][0]}
    assert [result for _, result in seen.values()] == [50, 50, 1050, 1050, 50]


def test_a_recursion_error_in_the_last_call_under_a_transition_lets_it_switch(hold: Any) -> None:
    """The one that overflows is the one who brings the counter to 0."""
    held = hold(Patch("interplay").replace(deep, deep_anew))
    overflown = threading.Event()
    held.let_go()

    def overflow() -> None:
        with pytest.raises(RecursionError):
            deep(1 << 30)
        overflown.set()

    thread = threading.Thread(target=overflow)
    thread.start()
    thread.join(PATIENCE)
    assert overflown.is_set()
    held.finish()
    assert deep(1) == 1001
    pylivepatch.unload("interplay", timeout=PATIENCE)
    assert deep(1) == 1

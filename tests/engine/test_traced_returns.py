"""A trace or profile function may raise when it is told of a return: the call is over, and is counted out once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pylivepatch import Patch

YIELDS_TOO = sys.version_info >= (3, 12)
"""A yield is a return event too. In 3.11 an exception that is raised there ends the frame past every handler, also
those of ``finally``: such a call stays counted, and the load is refused for a missed hook."""


class Stop(Exception):
    pass


def function() -> str:
    return "old"


def generator() -> Iterator[int]:
    yield 1
    return


async def coroutine() -> str:
    return "old"


async def async_generator() -> AsyncIterator[int]:
    yield 1


def run_function() -> None:
    function()


def run_generator() -> None:
    list(generator())


def run_coroutine() -> None:
    coroutine().send(None)


def run_async_generator() -> None:
    steps = async_generator()
    for _ in range(2):
        step = steps.__anext__()
        try:
            step.send(None)
        except StopIteration:
            continue


TARGETS = [
    (function, run_function),
    (generator, run_generator),
    (coroutine, run_coroutine),
    (async_generator, run_async_generator),
]


@pytest.mark.parametrize(("target", "run"), TARGETS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("watch", ["settrace", "setprofile"])
def test_what_a_watcher_raises_at_a_return_is_counted_once(
    hold: Any, target: Any, run: Callable[[], None], watch: str
) -> None:
    def watcher(frame: Any, event: str, argument: Any) -> Any:
        over = event == "return" and (argument is None or YIELDS_TOO or target is coroutine or target is function)
        if over and frame.f_code.co_name == target.__name__:
            raise Stop
        return watcher

    new = type(target)(target.__code__.replace(), target.__globals__, target.__name__)
    held = hold(Patch("fix").replace(target, new))
    before = held.counted
    watching = getattr(sys, f"get{watch[3:]}")()
    getattr(sys, watch)(watcher)
    try:
        with pytest.raises((Stop, RuntimeError)):
            run()
    finally:
        getattr(sys, watch)(watching)
    assert held.counted == before
    held.finish()

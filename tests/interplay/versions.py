"""Functions in two versions that are left in every way, and what an observer is told of them in each stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .life import stages


def total(values: list[int]) -> str:
    result = 0
    for value in values:
        if value % 2:
            result += value
        else:
            result -= value
    return f"old {result}"


def total_anew(values: list[int]) -> str:
    result = 0
    for value in values:
        result += value if value % 2 else -value
    return f"new {result}"


def numbers(n: int) -> Iterator[str]:
    try:
        for i in range(n):
            yield f"old {i}"
    finally:
        n = 0


def numbers_anew(n: int) -> Iterator[str]:
    try:  # without one CPython closes a generator without running it, and trampolines need it to be run
        yield f"new {n}"
    finally:
        n = 0


def failing(n: int) -> str:
    if n:
        raise KeyError("old")
    return "old"


def failing_anew(n: int) -> str:
    raise KeyError("new")


PAIRS = (total, total_anew), (numbers, numbers_anew), (failing, failing_anew)


def use_all() -> list[Any]:
    """Every way out of them: a return, a generator that ends, one that is closed, an exception."""
    closed = numbers(3)
    got: list[Any] = [total([1, 2, 3]), list(numbers(2)), next(closed)]
    closed.close()
    for n in (1, 0):
        try:
            got.append(failing(n))
        except KeyError as error:
            got.append(repr(error))
    return got


def in_each_stage(hold: Any, observe: Callable[[], Any]) -> dict[str, Any]:
    """What is observed in each stage."""
    return {stage.name: observe() for stage in stages(hold, *PAIRS)}


def same_by_version(seen: dict[str, Any]) -> None:
    assert seen["loading"] == seen["before"]
    assert seen["unloaded"] == seen["before"]
    assert seen["unloading"] == seen["loaded"]
    assert seen["loaded"] != seen["before"]

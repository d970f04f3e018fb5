"""The switch comes on the thread that let go last, however deep its stack is: where there is no room, it is put off."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from operator import call
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, PrepareError
from pylivepatch.commit import at_once, calls, once, set_attribute


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.enable()


def in_depth(depth: int, action: Callable[[], Any]) -> bool:
    """Call ``action`` from C functions that call one another. Whether there was room for it."""
    nested: Any = [call] * depth
    try:
        partial(*nested, action)()
    except RecursionError:
        return False
    return True


def depths_near_the_end() -> list[int]:
    """From where nothing can be called any more to where anything can."""
    room, none = 1, 1 << 20
    while none - room > 1:
        depth = (room + none) // 2
        room, none = (depth, none) if in_depth(depth, int) else (room, depth)
    return list(range(room + 1, room - 120, -3))


def test_a_commit_for_which_there_is_no_room_is_not_begun() -> None:
    switched = []
    for depth in depths_near_the_end():

        class Owner:
            old = 1

        steps = [bind for name in "abc" for bind in set_attribute(Owner, name, 2)]
        commit = once(calls([*steps, partial(delattr, Owner, "old")]), times=[])
        switched.append(in_depth(depth, commit))
        assert hasattr(Owner, "old") is not switched[-1]
        assert gc.isenabled()
        commit()
        assert (Owner.a, Owner.b, Owner.c) == (2, 2, 2)  # type: ignore[attr-defined]
        assert not hasattr(Owner, "old")
        assert gc.isenabled()
    assert (switched[0], switched[-1]) == (False, True)


def test_what_is_done_at_once_is_not_begun_without_room() -> None:
    done = []
    for depth in depths_near_the_end():
        seen: list[None] = []
        done.append(in_depth(depth, partial(at_once, calls([partial(seen.append, None)] * 3))))
        assert len(seen) == (3 if done[-1] else 0)
        assert gc.isenabled()
    assert not done[0]


def one() -> int:
    return 1


def two() -> int:
    return 2


def with_calls_left(calls: int, action: Callable[[], Any]) -> Any:
    """Do ``action`` where so many more calls can be made before the recursion limit."""
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1

    def descend(further: int) -> Any:
        return descend(further - 1) if further > 0 else action()

    return descend(sys.getrecursionlimit() - depth - calls)


def test_a_load_for_which_there_is_no_room_is_refused_with_nothing_touched() -> None:
    """Ten calls short of what it makes, it had switched and was not on the stack of patches."""
    patch = Patch("deep").replace(one, two)
    code, outcomes = one.__code__, set()
    for left in range(5, 250, 5):
        try:
            applied = with_calls_left(left, lambda: pylivepatch.load(patch))
        except (RecursionError, PrepareError) as error:
            outcomes.add(type(error))
            assert one.__code__ is code
            assert pylivepatch.patches() == ()
        else:
            outcomes.add(type(applied))
            assert one() == 2
            applied.unload()
            assert one.__code__ is code
    assert outcomes == {RecursionError, PrepareError, pylivepatch.Applied}

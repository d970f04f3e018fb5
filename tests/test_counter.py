"""The reference counter by itself: who is counted, and who brings it to 0."""

from __future__ import annotations

import gc
import threading
from typing import Any

from pylivepatch.counter import NEVER, Counter


def watched() -> tuple[Counter, list[int]]:
    counter, commits = Counter(), []  # type: Counter, list[int]
    counter.at_zero(lambda: commits.append(counter.value))
    return counter, commits


def test_it_begins_at_the_bias_and_counts_each_token() -> None:
    counter, commits = watched()
    assert counter.value == 1
    tokens = [counter.enter() for _ in range(5)]
    assert counter.value == 6
    del tokens[2:]
    assert (counter.value, commits) == (3, [])


def test_whoever_lets_the_last_token_go_commits_and_finds_it_at_0() -> None:
    counter, commits = watched()
    inside: list[Any] = [counter.enter()]
    counter.discount()
    assert (counter.value, commits) == (1, [])
    thread = threading.Thread(target=inside.clear)
    thread.start()
    thread.join()
    assert commits == [0]
    assert counter.enter() is None


def test_nobody_is_counted_after_0() -> None:
    counter, _ = watched()
    counter.discount()
    assert not counter.count()
    assert not counter.stop()
    counter.discount()
    assert (counter.value, counter.is_stopped) == (0, False)


def test_one_who_counts_himself_in_keeps_it_from_0() -> None:
    counter, commits = watched()
    assert counter.count()
    counter.discount()
    assert (counter.value, commits) == (1, [])
    counter.discount()
    assert (counter.value, commits) == (0, [0])


def test_a_counter_that_is_stopped_never_becomes_0_and_still_lets_old_calls_in() -> None:
    counter, commits = watched()
    inside = [counter.enter()]
    assert counter.stop()
    counter.discount()
    inside.clear()
    assert (counter.value, commits) == (NEVER, [])
    assert counter.enter()


def test_it_is_made_0_over_the_heads_of_those_inside() -> None:
    """As a forced transition does. They go on, and what they let go of is counted no more."""
    counter, commits = watched()
    inside = [counter.enter()]
    counter.zero()()
    assert (counter.value, commits) == (0, [])
    assert counter.enter()
    assert not counter.in_use
    assert not counter.count()
    assert not counter.stop()
    inside.clear()
    assert counter.value == 0


def test_the_garbage_collector_does_not_know_of_the_token() -> None:
    """It calls back for garbage before that is closed. And whoever lists all objects does not keep the counter."""
    counter, commits = watched()
    every = gc.get_objects()
    assert not gc.is_tracked(counter.enter())
    counter.discount()
    assert commits == [0]
    every.clear()


def test_a_look_gives_nothing_where_it_is_0() -> None:
    counter, _ = watched()
    assert list(counter.probe()) == [1]
    counter.discount()
    assert list(counter.probe()) == []


def test_a_counter_that_is_dropped_switches_nothing() -> None:
    """Nobody let the last token go: the transition was given up."""
    commits: list[None] = []
    for in_a_cycle in (False, True):
        counter: Any = Counter()
        counter.at_zero(lambda: commits.append(None))
        if in_a_cycle:
            counter._held.append(counter)
        del counter
        gc.collect()
    assert commits == []

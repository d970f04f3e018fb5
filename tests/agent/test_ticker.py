"""The ticker: it sees how late a thread comes to run, and is there only while somebody watches."""

from __future__ import annotations

import threading
import time
from itertools import repeat
from pathlib import Path

import pytest
from fakes import Served
from targets import Target, write_trees

import pylivepatch
from pylivepatch.agent.client import Client
from pylivepatch.agent.ticker import INTERVAL, Ticker
from pylivepatch.commit import at_once, note

PATIENCE = 30.0


def until_it_is_gone() -> None:
    end = time.monotonic() + PATIENCE
    while any(thread.name == "pylivepatch-ticker" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_long_c_call_that_holds_everybody_is_seen() -> None:
    ticker = Ticker()
    watch = ticker.watch()
    while not watch.ticks:
        time.sleep(INTERVAL)
    times: list[float] = []
    at_once(note(times), repeat(None, 10_000_000), note(times))
    held, at = times[1] - times[0], time.time()
    ticks = watch.ticks
    while watch.ticks == ticks:
        time.sleep(INTERVAL)
    ticker.end(watch)
    assert watch.worst >= held - 2 * INTERVAL
    assert watch.as_dict()["since"] <= watch.at
    assert watch.at >= at - held
    until_it_is_gone()


def test_it_ends_when_nobody_watches_and_begins_again() -> None:
    ticker = Ticker()
    first, second = ticker.watch(), ticker.watch(0.01)
    assert [thread.name for thread in threading.enumerate()].count("pylivepatch-ticker") == 1
    ticker.end(first)
    until_it_is_gone()
    assert not ticker.runs
    ticks = first.ticks, second.ticks
    third = ticker.watch(instead=second)
    assert third is not second
    assert ticker.watch(instead=third) is third
    while not third.ticks:
        time.sleep(INTERVAL)
    assert (first.ticks, second.ticks) == ticks
    ticker.end(third)
    until_it_is_gone()


def test_a_process_without_a_thread_to_spare_says_so_and_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    ticker = Ticker()
    with monkeypatch.context() as patched:
        patched.setattr("pylivepatch.agent.native.start_thread", refuse)
        with pytest.raises(RuntimeError):
            ticker.watch()
    assert not ticker.runs
    ticker.end(ticker.watch())
    until_it_is_gone()


def test_the_status_has_it_for_who_asks_and_refuses_nonsense(served: Served) -> None:
    assert "ticker" not in served.request("GET", "/status")[1][0]
    before = served.request("GET", "/status?watch=0.05")[1][0]["ticker"]
    assert (before["interval"], before["since"] <= time.time()) == (INTERVAL, True)
    for text in ("x", "0", "-1", "61", "nan"):
        assert served.request("GET", f"/status?watch={text}")[0] == 400
    until_it_is_gone()


def test_a_load_while_somebody_watches_tells_the_worst_delay_in_it(target: Target, tmp_path: Path) -> None:
    client = Client(path=target.socket)
    old, new = write_trees(tmp_path)
    patch = pylivepatch.build_patch(old, new, name="fix")
    assert "ticker" not in client.load(patch)
    seen = client.status(watch=60.0)["ticker"]
    report = client.unload("fix")["ticker"]
    assert seen["since"] <= report["since"]
    assert report["worst"] >= 0.0
    assert client.status(watch=0.01)["ticker"]["since"] == seen["since"]

"""The verdict of the web_cve demo: what makes it fail. No process runs here; the measurements are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "demo_apps" / "web_cve"
PID = 4242


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo's module ``measure``, imported as the demo imports it, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(DEMO))
    import measure

    yield measure
    del sys.modules["measure"]


@pytest.fixture
def good(measure: Any) -> Any:
    """A run in which everything went well: a request every 10 ms that takes 5 ms, a dear attack."""
    requests = [measure.Request(t / 100, t / 100 + 0.005, "small", PID, None) for t in range(700)]
    windows = ("before", "attack before", "load", "after", "attack patched", "unload", "attack unpatched")
    return measure.Run(
        python="3.11.0",
        pid=PID,
        traffic=measure.Traffic(10, 10, requests),
        windows={name: measure.Window(i, i + 0.9) for i, name in enumerate(windows)},
        attacks={
            "before": measure.Attack(2.5, 2.0),
            "patched": measure.Attack(0.1, 0.05),
            "unpatched": measure.Attack(2.5, 2.0),
        },
        megabytes=24,
        load={},
        unload={},
    )


def with_request(run: Any, number: int, **changes: Any) -> Any:
    requests = list(run.traffic.requests)
    requests[number] = replace(requests[number], **changes)
    return replace(run, traffic=replace(run.traffic, requests=requests))


def verdict(measure: Any, run: Any) -> str:
    result: str = measure.as_dict(run)["verdict"]
    return result


def test_a_run_in_which_everything_went_well_passes(measure: Any, good: Any) -> None:
    assert verdict(measure, good) == "pass"


def test_one_failed_request_fails_it(measure: Any, good: Any) -> None:
    run = with_request(good, 300, error="ConnectionResetError: gone", pid=0)
    assert verdict(measure, run) == "fail"
    assert measure.as_dict(run)["requests"]["failed"] == 1


def test_an_answer_from_another_process_fails_it(measure: Any, good: Any) -> None:
    assert verdict(measure, with_request(good, 500, pid=PID + 1)) == "fail"


def test_a_connection_that_broke_fails_it(measure: Any, good: Any) -> None:
    run = replace(good, traffic=replace(good.traffic, connects=11))
    assert verdict(measure, run) == "fail"


def test_an_attack_that_is_as_dear_as_before_fails_it(measure: Any, good: Any) -> None:
    run = replace(good, attacks=good.attacks | {"patched": measure.Attack(2.5, 2.0)})
    assert verdict(measure, run) == "fail"


def test_an_attack_that_stays_cheap_without_the_patch_fails_it(measure: Any, good: Any) -> None:
    run = replace(good, attacks=good.attacks | {"unpatched": measure.Attack(0.1, 0.05)})
    assert verdict(measure, run) == "fail"


def test_a_request_that_was_held_up_by_the_switch_fails_it(measure: Any, good: Any) -> None:
    assert verdict(measure, with_request(good, 210, end=2.1 + 0.1)) == "fail"


def test_a_slow_request_under_attack_is_no_fault_of_the_patch(measure: Any, good: Any) -> None:
    assert verdict(measure, with_request(good, 110, end=1.1 + 0.5)) == "pass"


def test_a_switch_through_which_no_request_ran_fails_it(measure: Any, good: Any) -> None:
    requests = [r for r in good.traffic.requests if not 1.9 < r.begin < 3]
    run = replace(good, traffic=replace(good.traffic, requests=requests))
    assert verdict(measure, run) == "fail"

"""The verdict of the control_loop demo: what makes it fail. No process runs here; the measurements are made up."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

DEMO = Path(__file__).parents[2] / "demo_apps" / "control_loop"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo's main module, which imports the others as they are when it runs; all are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(DEMO))
    spec = importlib.util.spec_from_file_location("control_loop_demo", DEMO / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("picture", "screen", "ways"):
        del sys.modules[name]


@pytest.fixture
def good(demo: Any) -> dict[str, Any]:
    """Four runs in which everything went as it should: ticks that are 0.1 ms late, but for one."""

    def outcome(way: str, worst: float, fixed: bool, kept: bool, **report: Any) -> Any:
        return demo.Outcome(way, [0.0001] * 99 + [worst], [0.0001] * 100, fixed, kept, report)

    return {
        "restart": outcome("restart", 0.9, True, False),
        "reload": outcome("reload", 0.002, False, True),
        "stop-machine": outcome("stop-machine", 0.25, True, True, stood=[0.24]),
        "refcount": outcome("refcount", 0.004, True, True, longest_hold=0.00001),
    }


def passes(demo: Any, outcomes: dict[str, Any]) -> bool:
    return all(check.passed for check in demo.checks(outcomes))


def test_runs_in_which_everything_went_well_pass(demo: Any, good: dict[str, Any]) -> None:
    assert passes(demo, good)


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("restart", {"kept": True}),
        ("restart", {"late": [0.003]}),
        ("reload", {"fixed": True}),
        ("stop-machine", {"fixed": False}),
        ("stop-machine", {"late": [0.001]}),
        ("refcount", {"fixed": False}),
        ("refcount", {"kept": False}),
        ("refcount", {"late": [0.3]}),
        ("refcount", {"report": {"longest_hold": 0.2}}),
    ],
)
def test_one_that_did_not_fails_it(demo: Any, good: dict[str, Any], way: str, change: dict[str, Any]) -> None:
    assert not passes(demo, good | {way: replace(good[way], **change)})


def test_a_tick_that_is_late_misses_the_deadlines_that_went_by(good: dict[str, Any]) -> None:
    late = replace(good["refcount"], late=[0.0002, 0.0011, 0.0105])
    assert late.missed == 11
    assert late.histogram == [1, 1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_the_picture_has_a_bar_for_each_bin_of_each_way(demo: Any, good: dict[str, Any]) -> None:
    root = ElementTree.fromstring(demo.svg(list(good.values())))
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if float(one.get("height", "0")) > 0]
    assert len(bars) == 1 + sum(count > 0 for outcome in good.values() for count in outcome.histogram)

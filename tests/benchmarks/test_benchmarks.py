"""Each benchmark runs, and its numbers hang together. What they are is nobody's business here."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import growth, pauses
from tests.benchmarks.__main__ import NAMES, find, quick
from tests.benchmarks.callers import STAY, Call, mean_until_empty, occupancy
from tests.benchmarks.report import Row, numbers, quantile

ROOT = Path(__file__).parents[2]


def rows_of(name: str, folder: Path) -> list[Row]:
    path = folder / "rows.json"
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", str(path), *quick(find(name))]
    plots = find_spec("matplotlib") is not None
    if plots:
        command += ["--plots", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    assert "Python" in done.stdout  # a table's title
    assert (folder / f"{name}.svg").exists() is plots
    written = json.loads(path.read_text())
    assert written["benchmark"] == name
    rows: list[Row] = written["rows"]
    assert rows
    return rows


def test_calls_compares_each_function_in_each_dress(tmp_path: Path) -> None:
    for row in rows_of("calls", tmp_path):
        assert row["afresh_ns"] > 0
        assert row["patched_ratio"] > 0


def test_tracing_compares_its_hooks_with_the_interpreters_own_ways(tmp_path: Path) -> None:
    watched = {row["watcher"]: row["ns"] for row in rows_of("tracing", tmp_path)}
    assert {"not watched", "traced", "traced, with tasks", "another traced", "sys.setprofile"} <= set(watched)
    assert min(watched.values()) > 0


def test_load_delay_measures_built_patches_and_those_by_hand(tmp_path: Path) -> None:
    assert {"load, built", "unload, built", "load, by hand"} <= {row["what"] for row in rows_of("load_delay", tmp_path)}


def test_concurrency_compares_with_and_without_the_gate(tmp_path: Path) -> None:
    (row,) = rows_of("concurrency", tmp_path)
    assert row["e^-L"] == pytest.approx(math.exp(-row["concurrency"]))
    assert row["gate_calls"] > 0
    assert row["gate_p50_ms"] <= row["gate_p99_ms"] <= row["gate_max_ms"]
    assert 0 <= row["alone_switched"] <= row["alone_tries"]


def test_pauses_measures_each_mode_in_the_same_process(tmp_path: Path) -> None:
    rows = rows_of("pauses", tmp_path)
    modes = {(row["situation"], row["mode"]) for row in rows}
    assert modes >= {("quiet", "refcount"), ("quiet", "stop-machine"), ("busy", "refcount, gate"), ("busy", "per-task")}
    held = {row["mode"]: row["longest_hold_ms"] for row in rows if row["situation"] == "quiet"}
    assert held["stop-machine"] > 0
    assert held["refcount"] > 0


def test_growth_measures_each_size_in_a_process_of_its_own(monkeypatch: Any) -> None:
    asked: list[dict[str, Any]] = []

    def measured(options: dict[str, Any]) -> list[Row]:
        asked.append(options)
        same = {"median_worst_delay_ms": 1.0, "given_up": 0}
        shown = [*(("quiet", mode) for mode in pauses.QUIET), *(("busy", mode) for mode in pauses.BUSY)]
        return [{"situation": situation, "mode": mode, **same} for situation, mode in shown]

    monkeypatch.setattr(growth, "_in_a_process", measured)
    sizes = {**growth.BENCHMARK.quick, "threads": (1, 10), "functions": (1, 100)}
    rows = growth.run(**sizes)
    assert [(a["threads"], a["functions"]) for a in asked] == [(1, 10), (10, 10), (0, 1), (0, 100)]
    assert [table.row_count for table in growth.tables(rows)] == [2, 2]


@pytest.mark.slow
def test_growth_runs(tmp_path: Path) -> None:
    assert {row["size"] for row in rows_of("growth", tmp_path)} == {2}


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_knows_its_own_options(name: str) -> None:
    benchmark = find(name)
    assert benchmark.name == name
    assert benchmark.quick.keys() <= benchmark.options.keys()


# --- what the numbers are made with -------------------------------------------------------------------------


def call(began: float, ended: float) -> Call:
    return Call(began, ended, (began, ended), 1)


def test_occupancy_is_the_mean_inside_and_the_share_of_time_with_nobody() -> None:
    mean, empty = occupancy([call(1, 3), call(2, 4), call(9, 12)], 0, 10)
    assert mean == pytest.approx(0.5)
    assert empty == pytest.approx(0.6)


def test_what_is_added_to_a_call_is_what_its_body_did_not_take() -> None:
    assert Call(1.0, 5.0, (2.5, 4.0), 1).added == pytest.approx(2.5)


@pytest.mark.parametrize("concurrency", [0.5, 2.0])
def test_the_predicted_time_until_nobody_is_inside_is_that_of_a_simulation(concurrency: float) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)

    def until_empty() -> float:
        inside, left = 0, chance.random() - math.exp(-concurrency)
        weight = math.exp(-concurrency)
        while left > 0:
            inside += 1
            weight *= concurrency / inside
            left -= weight
        now = 0.0
        while inside:
            rate = (concurrency + inside) / STAY
            now += chance.expovariate(rate)
            inside += 1 if chance.random() < concurrency / (concurrency + inside) else -1
        return now

    times = [until_empty() for _ in range(6000)]
    mean = sum(times) / len(times)
    deviation = math.sqrt(sum((t - mean) ** 2 for t in times) / len(times))
    assert abs(mean - mean_until_empty(concurrency)) < 6 * deviation / math.sqrt(len(times))


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0, 0.5, 0.99, 1)] == [1.0, 2.0, 3.0, 3.0]
    assert quantile([], 0.5) == 0.0


def test_sizes_are_given_with_commas() -> None:
    assert numbers("0.5,1,20") == (0.5, 1, 20)
    assert numbers("") == ()


def test_plots_are_refused_before_the_work_where_matplotlib_is_missing(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("tests.benchmarks.report.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        find("calls").main(["--rounds", "1", "--plots", "nowhere"])
    assert "pip install -e '.[bench]'" in capsys.readouterr().err

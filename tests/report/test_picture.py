"""What a report shows is what the log says."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from logs import COMMIT, START, at, begun, holder, read_back, sample, stands, transition

from pylivepatch.errors import LivePatchError
from pylivepatch.report import html, picture, read, trace_events
from pylivepatch.tracing.formats import perfetto
from tests import trace_events as format


def spans(shown: dict[str, Any], name: str) -> list[tuple[float, float, str]]:
    (lane,) = [lane for lane in shown["lanes"] if lane["name"] == name]
    return [(begins, ends, state) for begins, ends, state, _ in lane["spans"]]


def test_stages_curve_and_commit_are_those_of_the_log() -> None:
    shown = picture(read_back(transition()))
    assert shown["stages"] == [
        ["prepare", 1.0, 2.0],
        ["enable", 2.0, 2.5],
        ["drain", 2.5, 5.0],
        ["release", 5.0, COMMIT],
    ]
    assert shown["commits"] == [[COMMIT, "load"]]
    assert shown["curve"] == [[2.0, 1], [2.5, 1], [3.0, 4], [4.0, 3], [5.0, 2], [5.5, 1], [6.0, 0]]
    assert shown["length"] == 10.0


def test_a_lane_is_old_until_the_commit_and_new_after_it() -> None:
    shown = picture(read_back(transition()))
    assert spans(shown, "worker") == [
        (0.0, 3.0, "outside"),
        (3.0, COMMIT, "old"),
        (7.0, 9.0, "new"),
        (9.0, 10.0, "outside"),
    ]
    assert spans(shown, "green") == [(4.0, 5.5, "old")]
    assert spans(shown, "idle") == [(0.0, 10.0, "outside")]
    assert [lane["kind"] for lane in shown["lanes"]] == ["greenlet", "thread", "thread"]


def test_a_look_into_which_the_switch_fell_does_not_tell_old_from_new() -> None:
    events = transition()
    events[8] = sample(5.9, stands("worker", "shop:price"), until=6.2)
    assert (5.9, 7.0, "unclear") in spans(picture(read_back(events)), "worker")


def test_who_has_called_on_from_a_function_of_the_patch_is_in_it() -> None:
    events = transition()
    deep = {**stands("worker", "time:sleep"), "callers": ["shop:helper", "shop:price", "__main__:run"]}
    events[11] = sample(7.0, deep)
    events[1] = sample(0.0, deep)
    (lane,) = [lane for lane in picture(read_back(events))["lanes"] if lane["name"] == "worker"]
    place = "time:sleep:7, called from shop:price"
    assert [7.0, 9.0, "new", place] in lane["spans"]
    assert [0.0, 3.0, "old", place] in lane["spans"]


def test_who_waits_at_the_gate_is_inside_no_function_of_the_patch() -> None:
    events = transition()
    waits = {**stands("worker", "threading:wait"), "callers": ["pylivepatch.transition.gate:Gate.attend", "shop:price"]}
    events[8] = sample(5.5, waits, stage="gate", counter=1, holders=[holder("worker", "shop:price")])
    assert (5.5, 7.0, "gate") in spans(picture(read_back(events)), "worker")


def test_who_the_engine_names_at_the_gate_is_drawn_there_and_holds_nothing() -> None:
    events = transition()
    waits = [holder("green", "shop:price", "greenlet"), holder("Task-1", "shop:total", "async_generator")]
    there = stands("Task-1", "queue:get", "task")
    events[8] = sample(5.5, there, stage="release", counter=1, holders=[], at_gate=waits)
    shown = picture(read_back(events))
    assert (5.5, 7.0, "gate") in spans(shown, "green")
    assert spans(shown, "Task-1") == [(5.5, 7.0, "gate")]
    assert "Task-1" not in {one["name"] for one in shown["holders"]}


def test_a_look_is_not_drawn_for_long_where_no_other_follows() -> None:
    one = stands("one", "f:g")
    shown = picture(read_back([begun(interval=0.02), sample(1.0, one, until=1.01), sample(3.0, one, until=3.01)]))
    assert spans(shown, "one") == [(1.0, 1.11, "outside"), (3.0, 3.01, "outside")]


def test_after_a_forced_switch_old_and_new_are_not_told_apart() -> None:
    events = transition()
    events.insert(9, at(5.8, "forced", holders=[holder("worker", "shop:price")]))
    assert (7.0, 9.0, "unclear") in spans(picture(read_back(events)), "worker")


def test_a_reversed_load_has_no_commit_and_nobody_is_new() -> None:
    events = [event for event in transition() if event["event"] not in ("commit", "ended")]
    events.append(at(6.0, "reverse", patch="fix", counter=1 << 62))
    events.append(at(6.1, "ended", error={"code": "PLP120", "message": "did not finish in time"}))
    shown = picture(read_back(events))
    assert shown["commits"] == []
    assert "new" not in {state for lane in shown["lanes"] for _, _, state, _ in lane["spans"]}
    assert max(counter for _, counter in shown["curve"]) == 4
    assert "Not done: PLP120 did not finish in time" in html(shown)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("PLP120", "Not done: PLP120 why"),
        ("PLP128", "Done in part: PLP128 why"),
        ("PLP400", "How it went is not known: PLP400 why"),
        ("", "How it went is not known: why"),
    ],
)
def test_the_page_says_that_nothing_was_done_only_where_that_is_known(code: str, said: str) -> None:
    events = [event for event in transition() if event["event"] != "ended"]
    events.append(at(9.1, "ended", error={"code": code, "message": "why"}))
    assert f">{said}</p>" in html(picture(read_back(events)))


def test_each_group_of_an_incremental_load_is_switched_by_its_own_commit() -> None:
    there = [stands("one", "shop:price"), stands("two", "shop:total")]
    shown = picture(
        read_back(
            [
                begun(),
                at(1.0, "prepare", functions=["shop:price"]),
                at(2.0, "commit", counter=0),
                sample(3.0, *there),
                at(4.0, "prepare", functions=["shop:total"]),
                at(5.0, "commit", counter=0),
                sample(6.0, *there, until=7.0),
            ]
        )
    )
    assert spans(shown, "one") == [(3.0, 7.0, "new")]
    assert spans(shown, "two") == [(3.0, 5.0, "old"), (6.0, 7.0, "new")]


def test_what_is_taken_back_is_old_again() -> None:
    there = stands("one", "shop:price")
    shown = picture(
        read_back(
            [
                begun(),
                at(1.0, "prepare", action="load", functions=["shop:price"]),
                sample(1.5, there),
                at(2.0, "commit", action="load"),
                sample(3.0, there),
                at(4.0, "prepare", action="unload", functions=["shop:price"]),
                at(4.5, "commit", action="unload"),
                sample(5.0, there, until=6.0),
            ]
        )
    )
    assert spans(shown, "one") == [(1.5, 2.0, "old"), (3.0, 4.5, "new"), (5.0, 6.0, "old")]


def test_a_switch_back_is_not_called_a_commit_of_the_load() -> None:
    commits = [at(2.0, "commit", action="load"), at(4.5, "commit", action="unload")]
    shown = picture(read_back([begun(), *commits]))
    assert shown["commits"] == [[2.0, "load"], [4.5, "unload"]]
    page = html(shown)
    assert "<td>commit 1</td><td>2.000 s after the beginning</td>" in page
    assert "<td>commit 2, switched back</td><td>4.500 s after the beginning</td>" in page
    instants = [event["name"] for event in trace_events(shown) if event["ph"] == "i"]
    assert instants == ["commit", "switched back"]
    unload = html(picture(read_back([begun(action="unload"), at(4.5, "commit", action="unload")])))
    assert "<td>commit</td>" in unload


def test_in_mode_per_task_each_is_new_from_its_own_move_on() -> None:
    there = [stands("moved", "shop:price", "task"), stands("inside", "shop:price", "task")]
    states = [{"kind": "task", "name": name, "patch_state": int(name == "moved")} for name in ("moved", "inside")]
    events = [begun(), at(1.0, "prepare", functions=["shop:price"]), at(1.5, "move", counter=1)]
    events.append(sample(2.0, *there, until=3.0, stage="drain", counter=1, holders=[], patch_state=states))
    shown = picture(read_back(events))
    assert spans(shown, "moved") == [(2.0, 3.0, "new")]
    assert spans(shown, "inside") == [(2.0, 3.0, "old")]


def test_references_that_nothing_explains_have_one_lane_a_function_however_many_they_are() -> None:
    events = transition()
    for number in (5, 6):
        held = [holder(f"{number} references", "shop:total", "reference")]
        events[number] = sample(number - 2.0, stage="drain", counter=1, holders=held)
    shown = picture(read_back(events))
    assert [lane["name"] for lane in shown["lanes"] if lane["kind"] == "reference"] == ["to shop:total"]
    assert spans(shown, "to shop:total") == [(3.0, 5.5, "old")]


def test_a_holder_that_one_look_has_met_first_is_not_seen_last_before_that() -> None:
    events = transition()
    events[5] = sample(3.0, until=3.2, stage="drain", counter=1, holders=[holder("worker", "shop:price", since=3.1)])
    (worker,) = [one for one in picture(read_back(events))["holders"] if one["name"] == "worker"]
    assert (worker["from"], worker["to"]) == (3.1, 3.1)


def test_the_perfetto_trace_has_the_same_lanes_stages_and_commit() -> None:
    shown = picture(read_back(transition()))
    events = list(trace_events(shown))
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    drawn = {(tracks[e["tid"]], e["name"], e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X"}
    lanes = {
        (f"{lane['kind']} {lane['name']}", state, a * 1e6, b * 1e6)
        for lane in shown["lanes"]
        for a, b, state, _ in lane["spans"]
    }
    assert drawn == lanes | {("load of fix", name, a * 1e6, b * 1e6) for name, a, b in shown["stages"]}
    assert [e["ts"] for e in events if e["name"] == "commit"] == [COMMIT * 1e6]
    assert [[e["ts"] / 1e6, e["args"]["inside"]] for e in events if e["ph"] == "C"] == shown["curve"]


def test_the_perfetto_trace_is_read_by_the_rules_of_its_format() -> None:
    shown = picture(read_back(transition()))
    trace = format.read(perfetto(trace_events(shown)))
    lanes = [
        (f"{lane['kind']} {lane['name']}", state, a * 1e6, b * 1e6)
        for lane in shown["lanes"]
        for a, b, state, _ in lane["spans"]
    ]
    stages = [("load of fix", name, a * 1e6, b * 1e6) for name, a, b in shown["stages"]]
    found = [(track, name, round(begin), round(end)) for track, name, begin, end in trace.slices]
    assert sorted(found) == sorted((track, name, round(a), round(b)) for track, name, a, b in lanes + stages)
    assert trace.instants == [("commit", COMMIT * 1e6)]
    assert trace.counters == [(at * 1e6, {"inside": counter}) for at, counter in shown["curve"]]
    assert (trace.open, trace.asynchronous) == ([], [])
    tracks = ["load of fix", *(f"{lane['kind']} {lane['name']}" for lane in shown["lanes"])]
    assert sorted(trace.order, key=lambda track: trace.order[track]) == tracks


def test_the_worst_delay_and_the_calls_are_those_of_the_process() -> None:
    events = transition()
    ticker = {"interval": 0.001, "since": START, "ticks": 900, "worst": 0.0034, "at": START}
    events[1] = {**events[1], "ticker": {**ticker, "worst": 0.0012, "ticks": 70}, "greenlets": {"held": 0.002}}
    events[10] = at(6.1, "ended", result={"ticker": ticker, "calls": {"entered": 1234, "redirected": 4}, "stages": {}})
    shown = picture(read_back(events))
    page = html(shown)
    each = "of a thread of the process that asks to run each 1.0 ms"
    assert f"<td>worst delay</td><td>3.4 ms, {each} (900 times)</td>" in page
    assert f"<td>worst delay before it</td><td>1.2 ms, {each} (70 times)</td>" in page
    assert "<td>calls through trampolines</td><td>none: no trampoline was put in</td>" in page
    assert "held every thread for up to 2.0 ms each time" in page
    shown["result"]["stages"] = {"enable": 0.001}
    assert "1,234: 1,230 executed the old function, 4 went on to the new one" in html(shown)


def test_what_the_ticker_saw_for_somebody_else_is_not_told_as_seen_before_the_load() -> None:
    events = transition()
    ticker = {"interval": 0.001, "since": START - 60, "ticks": 900, "worst": 0.2, "at": START - 30}
    events[1] = {**events[1], "ticker": ticker}
    assert picture(read_back(events))["delay"]["before"] is None
    events.insert(2, {**sample(0.5), "ticker": {**ticker, "ticks": 970, "worst": 0.3, "at": START + 0.2}})
    before = picture(read_back(events))["delay"]["before"]
    assert (before["worst"], before["ticks"]) == (0.3, 70)


def test_a_load_that_was_taken_back_has_its_worst_delay_in_the_error() -> None:
    events = [event for event in transition() if event["event"] not in ("commit", "ended")]
    ticker = {"interval": 0.001, "since": START, "ticks": 12, "worst": 0.02, "at": START}
    error = {"code": "PLP120", "message": "did not finish in time", "details": {"ticker": ticker}}
    page = html(picture(read_back([*events, at(6.1, "ended", error=error)])))
    assert "<td>worst delay</td><td>20.0 ms" in page
    assert "worst delay before it" not in page


def test_a_load_that_failed_has_the_durations_of_its_stages_and_its_calls() -> None:
    events = [event for event in transition() if event["event"] not in ("commit", "ended")]
    again = [at(6.0, "reverse", counter=1 << 62), at(6.5, "drain", counter=1), at(6.75, "reverse", counter=1 << 62)]
    error = {"code": "PLP120", "message": "no", "details": {"calls": {"entered": 12, "redirected": 2}}}
    page = html(picture(read_back([*events, *again, at(7.0, "ended", error=error)])))
    for name, took in (("prepare", "1.000 s"), ("enable", "500.0 ms"), ("drain", "2.750 s"), ("release", "1.000 s")):
        assert f"<td>stage {name}</td><td>{took}</td>" in page
    assert "<td>12: 10 executed the old function, 2 went on to the new one</td>" in page


def test_the_page_holds_the_picture_and_text_stays_text() -> None:
    name = "</script><script>alert(1)</script><!--%%PICTURE%%"
    events = transition()
    events.insert(2, sample(0.5, stands(name, "shop:price")))
    events.insert(2, at(0.6, "holders", holders=[holder(name, "<b>:f")]))
    shown = picture(read_back(events))
    page = html(shown)
    assert name not in page
    assert "<b>" not in page
    text = page.partition('id="picture">')[2].partition("</script>")[0]
    assert json.loads(text)["lanes"] == json.loads(json.dumps(shown["lanes"]))
    assert '<span class="added">+    return q * 100' in page
    assert '<a href="#diff-0"><code>shop:price</code></a>' in page


def test_a_log_whose_last_line_was_cut_off_is_shown_as_far_as_it_goes() -> None:
    text = "".join(json.dumps(event) + "\n" for event in transition()[:6])
    shown = picture(read(io.StringIO(text + '{"event": "sam'), "a log"))
    assert shown["result"] is None
    assert "how it went is not known" in html(shown)


@pytest.mark.parametrize("text", ["", "{}\n", '{"event": "drain", "time": 1.0}\n', "[1]\n{}\n"])
def test_what_is_no_log_is_refused(text: str) -> None:
    with pytest.raises(LivePatchError, match="not the event log"):
        read(io.StringIO(text), "a log")


def test_times_are_counted_from_the_beginning_of_the_log() -> None:
    shown = picture(read_back([begun(), sample(1.25, stands("one", "f:g"), until=1.5)]))
    assert START > shown["length"] == 1.5
    assert spans(shown, "one") == [(1.25, 1.5, "outside")]


def test_lanes_are_in_the_order_of_their_numbers() -> None:
    names = [f"Task-{number}" for number in (10, 9, 100, 1)]
    shown = picture(read_back([begun(), sample(1.0, *(stands(name, "f:g", "task") for name in names))]))
    assert [lane["name"] for lane in shown["lanes"]] == ["Task-1", "Task-9", "Task-10", "Task-100"]


def test_holders_of_a_timeout_are_in_the_table_and_not_in_the_message() -> None:
    events = [event for event in transition() if event["event"] not in ("commit", "ended")]
    message = "the load of 'fix' did not finish in time and was reversed; held by\n    thread worker in shop:price"
    page = html(picture(read_back([*events, at(6.1, "ended", error={"code": "PLP120", "message": message})])))
    assert "was reversed</p>" in page
    assert "<td>thread worker</td><td>shop:price (shop.py:7)</td><td>2.000 s to 3.000 s</td>" in page

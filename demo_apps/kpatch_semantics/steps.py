"""The talk, step by step: each function is one step, and returns what it measured."""

from __future__ import annotations

import threading
import time
from typing import Any

import service
import watch
from counter import EXPECTED, Walk
from load import Callers, Post, Ticker
from screen import Check, Screen

import pylivepatch

FILTER = "pylivepatch.transition.stop_machine.stop_look_and_switch"
"""What plays ``stop_machine()`` here: the one function that makes everyone stand."""
SWAPS = 100  # exchanges one by one, in step (a)
OBJECTS = 500_000  # in the process's heap: what it keeps in memory, and stop_machine has to look through
CYCLES = 50  # loads and unloads under load, in step (c)

PATCH = (
    pylivepatch.Patch("cents")
    .replace(service.place, service.place_in_cents)
    .replace(service.charge, service.charge_in_cents)
)
WATCHES = (
    pylivepatch.Patch("watches")
    .replace(watch.day_watch, watch.day_watch_anew)
    .replace(watch.day_log, watch.day_log_anew)
    .replace(watch.night_watch, watch.night_watch_anew)
    .replace(watch.night_log, watch.night_log_anew)
)


class Story:
    """All steps in order, and the checks that the verdict rests on."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.checks: list[Check] = []
        self.measured: dict[str, Any] = {}

    def run(self) -> None:
        memory = [[number] for number in range(OBJECTS)]
        self.why()
        stood = self.with_stop_machine()
        self.without_stop_machine(stood)
        self.counter_step_by_step()
        self.always_busy()
        self.unpatching()
        self.incrementally()
        memory.clear()

    def _check(self, name: str, passed: bool, measured: str) -> None:
        self.checks.append(Check(name, passed, measured))
        self.screen.check(self.checks[-1])

    def why(self) -> None:
        self.screen.title(
            "a",
            "Why: functions swapped one by one, under load",
            "Old and new functions are executed at the same time",
        )
        self.screen.say("place() and charge() must agree on the unit of an amount. Four callers\nplace orders.")
        old = service.place.__code__, service.charge.__code__
        new = service.place_in_cents.__code__, service.charge_in_cents.__code__
        with Callers(4, inside=0.0002, outside=0.003) as callers:
            for number in range(SWAPS):
                codes = old if number % 2 else new
                for function, code in zip((service.place, service.charge), codes, strict=True):
                    function.__code__ = code
                time.sleep(0.005)
        self.screen.say(f"{SWAPS} times place.__code__ = …, then charge.__code__ = …:")
        self.measured["one_by_one"] = {"swaps": SWAPS, "calls": callers.calls, "mixed": callers.wrong}
        self._check(
            "calls that were charged wrong, as they mixed versions",
            callers.wrong > 0,
            f"{callers.wrong} of {callers.calls:,}",
        )
        self.screen.beat(1.5)

    def with_stop_machine(self) -> float:
        self.screen.title("b", "The kpatch of 2014: stop_machine, traced", "With stop_machine")
        self.screen.say(
            "Load with mode='stop-machine', traced with function_graph and the filter\n"
            f"{FILTER}:"
        )
        with Callers(4, inside=0.0002, outside=0.005) as callers, Ticker() as ticker:
            with pylivepatch.trace(FILTER) as tracer:
                ticker.worst = 0.0
                applied = _load_with_stop_machine()
            late = ticker.worst
            applied.unload(timeout=30)
        trace = tracer.text("function_graph")
        looks = [float(seconds) for seconds in applied.report["stood"]]
        self.screen.show(trace.replace("pylivepatch.transition.stop_machine.", "stop_machine."))
        self.screen.say(
            f"Everyone stood for {looks[-1] * 1000:.1f} ms while every stack was looked at;\n"
            f"a thread that wants to run each millisecond was {late * 1000:.1f} ms late."
        )
        self.measured["stop_machine"] = {"trace": trace, "stood": looks, "ticker_late": late}
        shown = len(calls_in(trace))
        self._check("the trace shows it", shown >= len(looks), f"{shown} call{'s' if shown > 1 else ''}")
        self._check("the ticker stood as well", late > 0.5 * looks[-1], f"{late * 1000:.1f} ms late")
        self._check("mixed-version calls", callers.wrong == 0, f"{callers.wrong} of {callers.calls:,}")
        self.screen.beat(1.5)
        return looks[-1]

    def without_stop_machine(self, stood: float) -> None:
        self.screen.title("c", "Without it: the same load, the same filter", "No stop_machine is executed")
        with Callers(4, inside=0.0002, outside=0.005) as callers, Ticker() as ticker:
            with pylivepatch.trace(FILTER) as tracer:
                ticker.worst = 0.0
                applied = pylivepatch.load(PATCH, timeout=30)
                late = ticker.worst
            applied.unload(timeout=30)
            for _ in range(CYCLES):
                pylivepatch.load(PATCH, timeout=30).unload(timeout=30)
        trace = tracer.text("function_graph")
        hold = float(applied.report["longest_hold"])
        self.screen.show(trace)
        self.screen.say(
            f"The longest thing that everyone had to stand for took {hold * 1000:.3f} ms;\n"
            f"the thread that wants to run each millisecond was {late * 1000:.1f} ms late."
        )
        self.measured["refcount"] = {"trace": trace, "longest_hold": hold, "ticker_late": late}
        self._check("calls in the trace", not calls_in(trace) and not tracer.lost, str(len(calls_in(trace))))
        self._check("what everyone stood for, of stop_machine's", hold < stood / 2, f"1/{stood / hold:,.0f}")
        self._check(
            f"mixed-version calls in {CYCLES + 1} loads and unloads",
            callers.wrong == 0,
            f"{callers.wrong} of {callers.calls:,}",
        )
        self.screen.beat(1.5)

    def counter_step_by_step(self) -> None:
        self.screen.title("d", "The counter, step by step", "Patching (switching) controlled by refcount")
        walk = Walk(self.screen)
        walk.run(lambda: pylivepatch.load(PATCH, timeout=3600, gate=None).report)
        self._judge_walk("load", walk)
        pylivepatch.unload(PATCH.name, timeout=30)

    def always_busy(self) -> None:
        self.screen.title(
            "e",
            "A function that is always busy",
            "Some of them can be always used in the system",
        )
        self.screen.say("20 callers, each inside for 10 ms, again and again. First without a gate:")
        lowest = 1 << 62
        ended = threading.Event()
        with Callers(20, inside=0.01, outside=0) as callers:
            starved: list[bool] = []

            def starve() -> None:
                try:
                    pylivepatch.load(PATCH, timeout=2, gate=None)
                except pylivepatch.TransitionTimeout:
                    starved.append(True)
                finally:
                    ended.set()

            thread = threading.Thread(target=starve, name="patcher")
            thread.start()
            while not ended.wait(0.02):
                status = pylivepatch.status()
                if status is not None and status["stage"] == "release":
                    lowest = min(lowest, status["counter"] or lowest)
            thread.join()
            for applied in pylivepatch.patches():  # it was not starved
                applied.unload(timeout=30)
            self._check(
                "the counter starves, and the load is reversed",
                bool(starved),
                f"2 s, counter at {lowest} at least" if lowest < 1 << 62 else "2 s",
            )
            loaded = pylivepatch.load(PATCH, timeout=60)
        gate = loaded.report.get("gate", {"tries": 0, "waits": 0, "longest_wait": 0.0})
        self.measured["busy"] = {"starved": bool(starved), "lowest_counter": lowest, "gate": gate}
        self.screen.say("Then with the gate, the default: new outermost callers wait, 50 ms at most\na try:")
        self._check(
            "the gate brings it to 0",
            gate["tries"] > 0,
            f"{loaded.report['duration'] * 1000:.0f} ms, {gate['waits']} callers waited, "
            f"{gate['longest_wait'] * 1000:.0f} ms at most",
        )
        self._check("mixed-version calls", callers.wrong == 0, f"{callers.wrong} of {callers.calls:,}")
        self.screen.beat(1.5)

    def unpatching(self) -> None:
        self.screen.title("f", "Unpatching, the same way", "Module unloading using stop_machine")
        with pylivepatch.trace(FILTER) as tracer:
            walk = Walk(self.screen)
            walk.run(lambda: pylivepatch.unload(PATCH.name, timeout=3600, gate=None))
        self.screen.show(trace := tracer.text("function_graph"))
        self._check("calls in the trace", not calls_in(trace), str(len(calls_in(trace))))
        self._judge_walk("unload", walk)

    def _judge_walk(self, action: str, walk: Walk) -> None:
        committer = walk.report["committed_by"]
        self.measured[action] = {"counters": walk.counters, "committed_by": committer}
        self._check("the counter", walk.counters == EXPECTED, " ".join(map(str, walk.counters)))
        self._check("who brought it to 0 committed", committer == "dora", committer)
        self._check("every customer was charged right", walk.right, "yes" if walk.right else "no")
        self.screen.beat(1.5)

    def incrementally(self) -> None:
        self.screen.title("g", "Too big for one moment", "Incremental patching could be better")
        self.screen.say(
            "Two watches take turns, and one leaves only when the other has come. A\n"
            "patch of both has no moment with nobody inside, and a gate cannot make one."
        )
        with Post() as post:
            try:
                pylivepatch.load(WATCHES, timeout=2).unload(timeout=30)
                starved = False
            except pylivepatch.TransitionTimeout:
                starved = True
            self._check("as a whole it is reversed", starved, "after 2 s")
            before = set(post.logs)
            unsubscribe = pylivepatch.subscribe(self._tell_group)
            try:
                applied = pylivepatch.load(WATCHES, timeout=60, incremental=True)
                groups = len(applied.report["groups"])
                self._check("incrementally it is loaded", groups == 2, f"{groups} groups, one after the other")
                applied.unload(timeout=60, incremental=True)
            finally:
                unsubscribe()
        mixed = sum(count for log, count in post.logs.items() if len(set(log)) > 1)
        self.measured["incremental"] = {
            "starved": starved,
            "groups": groups,
            "watches": post.logs.total(),
            "mixed": mixed,
        }
        self._check("watches were old until then", before == {("old", "old")}, "yes")
        self._check("watches of two versions", mixed == 0, f"{mixed} of {post.logs.total()}")

    def _tell_group(self, event: pylivepatch.Event) -> None:
        if event.kind == "group":
            self.screen.say(f"{event.data['action']}: {event.data['group']} has switched")


def calls_in(trace: str) -> list[str]:
    """The lines of a function_graph trace that tell of a call, complete or not."""
    return [line for line in trace.splitlines() if line and not line.startswith("#")]


def _load_with_stop_machine() -> pylivepatch.Applied:
    """It looks five times, 2 s apart, for a moment with nobody inside. Try again where there was none."""
    for _ in range(2):
        try:
            return pylivepatch.load(PATCH, mode="stop-machine", timeout=15)
        except pylivepatch.TransitionTimeout:
            continue
    return pylivepatch.load(PATCH, mode="stop-machine", timeout=15)

"""One cell of the matrix: a workload, a mode, and a number of cycles. And the controls, which must be caught."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pylivepatch
from pylivepatch import TransitionTimeout
from pylivepatch.commit import once, set_codes
from pylivepatch.transition.base import Transition
from pylivepatch.transition.stop_machine import StopMachine

from .workloads import WORKLOADS, Workload
from .world import NEW_SOURCE, World

MODES: dict[str, dict[str, Any]] = {
    "refcount": {"mode": "refcount"},
    "counted": {"mode": "refcount"},  # without the fast path: every transition goes through each stage
    "stop-machine": {"mode": "stop-machine"},
    "per-task": {"mode": "per-task"},
}
TRIES, INTERVAL = 200, 0.002
"""Of stop-machine, instead of kpatch's 5 tries 2 s apart: a storm would be a long wait."""
JOIN = 60.0  # seconds until a thread that does not end is a failure


@dataclass
class Result:
    """What one cell saw. ``overlaps``: calls of one version that began while one of the other was inside."""

    mode: str
    workload: str
    seed: int
    cycles: int = 0
    switched: int = 0
    reversed: int = 0
    calls: int = 0
    mixed: int = 0
    overlaps: int = 0
    leaked: list[str] = field(default_factory=list)
    as_it_was: bool = False
    longest_hold: float = 0.0  # seconds that everyone stood
    median: float = 0.0  # seconds that a load or unload took
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What must not be. Empty for a cell that kept its mode's promise."""
        found = list(self.errors)
        if self.mixed:
            found.append(f"{self.mixed} calls saw two versions")
        if self.overlaps and self.mode != "per-task":
            found.append(f"{self.overlaps} calls began while the other version was inside")
        if not self.as_it_was:
            found.append("a function has not its original code, or the value is not the original")
        if self.leaked:
            found.append(f"references to code are left: {', '.join(self.leaked)}")
        if not self.switched and self.mode not in WORKLOADS[self.workload].starves:
            found.append("it never switched")
        if self.calls <= self.cycles:
            found.append("hardly anybody called")
        return found

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"faults": self.faults}


def run_cell(
    mode: str,
    workload: str,
    *,
    cycles: int,
    seed: int,
    timeout: Callable[[], float] = lambda: 5.0,
    held: bool = False,
) -> Result:
    """Load and unload ``cycles`` times under the workload. A transition that times out was reversed, and is counted.

    ``held``: in the first of each ten cycles somebody stays inside for as long as the load is tried, in the sixth
    for as long as the unload is, so that these are reversed however quick the machine is.
    """
    chosen = WORKLOADS[workload]
    result = Result(mode, workload, seed)
    patience = (lambda: 0.1) if mode in chosen.starves else timeout
    began = time.perf_counter()
    with _world(strict=mode != "per-task", noting=chosen.noting) as world, _as_mode(mode):
        durations: list[float] = []

        def attempt(action: Callable[[], dict[str, Any]]) -> None:
            try:
                report = action()
            except TransitionTimeout:
                result.reversed += 1
                return
            result.switched += 1
            durations.append(report["duration"])
            result.longest_hold = max(result.longest_hold, report["longest_hold"])

        def holder(turn: int) -> contextlib.AbstractContextManager[None]:
            return world.somebody_inside() if held and result.cycles % 10 == turn else contextlib.nullcontext()

        def cycle() -> None:
            options = MODES[mode]
            if not pylivepatch.patches():
                with holder(0):
                    attempt(lambda: pylivepatch.load(world.patch, timeout=patience(), **options).report)
            world.await_calls()
            if pylivepatch.patches():
                with holder(5):
                    attempt(lambda: pylivepatch.unload("storm", timeout=patience(), **options))
            for _ in range(10):
                if not pylivepatch.patches():
                    break
                attempt(lambda: pylivepatch.unload("storm", timeout=patience(), **options))
            world.await_calls()
            result.cycles += 1

        result.errors = under_storm(world, chosen, seed, cycles, cycle)
        _end(world, result)
        result.median = statistics.median(durations) if durations else 0.0
    result.seconds = time.perf_counter() - began
    return result


def under_storm(world: World, workload: Workload, seed: int, cycles: int, cycle: Callable[[], None]) -> list[str]:
    """Run ``cycle`` again and again on this thread while the workload's threads run. What they raised, as text."""
    errors: list[str] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(f"{type(error).__name__}: {error}")
            error.__traceback__ = None  # it would keep frames

    with workload.around(world, seed):
        threads = [threading.Thread(target=guarded, args=(body,)) for body in workload.bodies(world, seed)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(cycles):
                cycle()
                if errors:
                    break
        finally:
            world.stop = True
            for thread in threads:
                thread.join(JOIN)
    errors += [f"{thread.name} does not end" for thread in threads if thread.is_alive()]
    return errors


def _end(world: World, result: Result) -> None:
    """All callers have left: now it must be possible to take the patch out, and nothing may be left behind."""
    gc.collect()
    if pylivepatch.patches():
        pylivepatch.unload("storm", timeout=10)
    # Once more, with nobody inside: it still can be patched, and what the last transition left to the next is let go.
    pylivepatch.load(world.patch, timeout=10)
    if {f.__code__ is world.originals[f.__name__]() for f in world.functions} != {False}:
        result.errors.append("a function was not switched where nobody was inside")
    pylivepatch.unload("storm", timeout=10)
    gc.collect()
    result.calls, result.mixed, result.overlaps = world.calls, len(world.mixed), len(world.overlaps)
    result.as_it_was = world.is_as_it_was()
    now = world.count_references()
    result.leaked = [f"{name} {now[name] - n:+d}" for name, n in world.references.items() if now[name] != n]


@contextlib.contextmanager
def _world(**options: Any) -> Iterator[World]:
    """A world, with threads that change hands a thousand times as often as usual."""
    before = sys.getswitchinterval()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), **options)
        sys.setswitchinterval(1e-5)
        try:
            yield world
        finally:
            sys.setswitchinterval(before)
            world.forget()


@contextlib.contextmanager
def _as_mode(mode: str) -> Iterator[None]:
    fast, defaults = Transition.fast_path, StopMachine.__init__.__kwdefaults__
    Transition.fast_path = mode != "counted"
    StopMachine.__init__.__kwdefaults__ = defaults | {"tries": TRIES, "interval": INTERVAL}
    try:
        yield
    finally:
        Transition.fast_path, StopMachine.__init__.__kwdefaults__ = fast, defaults


# --- the controls: without the protocol the same checks must find faults ------------------------------------------


def one_by_one(world: World, codes: dict[Any, Any]) -> None:
    """As other tools do it."""
    for function, code in codes.items():
        function.__code__ = code


def at_once_without_looking(world: World, codes: dict[Any, Any]) -> None:
    """In one C call, so that nobody sees half of it; but whoever is inside goes on in the old version."""
    once(set_codes(list(codes.items())), times=[])()


CONTROLS = {"one by one": one_by_one, "at once, without looking": at_once_without_looking}


def run_control(control: str, workload: str, *, cycles: int, seed: int) -> Result:
    result = Result(control, workload, seed)
    began = time.perf_counter()
    with _world() as world:
        space = dict(vars(world.module))
        exec(compile(NEW_SOURCE, "<new>", "exec"), space)
        new = {f: space[f.__name__].__code__ for f in world.functions}
        old = {f: f.__code__ for f in world.functions}

        def cycle() -> None:
            for codes in (new, old):
                world.module.MARK = "two" if codes is new else "one"
                CONTROLS[control](world, codes)
                time.sleep(0.001)
            result.cycles += 1

        result.errors = under_storm(world, WORKLOADS[workload], seed, cycles, cycle)
        result.switched = 2 * result.cycles
        result.calls, result.mixed, result.overlaps = world.calls, len(world.mixed), len(world.overlaps)
        result.as_it_was = all(f.__code__ is old[f] for f in world.functions)
    result.seconds = time.perf_counter() - began
    return result

"""A short storm over the real engine with one rule of its protocol broken. Run in a process of its own.

``python storm.py MUTANT SECONDS`` prints what was seen, as JSON: calls that saw two versions, how many transitions
finished, how many were reversed. It stops early once the mutant is caught.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pylivepatch
from pylivepatch import TransitionTimeout, pairs
from pylivepatch.commit import calls, set_attribute, set_code
from pylivepatch.compiled import compile_patch
from pylivepatch.counter import Counter
from pylivepatch.errors import CodeMismatch, DataMismatch, NotRemovable
from pylivepatch.ftrace import hooks, late, trampoline
from pylivepatch.ftrace.assembly import Handler
from pylivepatch.transition import base, swap
from pylivepatch.transition.base import Transition
from pylivepatch.transition.gate import Gate
from pylivepatch.transition.refcount import Refcount
from pylivepatch.transition.stages import State

SOURCE = """
MARK = "one"

class Boom(Exception):
    pass

def g(caller, raises):
    own = "one"
    for _ in range(20):
        pass
    check(own, caller)
    check(own, MARK)
    if raises:
        raise Boom

def f(raises):
    own = "one"
    check(own, MARK)
    for _ in range(20):
        pass
    g(own, raises)
    check(own, MARK)

def slow_f(pause):
    own = "one"
    check(own, MARK)
    pause()
    g(own, False)
    check(own, MARK)

def numbers():
    own = "one"
    check(own, MARK)
    yield own
    g(own, False)
    check(own, MARK)
"""


# --- the mutants ------------------------------------------------------------------------------------------------


def release_before_drain() -> None:
    enable = Transition.enable

    def early(self: Transition, question: swap.Question = swap.NOBODY_ASKS) -> None:
        enable(self, question)
        self.counter.discount()

    Transition.enable = early  # type: ignore[method-assign]
    Refcount.release = lambda self: None  # type: ignore[method-assign]


def skip_drain() -> None:
    Refcount.drain = lambda self, deadline: None  # type: ignore[method-assign]


def commit_without_counter() -> None:
    def release(self: Refcount) -> None:
        self.counter.zero()()
        self._commit()

    Refcount.release = release  # type: ignore[method-assign]


def code_before_data() -> None:
    def steps(self: Transition) -> Iterator[Iterator[Any]]:
        for each in self._all_swaps():
            yield set_code(each.functions, each.new.code)
        yield calls([partial(time.sleep, 0.0005)])  # a C call that lets the others in
        yield calls([bind for a in self.attributes for bind in set_attribute(a.owner, a.name, a.new)])
        yield calls([self._done.release])

    class Unhelpful(late.LateEntry):
        __slots__ = ()

        def __init__(self, function: Any, code: Any, make: Any, commit: Any, *more: Any) -> None:
            super().__init__(function, code, make, lambda: None, *more)

    Transition._steps = steps  # type: ignore[method-assign]
    swap.LateEntry = Unhelpful  # type: ignore[attr-defined]


def look_and_switch_in_two_calls() -> None:
    def switch(counter: Counter, expected: list[int], probe: Any, commit: Callable[[], None]) -> bool:
        if list(probe) != expected:
            return False
        time.sleep(0.0005)
        counter.zero()()
        commit()
        return True

    base.switch_if_idle = switch  # type: ignore[assignment, attr-defined]
    Transition.fast_path = True


def reverse_in_two_steps() -> None:
    def reverse(self: Transition) -> None:
        if self.state in (State.COMMITTED, State.REVERSED):
            return
        seen = self.counter.value
        time.sleep(0.01)
        if not seen:
            return self._committed()
        self.counter.stop()
        if self.state is not State.PREPARED:
            self._take_out()
            self.state = State.REVERSED

    Transition.reverse = reverse  # type: ignore[method-assign]


def exchange_uncounted() -> None:
    def exchange(self: Refcount, gate: Gate) -> bool:
        if not self.counter.value:
            return False
        time.sleep(0.01)
        self.enable(gate.question)
        return True

    Refcount._exchange = exchange  # type: ignore[method-assign]


def _hooks(old: str, new: str) -> None:
    assert old in hooks._SOURCE
    pairs.check = lambda *_: None  # type: ignore[attr-defined]  # it would refuse all of these
    hooks._SOURCE = hooks._SOURCE.replace(old, new)
    hooks._TEMPLATES.update(hooks._compile_templates())
    hooks._BODIES.update({name: hooks._read_body(code) for name, code in hooks._TEMPLATES.items()})


def count_up_from_zero() -> None:
    _hooks("if not ((token := 1j()) and in_use): return 4j", "(token := 1j())")


def count_down_before_the_body() -> None:
    _hooks("if not ((token := 1j()) and in_use): return 4j", "if not 1j(): return 7j\n    (token := None)")


def exceptions_uncounted() -> None:
    """Whoever leaves by an exception goes on to be counted: somebody keeps a token for each."""
    count, instantiate = trampoline._Builder.count, swap.instantiate
    pairs.check = lambda *_: None  # type: ignore[attr-defined]
    kept: list[Any] = []

    def uncounted(self: Any) -> None:
        count(self)
        handler, handler_ops = self._exception_exit("on_raise")
        body = self.ops[self.ops.index(self.body[0]) : self.ops.index(self.body[1])]
        for op in body:
            if op.name not in (*trampoline.RETURNS, "SWAP", "POP_TOP") and op.handler is None:
                op.handler = Handler(handler.target, 1, True)
        for op in handler_ops:
            if op.handler is not None:
                op.handler = Handler(op.handler.target, 3, True)
        self.ops += handler_ops
        self.stack += 6

    def keeping(template: Any, original: Any, values: Any) -> Any:
        return instantiate(template, original, {**values, "on_raise": lambda: kept.append(values["enter"]())})

    trampoline._Builder.count = uncounted  # type: ignore[method-assign]
    swap.instantiate = keeping  # type: ignore[attr-defined]


MUTANTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "none, impatient": lambda: None,
    "release before drain": release_before_drain,
    "skip drain": skip_drain,
    "commit without counter": commit_without_counter,
    "code before data": code_before_data,
    "look and switch in two calls": look_and_switch_in_two_calls,
    "reverse in two steps": reverse_in_two_steps,
    "count up from zero": count_up_from_zero,
    "count down before the body": count_down_before_the_body,
    "exceptions uncounted": exceptions_uncounted,
    "exchange uncounted": exchange_uncounted,
}
UNBROKEN = ("none", "none, impatient")
GATED = (*UNBROKEN, "exchange uncounted")
IMPATIENT = ("reverse in two steps", "none, impatient")
"""Their fault shows only where transitions are reversed: most have little time here, and calls last longer."""


# --- the storm --------------------------------------------------------------------------------------------------


class Storm:
    def __init__(self, folder: Path, *, impatient: bool, gate: float | None) -> None:
        self.impatient, self.gate = impatient, gate
        for side, text in (("old", SOURCE), ("new", SOURCE.replace('"one"', '"two"'))):
            (folder / side).mkdir()
            (folder / side / "storm_target.py").write_text(text)
        sys.path.insert(0, str(folder / "old"))
        self.module: Any = __import__("storm_target")
        vars(self.module)["check"] = self.check
        self.patch = compile_patch(pylivepatch.build_patch(folder / "old", folder / "new", name="storm"))
        self.mixed = self.calls = self.switched = self.reversed = 0
        self.stop = False

    def check(self, own: str, other: str) -> None:
        self.mixed += own != other

    def work(self, seed: int) -> None:
        chance = Random(seed)
        kept: list[Any] = []
        while not self.stop:
            self.calls += 1
            how = chance.randrange(5)
            if how < 2:
                with suppress(self.module.Boom):
                    self.module.f(how == 1)
            elif how == 2:
                self.module.slow_f(partial(time.sleep, chance.random() * 0.004))
            elif how == 3 and len(kept) < 3:
                kept.append(self.module.numbers())
                if chance.random() < 0.5:
                    next(kept[-1])
            elif kept:
                for _ in kept.pop():
                    pass
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.004)

    def keep(self, seed: int) -> None:
        """Suspended in a generator for half of the time."""
        chance = Random(seed)
        while not self.stop:
            self.calls += 1
            generator = self.module.numbers()
            next(generator)
            time.sleep(chance.random() * 0.04)
            for _ in generator:
                pass
            del generator
            time.sleep(chance.random() * 0.04)

    def run(self, seconds: float) -> None:
        works = [self.keep] * 3 if self.impatient else [self.work] * 4
        threads = [threading.Thread(target=work, args=(seed,)) for seed, work in enumerate(works)]
        for thread in threads:
            thread.start()
        try:
            self._switch(seconds)
        finally:
            self.stop = True
            for thread in threads:
                thread.join()

    def _switch(self, seconds: float) -> None:
        chance = Random(0)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.mixed:
            timeout = chance.random() * 0.04 if self.impatient and chance.random() < 0.7 else 1.0
            try:
                if pylivepatch.patches():
                    pylivepatch.unload("storm", timeout=timeout, gate=self.gate)
                else:
                    pylivepatch.load(self.patch, timeout=timeout, gate=self.gate)
                self.switched += 1
            except TransitionTimeout:
                self.reversed += 1
            except (CodeMismatch, DataMismatch, NotRemovable):  # half of a patch is in, and the engine refuses to go on
                self.mixed += 1
            time.sleep(0.001)


def main(mutant: str, seconds: float) -> None:
    Transition.fast_path = False
    if mutant not in UNBROKEN:
        # The engine would refuse most of these, or mend what came of them.
        Transition.check_hooks = lambda self: None  # type: ignore[method-assign]
        Transition._make_good = lambda self: None  # type: ignore[method-assign]
    MUTANTS[mutant]()
    sys.setswitchinterval(1e-5)
    with tempfile.TemporaryDirectory() as folder:
        storm = Storm(Path(folder), impatient=mutant in IMPATIENT, gate=0.05 if mutant in GATED else None)
        storm.run(seconds)
        seen = {name: getattr(storm, name) for name in ("mixed", "calls", "switched", "reversed")}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

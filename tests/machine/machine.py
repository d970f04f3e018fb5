"""The machine: what may be done to patches and functions, beside a model that says what must come of it.

The model is a stack of patches, each a table of the versions that it brings. What a function answers is the topmost
version; what is suspended in a function's code holds a transition away from that code, unless it is forced: then what
is inside finishes as it began, and the patch stays for good. Where time decides (a reverse that was asked for, a fault
in the middle) the outcome is read from what was raised, and must be whole either way.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import pylivepatch
from pylivepatch import LivePatchError, Patch, PrepareError, TransitionTimeout
from pylivepatch.callbacks import Callbacks
from pylivepatch.errors import CallbackRefused, NotApplied, NotRemovable, PatchExists, TransitionReversed
from pylivepatch.transition.base import Transition
from pylivepatch.transition.refcount import Refcount

from .shapes import Shape, make, shapes

FUNCTIONS = 4
SOON = 0.03  # seconds until a transition that is held is reversed
PATIENCE = 20.0
MODES = st.sampled_from([("refcount", True), ("refcount", False), ("stop-machine", True), ("per-task", True)])
FAULTS = [(Transition, name) for name in ("prepare", "commit_if_idle", "enable", "check_unchanged", "check_hooks")]
FAULTS += [(Refcount, name) for name in ("drain", "release", "await_commit")]
"""The steps towards the switch. The way back is not among them: there is none from it."""
FORCED_AT = [("refcount", "enable"), ("refcount", "drain"), ("stop-machine", "stop"), ("per-task", "move")]
"""Modes, and the stage at which force is asked for: before the first look for who is inside."""
NUMBERS = st.integers(0, FUNCTIONS - 1)


_names = itertools.count(1)
"""Of patches, each once: what was told of one stays told."""


class Injected(Exception):
    pass


@dataclass
class Applied:
    name: str
    versions: dict[int, int]  # function: version
    forced: bool = False  # it cannot be taken out any more


@dataclass
class Suspended:
    """A generator of function ``number``, made when it had ``version``."""

    generator: Any
    number: int
    version: int
    expected: list[tuple[int, int]] = field(default_factory=list)
    begun: bool = False


class Machine(RuleBasedStateMachine):
    @initialize(data=st.data(), generators=st.sets(NUMBERS, min_size=1, max_size=3))
    def define(self, data: st.DataObject, generators: set[int]) -> None:
        gc.collect()
        self.generators = generators
        self.inside: threading.Event | None = None
        self.sitter = 0
        self.space: dict[str, Any] = {"pause": self.pause, "__name__": "machine_target"}
        self.functions = []
        self.shapes: dict[tuple[int, int], Shape] = {}
        self.versions = 0
        for number in range(FUNCTIONS):
            self.functions.append(self.make(number, 0, data.draw(shapes(number, FUNCTIONS))))
            self.bind(number)
        self.originals = [weakref.ref(function.__code__) for function in self.functions]
        self.stack: list[Applied] = []
        self.suspended: list[Suspended] = []
        self.is_defined = True

    def make(self, number: int, version: int, shape: Shape) -> Any:
        self.shapes[number, version] = shape
        return make(number, version, shape, number in self.generators, self.space)

    def bind(self, number: int) -> None:
        function = self.functions[number]
        if number in self.generators:
            self.space[f"g{number}"] = function
            self.space[f"f{number}"] = lambda: list(function())
        else:
            self.space[f"f{number}"] = function

    def pause(self) -> None:
        """Called by every function at its beginning: where a thread that is to sit inside is kept."""
        if threading.get_ident() == self.sitter and self.inside is not None:
            inside, self.inside = self.inside, None
            inside.set()
            assert self.leave.wait(PATIENCE)

    # --- the model ----------------------------------------------------------------------------------------

    def version(self, number: int) -> int:
        return next((p.versions[number] for p in reversed(self.stack) if number in p.versions), 0)

    def answer(self, number: int, version: int | None = None) -> list[tuple[int, int]]:
        """What a call gives; ``version`` where this one call is of another than the current."""
        version = self.version(number) if version is None else version
        called = [pair for callee in self.shapes[number, version].callees for pair in self.answer(callee)]
        own = (number, version)
        return [own, *called, own] if number in self.generators else [own, *called]

    def is_held(self, numbers: set[int]) -> bool:
        """Whether something suspended executes the code that these functions have now."""
        return any(s.number in numbers and s.version == self.version(s.number) for s in self.suspended)

    def stands(self, index: int) -> bool:
        """Whether a later patch stands on this one."""
        mine = self.stack[index].versions.keys()
        return any(mine & later.versions.keys() for later in self.stack[index + 1 :])

    # --- calls --------------------------------------------------------------------------------------------

    @invariant()
    def every_function_answers_in_the_models_version(self) -> None:
        for number in range(FUNCTIONS) if hasattr(self, "is_defined") else ():
            assert self.space[f"f{number}"]() == self.answer(number)
            if not any(number in applied.versions for applied in self.stack):
                assert self.functions[number].__code__ is self.originals[number]()

    @invariant()
    def the_stack_is_the_models_and_nothing_is_under_way(self) -> None:
        assert pylivepatch.status() is None
        if hasattr(self, "is_defined"):
            assert [applied.name for applied in pylivepatch.patches()] == [applied.name for applied in self.stack]

    @precondition(lambda self: len(self.suspended) < 3)
    @rule(pick=st.integers(0, 9), begin=st.booleans())
    def make_a_generator(self, pick: int, begin: bool) -> None:
        number = sorted(self.generators)[pick % len(self.generators)]
        self.suspended.append(Suspended(self.functions[number](), number, self.version(number)))
        if begin:
            self.begin(self.suspended[-1])

    @staticmethod
    def begin(one: Suspended) -> None:
        one.begun = True
        assert next(one.generator) == (one.number, one.version)

    @precondition(lambda self: self.suspended)
    @rule(pick=st.integers(0, 9), how=st.sampled_from(["finish", "close", "throw", "abandon"]))
    def end_a_generator(self, pick: int, how: str) -> None:
        """It goes on in the version that it was made with, and calls functions in theirs."""
        one = self.suspended.pop(pick % len(self.suspended))
        if how == "finish":
            expected = self.answer(one.number, one.version)[1 if one.begun else 0 :]
            assert list(one.generator) == expected
        elif how == "close":
            one.generator.close()
        elif how == "throw":
            with contextlib.suppress(Injected):
                one.generator.throw(Injected())
            gc.collect()  # the exception was a cycle: it keeps the frames that it passed

    @precondition(lambda self: any(not s.begun for s in self.suspended))
    @rule()
    def begin_a_generator(self) -> None:
        self.begin(next(s for s in self.suspended if not s.begun))

    # --- loads and unloads --------------------------------------------------------------------------------

    def new_patch(self, data: st.DataObject, **options: Any) -> tuple[Patch, Applied]:
        numbers = data.draw(st.sets(NUMBERS, min_size=1), label="functions")
        name = f"p{next(_names)}"
        patch, model = Patch(name, **options), Applied(name, {})
        for number in sorted(numbers):
            self.versions += 1
            model.versions[number] = self.versions
            new = self.make(number, self.versions, data.draw(shapes(number, FUNCTIONS), label=f"f{number}"))
            patch = patch.replace(self.functions[number], new)
        return patch, model

    def transition(self, model: Applied, action: Callable[[], Any], *, held: bool, applied: Callable[[], None]) -> None:
        """Do it: reversed where the model says that something holds it, else applied."""
        if held:
            try:
                action()
            except TransitionTimeout:
                gc.collect()
                return
            raise AssertionError(f"{model.name} switched although something suspended executes the code")
        action()
        applied()

    @rule(data=st.data(), mode=MODES)
    def load(self, data: st.DataObject, mode: tuple[str, bool]) -> None:
        patch, model = self.new_patch(data)
        held = self.is_held(set(model.versions))
        with fast_path(mode[1]):
            self.transition(
                model,
                lambda: pylivepatch.load(patch, timeout=SOON if held else PATIENCE, mode=mode[0]),
                held=held,
                applied=lambda: self.stack.append(model),
            )

    @precondition(lambda self: self.stack)
    @rule(pick=st.integers(0, 9), mode=MODES)
    def unload(self, pick: int, mode: tuple[str, bool]) -> None:
        index = pick % len(self.stack)
        model = self.stack[index]
        if self.stands(index) or model.forced:
            self.refused(NotRemovable, lambda: pylivepatch.unload(model.name, timeout=SOON))
            return
        held = self.is_held(set(model.versions))
        with fast_path(mode[1]):
            self.transition(
                model,
                lambda: pylivepatch.unload(model.name, timeout=SOON if held else PATIENCE, mode=mode[0]),
                held=held,
                applied=lambda: self.stack.remove(model),
            )

    @precondition(lambda self: self.stack)
    @rule(data=st.data(), mode=MODES)
    def replace_all(self, data: st.DataObject, mode: tuple[str, bool]) -> None:
        """A cumulative patch: what it does not bring goes back to what it was."""
        patch, model = self.new_patch(data)
        if any(applied.forced for applied in self.stack):
            self.refused(NotRemovable, lambda: pylivepatch.load(patch, timeout=SOON, mode=mode[0], replace=True))
            return
        touched = set(model.versions).union(*(applied.versions for applied in self.stack))
        held = self.is_held(touched)

        def applied() -> None:
            self.stack[:] = [model]

        with fast_path(mode[1]):
            self.transition(
                model,
                lambda: pylivepatch.load(patch, timeout=SOON if held else PATIENCE, mode=mode[0], replace=True),
                held=held,
                applied=applied,
            )

    @rule(data=st.data())
    def load_past_what_is_suspended(self, data: st.DataObject) -> None:
        """``suspended="allow"``: it switches where all that is suspended is found, and what is finishes as it began."""
        patch, model = self.new_patch(data)
        try:
            applied = pylivepatch.load(patch, timeout=SOON, suspended="allow")
        except TransitionTimeout:
            gc.collect()
            assert self.is_held(set(model.versions))
            return
        assert applied.tainted == self.is_held(set(model.versions))
        self.stack.append(model)

    # --- what is forced -----------------------------------------------------------------------------------

    @rule(data=st.data(), way=st.sampled_from(FORCED_AT))
    def force_a_load(self, data: st.DataObject, way: tuple[str, str]) -> None:
        patch, model = self.new_patch(data)
        held = self.is_held(set(model.versions))
        with forcing(way[1]):
            applied = pylivepatch.load(patch, timeout=SOON if held else PATIENCE, mode=way[0])
        model.forced = held  # where nothing holds it, it switches before it could be forced
        self.stack.append(model)
        assert (applied.forced, applied.tainted, applied.report["forced"]) == (held, held, held)
        self.told_of("load", model)

    @precondition(lambda self: self.stack)
    @rule(pick=st.integers(0, 9), way=st.sampled_from(FORCED_AT))
    def force_an_unload(self, pick: int, way: tuple[str, str]) -> None:
        index = pick % len(self.stack)
        model = self.stack[index]
        with forcing(way[1]):
            if self.stands(index) or model.forced:
                self.refused(NotRemovable, lambda: pylivepatch.unload(model.name, timeout=SOON, mode=way[0]))
                return
            held = self.is_held(set(model.versions))
            report = pylivepatch.unload(model.name, timeout=SOON if held else PATIENCE, mode=way[0])
        self.stack.remove(model)
        assert report["forced"] is held
        model.forced = held
        self.told_of("unload", model)

    @staticmethod
    def told_of(action: str, model: Applied) -> None:
        """What was forced is told for good, with who was inside; nothing else is."""
        taints = [t for t in pylivepatch.taints() if (t.patch, t.action) == (model.name, action)]
        assert [(t.reason, bool(t.details)) for t in taints] == ([("forced", True)] if model.forced else [])

    # --- what is refused, reversed, and what fails ---------------------------------------------------------

    @staticmethod
    def refused(kind: type[LivePatchError], action: Callable[[], Any]) -> None:
        try:
            action()
        except kind:
            return
        raise AssertionError(f"{kind.__name__} was to be raised")

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        patch, model = self.new_patch(data)
        self.refused(NotApplied, lambda: pylivepatch.unload(model.name))
        self.refused(PrepareError, lambda: pylivepatch.load(patch, timeout=-1))
        self.refused(PrepareError, lambda: pylivepatch.load(patch, mode="no such"))
        if self.stack:
            there = Patch(self.stack[0].name).replace(self.functions[0], self.functions[0])
            self.refused(PatchExists, lambda: pylivepatch.load(there))

    @rule(data=st.data())
    def a_callback_refuses(self, data: st.DataObject) -> None:
        def refuse(context: Any) -> None:
            raise Injected

        patch, _ = self.new_patch(data, callbacks=Callbacks(pre_patch=refuse))
        self.refused(CallbackRefused, lambda: pylivepatch.load(patch, timeout=SOON))
        gc.collect()

    @rule(data=st.data(), kind=st.sampled_from(["enable", "drain", "release"]))
    def somebody_asks_to_reverse(self, data: st.DataObject, kind: str) -> None:
        patch, model = self.new_patch(data)
        held = self.is_held(set(model.versions))
        unsubscribe = pylivepatch.subscribe(lambda event: event.kind == kind and pylivepatch.reverse())
        with fast_path(False):
            try:
                pylivepatch.load(patch, timeout=SOON if held else PATIENCE)
                assert not held
                self.stack.append(model)  # the switch came first
            except TransitionReversed:
                gc.collect()
            except TransitionTimeout:
                gc.collect()
                assert held
            finally:
                unsubscribe()

    @rule(data=st.data(), fault=st.sampled_from(FAULTS), late=st.booleans(), loads=st.booleans())
    def something_fails_in_the_middle(self, data: st.DataObject, fault: Any, late: bool, loads: bool) -> None:
        """Whatever fails, and wherever: one version whole, or the other. The next rules find out that it works on."""
        index = len(self.stack) - 1
        if loads or not self.stack:
            patch, model = self.new_patch(data)
            action: Callable[[], Any] = lambda: pylivepatch.load(patch, timeout=SOON)  # noqa: E731
        else:
            model = self.stack[index]
            action = lambda: pylivepatch.unload(model.name, timeout=SOON)  # noqa: E731
        expected = (Injected, TransitionTimeout, *([NotRemovable] if model.forced else ()))
        with fast_path(False), failing(*fault, late=late), contextlib.suppress(*expected):
            action()
        gc.collect()
        is_there = model.name in [applied.name for applied in pylivepatch.patches()]
        if is_there and model not in self.stack:
            self.stack.append(model)
        elif not is_there and model in self.stack:
            self.stack.remove(model)

    @rule(data=st.data(), number=NUMBERS, force=st.booleans())
    def load_while_a_thread_is_inside(self, data: st.DataObject, number: int, force: bool) -> None:
        """It holds what it executes, or goes on in it; what it calls later is of the version that is then in force."""
        patch, model = self.new_patch(data)
        self.inside, self.leave = threading.Event(), threading.Event()
        inside, answers, before = self.inside, [], self.version(number)

        def sit() -> None:
            self.sitter = threading.get_ident()
            answers.append(self.space[f"f{number}"]())

        thread = threading.Thread(target=sit)
        thread.start()
        assert inside.wait(PATIENCE)
        held = number in model.versions or self.is_held(set(model.versions))
        try:
            with forcing("enable") if force else contextlib.nullcontext():
                self.transition(
                    model,
                    lambda: pylivepatch.load(patch, timeout=SOON if held else PATIENCE),
                    held=held and not force,
                    applied=lambda: self.stack.append(model),
                )
            model.forced = held and force
            self.told_of("load", model)
        finally:
            self.leave.set()
            thread.join(PATIENCE)
        assert answers == [self.answer(number, before)]

    # --- the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "is_defined"):
            return
        self.suspended.clear()
        gc.collect()
        for applied in reversed(pylivepatch.patches()):
            applied.forced = False  # what was inside is gone
            applied.unload(timeout=PATIENCE)
        for function, original in zip(self.functions, self.originals, strict=True):
            assert function.__code__ is original()


@contextlib.contextmanager
def fast_path(allowed: bool) -> Iterator[None]:
    before = Transition.fast_path
    Transition.fast_path = allowed
    try:
        yield
    finally:
        Transition.fast_path = before


@contextlib.contextmanager
def forcing(kind: str) -> Iterator[None]:
    """Somebody asks to force what is under way when it comes to this stage."""
    unsubscribe = pylivepatch.subscribe(lambda event: event.kind == kind and pylivepatch.force())
    try:
        yield
    finally:
        unsubscribe()


@contextlib.contextmanager
def failing(owner: type, name: str, *, late: bool) -> Iterator[None]:
    """The engine's own step fails once, at its beginning or, if ``late``, when it has done its work."""
    owner = next(cls for cls in owner.__mro__ if name in vars(cls))
    real = vars(owner)[name]
    failed: list[bool] = []

    def step(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if failed:
            return real(self, *arguments, **keywords)
        result = real(self, *arguments, **keywords) if late else None
        failed.append(late)
        if not late or result is None:
            raise Injected(name)
        return result

    setattr(owner, name, step)
    try:
        yield
    finally:
        setattr(owner, name, real)

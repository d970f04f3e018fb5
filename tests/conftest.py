"""What the tests of the engine and its storms share: modules to patch, and transitions that are kept open."""

from __future__ import annotations

import compileall
import gc
import importlib
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pylivepatch
from pylivepatch import journal
from pylivepatch.errors import TransitionReversed
from pylivepatch.transition.base import Transition

PATIENCE = 20.0  # seconds until a test that waits for something gives up

_numbers = itertools.count()

# Started in the background a shell leaves Control-C ignored, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def sit(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "old"


def sit_anew(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "new"


class Held:
    """A transition that stays in ``drain``, or what other modes have, as a thread sits in one of the patch's functions.

    All targets have their trampolines meanwhile, so what the test calls is counted. :meth:`let_go` lets the thread
    leave; :meth:`finish` does that and waits for the outcome.
    """

    def __init__(self, patch: pylivepatch.Patch, *, timeout: float = PATIENCE, **options: Any) -> None:
        # Functions of its own for each, as one function cannot be in two patches' transitions.
        self._sit, anew = _copy(sit), _copy(sit_anew)
        self.patch = patch.replace(self._sit, anew)
        self.options = {"timeout": timeout, **options}
        self.applied: pylivepatch.Applied | None = None
        self.error: BaseException | None = None
        self._start("load")

    def unloading(self) -> Held:
        """Begin to take the patch out again, kept open in the same way."""
        self._start("unload")
        return self

    def _start(self, action: str) -> None:
        self._action = action
        self.inside, self.leave, drained, over = (threading.Event() for _ in range(4))
        self._sitter = threading.Thread(target=self._sit, args=(self.inside, self.leave), name="sitter")
        self._sitter.start()
        assert self.inside.wait(PATIENCE)

        def watch(event: pylivepatch.Event) -> None:
            if event.patch == self.patch.name and event.kind in ("drain", "move", "stopped"):
                drained.set()

        def run() -> None:
            try:
                if action == "load":
                    self.applied = pylivepatch.load(self.patch, **self.options)
                else:
                    pylivepatch.unload(self.patch.name, **self.options)
            except BaseException as error:
                self.error = error
            finally:
                over.set()
                drained.set()

        unsubscribe = pylivepatch.subscribe(watch)
        self._loader = threading.Thread(target=run, name="loader")
        self._loader.start()
        try:
            assert drained.wait(PATIENCE)
        finally:
            unsubscribe()
        if over.is_set():
            self.leave.set()
            if self.error is not None:
                raise self.error
            raise AssertionError("the transition was not kept open")

    @property
    def transition(self) -> Transition:
        undertaking = journal.under_way()
        assert undertaking is not None
        assert undertaking.transition is not None
        return undertaking.transition

    @property
    def counted(self) -> int:
        """How many calls are inside, by the transition's counter."""
        return self.transition.counter.value - (1 if self.transition.state.value == "drain" else 0)

    def let_go(self) -> None:
        """Let the sitter leave, so that the transition goes on to ``release``."""
        self.leave.set()
        self._sitter.join(PATIENCE)

    def released(self) -> None:
        """Let go, and wait until only calls that were counted hold the transition."""
        dropped = threading.Event()

        def watch(event: pylivepatch.Event) -> None:
            if event.patch == self.patch.name and event.kind in ("waiting", "commit", "reverse"):
                dropped.set()

        unsubscribe = pylivepatch.subscribe(watch)
        try:
            self.let_go()
            assert dropped.wait(PATIENCE)
        finally:
            unsubscribe()

    def reverse(self) -> None:
        """Have it taken back, while the sitter stays."""
        pylivepatch.reverse()
        self._loader.join(PATIENCE)
        with pytest.raises(TransitionReversed):
            self.finish()

    def finish(self) -> pylivepatch.Applied:
        """Wait for the outcome; raises what the transition raised."""
        self.let_go()
        self._loader.join(PATIENCE)
        assert not self._loader.is_alive(), "the transition does not end"
        if self.error is not None:
            raise self.error
        assert self.applied is not None
        return self.applied


def _copy(function: Any) -> Any:
    return type(function)(function.__code__.replace(), function.__globals__, function.__name__)


@pytest.fixture(autouse=True)
def _clean_stack() -> Iterator[None]:
    """No test leaves a patch or a transition behind, nor functions that only a cycle keeps: they hold their code."""
    gc.collect()
    yield
    if left := pylivepatch.patches():
        gc.collect()
        for applied in reversed(left):
            applied.unload(deep=True)
    assert pylivepatch.status() is None


@pytest.fixture
def forget_everything() -> Iterator[None]:
    """For tests that leave what cannot be taken out: the functions go back by force when they are over."""
    yield
    for applied in reversed(pylivepatch.patches()):
        applied.forced = False
        applied.unload(deep=True)


@pytest.fixture
def hold() -> Iterator[Callable[..., Held]]:
    """Start a transition that stays in ``drain``: ``hold(patch)``. Ended with the test if it did not end itself."""
    started: list[Held] = []

    def begin(patch: pylivepatch.Patch, **options: Any) -> Held:
        held = Held(patch, **options)
        started.append(held)
        return held

    yield begin
    for held in started:
        held.leave.set()
        held._sitter.join(PATIENCE)
        held._loader.join(PATIENCE)


@pytest.fixture(params=["fast", "counted"])
def each_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once with the fast path, once through every stage of the protocol."""
    monkeypatch.setattr(Transition, "fast_path", request.param == "fast")
    return str(request.param)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage of the protocol, also where nobody is inside."""
    monkeypatch.setattr(Transition, "fast_path", False)


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads change hands a thousand times as often as usual: more races in less time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Sources:
    """Modules in a folder, to be imported and patched from their source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    def write(self, source: str, name: str = "") -> str:
        name = name or f"target_{next(_numbers)}"
        (self.folder / f"{name}.py").write_text(source)
        self.names.append(name)
        importlib.invalidate_caches()
        return name

    def load(self, source: str, name: str = "") -> ModuleType:
        return importlib.import_module(self.write(source, name))

    def patch(self, module: str | ModuleType, new: str, name: str = "fix") -> pylivepatch.Patch:
        """A patch built from the module's file and ``new``."""
        module = module if isinstance(module, str) else module.__name__
        trees = [self.folder / f"{name}-{side}-{next(_numbers)}" for side in ("old", "new")]
        for tree, text in zip(trees, ((self.folder / f"{module}.py").read_text(), new), strict=True):
            tree.mkdir()
            (tree / f"{module}.py").write_text(text)
        return pylivepatch.build_patch(*trees, name=name)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Sources(folder)
    yield made
    for applied in reversed(pylivepatch.patches()):
        applied.unload(deep=True)
    for name in made.names:
        sys.modules.pop(name, None)


def _freeze() -> None:
    """What is there now stays: let collections between tests pass over it, which is most of a suite's time."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """With ``PYTHONDONTWRITEBYTECODE`` set, each of hundreds of children would compile the whole package again."""
    compileall.compile_dir(Path(pylivepatch.__file__).parent, quiet=1)
    _freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test's arguments go into a dict that was made with the item, and is frozen (before 3.14 an empty one is not
    tracked yet): through it all that a test leaves in cycles would be held, and with it the next test's functions.
    """
    if isinstance(item, pytest.Function):
        item.funcargs = {}


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """So does what a file of tests has left (memories of libraries, above all), for the files after it."""
    if nextitem is not None and nextitem.path != item.path:
        _freeze()

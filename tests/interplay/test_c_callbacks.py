"""Frames under C code: what C calls back is executing, and so is who called C. Neither is passed over by a switch."""

from __future__ import annotations

import signal
import threading
import weakref
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from tests.conftest import PATIENCE

LEAF = 'def LEAF(*arguments):\n    see("old")\n    return 0\n'

KINDS: dict[str, tuple[str, str]] = {
    "sorted key": (LEAF, "sorted([3, 1, 2], key=leaf)"),
    "min key": (LEAF, "min([3, 1, 2], key=leaf)"),
    "map": (LEAF, "list(map(leaf, [1, 2]))"),
    "filter": (LEAF, "list(filter(leaf, [1, 2]))"),
    "iter with a sentinel": (LEAF, "list(iter(leaf, 0))"),
    "functools.partial": ("import functools\n" + LEAF, "functools.partial(leaf, 1)(2)"),
    "functools.reduce": ("import functools\n" + LEAF, "functools.reduce(leaf, [1, 2, 3])"),
    "re.sub": ('import re\ndef LEAF(match):\n    see("old")\n    return "x"\n', 're.sub("a", leaf, "aaa")'),
    "json default": ("import json\n" + LEAF, "json.dumps([{1}, {2}], default=leaf)"),
    "context run": ("import contextvars\n" + LEAF, "contextvars.copy_context().run(leaf)"),
    "__del__": ("class K:\n  def __del__(self): leaf()\n" + LEAF, "K()"),
    "weakref callback": ("import weakref\nclass K: pass\n" + LEAF, "k = K(); r = weakref.ref(k, leaf); del k"),
    "weakref.finalize": ("import weakref\nclass K: pass\n" + LEAF, "k = K(); weakref.finalize(k, leaf); del k"),
    "signal handler": (
        "import signal\n" + LEAF,
        "signal.signal(signal.SIGUSR1, leaf)\n    signal.raise_signal(signal.SIGUSR1)",
    ),
    "garbage collector": (
        "import gc\n" + LEAF,
        "gc.callbacks.append(leaf)\n    gc.collect()\n    gc.callbacks.remove(leaf)",
    ),
    "comparison": ("class K:\n  def __lt__(self, other): return leaf()\n" + LEAF, "sorted([K(), K(), K()])"),
    "hash and equality": (
        "class K:\n  def __eq__(self, o): return leaf()\n  def __hash__(self): return leaf()\n" + LEAF,
        "{K(): 1}.get(K())",
    ),
    "ctypes callback": ("import ctypes\n" + LEAF, "ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(leaf)(1)"),
    "exit stack": ("import contextlib\n" + LEAF, "with contextlib.ExitStack() as stack: stack.callback(leaf)"),
    "context manager": (
        'import contextlib\n@contextlib.contextmanager\ndef LEAF():\n    see("old")\n    yield\n    see("old")\n',
        'with leaf(): see("old")',
    ),
    "generator in a C loop": ('def LEAF():\n    see("old")\n    yield 1\n    see("old")\n', "sum(leaf())"),
}

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="POSIX signals")


class Seen:
    """Notes which versions ran, and keeps the first one that asks, where it was told to."""

    def __init__(self) -> None:
        self.versions: list[str] = []
        self.arm(None)

    def arm(self, conductor: Any) -> None:
        self.conductor = conductor

    def __call__(self, version: str) -> None:
        self.versions.append(version)
        if self.conductor is not None and len(self.versions) == 2:  # the first is the outer function's own
            conductor, self.conductor = self.conductor, None
            conductor()

    def take(self) -> set[str]:
        versions, self.versions = set(self.versions), []
        return versions


def world(kind: str) -> tuple[Any, Seen, Patch]:
    leaf, body = KINDS[kind]
    source = f'{leaf}\ndef OUTER():\n    see("old")\n    {body}\n    see("old")\n'
    seen = Seen()
    space: dict[str, Any] = {"see": seen, "__name__": f"interplay_{abs(hash(kind))}"}
    exec(compile(source.replace("LEAF", "leaf").replace("OUTER", "outer"), "<versions>", "exec"), space)
    old = {name: space[name] for name in ("leaf", "outer")}
    new = source.replace('"old"', '"new"').replace("LEAF", "leaf_anew").replace("OUTER", "outer_anew")
    exec(compile(new, "<versions>", "exec"), space)
    patch = Patch("interplay").replace(old["leaf"], space["leaf_anew"]).replace(old["outer"], space["outer_anew"])
    return space, seen, patch


class Background:
    """A load or unload on another thread, seen to be in ``drain`` or further before the constructor returns."""

    def __init__(self, action: Any) -> None:
        self.reached = threading.Event()
        self.error: BaseException | None = None
        self._stop = pylivepatch.subscribe(lambda event: event.kind == "drain" and self.reached.set())
        self.thread = threading.Thread(target=self._run, args=(action,))
        self.thread.start()
        assert self.reached.wait(PATIENCE)
        assert self.error is None

    def _run(self, action: Any) -> None:
        try:
            action()
        except BaseException as error:
            self.error = error
        finally:
            self._stop()
            self.reached.set()

    def join(self) -> None:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def _keep_the_signal_handler() -> Any:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_under_c_that_began_before_holds_both_ways(kind: str) -> None:
    space, seen, patch = world(kind)
    leaf = getattr(space["leaf"], "__wrapped__", space["leaf"])
    originals = [weakref.ref(leaf.__code__), weakref.ref(space["outer"].__code__)]
    begun: list[Background] = []
    actions = [
        ("old", "new", lambda: pylivepatch.load(patch, timeout=PATIENCE)),
        ("new", "old", lambda: pylivepatch.unload("interplay", timeout=PATIENCE)),
    ]
    for before, after, action in actions:
        seen.arm(lambda action=action: begun.append(Background(action)))
        space["outer"]()  # in the middle of it the transition begins
        begun.pop().join()
        assert seen.take() == {before}
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        space["outer"]()
        assert seen.take() == {after}
    assert leaf.__code__ is originals[0]()
    assert space["outer"].__code__ is originals[1]()


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_under_c_that_begins_in_the_transition_is_counted_both_ways(kind: str, hold: Any) -> None:
    space, seen, patch = world(kind)
    leaf = getattr(space["leaf"], "__wrapped__", space["leaf"])
    originals = [weakref.ref(leaf.__code__), weakref.ref(space["outer"].__code__)]
    held = hold(patch)
    for version in ("old", "new"):
        counted = held.counted
        inside: list[int] = []

        def conduct(inside: list[int] = inside) -> None:
            inside.append(held.counted)
            held.let_go()  # now only what is counted holds it

        seen.arm(conduct)
        space["outer"]()
        assert inside[0] >= counted + 2  # outer and leaf
        assert seen.take() == {version}
        held.finish()
        if version == "old":
            held.unloading()
    assert leaf.__code__ is originals[0]()
    assert space["outer"].__code__ is originals[1]()

"""Functions in ``__main__``, and loads that a patched function makes itself."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout, patchfile
from tests.conftest import PATIENCE

ROOT = Path(pylivepatch.__file__).parents[1]
SCRIPT = '''
import sys
sys.path.insert(0, {root!r})
import pylivepatch

def f():
    return "old"

class K:
    def m(self):
        return "old"

def anew():
    return "new"

def anew_m(self):
    return "new"

def main():
    originals = f.__code__, K.m.__code__
    bound = K().m
    patch = {patch}
    for mode in ("refcount", "stop-machine", "per-task"):
        applied = pylivepatch.load(patch, mode=mode)
        assert (f(), bound()) == ("new", "new"), mode
        applied.unload(mode=mode)
        assert (f(), bound()) == ("old", "old"), mode
        assert f.__code__ is originals[0] and K.m.__code__ is originals[1]
    print("well")

if __name__ == "__main__":
    main()
'''


def run(script: str, folder: Path) -> str:
    path = folder / "the_script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=PATIENCE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_functions_of_a_script_are_patched_by_name_of_the_function(tmp_path: Path) -> None:
    patch = 'pylivepatch.Patch("p").replace(f, anew).replace(K.m, anew_m)'
    assert run(SCRIPT.format(root=str(ROOT), patch=patch), tmp_path) == "well\n"


def test_functions_of_a_script_are_patched_from_its_source(tmp_path: Path) -> None:
    script = SCRIPT.format(root=str(ROOT), patch=repr(str(tmp_path / "fix.plp")))
    for side, text in (("old", script), ("new", script.replace('return "old"', 'return "new"'))):
        (tmp_path / side).mkdir()
        (tmp_path / side / "the_script.py").write_text(text)
    patchfile.write(pylivepatch.build_patch(tmp_path / "old", tmp_path / "new", name="fix"), tmp_path / "fix.plp")
    assert run(script, tmp_path) == "well\n"


def helper() -> str:
    return "old"


def helper_anew() -> str:
    return "new"


def loads_itself(work: Any) -> str:
    before = helper()
    work()
    return f"old {before} {helper()}"


def loads_itself_anew(work: Any) -> str:
    before = helper()
    work()
    return f"new {before} {helper()}"


PATCH = Patch("interplay").replace(loads_itself, loads_itself_anew).replace(helper, helper_anew)


@pytest.mark.parametrize("mode", ["refcount", "stop-machine", "per-task"])
def test_a_load_from_within_a_patched_function_waits_for_itself_and_is_reversed(mode: str, each_path: str) -> None:
    """It cannot be otherwise: who called load is inside. It says so, and the call goes on as it began."""
    originals = [weakref.ref(loads_itself.__code__), weakref.ref(helper.__code__)]

    def load() -> None:
        with pytest.raises(TransitionTimeout) as caught:
            pylivepatch.load(PATCH, timeout=0.1, mode=mode)
        holders = [holder for holder in caught.value.holders if holder.kind == "thread"]
        assert [(holder.name, holder.function) for holder in holders] == [
            (threading.current_thread().name, f"{__name__}:loads_itself")
        ]

    def unload() -> None:
        with pytest.raises(TransitionTimeout):
            pylivepatch.unload("interplay", timeout=0.1, mode=mode)

    assert loads_itself(load) == "old old old"
    gc.collect()  # an exception that was caught may be a cycle, and keeps the frames that it passed
    pylivepatch.load(PATCH, timeout=PATIENCE, mode=mode)
    assert loads_itself(unload) == "new new new"
    gc.collect()
    pylivepatch.unload("interplay", timeout=PATIENCE, mode=mode)
    assert loads_itself.__code__ is originals[0]()
    assert helper.__code__ is originals[1]()


def test_a_patched_function_may_begin_a_load_that_ends_after_it(each_path: str) -> None:
    """On a thread of its own: the loader waits for the function that began it, which goes on as it began."""
    original = weakref.ref(helper.__code__)
    for before, after, action in (
        ("old", "new", lambda: pylivepatch.load(PATCH, timeout=PATIENCE)),
        ("new", "old", lambda: pylivepatch.unload("interplay", timeout=PATIENCE)),
    ):
        seen = threading.Event()
        unsubscribe = pylivepatch.subscribe(lambda event, seen=seen: event.kind == "drain" and seen.set())
        loader = threading.Thread(target=action)

        def begin(loader: threading.Thread = loader, seen: threading.Event = seen) -> None:
            loader.start()
            assert seen.wait(PATIENCE)

        assert loads_itself(begin) == f"{before} {before} {before}"
        loader.join(PATIENCE)
        unsubscribe()
        assert helper() == after
    assert helper.__code__ is original()


def test_a_function_may_be_patched_by_the_function_that_it_calls(each_path: str) -> None:
    """Whoever calls load from a function that is not of the patch may be called by whom he likes."""
    original = weakref.ref(helper.__code__)

    def service() -> str:
        before = helper()
        pylivepatch.load(Patch("interplay").replace(helper, helper_anew), timeout=PATIENCE)
        between = helper()
        pylivepatch.unload("interplay", timeout=PATIENCE)
        return f"{before} {between} {helper()}"

    assert service() == "old new old"
    assert helper.__code__ is original()

"""A holder of a code object that is found in two ways is one holder: a second would hide a frame."""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import pytest

import pylivepatch
from pylivepatch import Patch, TransitionTimeout


class Loader:
    """Keeps compiled modules where no variable leads to them, as plugin loaders do."""

    __slots__ = ("code",)


def test_the_heap_and_a_stack_may_lead_to_the_same_constants() -> None:
    source = "gate.wait()\ndef f():\n    inside.set(); leave.wait()\n    return 'old'\n"
    loader = Loader()
    loader.code = compile(source, "<plugin>", "exec")
    module = ModuleType("plugin_counted_once")
    inside, leave, gate = (threading.Event() for _ in range(3))
    vars(module).update(inside=inside, leave=leave, gate=gate)
    sys.modules[module.__name__] = module
    gate.set()
    exec(loader.code, vars(module))
    sitter = threading.Thread(target=module.f)
    sitter.start()
    closed = threading.Event()
    again = threading.Thread(target=exec, args=(loader.code, {"gate": closed}), daemon=True)
    try:
        assert inside.wait(10)

        def start_again(event: pylivepatch.Event) -> None:
            if event.kind == "holders" and not again.is_alive():
                again.start()  # from now on the same constants lie on a stack, too

        unsubscribe = pylivepatch.subscribe(start_again)
        with pytest.raises(TransitionTimeout):
            pylivepatch.load(Patch("p").replace(module.f, lambda: "new"), timeout=1.5, deep=True)
        unsubscribe()
        assert again.ident is not None
    finally:
        leave.set()
        sitter.join()
        gate.set()
        closed.set()
        sys.modules.pop(module.__name__)

"""What the children of ``test_processes`` run: a module that can be imported in each of them."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import pylivepatch
from pylivepatch import Patch


def answer(n: int = 0) -> str:
    return "old"


def answer_anew(n: int = 0) -> str:
    return "new"


def sit(inside: threading.Event, leave: threading.Event) -> None:
    inside.set()
    leave.wait(20)


def sit_anew(inside: threading.Event, leave: threading.Event) -> None:
    inside.set()
    leave.wait(20)


PATCH = Patch("children").replace(answer, answer_anew)


def life(connection: Any) -> None:
    """Report what this child answers, and after it has loaded, or unloaded, by itself."""
    original = weakref.ref(answer.__code__)
    found = [answer(), bool(pylivepatch.patches()), pylivepatch.status() is None]
    if pylivepatch.patches():
        pylivepatch.unload("children", timeout=10)
        found.append(answer())
        original = weakref.ref(answer.__code__)
    pylivepatch.load(PATCH, timeout=10)
    found.append(answer())
    pylivepatch.unload("children", timeout=10)
    found += [answer(), answer.__code__ is original()]
    connection.send(found)
    connection.close()

"""Functions for test_incremental.py. In a file of their own: all that a file mentions counts for their groups."""

from __future__ import annotations

import threading

PATIENCE = 20.0


def apple() -> str:
    return "old" + pear()


def pear() -> str:
    return "old"


def nut() -> str:
    return "old"


def apple_new() -> str:
    return "new" + pear()


def pear_new() -> str:
    return "new"


def nut_new() -> str:
    return "new"


def stay(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "old"


def stay_new(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "new"


def hole(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "old"


def hole_new(inside: threading.Event, leave: threading.Event) -> str:
    inside.set()
    assert leave.wait(PATIENCE)
    return "new"

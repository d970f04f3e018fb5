from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quick_hand_over() -> Iterator[None]:
    """A thread that computes all the time lets others wait for 5 ms each time: too long for so many loads."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions that are written within a second, of one size, would be taken for one."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agent"))  # where ``targets`` is

from shell import Shell
from targets import Target, service


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with service(tmp_path) as running:
        yield running


@pytest.fixture
def no_process() -> int:
    """A process id that nobody has."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not os.path.exists(f"/proc/{child.pid}")
    return child.pid

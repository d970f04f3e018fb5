from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEngine, Served
from targets import Target, service

from pylivepatch.agent import server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    engine = FakeEngine()
    agent = server.start(str(tmp_path / "run"), engine)
    yield Served(agent, engine)
    engine.go.set()
    agent.stop()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    with service(tmp_path) as running:
        yield running

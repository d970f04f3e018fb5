from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from targets import environment

from pylivepatch.agent.client import Client
from pylivepatch.errors import NotApplied

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not here")

BEFORE = "import pylivepatch.agent as a; agent = a.start(); from gevent import monkey; monkey.patch_all()\n"
AFTER = "from gevent import monkey; monkey.patch_all(); import pylivepatch.agent as a; agent = a.start()\n"


@pytest.mark.parametrize("start", [BEFORE, AFTER])
def test_the_agent_answers_while_a_greenlet_keeps_the_event_loop_busy(tmp_path: Path, start: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", start + "print(agent.path, flush=True)\nwhile True: pass"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path / "run"),
    )
    with process:
        try:
            assert process.stdout is not None
            client = Client(path=process.stdout.readline().strip())
            assert client.info()["pid"] == process.pid
            with pytest.raises(NotApplied):  # this goes through the thread that loads and unloads
                client.unload("none")
        finally:
            process.kill()

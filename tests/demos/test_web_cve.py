"""The web_cve demo end to end: its own verdict, and what stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo_apps" / "web_cve"
PATH = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

pytestmark = [pytest.mark.slow, pytest.mark.network]


def processes_that_name(text: str) -> list[str]:
    """The command lines of all processes that have ``text`` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        if text in command:
            found.append(command)
    return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with a temporary folder of its own, whose path is in its children's command lines."""
    return subprocess.Popen(
        [sys.executable, DEMO, *arguments],
        env=os.environ | {"PYTHONPATH": PATH, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("server", ["werkzeug", "gunicorn", "uvicorn"])
def test_the_demo_passes_and_leaves_nothing_behind(tmp_path: Path, server: str) -> None:
    demo = start(tmp_path, "--json", "--server", server)
    stdout, stderr = demo.communicate(timeout=280)
    assert stdout, stderr
    result = json.loads(stdout)
    assert result["verdict"] == "pass", json.dumps(result, indent=2)
    assert demo.returncode == 0
    assert result["demo"] == "web_cve"
    assert result["server"] == server
    assert result["requests"]["failed"] == 0
    assert result["load"]["functions"] == ["werkzeug.sansio.multipart:MultipartDecoder._parse_data"]
    assert list(tmp_path.iterdir()) == []
    assert processes_that_name(str(tmp_path)) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_a_demo_that_is_stopped_ends_all_its_processes(tmp_path: Path, how: signal.Signals) -> None:
    demo = start(tmp_path)
    deadline = time.monotonic() + 60
    while not any("traffic.py" in command for command in processes_that_name(str(tmp_path))):
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < deadline, "the users never came"
        time.sleep(0.05)  # the only sign from outside is the process table: it has to be polled
    demo.send_signal(how)
    demo.communicate(timeout=60)
    assert demo.returncode == 128 + how
    assert processes_that_name(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_killed_leaves_no_process_for_long(tmp_path: Path) -> None:
    demo = start(tmp_path)
    deadline = time.monotonic() + 60
    while not any("traffic.py" in command for command in processes_that_name(str(tmp_path))):
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < deadline, "the users never came"
        time.sleep(0.05)
    demo.kill()
    demo.communicate(timeout=60)
    while left := processes_that_name(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

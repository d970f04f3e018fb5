"""Greenlets of a real process, in `top` and in the report of a real load."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Shell
from targets import Target, service

from pylivepatch.agent.client import Client
from pylivepatch.report import html, picture, read

pytest.importorskip("greenlet")

PATIENCE = 60.0
TALKS = """\
import threading
import greenlet

talks = []

def converse():
    greenlet.getcurrent().parent.switch()
    return "old"

def rest():
    greenlet.getcurrent().parent.switch()

def work():
    while True:
        converse()
        rest()

def begin(many):
    for number in range(many):
        talk = greenlet.greenlet(work)
        talk.name = f"talk-{number}"
        talks.append(talk)
        talk.switch()
    return len(talks)

def step():
    for talk in talks:
        talk.switch()

def finish():
    import pylivepatch
    committed, stepped = threading.Event(), threading.Event()

    def watch(event):  # the load goes on when its new functions are in use, so that the last looks show it
        if event.kind == "commit":
            committed.set()
            stepped.wait(60)

    pylivepatch.subscribe(watch)
    late = greenlet.greenlet(converse)
    late.switch()  # it is counted
    late.switch()
    step()
    committed.wait(60)
    step()
    stepped.set()
"""


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Target]:
    """A service whose greenlets ``talk-0``, ``talk-1`` and ``talk-2`` are each in the midst of a conversation."""
    for name, word in (("before", "old"), ("after", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "talks.py").write_text(TALKS.replace('"old"', f'"{word}"'))
    with service(tmp_path) as running:
        assert running.ask(f"sys.path.insert(0, {str(tmp_path / 'before')!r})") is None
        assert running.ask("__import__('talks').begin(3)") == 3
        yield running


def waits_for_the_talks(log: Path) -> bool:
    """Whether the trampolines are in, and a look since then has seen somebody in the old function."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    events = [json.loads(line) for line in lines]
    drains = [event["time"] for event in events if event["event"] == "drain"]
    looks = [event for event in events if event["event"] == "sample" and drains and event["time"] > drains[0]]
    seen = [task for look in looks for task in look["tasks"]]
    return any(task["kind"] == "greenlet" and task["function"] == "talks:converse" for task in seen)


def test_each_greenlet_has_a_lane_old_until_the_commit_and_new_after_it(talking: Target, shell: Shell) -> None:
    assert shell("build", "--from", "before", "--to", "after", "-o", "talk.plp").status == 0
    log = shell.folder / "log.jsonl"
    files = ("--events", "log.jsonl", "--report", "out.html", "--greenlets")
    command = shell.command("load", "talk.plp", "--socket", talking.socket, "--timeout", "60", *files, "--json")
    with subprocess.Popen(command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE) as load:
        end = time.monotonic() + PATIENCE
        while not waits_for_the_talks(log):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert talking.ask("sys.modules['talks'].finish()") is None
        assert load.wait(PATIENCE) == 0
        assert load.stdout is not None
        report = json.loads(load.stdout.read())

    with log.open() as file:
        shown = picture(read(file, "log.jsonl"))
    ((commit, _),) = shown["commits"]
    lanes = {lane["name"]: lane for lane in shown["lanes"] if lane["kind"] == "greenlet"}
    for name in ("talk-0", "talk-1", "talk-2"):
        spans = lanes[name]["spans"]
        assert {place for *_, place in spans} <= {"talks:converse:7", "talks:rest:11"}
        old = [(begins, ends) for begins, ends, state, _ in spans if state == "old"]
        new = [(begins, ends) for begins, ends, state, _ in spans if state == "new"]
        assert old[-1][1] <= commit <= new[0][0]
    assert report["calls"] == {"entered": 1, "redirected": 0}
    assert report["ticker"]["ticks"] > 0
    page = html(shown)
    assert (shell.folder / "out.html").read_text() == page
    assert "1: 1 executed the old function, 0 went on to the new one" in page
    assert "of a thread of the process that asks to run each 1.0 ms" in page
    assert "Looking for greenlets that are switched out held every thread" in page
    names = {event["args"]["name"] for event in _trace(shell) if event["name"] == "thread_name"}
    assert {"greenlet talk-0", "greenlet talk-1", "greenlet talk-2"} <= names


def _trace(shell: Shell) -> list[dict[str, Any]]:
    assert shell("report", "log.jsonl", "--perfetto", "trace.json").status == 0
    events: list[dict[str, Any]] = json.loads((shell.folder / "trace.json").read_text())["traceEvents"]
    return events


def test_top_shows_each_greenlet_and_counts_those_that_it_has_no_room_for(talking: Target, shell: Shell) -> None:
    done = shell("top", "--socket", talking.socket, "--count", "1", "--greenlets")
    assert "greenlet talk-1" in done.out
    assert "talks:converse:7" in done.out
    assert "switched out; the look for them held every thread for" in done.out
    look = shell("top", "--socket", talking.socket, "--count", "1", "--greenlets", "--json").json
    states = {task["name"]: task["patch_state"] for task in look["tasks"] if task["kind"] == "greenlet"}
    assert (states["talk-0"], states["talk-2"]) == (-1, -1)
    assert talking.ask("sys.modules['talks'].begin(597)") == 600
    client, end = Client(path=talking.socket), time.monotonic() + PATIENCE
    while client.everyone(greenlets=True)["greenlets"]["asleep"] != 600:  # the heap is not looked through each time
        assert time.monotonic() < end
        time.sleep(0.05)
    many = shell("top", "--socket", talking.socket, "--count", "1", "--greenlets")
    lines = many.out.splitlines()
    assert len(lines) < 70
    assert all(len(line) <= 80 for line in lines)
    shown = sum(line.startswith(("greenlet ", "thread ")) for line in lines)
    (rest,) = [line for line in lines if line.startswith("… and ")]
    threads = len([task for task in client.tasks() if task["kind"] == "thread"])
    assert shown + int(rest.split()[2]) >= 600 + threads - 1  # the ticker may have come, or gone


def test_top_looks_for_no_greenlets_unless_it_may(talking: Target, shell: Shell) -> None:
    done = shell("top", "--socket", talking.socket, "--count", "1")
    assert "greenlets: not looked for (--greenlets; the look holds every thread for a while)" in done.out
    assert "talk-1" not in done.out
    refused = shell("load", "fix.plp", "--socket", talking.socket, "--greenlets")
    assert (refused.status, "--greenlets is for --report and --events" in refused.err) == (1, True)

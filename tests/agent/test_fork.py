"""Processes that fork while they have an agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from targets import ROOT, Target, environment

from pylivepatch.agent.client import Client
from pylivepatch.errors import AgentNotFound

PREAMBLE = "import json, os, sys, threading, pylivepatch.agent as a; agent = a.start()\n"


@contextmanager
def program(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PREAMBLE + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(directory),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(json.loads(process.stdout.readline()))


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answering(pid: int, directory: Path) -> int:
    """The process id that answers for ``pid``; its agent may still be starting."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return int(Client(path=directory / f"{pid}.sock").info()["pid"])
        except AgentNotFound:
            if time.monotonic() > deadline:
                raise


def test_parent_and_child_each_answer_for_themselves(tmp_path: Path) -> None:
    code = """
child = os.fork()
if child == 0:
    sys.stdin.readline()
    sys.exit()
print(child, flush=True)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.readline()
"""
    with program(code, tmp_path / "run") as parent:
        child = read(parent)
        assert answering(child, tmp_path / "run") == child
        assert answering(parent.pid, tmp_path / "run") == parent.pid
        say(parent)
        read(parent)
        assert not (tmp_path / "run" / f"{child}.sock").exists(), "the child cleans up its own socket"
        assert answering(parent.pid, tmp_path / "run") == parent.pid, "and leaves its parent's"


def test_the_child_goes_on_when_the_parent_is_gone(tmp_path: Path) -> None:
    code = """
child = os.fork()
if child == 0:
    sys.stdin.readline()
    sys.exit()
print(child, flush=True)
os._exit(0)
"""
    with program(code, tmp_path / "run") as parent:
        child = read(parent)
        parent.wait(20)
        assert answering(child, tmp_path / "run") == child
        with pytest.raises(AgentNotFound):
            Client(path=tmp_path / "run" / f"{parent.pid}.sock").info()
        say(parent)


def test_a_child_of_a_child_has_its_own_agent(tmp_path: Path) -> None:
    code = """
if os.fork() == 0:
    grandchild = os.fork()
    if grandchild == 0:
        sys.stdin.readline()
        sys.exit()
    print(grandchild, flush=True)
    os.wait()
    sys.exit()
os.wait()
"""
    with program(code, tmp_path / "run") as parent:
        grandchild = read(parent)
        assert answering(grandchild, tmp_path / "run") == grandchild
        say(parent)


def test_forking_under_requests_blocks_nobody(tmp_path: Path) -> None:
    """Children that exit at once, and children that ask their own agent, while clients ask the parent's."""
    code = """
sys.stdin.readline()
for number in range(60):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
print(0, flush=True)
sys.stdin.readline()
"""
    with program(code, tmp_path / "run") as parent:
        answering(parent.pid, tmp_path / "run")
        stop, failures = threading.Event(), list[BaseException]()

        def ask() -> None:
            while not stop.is_set():
                try:
                    assert Client(path=tmp_path / "run" / f"{parent.pid}.sock").info()["pid"] == parent.pid
                except BaseException as error:
                    failures.append(error)
                    return

        askers = [threading.Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        say(parent)
        read(parent)
        stop.set()
        for asker in askers:
            asker.join()
        assert failures == []


def test_a_child_that_becomes_another_program_is_not_held_up(tmp_path: Path) -> None:
    code = """
child = os.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", "-c", "exit 7"])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    with program(code, tmp_path / "run") as parent:
        assert read(parent) == 7


def test_a_fork_while_a_load_runs_leaves_the_load_with_the_parent(tmp_path: Path, target: Target) -> None:
    assert target.ask("occupy()")
    from pylivepatch.build import build_patch

    patch = build_patch(tmp_path / "old", tmp_path / "new", name="fix")
    draining = threading.Event()
    outcome: list[dict[str, object]] = []

    def on_event(event: object) -> None:
        if dict(event)["event"] == "drain":  # type: ignore[call-overload]
            draining.set()

    loader = threading.Thread(
        target=lambda: outcome.append(Client(path=target.socket).load(patch, timeout=60, on_event=on_event))
    )
    loader.start()
    assert draining.wait(30)
    child = target.ask("(lambda pid: pid or threading.Event().wait())(os.fork())")
    assert answering(child, target.directory) == child
    assert Client(path=target.directory / f"{child}.sock").status()["work"] is None
    os.kill(child, 9)
    assert target.ask("leave.set()") is None
    loader.join(60)
    assert outcome[0]["patch"] == "fix"
    assert target.ask("price(2)") == 200

"""An agent in the test's own process, over an engine that does what the test says."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from types import SimpleNamespace
from typing import Any

from pylivepatch import errors, events
from pylivepatch.agent import runtime, server


class FakeEngine:
    """Loads what it is given, when ``go`` allows it. A patch's name is its bytes."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()
        self.finished = threading.Event()
        self.stack: list[Any] = []

    def decode(self, data: bytes) -> Any:
        return SimpleNamespace(name=data.decode())

    def portrait(self, modules: list[str], packages: list[str] | None) -> Any:
        for number in range(3):
            self.started.set()
            assert self.go.wait(30)
            yield {"portrait": f"part {number}", "symbols": {}, "asked": [modules, packages]}
        if modules == ["late"]:
            raise errors.TargetBusy("a patch came in between")

    def load(self, patch: Any, **options: Any) -> Any:
        if patch.name == "refused":
            raise errors.CodeMismatch("the live code differs", where="m:f", advice="build it anew")
        if patch.name == "broken":
            raise ZeroDivisionError("a bug")
        events.publish("prepare", patch.name)
        self.started.set()
        assert self.go.wait(30)
        if patch.name == "late":
            raise errors.TransitionTimeout("too late", holders=[{"kind": "thread", "name": "t"}])
        report = {"patch": patch.name, "action": "load", **options}
        applied = SimpleNamespace(name=patch.name, report=report, as_dict=lambda: {"name": patch.name})
        self.stack.append(applied)
        self.finished.set()
        return applied

    def unload(self, name: str, **options: Any) -> dict[str, Any]:
        for applied in self.stack:
            if applied.name == name:
                self.stack.remove(applied)
                return {"patch": name, "action": "unload", **options}
        raise errors.NotApplied(f"no {name}")

    def patches(self) -> tuple[Any, ...]:
        return tuple(self.stack)

    def status(self) -> dict[str, Any] | None:
        return None

    def taints(self) -> tuple[Any, ...]:
        return ()

    def reverse(self) -> dict[str, Any]:
        raise errors.NoTransition("none")

    def force(self) -> dict[str, Any]:
        return {"patch": "fix"}

    def signal(self) -> list[str]:
        return ["a loop"]


class Served:
    """An agent in this process, over a fake engine, and ways to talk to it."""

    def __init__(self, agent: server.Agent, engine: FakeEngine) -> None:
        self.agent = agent
        self.engine = engine

    def connect(self) -> socket.socket:
        return runtime.connect(self.agent.path, 10)

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and read until the agent closes."""
        with self.connect() as client:
            with contextlib.suppress(BrokenPipeError):  # it may have answered and hung up already
                client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, list[Any]]:
        """One request: its status, and the JSON lines of its answer."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self.connect()
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        lines = [json.loads(line) for line in response.read().splitlines()]
        connection.close()
        return response.status, lines

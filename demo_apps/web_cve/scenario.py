"""The story of the demo: a service under load is attacked, patched, attacked again, and unpatched.

Nothing is staged: Werkzeug is the release as it was, the patch is what the builder makes of two releases,
every step is a command that a person would type, and every number is measured while the ordinary users are
at work.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environment
from measure import Attack, Run, Traffic, Window
from processes import ChildFailed, Children
from screen import Screen

HERE = Path(__file__).resolve().parent
CONNECTIONS = 10
QUIET = 4.0  # seconds that we watch the service in quiet times
MEGABYTES = 24  # of the attacker's body
OLD, NEW = "3.0.0", "3.0.1"
SERVERS: dict[str, tuple[list[str], list[str]]] = {
    "werkzeug": ([], [str(HERE / "service.py")]),
    "gunicorn": (
        ["gunicorn>=22"],
        ["-m", "gunicorn", "-c", str(HERE / "gunicorn_settings.py"), "--chdir", str(HERE), "service:application"],
    ),
    "uvicorn": (["uvicorn>=0.30"], [str(HERE / "async_service.py")]),
}
"""What serves: the packages that it needs beside Werkzeug, and what is run with the agent in it."""


class Users:
    """The traffic process, and the counters that it prints while it runs."""

    def __init__(self, port: int, folder: Path, children: Children) -> None:
        self._path = folder / "traffic.json"
        command: list[str | Path] = [
            sys.executable,
            HERE / "traffic.py",
            str(port),
            str(CONNECTIONS),
            self._path,
        ]
        self._child = children.start(command, log=folder / "traffic.log")
        self._counters = {"served": 0, "failed": 0}
        self.flowing = threading.Event()
        self._reader = threading.Thread(target=self._read, name="counters", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._counters = json.loads(line)
            if self._counters["served"]:
                self.flowing.set()

    def __str__(self) -> str:
        return f"{self._counters['served']:,} requests served, {self._counters['failed']:,} failed"

    def stop(self) -> Traffic:
        """End the traffic and return everything that the users saw."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._reader.join()
        if self._child.wait() != 0:
            raise ChildFailed(f"the traffic failed\n{self._path.with_suffix('.log').read_text()}")
        return Traffic.read(self._path)


class Story:
    """One run. ``windows`` and ``attacks`` fill as it goes."""

    def __init__(self, folder: Path, children: Children, screen: Screen, server: str) -> None:
        self.folder = folder
        self.children = children
        self.screen = screen
        self.server = server
        self.windows: dict[str, Window] = {}
        self.attacks: dict[str, Attack] = {}

    def run(self) -> Run:
        screen = self.screen
        packages, _ = SERVERS[self.server]
        with screen.step(f"An environment of its own, with {' and '.join([environment.WERKZEUG, *packages])}"):
            python = environment.make(self.folder / "env", self.children, *packages)

        with screen.step("The service and its users") as step:
            service, port, pid = self.start_service(python)
            users = Users(port, self.folder, self.children)
            if not users.flowing.wait(30):
                raise ChildFailed("no request was served within 30 s of the start")
            step.say(f"process {pid}, under {CONNECTIONS} connections with small requests and file uploads")

        screen.watch(users)
        with screen.step("Quiet times"), self.window("before"):
            self.pylivepatch("list", "--pid", str(pid))
            time.sleep(QUIET)

        self.attack("service as it is", "before", port)

        plp = self.folder / "CVE-2023-46136.plp"
        with screen.step(f"pylivepatch build --dist werkzeug {OLD} {NEW}") as step:
            built = self.pylivepatch("build", "--dist", "werkzeug", OLD, NEW, "-o", str(plp))
            for change in changes(built):
                step.say(change)

        with screen.step(f"pylivepatch load {plp.name} --pid {pid}") as step, self.window("load"):
            load = self.pylivepatch("load", str(plp), "--pid", str(pid))
            step.say(*told(load))

        with screen.step("Quiet times, patched"), self.window("after"):
            self.pylivepatch("list", "--pid", str(pid))
            time.sleep(QUIET)

        self.attack("patched service", "patched", port)

        with screen.step(f"pylivepatch unload {load['patch']} --pid {pid}") as step, self.window("unload"):
            unload = self.pylivepatch("unload", load["patch"], "--pid", str(pid))
            step.say(*told(unload))

        self.attack("service without the patch", "unpatched", port)

        with screen.step("The end") as step:
            traffic = users.stop()
            if service.poll() is not None:
                raise ChildFailed(f"the service ended by itself\n{(self.folder / 'service.log').read_text()}")
            step.say(f"process {pid} is still there")
        return Run(
            python=platform.python_version(),
            pid=pid,
            traffic=traffic,
            windows=self.windows,
            attacks=self.attacks,
            megabytes=MEGABYTES,
            load=load,
            unload=unload,
            server=self.server,
        )

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.windows[name] = Window(begin, time.monotonic())

    def start_service(self, python: Path) -> tuple[subprocess.Popen[str], int, int]:
        """Start the service with the agent in it, and wait for its first line. Also returns its port, and the id of
        the process that answers: with gunicorn a child of the one that was started.
        """
        log = self.folder / "service.log"
        command: list[str | Path] = [python, "-m", "pylivepatch.agent.run", *SERVERS[self.server][1]]
        service = self.children.start(command, log=log, env=environment.clean())
        assert service.stdout is not None
        line = service.stdout.readline()
        if not line:
            raise ChildFailed(f"the service did not start\n{log.read_text()}")
        said = json.loads(line)
        return service, int(said["port"]), int(said["pid"])

    def attack(self, whom: str, name: str, port: int) -> None:
        """Send slow bodies and note their cost, and what the ordinary users felt meanwhile."""
        with self.screen.step(f"Attack on the {whom}") as step:
            with self.window(f"attack {name}"):
                output = self.children.run(
                    [sys.executable, HERE / "attack.py", str(port), str(MEGABYTES), "2"]
                )
            uploads = [Attack(**upload) for upload in json.loads(output)]
            attack = self.attacks[name] = min(uploads, key=lambda upload: upload.cpu_seconds)
            step.say(
                f"one upload of {MEGABYTES} MB took {attack.cpu_seconds:.2f} s of processor time "
                f"(the cheaper of {len(uploads)})"
            )

    def pylivepatch(self, *arguments: str) -> dict[str, Any]:
        """Run a command of pylivepatch as a person would, and return what ``--json`` prints."""
        output = self.children.run([sys.executable, "-m", "pylivepatch", *arguments, "--json"])
        result: dict[str, Any] = json.loads(output)
        return result


def changes(built: dict[str, Any]) -> Iterator[str]:
    """What the builder found, one line a change."""
    for change in built["changes"]:
        yield f"{change['code']} {change['module']}:{change['symbol']}: {change['message']}"


def told(report: dict[str, Any]) -> Iterator[str]:
    """What the engine says about a switch, in three lines."""
    yield "switched " + ", ".join(report["functions"])
    if "drain" in report["stages"]:
        yield "somebody was inside: entries and exits were counted until the old code was idle"
    else:
        yield "nobody was inside: one call checked and switched"
    stages = ", ".join(f"{stage} {seconds * 1e6:,.0f} µs" for stage, seconds in report["stages"].items())
    yield f"{stages}; every thread stood for at most {report['longest_hold'] * 1e6:,.0f} µs"

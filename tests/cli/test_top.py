"""``pylivepatch top`` and ``status --watch``: plain, as JSON, and on a terminal with keys."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from shell import Shell
from targets import Target

from pylivepatch.agent.client import Client
from pylivepatch.cli.top import View

PATIENCE = 60.0


def test_elsewhere_than_on_a_terminal_it_prints_a_block_for_each_look(target: Target, shell: Shell) -> None:
    done = shell("top", "--socket", target.socket, "--count", "2", "--interval", "0.01")
    assert done.status == 0
    assert done.out.count("no transition is under way") == 2
    assert "thread MainThread" in done.out
    assert "__main__:main" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_as_json_each_look_is_an_object_with_everybodys_patch_state(target: Target, shell: Shell) -> None:
    done = shell("status", "--watch", "--socket", target.socket, "--count", "2", "--interval", "0.01", "--json")
    looks = [json.loads(line) for line in done.out.splitlines()]
    assert [look["pid"] for look in looks] == [target.pid, target.pid]
    (main,) = [task for task in looks[0]["tasks"] if task["name"] == "MainThread"]
    assert (main["function"], main["patch_state"]) == ("__main__:main", -1)


def test_a_transition_and_who_holds_it_are_shown(target: Target, shell: Shell) -> None:
    patch = shell.build()
    assert target.ask("occupy()") is True
    with loading(shell, target, str(patch)):
        done = shell("top", "--socket", target.socket, "--count", "1")
        assert "load of fix: drain" in done.out
        assert "thread occupant" in done.out
        states = {task["name"]: task["patch_state"] for task in look(shell, target)["tasks"]}
        assert states["occupant"] == 0
    assert target.ask("leave.set()") is None


def test_keys_act_on_the_transition_and_ask_before_what_cannot_be_undone(target: Target, shell: Shell) -> None:
    patch = shell.build()
    assert target.ask("occupy()") is True
    with loading(shell, target, str(patch)) as load, terminal(shell, target) as screen:
        screen.until("drain")
        screen.press("f")
        screen.until("y does it")
        screen.press("n")
        screen.until("nothing was done")
        screen.press("r")
        screen.until("reverse: asked")
        screen.press("q")
        assert screen.process.wait(PATIENCE) == 0
        assert load.wait(PATIENCE) == 1
    assert Client(path=target.socket).patches() == []


def test_an_unload_that_was_asked_for_by_a_key_is_watched_and_reversed(target: Target, shell: Shell) -> None:
    assert shell("load", shell.build(), "--socket", target.socket).status == 0
    assert target.ask("occupy()") is True
    try:
        with terminal(shell, target) as screen:
            screen.until("no transition is under way")
            screen.press("u")
            screen.until("unload fix? y does it")
            screen.press("y")
            screen.until("unload of fix: drain")
            screen.press("r")
            screen.until("unload fix: PLP125")
            screen.press("q")
            assert screen.process.wait(PATIENCE) == 0
    finally:
        target.ask("leave.set()")
    assert [patch["name"] for patch in Client(path=target.socket).patches()] == ["fix"]


def look(shell: Shell, target: Target) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = shell(
        "top", "--socket", target.socket, "--count", "1", "--json"
    ).json
    return found


@contextmanager
def loading(shell: Shell, target: Target, patch: str) -> Iterator[subprocess.Popen[bytes]]:
    """A load that waits for the occupant, until the block ends."""
    command = shell.command("load", patch, "--socket", target.socket, "--timeout", "60")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    client = Client(path=target.socket)
    with subprocess.Popen(command, cwd=shell.folder, env=shell.environment, **quiet) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not (client.status()["transition"] or {}).get("holders"):
                assert time.monotonic() < end
                time.sleep(0.02)
            yield process
        finally:
            target.ask("leave.set()")
            process.wait(PATIENCE)


class Screen:
    """The command on a terminal of 80 columns, and everything that it drew."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process, self._descriptor, self._drawn = process, descriptor, ""

    def until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._drawn):
            assert time.monotonic() < end, self._drawn
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self._drawn += os.read(self._descriptor, 65536).decode(errors="replace")
        self._drawn = ""

    def press(self, key: str) -> None:
        os.write(self._descriptor, key.encode())


@contextmanager
def terminal(shell: Shell, target: Target) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm", "LINES": "40"}
    command = shell.command("top", "--socket", target.socket, "--interval", "0.1")
    process = subprocess.Popen(command, env=environment, cwd=shell.folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)




def test_gate_waits_and_the_worst_delay_are_lines_of_their_own_at_80_columns() -> None:
    ticker = {"interval": 0.001, "since": 0.0, "ticks": 12_345, "worst": 0.0123, "at": 0.0}
    gate = {"tries": 3, "waits": 1_700, "longest_wait": 0.05}
    transition = {"action": "load", "patch": "fix", "stage": "release", "counter": 20, "gate": gate, "holders": []}
    tasks = [{"kind": "thread", "name": f"worker-{n}", "function": "shop:price", "line": 7} for n in range(100)]
    view = View(Client(path="nowhere"), status={"transition": transition, "ticker": ticker}, tasks=tasks)
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(view.render(console, 24))
    lines = console.export_text().splitlines()
    assert "gate: 3 tries, 1,700 callers waited, the longest for 50.0 ms" in lines
    (delay,) = [line for line in lines if line.startswith("ticker: ")]
    assert re.fullmatch(r"ticker: worst delay 12\.3 ms, at \S+ \(12,345 ticks, one each 1\.0 ms\)", delay)
    assert len(lines) <= 24
    rows = sum(line.startswith("thread ") for line in lines)
    assert rows > 10
    assert f"… and {100 - rows} more" in [line.rstrip() for line in lines]


def test_who_waits_at_the_gate_is_a_line_and_not_among_those_who_hold_it() -> None:
    holder = {"kind": "thread", "name": "sitter", "function": "shop:hold", "file": "shop.py", "line": 7}
    kept = [{**holder, "kind": "task", "name": f"Task-{n}", "function": "shop:price"} for n in (100, 10, 2)]
    transition = {"action": "load", "patch": "fix", "stage": "release", "counter": 1, "holders": [holder]}
    all_of_them = "3 wait at the gate: task Task-2, task Task-10, task Task-100"
    for waiting, said in ((kept, all_of_them), (kept[:1], "1 waits at the gate: task Task-100")):
        view = View(Client(path="nowhere"), status={"transition": {**transition, "at_gate": waiting}})
        console = Console(width=80, height=24, file=io.StringIO(), record=True)
        console.print(view.render(console, 24))
        text = console.export_text()
        assert said in text
        assert text.count("shop:hold") == 1
        assert "shop:price" not in text


def test_many_who_wait_at_the_gate_take_one_line() -> None:
    kept = [{"kind": "thread", "name": f"worker-{n}"} for n in range(500)]
    transition = {"action": "load", "patch": "fix", "stage": "release", "counter": 1, "at_gate": kept}
    view = View(Client(path="nowhere"), status={"transition": transition})
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(view.render(console, 24))
    (line,) = [line for line in console.export_text().splitlines() if "worker" in line]
    assert line.startswith("500 wait at the gate: thread worker-0, thread worker-1, ")


def test_tasks_are_in_the_order_of_their_numbers() -> None:
    tasks = [{"kind": "task", "name": f"Task-{n}", "function": "shop:price", "line": 7} for n in (10, 9, 100, 1)]
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(View(Client(path="nowhere"), tasks=tasks).render(console, 24))
    assert re.findall(r"Task-\d+", console.export_text()) == ["Task-1", "Task-9", "Task-10", "Task-100"]


def test_long_names_and_many_holders_and_patches_leave_room_for_everything_else_at_80_columns() -> None:
    function = "a_package_with_a_long_name.of_a_service:OrdersRepository.find_all_orders_of_a_customer"
    holder = {"kind": "thread", "name": "one", "function": function, "file": f"/srv/{'folder/' * 12}f.py", "line": 7}
    transition = {"action": "load", "patch": "fix", "stage": "drain", "counter": 21, "holders": [holder] * 20}
    patches = [{"name": f"{n} {'name' * 20}", "functions": [], "forced": True, "tainted": True} for n in range(20)]
    tasks = [{"kind": "thread", "name": f"{n} {'name' * 20}", "function": function, "line": 7} for n in range(100)]
    status = {"transition": transition, "taints": [{"reason": "forced", "patch": "name" * 20}]}
    view = View(Client(path="nowhere"), status=status, tasks=tasks, patches=patches, said="said " * 40)
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(view.render(console, 24))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert len(lines) <= 24
    assert lines[-1].startswith("r reverse")
    assert "… and 19 more hold it" in lines
    marked = [line for line in lines if line.endswith("forced, tainted")]
    assert marked[-1].startswith("19 name")
    assert f"… {20 - len(marked)} older" in lines
    rows = [line for line in lines if line.endswith("orders_of_a_customer:7")]
    assert all(line.startswith("thread ") for line in rows)
    assert f"… and {100 - len(rows)} more" in lines


def test_what_may_be_pressed_is_shown_on_a_terminal_only(target: Target, shell: Shell) -> None:
    assert "q quit" not in shell("top", "--socket", target.socket, "--count", "1").out

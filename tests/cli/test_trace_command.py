"""``pylivepatch trace``, and a tracing over the agent."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from shell import Shell
from targets import Target

from pylivepatch.agent.client import Client
from pylivepatch.agent.traces import Traces
from pylivepatch.cli.output import Output
from pylivepatch.cli.trace import Options, trace
from pylivepatch.errors import AgentNotFound, NothingToTrace, NoTrace
from pylivepatch.tracing.records import Record, Traced

PATIENCE = 60.0


@pytest.fixture
def client(target: Target) -> Client:
    return Client(path=target.socket)


def test_the_calls_of_a_running_process_are_seen_and_nothing_is_left(target: Target, client: Client) -> None:
    before = target.ask("id(price.__code__)")
    tracing = client.trace(["__main__.*"], notrace=["*.main"])
    assert target.ask("id(price.__code__)") != before
    assert target.ask("[price(n) for n in range(700)][-1]") == 699 * 90
    tracing.stop()
    assert target.ask("id(price.__code__)") == before
    records = []
    while not tracing.ended:
        records += tracing.read()
    assert [record.sequence for record in records] == list(range(1400))
    assert {tracing.functions[record.function].name for record in records} == {"__main__.price"}
    assert tracing.lost == 0
    with pytest.raises(NoTrace):
        tracing.read()


def test_a_patch_is_loaded_into_functions_that_are_traced(target: Target, client: Client, shell: Shell) -> None:
    tracing = client.trace(["__main__.price"])
    client.load(shell.build())
    assert target.ask("price(1)") == 100
    client.unload("fix")
    assert target.ask("price(1)") == 90
    tracing.stop()
    kinds = [record.kind for record in tracing.read()]
    assert kinds == [3, 4, 0, 1, 3, 4, 0, 1]  # set aside, resumed, and a call; twice


def test_what_nobody_reads_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Tracer:
        functions: tuple[Any, ...] = ()
        refused: dict[str, str] = {}  # noqa: RUF012
        names: dict[int, tuple[str, int]] = {}  # noqa: RUF012
        lost = 0
        stopped = False

        def read(self, most: int | None = None) -> list[Any]:
            return []

        def stop(self) -> None:
            self.stopped = True

    traces, tracer = Traces(), Tracer()
    name = traces.add(tracer)["trace"]
    assert traces.deadline is not None
    now[0] = traces.deadline - 0.1
    traces.expire()
    assert traces.read(name, 0)["ended"] is False
    now[0] = traces.deadline - 0.1  # reading it has given it more time
    traces.expire()
    assert not tracer.stopped
    now[0] = traces.deadline
    traces.expire()
    assert tracer.stopped
    assert traces.deadline is None
    with pytest.raises(NoTrace):
        traces.read(name, 0)


def test_no_function_is_an_error_with_the_way_out(client: Client, target: Target, shell: Shell) -> None:
    with pytest.raises(NothingToTrace):
        client.trace(["nowhere.*"])
    done = shell("trace", "nowhere.*", "--socket", target.socket)
    assert (done.status, done.out) == (1, "")
    assert "PLP102" in done.err
    assert "module.qualname" in done.err


@pytest.mark.parametrize("format", ["text", "jsonl", "perfetto"])
def test_a_trace_is_written_in_each_format(target: Target, shell: Shell, format: str) -> None:
    command = shell.command("trace", "__main__.price", "--socket", target.socket, "--format", format, "-o", "trace")
    original = target.ask("id(price.__code__)")
    running = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with running:
        try:
            assert running.stderr is not None
            assert running.stderr.readline().startswith("tracing 1 function")
            assert target.ask("id(price.__code__)") != original
            assert target.ask("price(3)") == 270
            running.send_signal(signal.SIGINT)  # Ctrl-C
            _, err = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert running.returncode == 0, err
    text = Path(shell.folder, "trace").read_text()
    if format == "text":
        assert "|  __main__.price();" in text
    elif format == "jsonl":
        assert [json.loads(line)["event"] for line in text.splitlines()] == ["entry", "return"]
    else:
        assert [event["ph"] for event in json.loads(text)["traceEvents"]] == ["M", "B", "E"]
    assert target.ask("id(price.__code__)") == original


def test_of_a_process_that_ends_meanwhile_the_calls_until_then_are_written(tmp_path: Path) -> None:
    class Dying:
        functions = (Traced("shop.price", False),)
        refused: dict[str, str] = {}  # noqa: RUF012
        names = {1: ("MainThread", 1)}  # noqa: RUF012
        lost = 0
        left = [[Record(0, 1000, (1, "", ""), 0, 0)]]  # noqa: RUF012

        def read(self) -> list[Record]:
            if not self.left:
                raise AgentNotFound("there is no process")
            return self.left.pop()

    client = SimpleNamespace(pid=1, trace=lambda *_, **__: Dying())
    options = Options(("shop.*",), (), "function_graph", "perfetto", None, 0, 16, str(tmp_path / "trace"))
    with pytest.raises(AgentNotFound):
        trace(Output(), cast("Client", client), options)
    written = json.loads((tmp_path / "trace").read_text())["traceEvents"]
    assert [event["name"] for event in written if event["ph"] == "B"] == ["shop.price"]


def test_json_says_what_was_traced(target: Target, shell: Shell) -> None:
    done = shell("trace", "__main__.*", "--socket", target.socket, "--duration", "0.1", "-o", "trace", "--json")
    functions = [f"__main__.{name}" for name in ("hold", "main", "occupy", "price")]
    assert done.json == {"functions": functions, "refused": {}, "lost": 0}


def test_what_does_not_go_together_is_said(shell: Shell) -> None:
    assert "name a file" in shell("trace", "a.*", "--pid", "1", "--json").json["error"]["message"]
    assert "--depth" in shell("trace", "a.*", "--pid", "1", "--format", "jsonl", "--depth", "2").err

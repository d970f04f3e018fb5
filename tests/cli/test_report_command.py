"""``load --report`` and ``--events``, ``unload --report``, and ``report``: what really happened, in a file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from shell import Shell
from targets import Target

from pylivepatch.agent.client import Client
from pylivepatch.report import picture, read


def when_held(target: Target, act: Callable[[], object]) -> threading.Thread:
    """Do something once a holder of the transition has been seen a few times."""

    def run() -> None:
        client, seen, end = Client(path=target.socket), 0, time.monotonic() + 60
        while seen < 5 and time.monotonic() < end:
            seen += bool((client.status()["transition"] or {}).get("holders"))
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_load_is_reported_with_its_holder_and_its_commit(target: Target, shell: Shell) -> None:
    patch = shell.build()
    assert target.ask("occupy()") is True
    waiting = when_held(target, lambda: target.ask("leave.set()"))
    files = ("--report", "out.html", "--events", "log.jsonl")
    done = shell("load", patch, "--socket", target.socket, "--timeout", "60", *files, "--json")
    waiting.join()
    assert done.status == 0, done.err
    with open(shell.folder / "log.jsonl") as file:
        events = read(file, "log.jsonl")
    shown = picture(events)
    (commit,) = [event for event in events if event["event"] == "commit"]
    assert shown["commits"] == [[round(commit["time"] - events[0]["time"], 6), "load"]]
    (occupant,) = [lane for lane in shown["lanes"] if lane["name"] == "occupant"]
    old = [(begins, ends) for begins, ends, state, _ in occupant["spans"] if state == "old"]
    assert old
    assert old[0][0] < shown["stages"][0][1]  # it is in the function from before, though it stands in another
    assert old[-1][1] <= shown["commits"][0][0]
    assert {one["name"] for one in shown["holders"]} == {"occupant"}
    assert shown["result"]["stages"] == done.json["stages"]
    assert shown["functions"] == ["__main__:hold", "__main__:price"]

    again = shell("report", "log.jsonl", "-o", "again.html", "--perfetto", "trace.json", "--json")
    assert again.json == {"written": ["again.html", "trace.json"], "lanes": len(shown["lanes"])} | {
        "commits": shown["commits"]
    }
    page = (shell.folder / "out.html").read_text()
    assert page == (shell.folder / "again.html").read_text()
    assert "return quantity * 100" in page
    assert json.loads((shell.folder / "trace.json").read_text())["traceEvents"]


@pytest.mark.slow
def test_a_load_that_is_taken_back_has_a_report_too(target: Target, shell: Shell) -> None:
    patch = shell.build()
    assert target.ask("occupy()") is True
    waiting = when_held(target, lambda: Client(path=target.socket).reverse())
    done = shell("load", patch, "--socket", target.socket, "--timeout", "60", "--report", "out.html")
    waiting.join()
    assert target.ask("leave.set()") is None
    assert done.status == 1
    page = (shell.folder / "out.html").read_text()
    assert "Not done: PLP125" in page
    assert "thread occupant" in page


@pytest.mark.slow
def test_an_unload_is_reported_without_sources(target: Target, shell: Shell) -> None:
    assert shell("load", shell.build(), "--socket", target.socket).status == 0
    done = shell("unload", "fix", "--socket", target.socket, "--report", "out.html", "--json")
    assert done.status == 0, done.err
    assert "unload of fix" in (shell.folder / "out.html").read_text()


def test_where_the_report_cannot_be_written_nothing_is_begun(target: Target, shell: Shell) -> None:
    done = shell("load", shell.build(), "--socket", target.socket, "--report", "missing/out.html")
    assert (done.status, "PLP410" in done.err) == (1, True)
    assert Client(path=target.socket).patches() == []


@pytest.mark.parametrize("option", ["--report", "--events"])
def test_a_disk_that_is_full_by_then_leaves_the_word_on_how_the_load_went(
    target: Target, shell: Shell, option: str
) -> None:
    done = shell("load", shell.build(), "--socket", target.socket, option, "/dev/full", "--json")
    assert (done.status, done.json["patch"]) == (0, "fix")
    assert "/dev/full" in done.err
    assert "could not be written: [Errno 28]" in done.err
    again = shell("load", "fix.plp", "--socket", target.socket, option, "/dev/full", "--json")
    assert (again.status, again.json["error"]["code"]) == (1, "PLP117")


def test_report_refuses_what_is_no_log_and_asks_for_a_file_to_write(shell: Shell) -> None:
    (shell.folder / "log.jsonl").write_text("{}\n{}\n")
    done = shell("report", "log.jsonl", "-o", "out.html")
    assert (done.status, "not the event log of a transition" in done.err) == (1, True)
    assert not (shell.folder / "out.html").exists()
    assert "name a file to write" in shell("report", "log.jsonl").err

"""The client and the real engine in another process, end to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from targets import Target, other_python, service, write_trees

from pylivepatch import compiled, errors, patchfile
from pylivepatch.agent import client as client_module
from pylivepatch.agent import discovery
from pylivepatch.agent.client import Client, agents, error_from
from pylivepatch.build import build_patch
from pylivepatch.patch import Patch


@pytest.fixture
def fix(tmp_path: Path) -> Path:
    old, new = write_trees(tmp_path)
    path = tmp_path / "fix.plp"
    patchfile.write(build_patch(old, new, name="fix"), path)
    return path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process, as a client, looks for agents: where the service puts them."""
    monkeypatch.setenv("PYLIVEPATCH_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_a_patch_file_is_loaded_listed_and_unloaded(directory: Path, target: Target, fix: Path) -> None:
    client = Client(target.pid)
    assert target.ask("price(2)") == 180
    events: list[Mapping[str, Any]] = []
    report = client.load(fix, on_event=events.append)
    assert target.ask("price(2)") == 200
    assert report["patch"] == "fix"
    assert events[0]["event"] == "prepare"
    assert events[-1]["event"] == "commit"
    assert [patch["name"] for patch in client.patches()] == ["fix"]
    assert client.status()["last"]["result"] == report
    client.unload("fix")
    assert target.ask("price(2)") == 180
    assert client.patches() == []


def test_a_patch_object_is_loaded_too(directory: Path, target: Target, fix: Path) -> None:
    Client(target.pid).load(patchfile.read(fix))
    assert target.ask("price(2)") == 200


def test_info_says_what_a_client_must_know(directory: Path, target: Target) -> None:
    info = Client(path=target.socket).info()
    assert info["pid"] == target.pid
    assert info["optimize"] == 0
    assert info["argv"][-1] == "service.py"
    done = subprocess.run(
        [
            info["executable"],
            "-I",
            "-c",
            f"import sys; sys.path.append({info['importable_from']!r}); import pylivepatch",
        ],
        check=False,
    )
    assert done.returncode == 0


def test_errors_of_the_engine_come_back_as_themselves(directory: Path, target: Target, fix: Path) -> None:
    client = Client(target.pid)
    with pytest.raises(errors.NotApplied):
        client.unload("fix")
    client.load(fix)
    with pytest.raises(errors.PatchExists):
        client.load(fix)


def test_a_patch_against_other_code_is_refused(directory: Path, target: Target, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def price(quantity):\n    return quantity * 7\n")
    (tmp_path / "b.py").write_text("def price(quantity):\n    return quantity * 8\n")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "a.py").rename(tmp_path / "one" / "service.py")
    (tmp_path / "b.py").rename(tmp_path / "two" / "service.py")
    with pytest.raises(errors.PrepareError):
        Client(target.pid).load(build_patch(tmp_path / "one", tmp_path / "two", name="alien"))
    assert target.ask("price(2)") == 180


def test_a_time_out_names_who_holds_and_leaves_the_process_as_it_was(
    directory: Path, target: Target, fix: Path
) -> None:
    target.ask("occupy()")
    with pytest.raises(errors.TransitionTimeout) as late:
        Client(target.pid).load(fix, timeout=0.3)
    assert any(holder["name"] == "occupant" for holder in late.value.holders)
    assert target.ask("price(2)") == 180
    assert Client(target.pid).status()["last"]["error"]["code"] == "PLP120"


def test_status_shows_the_transition_and_its_holders_while_it_lasts(
    directory: Path, target: Target, fix: Path
) -> None:
    target.ask("occupy()")
    draining = threading.Event()

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "holders":
            draining.set()

    loader = threading.Thread(target=lambda: Client(target.pid).load(fix, timeout=60, on_event=on_event))
    loader.start()
    assert draining.wait(30)
    transition = Client(target.pid).status()["transition"]
    assert (transition["patch"], transition["stage"]) == ("fix", "drain")
    assert transition["holders"][0]["name"] == "occupant"
    with pytest.raises(errors.TargetBusy):
        Client(target.pid).unload("fix")
    target.ask("leave.set()")
    loader.join(60)
    assert target.ask("price(2)") == 200


def test_a_client_that_leaves_half_way_leaves_the_load_to_itself(
    directory: Path, target: Target, fix: Path
) -> None:
    target.ask("occupy()")

    def leave(event: Mapping[str, Any]) -> None:
        if event["event"] == "drain":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Client(target.pid).load(fix, timeout=60, on_event=leave)
    assert Client(target.pid).status()["work"] == {"action": "load", "patch": "fix"}
    target.ask("leave.set()")
    while Client(target.pid).status()["work"]:
        pass
    assert Client(target.pid).status()["last"]["result"]["patch"] == "fix"
    assert target.ask("price(2)") == 200


def test_a_target_at_another_optimization_level_gets_code_for_it(
    tmp_path: Path, directory: Path, fix: Path
) -> None:
    with service(tmp_path, flags=("-O",)) as target:
        assert Client(target.pid).info()["optimize"] == 1
        Client(target.pid).load(fix)
        assert target.ask("price(2)") == 200


@pytest.mark.skipif(other_python() is None, reason="there is no second Python here")
def test_a_target_of_another_python_gets_code_that_its_own_interpreter_made(
    tmp_path: Path, directory: Path, fix: Path
) -> None:
    python = other_python()
    assert python is not None
    with service(tmp_path, python=python) as target:
        assert Client(target.pid).info()["executable"] != sys.executable
        Client(target.pid).load(fix)
        assert target.ask("price(2)") == 200
        Client(target.pid).unload("fix")
        Client(target.pid).load(patchfile.read(fix))
        assert target.ask("price(2)") == 200


@pytest.mark.parametrize("wrong", [{"magic": b"\0\0\r\n"}, {"optimize": 2}])
def test_code_for_another_python_is_refused_by_the_target(
    directory: Path, target: Target, fix: Path, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    made = dataclasses.replace(compiled.compile_patch(patchfile.read(fix), optimize=0), **wrong)
    monkeypatch.setattr(Client, "_compile", lambda *_: made.to_bytes())
    with pytest.raises(errors.WrongPython):
        Client(target.pid).load(fix)
    assert target.ask("price(2)") == 180


def test_a_patch_of_live_functions_cannot_be_sent(directory: Path, target: Target) -> None:
    patch = Patch("by-hand").replace(write_trees, write_trees)
    with pytest.raises(errors.CompileError):
        Client(target.pid).load(patch)


def test_no_such_process_says_so(directory: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(errors.AgentNotFound, match=f"there is no process {child.pid}"):
        Client(child.pid).info()


def test_a_process_without_an_agent_says_how_to_start_one(directory: Path) -> None:
    with pytest.raises(errors.AgentNotFound, match="has no agent") as absent:
        Client(os.getppid()).info()
    assert "pylivepatch run" in absent.value.advice


def test_a_process_of_another_user_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_owner", lambda _pid: 4321)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(errors.AgentNotFound, match="belongs to another user"):
        Client(os.getpid()).info()


def test_an_ended_process_leaves_nothing_to_find(directory: Path, target: Target) -> None:
    assert target.end() == 0
    assert not target.socket.exists()
    with pytest.raises(errors.AgentNotFound, match="there is no"):
        Client(target.pid).info()


def test_a_killed_process_leaves_a_stale_socket_that_the_client_removes(
    directory: Path, target: Target
) -> None:
    target.process.kill()
    target.process.wait()
    assert target.socket.exists()
    with pytest.raises(errors.AgentNotFound):
        Client(target.pid).info()
    assert not target.socket.exists()


def test_a_stale_socket_of_a_process_that_lives_is_told_apart(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(directory / f"{os.getppid()}.sock"))
    with pytest.raises(errors.AgentNotFound, match="no agent any more"):
        Client(os.getppid()).info()


def test_a_socket_at_which_another_process_listens_is_not_taken(directory: Path, target: Target) -> None:
    """As after a process id was used again, or a file was moved."""
    target.socket.rename(directory / f"{os.getppid()}.sock")
    with pytest.raises(errors.AgentNotFound, match="no agent any more"):
        Client(os.getppid()).info()


def test_a_stopped_process_is_not_waited_for_without_end(
    directory: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT", 0.3)
    os.kill(target.pid, signal.SIGSTOP)
    os.waitpid(target.pid, os.WUNTRACED)  # until all its threads stand
    try:
        with pytest.raises(errors.AgentError, match="does not answer in time"):
            Client(target.pid).info()
    finally:
        os.kill(target.pid, signal.SIGCONT)


def test_something_else_that_listens_is_no_agent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "else.sock"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            connection.close()

        answering = threading.Thread(target=serve)
        answering.start()
        with pytest.raises(errors.AgentError, match="none of an agent's"):
            Client(path=tmp_path / "else.sock").info()
        answering.join()


@pytest.mark.parametrize("name", ["none.sock", "file"])
def test_a_path_that_is_no_socket_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.AgentError) as refusal:
        Client(path=tmp_path / name).info()
    assert refusal.value.where == str(tmp_path / name)


def test_an_unsafe_folder_is_not_trusted_by_the_client_either(directory: Path, target: Target) -> None:
    directory.chmod(0o755)
    with pytest.raises(errors.AgentError, match="not safe"):
        Client(target.pid).info()


def test_a_broken_patch_file_is_told_before_the_process_is_asked(tmp_path: Path) -> None:
    (tmp_path / "bad.plp").write_bytes(b"no zip")
    with pytest.raises(errors.PatchFileError):
        Client(path=tmp_path / "none.sock").load(tmp_path / "bad.plp")


def test_every_agent_of_the_user_is_listed(directory: Path, target: Target, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with service(tmp_path / "second", directory=directory) as second:
        assert {client.info()["pid"] for client in agents()} == {target.pid, second.pid}
        Client(target.pid).patches()
    assert {client.info()["pid"] for client in agents()} == {target.pid}


def test_an_agent_in_a_folder_of_its_own_environment_is_found_by_process_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a service manager set PYLIVEPATCH_DIR and the operator's shell has not."""
    monkeypatch.delenv("PYLIVEPATCH_DIR", raising=False)
    with service(tmp_path) as target:
        assert Client(target.pid).info()["pid"] == target.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_refused_by_the_agent(tmp_path: Path, target: Target) -> None:
    target.directory.chmod(0o711)  # as if the folder did not protect it
    target.socket.chmod(0o666)
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    code = """
import os, socket, sys
os.setuid(12345)
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
print(client.recv(1000).split(b"\\r\\n")[0].decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(target.socket)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == "HTTP/1.1 403 Forbidden", done.stderr


def test_an_unknown_error_keeps_its_code() -> None:
    error = error_from({"error": "FromTheFuture", "code": "PLP199", "message": "new"}, "")
    assert (type(error), error.code) == (errors.LivePatchError, "PLP199")
    assert error_from({"error": "Path", "message": "x"}, "").code == "PLP100"
    assert isinstance(error_from("nonsense", ""), errors.AgentError)

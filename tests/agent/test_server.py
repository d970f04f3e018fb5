"""What the agent's thread does with its clients, good and bad; the engine is a fake one."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import shutil
import socket
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import Served

from pylivepatch.agent import connection, native, server
from pylivepatch.agent.wire import MAX_BODY


def body(name: str, **more: Any) -> dict[str, Any]:
    return {"patch": base64.b64encode(name.encode()).decode(), **more}


def post(name: str) -> bytes:
    data = json.dumps(body(name)).encode()
    return b"POST /patches HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def test_the_socket_is_for_its_user_only(served: Served) -> None:
    path = Path(served.agent.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_gets_an_answer(served: Served) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--unix-socket", served.agent.path, "http://localhost/status"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout) == {
            "transition": None,
            "work": None,
            "last": None,
            "taints": [],
        }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_can_send_a_large_body(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body("fix")) + " " * 3_000_000)
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", served.agent.path, "-d", f"@{file}", "http://localhost/patches"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert "result" in json.loads(done.stdout.splitlines()[-1])


def test_start_again_gives_the_agent_that_runs(served: Served) -> None:
    assert server.start() is served.agent


def test_only_one_thread_is_there_while_nothing_is_loaded(served: Served) -> None:
    served.request("POST", "/patches", body("fix"))
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("pylivepatch")]
    assert names.count("pylivepatch-agent") == 1
    assert set(names) <= {"pylivepatch-agent", "pylivepatch-load"}


def test_stop_removes_the_socket_and_start_brings_it_back(tmp_path: Path) -> None:
    agent = server.start(str(tmp_path / "run"))
    agent.stop()
    assert not Path(agent.path).exists()
    again = server.start(str(tmp_path / "run"))
    assert Path(again.path).exists()
    again.stop()


def test_a_load_is_answered_line_by_line(served: Served) -> None:
    status, lines = served.request("POST", "/patches", body("fix", timeout=3, deep=True))
    assert status == 200
    assert lines[0]["event"] == "prepare"
    assert lines[-1] == {"result": {"patch": "fix", "action": "load", "timeout": 3.0, "deep": True}}
    assert served.request("GET", "/patches") == (200, [{"patches": [{"name": "fix"}]}])
    assert served.request("GET", "/patches/fix") == (200, [{"name": "fix"}])
    status, lines = served.request("DELETE", "/patches/fix?timeout=2.5&deep=1")
    assert (status, lines[-1]["result"]["timeout"], lines[-1]["result"]["deep"]) == (200, 2.5, True)
    assert served.request("GET", "/patches") == (200, [{"patches": []}])


def test_a_refusal_before_anything_happened_has_its_own_status(served: Served) -> None:
    status, (answer,) = served.request("POST", "/patches", body("refused"))
    assert (status, answer["error"]["code"], answer["error"]["advice"]) == (422, "PLP112", "build it anew")
    assert served.request("DELETE", "/patches/none")[0] == 404
    assert served.request("GET", "/patches/none")[0] == 404


def test_a_refusal_in_the_midst_of_it_is_the_last_line_and_names_the_holders(served: Served) -> None:
    status, lines = served.request("POST", "/patches", body("late"))
    assert status == 200
    assert lines[-1]["error"]["error"] == "TransitionTimeout"
    assert lines[-1]["error"]["details"]["holders"] == [{"kind": "thread", "name": "t"}]


def test_an_error_that_should_not_happen_is_told_and_the_agent_goes_on(served: Served) -> None:
    status, (answer,) = served.request("POST", "/patches", body("broken"))
    assert status == 500
    assert "ZeroDivisionError" in answer["error"]["message"]
    assert served.request("GET", "/status")[0] == 200


def test_a_process_that_begins_no_thread_any_more_says_so_and_goes_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_to_be_had(*_: Any) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(native, "start_thread", none_to_be_had)
        status, (answer,) = served.request("POST", "/patches", body("fix"))
    assert status == 501
    assert answer["error"]["code"] == "PLP101"
    assert "no thread any more: can't create" in answer["error"]["message"]
    assert served.request("POST", "/patches", body("fix"))[0] == 200


def test_status_is_answered_while_a_load_runs_and_a_second_load_is_refused(served: Served) -> None:
    served.engine.go.clear()
    with served.connect() as loader:
        loader.sendall(post("fix"))
        assert served.engine.started.wait(10)
        _, (state,) = served.request("GET", "/status")
        assert state["work"] == {"action": "load", "patch": "fix"}
        status, (answer,) = served.request("POST", "/patches", body("other"))
        assert (status, answer["error"]["code"]) == (409, "PLP113")
        served.engine.go.set()
        reply = b""
        while not reply.endswith(b"0\r\n\r\n"):
            reply += loader.recv(65536)
    assert b'{"result"' in reply


def test_a_client_that_goes_away_does_not_stop_the_load(served: Served) -> None:
    served.engine.go.clear()
    loader = served.connect()
    loader.sendall(post("fix"))
    assert served.engine.started.wait(10)
    loader.close()
    assert served.request("GET", "/status")[1][0]["work"]["patch"] == "fix"
    served.engine.go.set()
    assert served.engine.finished.wait(10)
    while (state := served.request("GET", "/status")[1][0])["work"]:
        pass  # the outcome is on its way from the worker to the agent's thread
    assert state["last"]["result"]["patch"] == "fix"
    assert served.request("GET", "/patches") == (200, [{"patches": [{"name": "fix"}]}])


def test_clients_that_hang_keep_nobody_waiting(served: Served) -> None:
    hanging = [served.connect() for _ in range(10)]
    for number, client in enumerate(hanging):
        client.sendall(post("fix")[: number * 8])
    assert served.request("GET", "/status")[0] == 200
    for client in hanging:
        client.close()
    assert served.request("GET", "/status")[0] == 200


def test_more_silent_clients_than_there_are_places_lose_theirs(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    silent = [served.connect() for _ in range(3 * server.MAX_CLIENTS + 5)]
    assert served.request("GET", "/status")[0] == 200
    for client in silent:
        assert client.recv(1) == b""
        client.close()


def test_a_client_that_does_not_read_its_answers_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 2.0)  # enough for the second client, also on a busy machine
    with served.connect() as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):  # its buffers are full, or it is out already
            while True:
                client.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert served.request("GET", "/status")[0] == 200
        client.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass  # what was sent before it was dropped


def test_requests_of_one_connection_are_answered_in_order(served: Served) -> None:
    answer = served.raw(
        post("fix") + b"GET /patches HTTP/1.1\r\n\r\n" + b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert (
        answer.index(b'{"result"') < answer.index(b'{"patches": [{"name": "fix"}]}') < answer.index(b" 404 ")
    )


def test_http_1_0_gets_its_lines_without_chunks(served: Served) -> None:
    answer = served.raw(post("fix").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert json.loads(answer.splitlines()[-1])["result"]["patch"] == "fix"


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    head, _, data = post("fix").partition(b"\r\n\r\n")
    with served.connect() as client:
        client.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(data)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("method", "path", "data", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/patches/", None, 404),
        ("POST", "/status", {}, 405),
        ("DELETE", "/patches", None, 405),
        ("PUT", "/patches/fix", {}, 405),
        ("HEAD", "/", None, 405),
        ("POST", "/patches", None, 400),
        ("POST", "/patches", [], 400),
        ("POST", "/patches", "x", 400),
        ("POST", "/patches", {}, 400),
        ("POST", "/patches", {"patch": 3}, 400),
        ("POST", "/patches", {"patch": "no base64!"}, 400),
        ("POST", "/patches", {"patch": "", "extra": 1}, 400),
        ("POST", "/patches", {"patch": "", "timeout": 0}, 400),
        ("POST", "/patches", {"patch": "", "timeout": "5"}, 400),
        ("POST", "/patches", {"patch": "", "timeout": True}, 400),
        ("POST", "/patches", {"patch": "", "timeout": float("nan")}, 400),
        ("POST", "/patches", {"patch": "", "timeout": float("inf")}, 400),
        ("POST", "/patches", {"patch": "", "deep": "yes"}, 400),
        ("DELETE", "/patches/fix?timeout=soon", None, 400),
        ("DELETE", "/patches/fix?timeout=-1", None, 400),
        ("DELETE", "/patches/fix?deep=maybe", None, 400),
        ("POST", "/patches", {"patch": "", "mode": "fast"}, 400),
        ("POST", "/patches", {"patch": "", "gate": "wide"}, 400),
        ("POST", "/patches", {"patch": "", "gate": 0}, 400),
        ("POST", "/patches", {"patch": "", "gate": 99}, 400),
        ("POST", "/patches", {"patch": "", "suspended": True}, 400),
        ("POST", "/patches", {"patch": "", "suspended": "allow", "mode": "per-task"}, 400),
        ("POST", "/patches", {"patch": "", "incremental": "yes"}, 400),
        ("POST", "/patches", {"patch": "", "incremental": True, "mode": "per-task"}, 400),
        ("DELETE", "/patches/fix?incremental=perhaps", None, 400),
        ("DELETE", "/patches/fix?mode=fast", None, 400),
        ("DELETE", "/patches/fix?gate=wide", None, 400),
        ("DELETE", "/patches/fix?patch=fix", None, 400),
        ("GET", "/status/reverse", None, 405),
        ("POST", "/status/undo", {}, 404),
        ("POST", "/portrait", {"modules": "all"}, 400),
        ("POST", "/portrait", {"packages": [3]}, 400),
        ("POST", "/portrait", {"module": ["m"]}, 400),
        ("GET", "/portrait", None, 405),
        ("POST", "/status/reverse", {}, 409),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    served: Served, method: str, path: str, data: Any, status: int
) -> None:
    assert served.request(method, path, data)[0] == status
    assert served.request("GET", "/status")[0] == 200


def test_a_portrait_comes_part_by_part(served: Served) -> None:
    status, lines = served.request("POST", "/portrait", {"modules": ["m"], "packages": ["p"]})
    assert (status, [line.get("portrait") for line in lines]) == (200, ["part 0", "part 1", "part 2", None])
    assert lines[0]["asked"] == [["m"], ["p"]]
    assert lines[-1] == {"result": {}}
    _, lines = served.request("POST", "/portrait", {"modules": ["late"]})
    assert lines[-1]["error"]["code"] == "PLP113"
    assert served.request("GET", "/status")[1][0]["last"] is None  # nothing was changed


def test_no_patch_is_loaded_while_a_portrait_is_made(served: Served) -> None:
    served.engine.go.clear()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(served.request, "POST", "/portrait", {})
        assert served.engine.started.wait(30)
        status, (answer,) = served.request("POST", "/patches", {"patch": "Zml4"})
        served.engine.go.set()
        assert made.result(30)[0] == 200
    assert (status, answer["error"]["code"]) == (409, "PLP113")
    assert "a portrait is under way" in answer["error"]["message"]


def test_what_the_user_chose_reaches_the_engine(served: Served) -> None:
    chosen = {"mode": "per-task", "gate": None, "suspended": "hold", "incremental": False}
    _, lines = served.request("POST", "/patches", body("fix", **chosen))
    assert lines[-1]["result"] == {"patch": "fix", "action": "load", **chosen}
    _, lines = served.request("DELETE", "/patches/fix?mode=stop-machine&gate=none&suspended=hold")
    assert lines[-1]["result"]["gate"] is None
    assert lines[-1]["result"]["mode"] == "stop-machine"


def test_a_transition_is_forced_and_signalled(served: Served) -> None:
    assert served.request("POST", "/status/force", {})[1] == [{"asked": "force", "transition": {"patch": "fix"}}]
    assert served.request("POST", "/status/signal")[1] == [{"asked": "signal", "woken": ["a loop"]}]


def test_405_says_what_is_allowed(served: Served) -> None:
    assert b"\r\nAllow: GET, DELETE\r\n" in served.raw(
        b"PUT /patches/x HTTP/1.1\r\nConnection: close\r\n\r\n"
    )


def test_deeply_nested_json_is_refused(served: Served) -> None:
    data = b"[" * 200_000
    head = b"POST /patches HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    assert served.raw(head + data).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_is_too_great_is_refused_before_it_is_sent(served: Served) -> None:
    head = b"POST /patches HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
    assert served.raw(head + b"x" * 300_000).startswith(b"HTTP/1.1 413 ")
    assert served.request("GET", "/status")[0] == 200


def test_noise_is_answered_with_400_and_the_agent_goes_on(served: Served) -> None:
    assert served.raw(b"\x16\x03\x01\r\n\r\n" + b"\xff" * 10_000).startswith(b"HTTP/1.1 400 ")
    assert served.request("GET", "/status")[0] == 200


def test_a_peer_of_another_user_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.runtime, "peer", lambda _sock: (12345, None))
    assert served.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_a_process_without_free_file_descriptors_is_served_again_later(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ACCEPT_PAUSE", 0.05)
    accept, tries = server.native.accept, list[int]()

    def exhausted_at_first(listener: socket.socket) -> socket.socket:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(server.native, "accept", exhausted_at_first)
    assert served.request("GET", "/status")[0] == 200
    assert len(tries) >= 3


def test_a_half_closed_client_still_gets_its_answer(served: Served) -> None:
    served.engine.go.clear()
    with served.connect() as client:
        client.sendall(post("fix"))
        client.shutdown(socket.SHUT_WR)
        assert served.engine.started.wait(10)
        served.engine.go.set()
        reply = b"".join(iter(lambda: client.recv(65536), b""))
    assert b'{"result"' in reply

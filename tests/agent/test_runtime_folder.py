from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pylivepatch.agent import runtime, server
from pylivepatch.errors import AgentError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


def dead_socket(path: Path) -> None:
    """What a process leaves that was killed."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_the_folder_is_the_one_that_is_asked_for_else_the_users_own(tmp_path: Path) -> None:
    uid = os.geteuid()
    assert runtime.default_directory({"PYLIVEPATCH_DIR": "/x/y", "XDG_RUNTIME_DIR": str(tmp_path)}) == "/x/y"
    assert runtime.default_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) == str(tmp_path / "pylivepatch")
    assert runtime.default_directory({}) == f"/tmp/pylivepatch-{uid}"


def test_another_users_xdg_folder_is_not_ours(tmp_path: Path) -> None:
    """As it is after `su`."""
    assert runtime.default_directory({"XDG_RUNTIME_DIR": str(tmp_path)}, uid=os.geteuid() + 1).startswith(
        "/tmp/"
    )
    assert runtime.default_directory({"XDG_RUNTIME_DIR": str(tmp_path / "none")}).startswith("/tmp/")


def test_the_folder_is_made_for_its_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        runtime.prepare_directory(str(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_symlinked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(AgentError, match="symbolic link"):
        server.start(str(tmp_path / "link"))
    assert not list((tmp_path / "real").iterdir())


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o701, 0o770, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(AgentError, match="others may enter it") as refusal:
        server.start(str(tmp_path / "open"))
    assert "chmod 700" in refusal.value.advice


def test_a_folder_where_others_could_swap_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(AgentError, match="others may rename it"):
        server.start(str(tmp_path / "shared" / "run"))
    (tmp_path / "shared").chmod(0o1777)  # as /tmp is
    server.start(str(tmp_path / "shared" / "run")).stop()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match="no folder"):
        server.start(str(tmp_path / "file"))
    with pytest.raises(AgentError, match="cannot be made"):
        server.start(str(tmp_path / "file" / "below"))


@as_root
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(AgentError, match="belongs to user 12345"):
        server.start(str(tmp_path / "theirs"))


@pytest.mark.skipif(sys.platform != "linux", reason="there is no way round elsewhere")
def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    agent = server.start(str(tmp_path / ("x" * 120) / ("y" * 120)))
    try:
        assert len(agent.path) > 250
        runtime.connect(agent.path, 5).close()
        assert not runtime.remove_if_stale(agent.path)
    finally:
        agent.stop()
    assert not os.path.exists(agent.path)


def test_a_path_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_DESCRIPTORS", str(tmp_path / "no-proc"))
    with pytest.raises(AgentError, match=r"the socket's path has \d+ bytes") as refusal:
        server.start(str(tmp_path / ("x" * 120)))
    assert "PYLIVEPATCH_DIR" in refusal.value.advice


def test_sockets_of_dead_processes_are_removed_at_start_and_others_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, half = folder / f"{child.pid}.sock", folder / f"{child.pid}.sock.new"
    dead_socket(dead)
    dead_socket(half)
    kept = folder / "notes.txt"
    kept.write_text("")
    alive = folder / f"{os.getppid()}.sock"
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(alive))
    live.listen()
    agent = server.start(str(folder))
    try:
        runtime.connect(agent.path, 5).close()
        # The agent cleans up before it serves; its answer means that it has.
        with runtime.connect(agent.path, 5) as client:
            client.sendall(b"GET /status HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert client.recv(10)
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            [alive.name, kept.name, Path(agent.path).name]
        )
    finally:
        agent.stop()
        live.close()


def test_a_stale_socket_of_our_own_process_id_is_replaced(tmp_path: Path) -> None:
    """Process ids are used again."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    dead_socket(folder / f"{os.getpid()}.sock")
    agent = server.start(str(folder))
    runtime.connect(agent.path, 5).close()
    agent.stop()


def test_a_socket_of_our_process_id_at_which_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    """Two containers that share the folder."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / f"{os.getpid()}.sock"))
        other.listen()
        with pytest.raises(AgentError, match="answers at this process's socket already"):
            server.start(str(folder))
        runtime.connect(str(folder / f"{os.getpid()}.sock"), 5).close()


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "1.sock").write_text("precious")
    assert not runtime.remove_if_stale(str(tmp_path / "1.sock"))
    assert (tmp_path / "1.sock").read_text() == "precious"


def test_a_killed_process_leaves_a_socket_that_is_known_to_be_stale(tmp_path: Path) -> None:
    code = (
        f"import pylivepatch.agent as a; print(a.start({str(tmp_path / 'run')!r}).path, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        path = child.stdout.readline().strip()
        assert not runtime.remove_if_stale(path)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert os.path.exists(path)
        assert runtime.remove_if_stale(path)
        assert not os.path.exists(path)

"""Finding the agent of a process, and telling why there is none."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

from pylivepatch.agent import runtime
from pylivepatch.errors import AgentError, AgentNotFound

CONNECT_TIMEOUT = 5.0
_HOW_TO_START = (
    "start the program with `pylivepatch run …`, or call pylivepatch.agent.start() in it; "
    "where its socket lies elsewhere, name it with --socket"
)


def open_process(pid: int) -> tuple[socket.socket, str]:
    """Connect to the agent of a process. Returns the connection and the socket's path.

    :raises AgentNotFound: there is no such process, or it has no agent, or is somebody else's
    :raises AgentError: its runtime folder is not safe, or it does not answer
    """
    owner = _owner(pid)
    if owner is None:
        for directory in runtime.known_directories():
            with suppress(AgentError):
                runtime.check_directory(directory, os.geteuid())
                runtime.remove_if_stale(runtime.socket_path(directory, pid))
        raise AgentNotFound(
            f"there is no process {pid}",
            where=f"pid {pid}",
            advice="`pylivepatch list` names the processes with an agent",
        )
    if os.geteuid() not in (owner, 0):
        raise AgentNotFound(
            f"process {pid} belongs to another user (uid {owner}), and only they and root reach its agent",
            where=f"pid {pid}",
            advice="run this command as that user",
        )
    directories = _directories(pid, owner)
    stale = ""
    for directory in directories:
        path = runtime.socket_path(directory, pid)
        if not os.path.lexists(path):
            continue
        runtime.check_directory(directory, owner)
        with suppress(AgentNotFound):
            return open_socket(path, pid=pid), path
        stale = path
    if stale:
        raise AgentNotFound(
            f"process {pid} has no agent any more: nobody listens at its socket",
            where=stale,
            advice="it has ended, has stopped its agent, or has become another program. " + _HOW_TO_START,
        )
    raise AgentNotFound(
        f"process {pid} has no agent",
        where=f"pid {pid} (looked in {', '.join(directories)})",
        advice=_HOW_TO_START,
    )


def open_socket(path: str, *, pid: int | None = None) -> socket.socket:
    """Connect to an agent's socket. A stale one is removed where it is in a runtime folder.

    :raises AgentNotFound: there is no such socket, nobody listens at it, or, with ``pid``, another process
        does
    :raises AgentError: it does not answer, or is somebody else's
    """
    try:
        connection = runtime.connect(path, CONNECT_TIMEOUT)
    except FileNotFoundError as error:
        raise AgentNotFound("there is no such socket", where=path, advice=_HOW_TO_START) from error
    except ConnectionRefusedError as error:
        if runtime.pid_of(path) is not None:
            with suppress(OSError):
                runtime.remove_if_stale(path)
        raise AgentNotFound(
            "nobody listens at the socket: its process has ended, or has stopped its agent",
            where=path,
            advice=_HOW_TO_START,
        ) from error
    except (TimeoutError, BlockingIOError) as error:
        raise hangs(path) from error
    except OSError as error:
        raise AgentError(
            f"the socket cannot be reached: {error.strerror or error}",
            where=path,
            advice="only the process's own user and root may connect"
            if error.errno in (errno.EACCES, errno.EPERM)
            else "name the socket of a pylivepatch agent",
        ) from error
    try:
        uid, peer_pid = runtime.peer(connection)
        if os.geteuid() not in (uid, 0) and uid != 0:
            raise AgentError(
                f"the process at the other end belongs to another user (uid {uid})",
                where=path,
                advice="trust no agent of another user",
            )
        if pid is not None and peer_pid is not None and peer_pid != pid:
            raise AgentNotFound(f"process {peer_pid} listens at the socket of process {pid}", where=path)
    except BaseException:
        connection.close()
        raise
    return connection


def hangs(path: str) -> AgentError:
    return AgentError(
        "the agent does not answer in time",
        where=path,
        advice="the process may be stopped, or in a long call into C that keeps the GIL; try again",
    )


def sockets() -> Iterator[str]:
    """Every socket of this user's agents. Stale ones are removed.

    :raises AgentError: a runtime folder is there and is not safe
    """
    for directory in runtime.known_directories():
        if not os.path.lexists(directory):
            continue
        runtime.check_directory(directory, os.geteuid())
        names = [name for name in os.listdir(directory) if runtime.pid_of(name) is not None]
        for name in sorted(names, key=lambda name: runtime.pid_of(name) or 0):
            path = os.path.join(directory, name)
            if not runtime.remove_if_stale(path):
                yield path


def _owner(pid: int) -> int | None:
    """User id of a process; ``None`` where there is no such process."""
    with suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return None
    except PermissionError:
        return -1  # there, and not ours; who it is, only /proc would tell
    return os.geteuid()


def _directories(pid: int, owner: int) -> list[str]:
    """Where the agent of this process may have its socket: as our environment says, and as its own does."""
    found = runtime.known_directories() if owner == os.geteuid() else []
    with suppress(OSError):
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = [entry.partition(b"=") for entry in file.read().split(b"\0")]
        environ = {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}
        found += runtime.known_directories(environ, owner)
    if not found:
        found = runtime.known_directories({}, owner)
    return list(dict.fromkeys(found))

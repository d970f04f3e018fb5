"""Where agents are found: the runtime folder, its sockets, and who may be at the other end.

Whoever reaches an agent runs code in its process, so everything here fails closed. The folder is made with
mode 0700 and is refused when it is a symlink, belongs to somebody else, can be entered by others, or lies
where others could swap it. A socket is bound under another name, made 0600, set listening, and only then
renamed to ``<pid>.sock``: a name that is there answers, so a refused connection means that its owner is gone.
That test does not depend on process ids, which are used again. Server and client both ask the kernel who is
at the other end.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from pylivepatch.agent import native
from pylivepatch.errors import AgentError

SUFFIX = ".sock"
_UNPUBLISHED = ".sock.new"
_DESCRIPTORS = "/proc/self/fd"
_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # sizeof(sockaddr_un.sun_path) less the closing NUL


def default_directory(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """The runtime folder of the user ``uid`` (default: this process's) under these environment variables.

    ``$XDG_RUNTIME_DIR`` counts only where it is that user's own folder, as its specification demands; after
    ``su`` or in a container it often is not.
    """
    uid = os.geteuid() if uid is None else uid
    if explicit := environ.get("PYLIVEPATCH_DIR"):
        return os.path.abspath(explicit)
    if xdg := environ.get("XDG_RUNTIME_DIR"):
        with suppress(OSError):
            info = os.stat(xdg)
            if stat.S_ISDIR(info.st_mode) and info.st_uid == uid:
                return os.path.join(os.path.abspath(xdg), "pylivepatch")
    return f"/tmp/pylivepatch-{uid}"


def known_directories(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> list[str]:
    """Every folder where an agent of this user may have put its socket, likeliest first.

    A service started by init has no ``$XDG_RUNTIME_DIR`` while its operator's shell has one, and the other
    way round.
    """
    uid = os.geteuid() if uid is None else uid
    if environ.get("PYLIVEPATCH_DIR"):
        return [default_directory(environ, uid)]
    found = [
        default_directory(environ, uid),
        default_directory({"XDG_RUNTIME_DIR": f"/run/user/{uid}"}, uid),
        f"/tmp/pylivepatch-{uid}",
    ]
    return list(dict.fromkeys(found))


def prepare_directory(directory: str) -> None:
    """Make the runtime folder, or make sure that the one that is there is safe.

    :raises AgentError: it cannot be made, or :func:`check_directory` refuses it
    """
    try:
        os.makedirs(os.path.dirname(directory), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    except OSError as error:
        raise AgentError(
            f"the runtime folder for agents' sockets cannot be made: {error.strerror}",
            where=directory,
            advice="set PYLIVEPATCH_DIR to a folder that this user can make",
        ) from error
    check_directory(directory, os.geteuid())


def check_directory(directory: str, uid: int) -> None:
    """Make sure that nobody but ``uid`` (and root) can reach, or swap, what lies in ``directory``.

    :raises AgentError: it is no folder, a symlink, somebody else's, open to others, or in a folder where
        others
        may rename it
    """

    def refuse(why: str, advice: str) -> AgentError:
        return AgentError(f"the runtime folder is not safe: {why}", where=directory, advice=advice)

    elsewhere = "remove it, or set PYLIVEPATCH_DIR to a folder of your own"
    try:
        info = os.lstat(directory)
        parent = os.stat(os.path.dirname(directory))
    except OSError as error:
        raise refuse(f"it cannot be looked at ({error.strerror})", elsewhere) from error
    if stat.S_ISLNK(info.st_mode):
        raise refuse("it is a symbolic link, and whoever made it decides where it leads", elsewhere)
    if not stat.S_ISDIR(info.st_mode):
        raise refuse("it is no folder", elsewhere)
    if info.st_uid != uid:
        raise refuse(f"it belongs to user {info.st_uid}, not to user {uid}", elsewhere)
    if info.st_mode & 0o077:
        mode = stat.S_IMODE(info.st_mode)
        raise refuse(f"others may enter it (mode {mode:04o}, not 0700)", f"chmod 700 {directory}")
    if parent.st_uid not in (uid, 0) or (parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX):
        raise refuse(
            "it lies in a folder where others may rename it",
            "set PYLIVEPATCH_DIR to a folder inside one that only you, or root, can write to",
        )


def socket_path(directory: str, pid: int) -> str:
    return os.path.join(directory, f"{pid}{SUFFIX}")


def pid_of(path: str) -> int | None:
    """The process id in a socket's name, if it is one of ours."""
    name = os.path.basename(path)
    stem = name.removesuffix(SUFFIX)
    return int(stem) if name.endswith(SUFFIX) and stem.isascii() and stem.isdigit() else None


@contextmanager
def _address(path: str) -> Iterator[str]:
    """A name for ``path`` that fits into a socket address.

    Linux reaches a file with a longer path by way of its folder's file descriptor; elsewhere there is no way
    round.
    """
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield path
        return
    folder, name = os.path.split(path)
    if not os.path.isdir(_DESCRIPTORS) or len(os.fsencode(name)) > _PATH_LIMIT - 30:
        raise AgentError(
            f"the socket's path has {len(os.fsencode(path))} bytes, and this system takes {_PATH_LIMIT}",
            where=path,
            advice="set PYLIVEPATCH_DIR to a folder with a shorter path, for the target and for the command",
        )
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def listen(directory: str, pid: int) -> tuple[socket.socket, str]:
    """Open the socket of process ``pid`` for listening, readable for its user only from its first moment on.

    :raises AgentError: the folder is not safe, the path is too long, or a live agent answers there
    """
    if not _knows_peers():
        raise AgentError(
            "this system cannot tell who is at the other end of a socket, so the agent does not serve here",
            where=sys.platform,
            advice="call pylivepatch.load() in the process itself",
        )
    prepare_directory(directory)
    path = socket_path(directory, pid)
    unpublished = path.removesuffix(SUFFIX) + _UNPUBLISHED
    if os.path.lexists(path) and not remove_if_stale(path):
        raise AgentError(
            "an agent answers at this process's socket already, and it is none of this process",
            where=path,
            advice="containers that share a folder can have equal process ids: set PYLIVEPATCH_DIR for each",
        )
    server = native.new_socket()
    try:
        with suppress(FileNotFoundError):
            os.unlink(unpublished)
        with _address(unpublished) as address:
            server.bind(
                address
            )  # nobody else can enter the folder, so the mode between these two lines is no matter
        os.chmod(unpublished, 0o600)
        server.listen(64)
        server.setblocking(False)
        os.rename(unpublished, path)
    except OSError as error:
        server.close()
        raise AgentError(
            f"the agent's socket cannot be made: {error.strerror or error}",
            where=path,
            advice="set PYLIVEPATCH_DIR to a folder on a file system that takes sockets",
        ) from error
    except BaseException:
        server.close()
        raise
    return server, path


def connect(path: str, timeout: float | None) -> socket.socket:
    """Connect to an agent's socket.

    :raises OSError: as ``socket.connect`` does; ``BlockingIOError`` where the time is up
    :raises AgentError: the path is too long
    """
    client = native.new_socket()
    try:
        if timeout == 0:
            client.setblocking(False)
        elif timeout is not None:
            # A socket with Python's kind of time-out does not wait where the listener's queue is full.
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with _address(path) as address:
            client.connect(address)
        client.settimeout(timeout)
    except BaseException:
        client.close()
        raise
    return client


def remove_if_stale(path: str) -> bool:
    """Remove a socket on which nobody listens any more. Returns whether it is gone."""
    try:
        before = os.lstat(path)
        if not stat.S_ISSOCK(before.st_mode):
            return False
        connect(path, 0.0).close()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.ECONNREFUSED:
            return False  # a full queue (EAGAIN) or no right to ask: somebody may well be there
    else:
        return False
    with suppress(FileNotFoundError):
        if os.lstat(path).st_ino != before.st_ino:
            return False
        os.unlink(path)
    return True


def remove_stale(directory: str) -> None:
    """Remove what dead agents left in the runtime folder. What cannot be removed stays: it harms nobody."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)
        with suppress(OSError, AgentError):
            # A live process's socket is its own business: it may be between two steps, and a look would wake
            # it.
            if name.endswith(SUFFIX) and not _alive(name.removesuffix(SUFFIX)):
                remove_if_stale(path)
            elif name.endswith(_UNPUBLISHED) and not _alive(name.removesuffix(_UNPUBLISHED)):
                os.unlink(path)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True


def _knows_peers() -> bool:
    return hasattr(socket, "SO_PEERCRED") or hasattr(socket, "LOCAL_PEERCRED")


def peer(connection: socket.socket) -> tuple[int, int | None]:
    """User id of the process at the other end, and its process id where the system tells (Linux).

    :raises OSError: as ``getsockopt`` does
    """
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return uid, pid or None
    # macOS, FreeBSD: struct xucred, at level SOL_LOCAL, which is 0
    _version, uid = struct.unpack_from("=II", connection.getsockopt(0, socket.LOCAL_PEERCRED, 128))  # type: ignore[attr-defined,unused-ignore]
    return uid, None

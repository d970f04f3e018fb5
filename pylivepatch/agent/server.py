"""The agent in the target: one daemon thread that serves the process's patch stack over a Unix socket.

The problem: a service must not notice its agent. So there is one thread and no more while nothing is loaded;
it sleeps in ``poll`` without a time-out, holds no lock that the application could want, and no client can
make it wait, be it slow, silent, gone half-way, or malicious: every socket is non-blocking, every client has
a deadline, a size limit and a place among at most :data:`MAX_CLIENTS`. A load runs on a second thread that
ends with it (:mod:`pylivepatch.agent.work`), so that ``status`` is answered meanwhile. Neither thread has
more of the standard library on its stack while it waits than every thread has: no patch waits for the agent
that loads it.

Fork: the child is left with copies of the parent's sockets and without the parent's thread. Its after-fork
handler closes the copies (which the parent does not notice) and starts an agent of its own; what takes time,
making its socket, is left to the new thread, so that a child that execs or exits at once loses little. Socket
files carry the process id, and each process removes its own only.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pylivepatch.agent import native, runtime
from pylivepatch.agent.connection import Connection
from pylivepatch.agent.routes import Routes
from pylivepatch.agent.wire import BadRequest
from pylivepatch.agent.work import Engine, Outcome, Work, Worker, error_as_dict, status_of
from pylivepatch.errors import LivePatchError

log = logging.getLogger("pylivepatch.agent")

MAX_CLIENTS = 32
_ACCEPT_PAUSE = 1.0  # seconds until the next try where the process has no file descriptor left
_FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}


class Agent:
    """The agent of this process. Made by :func:`start`; ``path`` is its socket, ``""`` until it is there."""

    def __init__(self, directory: str, engine: Engine) -> None:
        self.directory = directory
        self.engine = engine
        self.pid = os.getpid()
        self.path = ""
        self._listener: socket.socket | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller = native.new_poll()
        self._clients: dict[int, Connection] = {}
        self._worker = Worker(engine, self._wake)
        self._routes = Routes(engine, self._worker)
        self._work: Work | None = None
        self._waiting: Connection | None = None  # the client that gets the lines of _work
        self._accept_at: float | None = None
        self._stopping = False
        self._join: Callable[[], None] | None = None

    # --- life -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the socket.

        :raises pylivepatch.errors.AgentError: the folder is not safe, or the socket cannot be made
        """
        self._listener, self.path = runtime.listen(self.directory, self.pid)

    def start(self) -> None:
        self._join = native.start_thread(self._run, "pylivepatch-agent")

    def stop(self) -> None:
        """Stop serving and remove the socket. Work under way goes on to its end."""
        self._stopping = True
        self._remove_socket()
        self._wake()
        if self._join is not None:
            self._join()
        _forget(self)

    def abandon(self) -> None:
        """In a forked child: let go of the copies of the parent's sockets. The parent keeps its own."""
        self._stopping = True
        if self._worker.current is not None:
            self._worker.current.abandoned = True
        for client in list(self._clients.values()):
            client.close()
        self._close()

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for descriptor in (self._wake_read, self._wake_write):
            with suppress(OSError):
                os.close(descriptor)
        self._wake_read = self._wake_write = -1

    def _remove_socket(self) -> None:
        if self.path and self.pid == os.getpid():
            with suppress(OSError):
                os.unlink(self.path)

    def _wake(self) -> None:
        """Make the agent's thread look. Called from any thread; takes no lock, never waits."""
        with suppress(OSError):  # full: it will look anyway; closed: it is gone
            os.write(self._wake_write, b"\0")

    # --- the agent's thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        # A signal delivered to this thread would not interrupt the main thread's system call.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
        try:
            if self._listener is None:
                self.open()
            runtime.remove_stale(self.directory)
            self._serve()
        except LivePatchError as error:
            log.warning("process %d has no agent: %s", self.pid, error)
        except BaseException:
            log.exception("the agent of process %d ends: this is an error in pylivepatch", self.pid)
        finally:
            for client in list(self._clients.values()):
                client.close()
            self._worker.traces.end()
            self._remove_socket()
            self._close()

    def _serve(self) -> None:
        assert self._listener is not None
        listener = self._listener.fileno()
        self._poller.register(self._wake_read, select.POLLIN)
        self._poller.register(listener, select.POLLIN)
        while not self._stopping:
            for descriptor, mask in self._poller.poll(self._patience()):
                if descriptor == listener:
                    self._accept()
                elif descriptor == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif client := self._clients.get(descriptor):
                    self._attend(client, mask)
            self._pass_on()
            self._tidy(listener)

    def _patience(self) -> float | None:
        """Milliseconds until some client's patience is up; ``None``, for ever, while there is none."""
        deadlines = [c.deadline for c in self._clients.values() if not (c.streaming and not c.wants_write)]
        deadlines += [at for at in (self._accept_at, self._worker.traces.deadline) if at is not None]
        return max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock = native.accept(self._listener)
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise
            self._accept_at = (
                time.monotonic() + _ACCEPT_PAUSE
            )  # else poll would return at once, again and again
            return
        try:
            uid, _pid = runtime.peer(sock)
        except OSError:  # it went before we could ask
            sock.close()
            return
        client = Connection(sock)
        self._clients[client.fd] = client
        self._poller.register(client.fd, select.POLLIN)
        if uid not in (os.geteuid(), 0):
            client.refuse(
                HTTPStatus.FORBIDDEN, {"error": "Forbidden", "code": "PLP400", "message": "not your process"}
            )

    def _attend(self, client: Connection, mask: int) -> None:
        if mask & select.POLLOUT:
            client.on_writable()
        if (
            not client.closed
            and client.wants_read
            and mask & (select.POLLIN | select.POLLHUP | select.POLLERR)
        ):
            client.on_readable()
        elif not client.closed and mask & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            client.close()
        self._answer(client)

    def _answer(self, client: Connection) -> None:
        """Answer every request that is whole; one whose answer is streamed stops the ones behind it."""
        while client.ready and not client.closed and not client.streaming:
            try:
                answer = self._routes.answer(client.ready)
            except BadRequest as error:
                shape = {
                    "error": "BadRequest",
                    "code": "PLP400",
                    "message": error.message,
                    "advice": error.advice,
                }
                client.answer(error.status, {"error": shape}, allow=error.allow)
            except Exception as error:
                if not isinstance(error, LivePatchError):
                    log.exception("%s %s failed", client.ready.method, client.ready.path)
                client.answer(status_of(error), {"error": error_as_dict(error)})
            else:
                if isinstance(answer, Work):
                    client.streaming = True
                    self._work, self._waiting = answer, client
                    self._pass_on()
                else:
                    client.answer(*answer)

    def _pass_on(self) -> None:
        """Send what the work has told to the client that asked for it, if that is still there."""
        while (work := self._work) is not None and work.items:
            item = work.items.popleft()
            client = self._waiting
            if not isinstance(item, Outcome):
                if client is not None:
                    client.send_line(item.as_dict())
                continue
            self._work = self._waiting = self._worker.current = None
            if client is not None:
                client.end_stream(item.status, item.value)
                self._answer(client)

    def _tidy(self, listener: int) -> None:
        """Drop clients that went or wait no longer, and tell ``poll`` what to wait for with the others."""
        for descriptor, client in list(self._clients.items()):
            if not client.closed and client.out_of_patience:
                client.close()
            if client.closed:
                # Closing a file descriptor does not take it out of the poll object, and its number is used
                # again.
                del self._clients[descriptor]
                self._poller.unregister(descriptor)
                if self._waiting is client:
                    self._waiting = None
            else:
                reads = select.POLLIN if client.wants_read else 0
                self._poller.modify(descriptor, reads | (select.POLLOUT if client.wants_write else 0))
        self._worker.traces.expire()
        if self._accept_at is not None and time.monotonic() >= self._accept_at:
            self._accept_at = None
        paused = self._accept_at is not None or len(self._clients) >= MAX_CLIENTS
        self._poller.modify(listener, 0 if paused else select.POLLIN)


# --- one agent a process ------------------------------------------------------------------------------------

_agent: Agent | None = None
_lock = threading.Lock()
_registered = False


def start(directory: str | None = None, engine: Engine | None = None) -> Agent:
    """Start this process's agent, or return the one that runs. ``engine`` differs in tests only."""
    global _agent, _registered
    with _lock:
        if _agent is not None and _agent.pid == os.getpid():
            return _agent
        agent = Agent(os.path.abspath(directory or runtime.default_directory()), engine or _engine())
        try:
            agent.open()
            agent.start()
        except BaseException:
            agent._remove_socket()
            agent.abandon()
            raise
        _agent = agent
        if not _registered:
            # Everything the child's agent needs is imported by now: after a fork, another thread's half-done
            # import would never end.
            os.register_at_fork(after_in_child=_after_fork_in_child)
            atexit.register(_at_exit)
            _registered = True
    return agent


def current() -> Agent | None:
    """This process's agent, if it has one."""
    return _agent


def _forget(agent: Agent) -> None:
    global _agent
    with _lock:
        if _agent is agent:
            _agent = None


def _after_fork_in_child() -> None:
    global _agent, _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    if (parents := _agent) is None:
        return
    _agent = None
    parents.abandon()
    try:
        agent = Agent(parents.directory, parents.engine)
        agent.start()
    except (
        OSError,
        RuntimeError,
    ) as error:  # no file descriptor, no thread to be had: the fork itself goes on
        log.warning("process %d, a forked child, has no agent: %s", os.getpid(), error)
    else:
        _agent = agent


def _at_exit() -> None:
    """Remove the socket. The thread is not waited for: it is a daemon, and may be at work for a client."""
    if _agent is not None:
        _agent._remove_socket()


def _engine() -> Any:
    """The real engine: :mod:`pylivepatch.core`, with the reading of shipped patches beside it."""
    from pylivepatch import compiled, core, live, tracing, underway
    from pylivepatch.activeness.everyone import about_greenlets as all_about_greenlets
    from pylivepatch.activeness.everyone import everyone as all_threads_and_tasks
    from pylivepatch.taints import taints as all_taints

    class CoreEngine:
        load = staticmethod(core.load)
        unload = staticmethod(core.unload)
        patches = staticmethod(core.patches)
        status = staticmethod(underway.status)
        reverse = staticmethod(underway.reverse)
        force = staticmethod(underway.force)
        signal = staticmethod(underway.signal)
        taints = staticmethod(all_taints)
        portrait = staticmethod(live.portrait)
        trace = staticmethod(tracing.start)
        everyone = staticmethod(all_threads_and_tasks)
        about_greenlets = staticmethod(all_about_greenlets)
        decode = staticmethod(compiled.CompiledPatch.from_bytes)

    return CoreEngine()

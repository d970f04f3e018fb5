"""One client of the agent: bytes in, bytes out, and when its patience is up. It never blocks."""

from __future__ import annotations

import socket
import time
from http import HTTPStatus
from typing import Any

from pylivepatch.agent import wire

PATIENCE = 30.0  # seconds for a client to send its request, to take its answer, or to send the next request
LINGER = 2.0  # seconds in which we drop what a refused client still sends, so that it can read why
_MAX_UNREAD = 4 * 1024 * 1024  # bytes of answer that a client may leave unread
_AT_ONCE = 64 * 1024


class Connection:
    """A client and what it has sent and not yet got.

    ``ready`` is the request that waits for its answer. While it is set nothing more is read, so that clients
    get one answer at a time. ``streaming`` means that the answer comes line by line, at its own time.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.ready: wire.Request | None = None
        self.streaming = False
        self.closed = False
        self._in = bytearray()
        self._out = bytearray()
        self._head: wire.Request | None = None
        self._close_after = False
        self._dropping = False
        self._stream_begun = False
        self.deadline = time.monotonic() + PATIENCE

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    @property
    def wants_read(self) -> bool:
        return self.ready is None

    @property
    def out_of_patience(self) -> bool:
        return not (self.streaming and not self._out) and time.monotonic() > self.deadline

    def close(self) -> None:
        self.closed = True
        self.sock.close()

    def on_readable(self) -> None:
        """Take what came. Sets ``ready`` once a request is whole, ``closed`` when the client is gone."""
        try:
            data = self.sock.recv(_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not data:
            self.close()
        elif not self._dropping:
            if not self._in and self._head is None:
                self.deadline = time.monotonic() + PATIENCE
            self._in += data
            self.advance()

    def advance(self) -> None:
        """Make a request of what has come so far, if it is enough."""
        if self.ready or self._dropping:
            return
        try:
            if self._head is None:
                self._head = wire.take_head(self._in)
                if self._head is None:
                    return
                if self._head.expects_continue and len(self._in) < self._head.length:
                    self._send(wire.CONTINUE)
            if len(self._in) < self._head.length:
                return
        except wire.BadRequest as error:
            self.refuse(error.status, {"error": "BadRequest", "code": "PLP400", "message": error.message})
            return
        request, self._head = self._head, None
        request.body = bytes(self._in[: request.length])
        del self._in[: request.length]
        self.ready = request

    def refuse(self, status: HTTPStatus, error: dict[str, Any]) -> None:
        """Answer what is no request. Nothing that follows can be understood, so it is dropped."""
        self._send(wire.answer(status, {"error": error}, keep_alive=False))
        self._dropping = self._close_after = True
        self.ready = None
        self._in.clear()
        self._flush()

    def answer(self, status: HTTPStatus, value: Any, *, allow: str = "") -> None:
        """Send the whole answer to ``ready``."""
        assert self.ready is not None
        self._send(wire.answer(status, value, keep_alive=self.ready.keep_alive, allow=allow))
        self._done()

    def send_line(self, value: Any) -> None:
        """Send one line of a streamed answer, and its head before the first."""
        if self.closed:
            return
        assert self.ready is not None
        line = wire.dumps(value)
        if not self._stream_begun:
            self._stream_begun = True
            keep_alive = self.ready.keep_alive and self.ready.chunks
            self._send(wire.stream_head(keep_alive=keep_alive, chunks=self.ready.chunks))
        self._send(wire.chunk(line) if self.ready.chunks else line)
        self._flush()

    def end_stream(self, status: HTTPStatus, value: Any) -> None:
        """Send the last line. With no line before it, the answer is an ordinary one with its own status."""
        self.streaming = False
        if self.closed:
            return
        assert self.ready is not None
        if not self._stream_begun:
            self.answer(status, value)
            return
        self.send_line(value)
        if self.closed:
            return
        self._stream_begun = False
        if self.ready.chunks:
            self._send(wire.LAST_CHUNK)
        else:
            self.ready.keep_alive = False
        self._done()

    def _done(self) -> None:
        assert self.ready is not None
        self._close_after = not self.ready.keep_alive
        self.ready = None
        self.deadline = time.monotonic() + PATIENCE
        self._flush()
        if not self.closed and not self._close_after:
            self.advance()

    def _send(self, data: bytes) -> None:
        if not self._out:
            self.deadline = time.monotonic() + PATIENCE
        self._out += data
        if len(self._out) > _MAX_UNREAD:
            self.close()

    def on_writable(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self.closed:
            return
        try:
            while self._out:
                sent = self.sock.send(self._out[:_AT_ONCE])
                del self._out[:sent]
                self.deadline = time.monotonic() + PATIENCE
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not self._close_after:
            return
        if not self._dropping:
            self.close()
            return
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._close_after = False
        self.deadline = time.monotonic() + LINGER

"""The operating system's own threads, sockets and ``poll``, also where gevent has put its own in their place.

``monkey.patch_all()`` makes greenlets of new threads. An agent, or the thread that loads for it, would then
run only when the application's event loop has nothing to do, and each would wait for the other.
"""

from __future__ import annotations

import _thread  # noqa: F401  these three are looked up by name, in sys.modules
import os
import select  # noqa: F401
import socket
import sys
import threading
import time  # noqa: F401
from collections.abc import Callable
from typing import Any


def _original(module: str, name: str) -> Any:
    """What ``module.name`` was before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched(module):
        return monkey.get_original(module, name)
    return getattr(sys.modules[module], name)


def start_thread(run: Callable[[], None], name: str) -> Callable[[], None]:
    """Run ``run`` on a new daemon thread. Returns what waits for its end.

    :raises RuntimeError: there is no thread to be had
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("_thread"):
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread.join
    ended = new_lock()
    ended.acquire()

    def body() -> None:
        try:
            run()
        finally:
            ended.release()

    def join() -> None:
        with ended:
            pass

    _original("_thread", "start_new_thread")(body, ())
    return join


def new_socket(descriptor: int | None = None) -> socket.socket:
    """A Unix stream socket, new or of this descriptor."""
    made: socket.socket = _original("socket", "socket")(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
    return made


def accept(listener: socket.socket) -> socket.socket:
    """``listener.accept()``, which would make one of gevent's sockets.

    :raises OSError: as ``accept`` does
    """
    descriptor, _address = listener._accept()  # type: ignore[attr-defined]
    try:
        os.set_inheritable(descriptor, False)
        return new_socket(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def new_lock() -> Any:
    """A ``_thread.lock``."""
    return _original("_thread", "allocate_lock")()


def sleep() -> Callable[[float], None]:
    """``time.sleep``, as the system has it."""
    found: Callable[[float], None] = _original("time", "sleep")
    return found


def new_poll() -> Any:
    """A ``select.poll`` object."""
    return _original("select", "poll")()

"""gunicorn's settings for the service: one worker with threads. It says its port and process when it is ready."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

bind = "127.0.0.1:0"
workers = 1
worker_class = "gthread"
threads = 16  # more than users and attacker together
keepalive = 300  # seconds: the users' connections stay open
timeout = 300  # seconds without a sign of life, also under attack
errorlog = "-"


def post_worker_init(worker: Any) -> None:
    """Called in the worker, whose parent is gunicorn's arbiter."""
    (listener,) = worker.sockets
    print(json.dumps({"port": listener.sock.getsockname()[1], "pid": os.getpid()}), flush=True)

    def end_with_parent() -> None:
        for _ in sys.stdin:
            pass
        os.kill(os.getppid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, name="end-with-parent", daemon=True).start()

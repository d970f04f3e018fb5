"""The server: a thread with a hub, and a conversation with each client, in a greenlet of its own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Self

import service
from hubs import Hub

PATIENCE = 60.0  # seconds until the demo says that something does not come about


class Conversation:
    """With one client: ``lines`` answered so far, by which versions, and the last reply."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines = 0
        self.replies: Counter[service.Reply] = Counter()
        self.last: service.Reply = ("", "")
        self.slow = False  # its next line waits for the backend
        self.asleep = False  # inside the function
        self.woken: service.Reply = ("", "")  # the reply that it slept in


class Server:
    """Serves from :meth:`__enter__` to :meth:`__exit__`, which raises what failed in a conversation."""

    def __init__(self, hub: Hub, clients: int) -> None:
        self.hub = hub
        self.conversations = [Conversation(f"client-{n}") for n in range(clients)]
        self._over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server")

    def _run(self) -> None:
        try:
            self.hub.run([(one.name, partial(self._converse, one)) for one in self.conversations])
        except BaseException as error:
            self._error = error

    def _converse(self, conversation: Conversation) -> None:
        while not self._over:
            slow = conversation.slow
            reply = service.answer(conversation.lines + 1, partial(self._ask_backend, conversation))
            if slow:
                conversation.woken, conversation.slow = reply, False
            conversation.last = reply
            conversation.replies[reply] += 1
            conversation.lines += 1
            self.hub.pause()

    def _ask_backend(self, conversation: Conversation) -> None:
        if conversation.slow:
            conversation.asleep = True
            self.hub.wait()
            conversation.asleep = False
        else:
            self.hub.nap()

    def stall(self, count: int) -> list[Conversation]:
        """Have the backend let so many clients wait. Returns them, asleep in the midst of a reply."""
        chosen = self.conversations[:count]
        self.hub.stalled = True
        for one in chosen:
            one.slow = True
        self.wait_until(lambda: all(one.asleep for one in chosen), "clients to fall asleep")
        return chosen

    def wake(self) -> None:
        self.hub.stalled = False

    def lines(self) -> int:
        return sum(one.lines for one in self.conversations)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Look again and again. Raises :class:`TimeoutError` where it does not come about."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._error is not None:
                raise self._error
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_until(lambda: all(one.lines for one in self.conversations), "every client to be served")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over = True
        self.wake()
        self._thread.join(PATIENCE)
        if self._error is not None and exc_info[0] is None:
            raise self._error

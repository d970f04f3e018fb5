"""What runs the greenlets, in a thread of its own: a loop of a few lines for plain greenlets, or gevent's hub."""

from __future__ import annotations

import importlib
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Hub(Protocol):
    """Called in the hub's thread only, but for ``stalled``, which is read there and set by others."""

    name: str
    stalled: bool

    def run(self, conversations: list[tuple[str, Callable[[], None]]]) -> None:
        """Run all of them, each in a greenlet of that name, until they have ended."""

    def pause(self) -> None:
        """Let the others run, between two lines of a conversation."""

    def nap(self) -> None:
        """What each reply waits for the backend."""

    def wait(self) -> None:
        """Sleep until the hub is ``stalled`` no more."""


class Plain:
    """Greenlets by turns. Who waits is looked at again when the backend is not stalled any more."""

    name = "plain greenlets"

    def __init__(self) -> None:
        self.stalled = False
        self._greenlet: Any = importlib.import_module("greenlet")
        self._ready: deque[Any] = deque()
        self._waiting: list[Any] = []
        self._hub: Any = None

    def run(self, conversations: list[tuple[str, Callable[[], None]]]) -> None:
        self._hub = self._greenlet.getcurrent()
        for name, conversation in conversations:
            greenlet = self._greenlet.greenlet(conversation)
            greenlet.name = name
            self._ready.append(greenlet)
        while self._ready or self._waiting:
            for _ in range(len(self._ready)):
                self._ready.popleft().switch()
            if not self.stalled:
                self._ready += self._waiting
                self._waiting.clear()
            time.sleep(0.005)

    def pause(self) -> None:
        self._ready.append(self._greenlet.getcurrent())
        self._hub.switch()

    def nap(self) -> None:
        """No time at all: who naps here would always be inside, and no gate can keep plain greenlets waiting."""

    def wait(self) -> None:
        while self.stalled:
            self._waiting.append(self._greenlet.getcurrent())
            self._hub.switch()


class Gevent:
    """gevent, without its monkey patching: the hub of this thread."""

    name = "gevent"

    def __init__(self) -> None:
        self.stalled = False
        self._gevent: Any = importlib.import_module("gevent")

    def run(self, conversations: list[tuple[str, Callable[[], None]]]) -> None:
        greenlets = []
        for name, conversation in conversations:
            greenlet = self._gevent.spawn(conversation)
            greenlet.name = name
            greenlets.append(greenlet)
        self._gevent.joinall(greenlets, raise_error=True)

    def pause(self) -> None:
        self._gevent.sleep(0.5 + random.random())

    def nap(self) -> None:
        self._gevent.sleep(0.005)

    def wait(self) -> None:
        while self.stalled:
            self._gevent.sleep(0.02)

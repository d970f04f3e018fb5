"""The counter, step by step: customers enter and leave ``place`` on command while a patch is loaded or unloaded.

Everything that is shown is read from the process at that moment: stage and counter from ``pylivepatch.status()``, the
stacks from ``sys._current_frames()``. Only the customers' pace is the demo's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import service
from load import PATIENCE, Customer, wait_until
from screen import Screen

import pylivepatch

EXPECTED = [1, 2, 3, 2, 1, 2, 1, 0]
"""What the entries and exits of :func:`walk` make of the counter."""


class Walk:
    """One load or unload, with what was seen of it."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.counters: list[int] = []
        self.report: dict[str, Any] = {}
        self.right = True  # every customer was charged the right amount
        self._error: BaseException | None = None
        self._before = id(service.place.__code__)  # not the object: a reference would count as a call
        self._inside: list[Customer] = []
        self._all: list[Customer] = []

    def run(self, transition: Callable[[], dict[str, Any]]) -> None:
        """``transition`` loads or unloads without a gate, and returns the report."""
        thread = threading.Thread(target=self._carry_out, args=(transition,), name="patcher")
        try:
            anna = self._enter("anna")
            self._show("anna is inside, on the body that goes", counter=None)
            thread.start()
            wait_until(lambda: self._at("drain"), "the stage drain")
            self._show("enable: hooks are in. The bias is 1", counter=1)
            ben = self._enter("ben")
            self._show("ben enters (atomic_inc_not_zero)", counter=2)
            carl = self._enter("carl")
            self._show("carl enters", counter=3)
            self._leave(ben)
            self._show("ben leaves (atomic_dec_if_positive)", counter=2)
            self._leave(anna)
            wait_until(lambda: self._at("release"), "the stage release")
            self._show("anna leaves, all is drained: bias dropped", counter=1)
            dora = self._enter("dora")
            self._show("dora enters: counted as well", counter=2)
            self._leave(carl)
            self._show("carl leaves", counter=1)
            self._leave(dora)
            thread.join(PATIENCE)
            self._show("dora leaves: zero, her thread commits", counter=0)
            emil = self._enter("emil")
            self._show("emil enters: new body, and no hook", counter=None)
            self._leave(emil)
        finally:
            for customer in self._inside:
                customer.leave()
            if thread.ident is not None:
                thread.join()
            for customer in self._all:
                customer.go_home()
        if self._error is not None:
            raise self._error

    def _carry_out(self, transition: Callable[[], dict[str, Any]]) -> None:
        try:
            self.report = transition()
        except BaseException as error:
            self._error = error

    def _at(self, stage: str) -> bool:
        if self._error is not None:
            raise self._error
        status = pylivepatch.status()
        return status is not None and status["stage"] == stage

    def _enter(self, name: str) -> Customer:
        customer = Customer(name).enter()
        self._all.append(customer)
        self._inside.append(customer)
        return customer

    def _leave(self, customer: Customer) -> None:
        customer.leave()
        self._inside.remove(customer)
        self.right = self.right and customer.charged == service.right(1)

    def _show(self, what: str, counter: int | None) -> None:
        """Read the counter, which must become ``counter``, and print it with everyone's stack."""
        status = pylivepatch.status()
        if counter is not None:
            found = 0 if status is None else int(status["counter"])
            self.counters.append(found)
        stage = "no transition" if status is None else f"{status['stage']:<13}"
        number = "-" if status is None else status["counter"]
        self.screen.say(f"{stage:<13}  counter {number}   {what}")
        for customer in self._inside:
            self.screen.say(f"    {customer.thread.name:<5} {self._stack(customer.thread)}")
        self.screen.beat(0.6)

    def _stack(self, thread: threading.Thread) -> str:
        """The service's part of the thread's stack. No frame is kept: it would hold the transition."""
        names: list[str] = []
        frame: FrameType | None = sys._current_frames().get(thread.ident or 0)
        while frame is not None:
            name = frame.f_code.co_name
            if frame.f_globals is vars(service):
                name += f" [{self._kind(id(frame.f_code))}]"
            if frame.f_globals is vars(service) or name == "pay":
                names.append(name)
            frame = frame.f_back
        return " > ".join(reversed(names))

    def _kind(self, code: int) -> str:
        if code == self._before:
            return "before, not counted"
        return "counted, by hooks" if pylivepatch.status() is not None else "after"

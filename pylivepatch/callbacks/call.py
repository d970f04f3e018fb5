"""One callback on a thread of its own: waited for until a limit, in a queue with the others of its patch."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any, Literal

from pylivepatch import events
from pylivepatch.callbacks.order import Context, Function, Name

Status = Literal["done", "refused", "failed", "late", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a callback ended. ``error`` is text: an exception would keep the frames, and so the code, that it passed."""

    patch: str
    callback: Name
    status: Status
    seconds: float
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "done"

    @property
    def taints(self) -> bool:
        """Whether the process is now in a state that the patch's author did not mean."""
        return not self.ok and self.callback != "pre_patch"

    def as_dict(self) -> dict[str, Any]:
        return {"callback": self.callback, "status": self.status, "seconds": self.seconds, "error": self.error}


class Call:
    """One callback on a thread of its own, which first waits for the patch's former one."""

    def __init__(
        self, context: Context, function: Function, behind: Call | None, *, if_it_succeeded: bool = False
    ) -> None:
        self.error: BaseException | None = None
        self.succeeded = False
        self.context, self._function = context, function
        self._behind, self._conditional = behind, if_it_succeeded
        self._verdict: dict[str, Outcome] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name=f"livepatch {context.patch} {context.callback}",
            daemon=True,
        )
        self._owner: dict[str, str] = {}
        self._begun = time.monotonic()

    def start(self) -> None:
        """Raises :class:`RuntimeError` where no thread is to be had."""
        self._thread.start()

    def withdraw(self) -> bool:
        """Whether it will not run: :meth:`start` was interrupted before the thread had begun."""
        return self._owner.setdefault("is", "withdrawn") == "withdrawn"

    @property
    def running(self) -> bool:
        """In the child of a fork no thread but one is left, so nothing else runs there."""
        return not self._ended.is_set() and self._thread.is_alive()

    def wait(self, limit: float) -> Outcome:
        """How it ended, or that it is late: what is said first holds, as ``setdefault`` is one C call."""
        self._ended.wait(limit)
        late = self._outcome("late", f"it has not returned after {limit:g} s; it goes on and cannot be stopped")
        return self._verdict.setdefault("outcome", late)

    def _outcome(self, status: Status, error: str = "") -> Outcome:
        seconds = round(time.monotonic() - self._begun, 6)
        return Outcome(self.context.patch, self.context.callback, status, seconds, error)

    def _run(self) -> None:
        if self._owner.setdefault("is", "begun") == "withdrawn":  # one C call: the first of the two decides
            return
        try:
            mine = self._outcome(*self._follow())
            if self._verdict.setdefault("outcome", mine) is not mine:
                self.error = None  # nobody asks for it, and its frames keep code
                report(mine, late=True)
        finally:
            self._ended.set()

    def _follow(self) -> tuple[Status, str]:
        behind, self._behind = self._behind, None  # the chain is not to grow
        if behind is not None:
            behind._ended.wait()
            if self._conditional and not behind.succeeded:
                return "skipped", ""
        try:
            answer = self._function(self.context)
            if answer is not None and self.context.callback == "pre_patch":
                return "refused", str(answer) or repr(answer)
        except BaseException as error:  # SystemExit too: this is a thread that somebody waits for
            self.error = error
            return "failed", "".join(traceback.format_exception(error))
        self.succeeded = True
        return "done", ""


def report(outcome: Outcome, *, late: bool = False) -> None:
    if outcome.status == "skipped":
        return
    if not outcome.ok:
        events.log.error("%s of %r: %s: %s", outcome.callback, outcome.patch, outcome.status, outcome.error)
    events.publish("callback", outcome.patch, **outcome.as_dict(), after_limit=late)


def settle(call: Call) -> None:
    """Nobody will wait for it: it reports its end itself, or has ended and is reported now."""
    outcome = call.wait(0)
    if outcome.status != "late":
        report(outcome)

"""What every mode of transition shares: preparing, the way back, what is asked of it meanwhile, and the report.

The states are drawn in :mod:`pylivepatch.transition.stages`. A mode says only how it gets from PREPARED to COMMITTED:
:meth:`Transition.carry_out`.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import starmap
from operator import call
from types import FunctionType, ModuleType
from typing import Any

from pylivepatch import events
from pylivepatch.activeness import holders
from pylivepatch.activeness.accounts import Accounts
from pylivepatch.activeness.pace import give_way, paced
from pylivepatch.commit import (
    calls,
    once,
    read_attribute,
    set_attribute,
    set_code,
    switch_if_idle,
)
from pylivepatch.errors import (
    CodeMismatch,
    DataMismatch,
    LivePatchError,
    PrepareError,
    TransitionRestart,
    TransitionReversed,
)
from pylivepatch.transition.held import Held
from pylivepatch.transition.insist import insist
from pylivepatch.transition.lingering import prune
from pylivepatch.transition.stages import State
from pylivepatch.transition.swap import Attribute, Guard, Swap
from pylivepatch.transition.tally import Tally


class Transition(Held):
    """One transition, from ``prepare`` to ``commit`` or ``reverse``."""

    fast_path = True

    def __init__(
        self,
        patch: str,
        action: str,
        swaps: list[Swap],
        attributes: list[Attribute],
        guards: list[Guard],
        modules: Iterable[ModuleType],
        *,
        deep: bool,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(patch, action, swaps, attributes, guards, modules=modules, deep=deep, tally=tally)
        self.resting = False  # its thread sleeps, and no variable of its frames holds code: a good moment to fork
        self._request = ""
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._times: list[float] = []
        self._plan: list[Any] = []  # the steps of the commit
        self._committer: list[Any] = []  # the thread that carried out the commit, or None for one that has no name
        self._found: list[Any] = []  # by the commit, in the place of each attribute

    # --- the protocol -------------------------------------------------------------------------------------

    def run(self, timeout: float) -> dict[str, Any]:
        """Go through it. Returns the report; raises :class:`TransitionTimeout` after reversing.

        Whatever is raised in here, the process is then in the old state, whole, or (``state`` says so) in the new.
        """
        deadline = time.monotonic() + timeout
        try:
            self.prepare()
            self.carry_out(deadline)
        finally:
            insist(self.end)
        return self.report

    def end(self) -> None:
        """Reverse it where it has not switched, and leave nothing behind. May be repeated, also after an interrupt."""
        self.reverse()
        self._clean_up()

    def carry_out(self, deadline: float) -> None:
        """Switch, or raise :class:`TransitionTimeout` at ``deadline`` (``time.monotonic()``)."""
        raise NotImplementedError

    def prepare(self) -> None:
        self._publish("prepare", functions=[swap.name for swap in self._all_swaps()])
        prune()
        self._commit = once(*self._steps(), times=self._times, plan=self._plan)
        self.counter.at_zero(self._commit)
        self._ask_audit_hooks()
        give_way()
        watched = {id(v): v for v in self._watched()}
        self._accounts = Accounts(watched.values(), self._modules, self._trampoline_code)
        give_way()
        for swap in self._all_swaps():
            self._accounts.know(swap.functions)
        self._find_every_instance()
        give_way()

    def commit_if_idle(self) -> bool:
        """The fast path: nobody executes a target, so no hook is needed."""
        if not self.fast_path or not self._switch_if_idle():
            return False
        self._committed()
        return True

    def check_unchanged(self) -> None:
        """What the transition changes must still be as it was: raise :class:`DataMismatch` or :class:`CodeMismatch`
        where somebody changed it meanwhile.
        """
        error = self._what_was_changed()
        # The counter is looked at second: the switch itself makes everything look changed.
        if error is not None and self.counter.value:
            raise error

    def _what_was_changed(self) -> LivePatchError | None:
        for swap in self._all_swaps():
            ours = {id(code) for _, code in swap.trampolines}
            for function, _ in swap.trampolines:
                if id(function.__code__) not in ours:
                    return CodeMismatch(
                        f"{swap.name} was given other code while the transition waited",
                        where=f"{swap.name} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})",
                        advice="nothing was changed by the patch; take the other tool's change out, then try again",
                    )
        for attribute in self.attributes:
            if attribute.label and not attribute.is_unchanged():
                return DataMismatch(
                    f"{attribute.label} was changed while the transition waited",
                    where=attribute.label,
                    advice="nothing was changed by the patch; try again",
                )
        return None

    def _switch_if_idle(self) -> bool:
        self.check_unchanged()
        idle = self._accounts.when_idle()
        if idle is None:
            return False
        probe, expected = idle
        return switch_if_idle(self.counter, expected, probe, self._commit)

    def reverse(self) -> None:
        """Take the trampolines out, unless the switch has happened."""
        if self.state in (State.COMMITTED, State.REVERSED):
            return
        if not self.counter.stop():
            return self._committed()
        if self.state is State.PREPARED:
            return
        self._take_out()
        self.state = State.REVERSED
        self._stage("reverse")

    def settle_after_fork(self) -> None:
        """In a child whose parent was in mid-transition: the thread that ran it is not here. Tells nobody.

        Where the counter is 0 the switch has happened, and is carried out here too; else it is reversed.
        """
        if self.state not in (State.DRAINING, State.RELEASED):
            return
        if not self.counter.value:
            self._commit()
            self.state = State.COMMITTED
            return
        self.counter.stop()
        self._take_out()
        self.state = State.REVERSED
        self._plan.clear()  # a trampoline that a thread of the parent was in stays for good, and has the commit
        self._remember_who_lingers()
        self._accounts.let_go_of_variables()
        self._accounts = Accounts((), (), list)

    # --- prepare ------------------------------------------------------------------------------------------

    def _ask_audit_hooks(self) -> None:
        """An audit hook may forbid the assignments, and must do so now: in the commit it would stop it half-way."""
        try:
            for swap in self._all_swaps():
                for function in swap.functions:
                    sys.audit("object.__setattr__", function, "__code__", swap.new.code)
            for attribute in self.attributes:
                if isinstance(attribute.owner, FunctionType):
                    sys.audit("object.__setattr__", attribute.owner, attribute.name, attribute.new)
        except Exception as error:
            raise PrepareError(
                f"an audit hook of this process does not allow it: {type(error).__name__}: {error}",
                where=", ".join(swap.name for swap in self.swaps[:5]),
                advice="let the hook allow `object.__setattr__` of `__code__` while patches are loaded",
            ) from error

    def _steps(self) -> Iterator[Iterator[Any]]:
        """The commit, in order: a note of what it binds over, data, then code, then word of it."""
        yield map(self._found.append, calls([read_attribute(a.owner, a.name) for a in self.attributes]))
        yield calls([bind for a in self.attributes for bind in set_attribute(a.owner, a.name, a.new)])
        for swap in self._all_swaps():
            yield set_code(swap.functions, swap.new.code)
            yield set_code(filter(None, map(call, swap.born)), swap.new.code)
        # The thread itself, not its ident: it may have ended before anybody looks.
        threads: dict[int, Any] = threading._active  # type: ignore[attr-defined]
        yield map(self._committer.append, map(threads.get, starmap(_thread.get_ident, [()])))
        yield calls([self._done.release])

    # --- what a user may ask in the middle of it ----------------------------------------------------------------

    def ask(self, request: str) -> None:
        """``reverse`` or ``force`` it, at the next look of the thread that runs it."""
        self._request = request

    def go_on(self, deadline: float) -> bool:
        """Called at each look. Raises when the time is up or it was asked to reverse; true when it was forced."""
        if self._request == "force":
            # From here on each entry goes to the new function, wherever old ones still run, and commits if need be.
            self.counter.zero()()
            self._commit()
            self.forced = [holder.as_dict() for holder in self.holders()]
            self._publish("forced", holders=self.forced)
            return True
        if self._request == "reverse":
            raise TransitionReversed(
                f"the {self.action} of {self.patch!r} was reversed on request",
                where=", ".join(swap.name for swap in self.swaps[:5]),
                advice="nothing was changed; try again later",
            )
        if self._request == "restart":
            raise TransitionRestart(f"a module of {self.patch!r} has been imported meanwhile")
        if time.monotonic() > deadline:
            raise self._timeout()
        return False

    def rest(self, seconds: float) -> None:
        """Sleep between two looks."""
        self.resting = True
        time.sleep(max(0.0, seconds))
        self.resting = False

    def wake(self) -> list[str]:
        """Wake holders that sleep where Python can wake them: event loops. Returns whom; a thread that sleeps in a
        lock or a system call cannot be woken from here.
        """
        woken = []
        for name, loop in holders.event_loops():
            try:
                loop.call_soon_threadsafe(_nothing)
                woken.append(name)
            except RuntimeError:  # closed meanwhile
                continue
        self._publish("signal", woken=woken)
        return woken

    def overwritten(self) -> list[tuple[Attribute, Any]]:
        """Attributes that were changed between the last look and the switch, with the value that was lost by it."""
        pairs = zip(self.attributes, self._found, strict=False)
        return [(a, found) for a, found in pairs if a.label and not a.expects(found)]

    # --- the end ------------------------------------------------------------------------------------------

    def _committed(self) -> None:
        self._carry_on()  # does nothing where it was done; the counter at 0 is the switch, whoever carries it out
        self.state = State.COMMITTED
        self._stage("commit")
        self._hold = max(self._hold, self._times[1] - self._times[0])

    def _carry_on(self) -> None:
        """Commit to the end. A step that fails, against all that was checked before, must not keep the others."""
        for _ in range(2 + len(self.attributes) + sum(len(swap.functions) for swap in self._all_swaps())):
            try:
                self._commit()
                break
            except Exception as error:
                events.log.exception("a step of the switch of %s failed, the others are done", self.patch)
                self.report.setdefault("failed_steps", []).append(repr(error))
        self._make_good()

    def _make_good(self) -> None:
        """Assign the new code where that failed, on whichever thread: to the commit the function is lost."""
        for swap in paced(self._all_swaps(), 100):
            before = {id(swap.old.code), *(id(code) for _, code in swap.trampolines)}
            for function in paced([*swap.functions, *filter(None, map(call, swap.born))], 500):
                if id(function.__code__) in before:
                    try:
                        function.__code__ = swap.new.code
                    except Exception as error:
                        events.log.exception("%s of %s was not switched", swap.name, self.patch)
                        self.report.setdefault("failed_steps", []).append(repr(error))

    def _clean_up(self) -> None:
        self._stage("")
        give_way()
        self.report |= {
            "patch": self.patch,
            "action": self.action,
            "functions": [swap.name for swap in self._all_swaps()],
            "attributes": [a.label for a in self.attributes if a.label],
            "duration": sum(self._stages.values()),
            "stages": dict(self._stages),
            "longest_hold": self._hold,
            "forced": self.forced is not None,
            "overwritten": [a.label for a, _ in self.overwritten()],
            "allowed": self.allowed,
        }
        for thread in self._committer:
            self.report["committed_by"] = getattr(thread, "name", "?")
        self.report.setdefault("committed_by", "")
        if self._tally is not None:
            self._tally.stop()
            self.report["calls"] = self._tally.as_dict()
        self._committer.clear()
        self._plan.clear()
        self._remember_who_lingers()
        self._accounts.let_go_of_variables()
        self._accounts = Accounts((), (), list)
        if hasattr(self, "_commit"):
            del self._commit
        give_way()
        prune()

def _nothing() -> None:
    """What a woken event loop is given to do."""

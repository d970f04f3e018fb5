"""The transition of mode ``refcount``: Hiramatsu's protocol, with the counter as the switch.

* ``prepare`` builds every trampoline and works out who the known holders of the old code are. Nothing is visible.
* The fast path: if the reference counts say that nobody executes a target, check and commit in one C call.
* ``enable`` puts the trampolines in, in one C call, with the counter at 1 (the bias). From here on every entry and
  exit is counted.
* ``drain`` waits until no frame is left that entered before ``enable``: until the reference counts of the old code
  are those of the known holders.
* ``release`` drops the bias. From here on whoever brings the counter to 0 commits, on its own thread.
* the gate, where the counter does not reach 0 by itself: new outermost entries wait for a bounded time. The
  trampolines are exchanged for a second generation that asks at each entry; when nobody executes the first generation
  any more, everyone inside has been asked, and the gate can tell their children. Then it closes, in tries.
* ``reverse`` takes the trampolines out again. It decides by one test-and-set: counter 0 means that the switch has
  happened, and there is nothing left to reverse.

The counter is the references to one object (:mod:`pylivepatch.counter` says why counting is atomic, and who
commits). It pairs with the hooks: they count by the same steps, and nobody is counted after 0.

Why not ``stop_machine``: looking at every stack takes time in proportion to the threads, and all of them stand
meanwhile. Here nobody stands for longer than one C call that assigns the ``__code__`` of the patch's functions.
"""

from __future__ import annotations

import time
from operator import call
from typing import Any

from pylivepatch.activeness import Holder
from pylivepatch.activeness.accounts import describe_suspended
from pylivepatch.activeness.references import Version, counts, references_of_a_frame, version_of
from pylivepatch.activeness.variables import suspension
from pylivepatch.commit import switch_if_idle
from pylivepatch.transition.base import Transition
from pylivepatch.transition.gate import Gate
from pylivepatch.transition.stages import State
from pylivepatch.transition.swap import NOBODY_ASKS

_FIRST_POLL, _LAST_POLL = 0.0005, 0.02  # seconds between two looks while draining
_EXPLAIN_EVERY = 0.25  # seconds between two searches for who holds
_BY_ITSELF = 0.1  # seconds that the counter is given to reach 0 before the gate is closed
_LONGEST_PAUSE = 2.0  # seconds between two tries of the gate


class Refcount(Transition):
    """Counted from ``enable`` on; whoever brings the counter to 0 commits.

    ``gate`` is the longest wait of a caller, in seconds a try; ``None`` for no gate. With ``allow_suspended``
    generators and coroutines that are suspended do not hold it: they finish on the old code, and call new functions
    from there. The others keep both rules.
    """

    def __init__(self, *args: Any, gate: float | None = None, allow_suspended: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._allow_suspended = allow_suspended
        self._told = 0.0  # when it was last said who holds
        self.gate = Gate(gate, self._inside, self._tally) if gate else None

    def carry_out(self, deadline: float) -> None:
        if self.commit_if_idle():
            return
        self.enable(self._tally.question if self._tally else NOBODY_ASKS)
        self.drain(deadline)
        self.release()
        if self.gate is None:
            self.await_commit(deadline, deadline)
        elif not self.await_commit(time.monotonic() + _BY_ITSELF, deadline):
            self.hold_at_gate(self.gate, deadline)
        self._committed()

    def drain(self, deadline: float) -> None:
        self._stage("drain")
        pause = _FIRST_POLL
        # Most drains are over in milliseconds: who holds is asked of the others, and at the latest when the time is up.
        explain_at = min(time.monotonic() + _EXPLAIN_EVERY, deadline)
        while self._accounts.active():
            if explain := time.monotonic() >= explain_at:
                self._explain()
                self.check_unchanged()
                explain_at = time.monotonic() + _EXPLAIN_EVERY
                if not self._accounts.active():
                    return
            elif pause == _FIRST_POLL:
                self._find_new_instances()
            if self._allow_suspended and (explain or pause == _FIRST_POLL) and self._only_suspended():
                return
            if self.go_on(deadline):
                return
            self.rest(pause)
            pause = min(pause * 2, _LAST_POLL)

    def _find_new_instances(self) -> None:
        """Old bodies may have made functions since ``prepare`` looked: until they take part, they hold the drain."""
        if self._allow_suspended or self.guards or any(swap.is_nested for swap in self._all_swaps()):
            self._take_in(self._accounts.refresh(thorough=True))
            self._accounts.refresh(thorough=False)  # the trampolines just made hold nested code too

    def release(self) -> None:
        self._stage("release")
        self.state = State.RELEASED
        self._told = time.monotonic()
        if self.forced is not None:
            return  # it has switched
        self.check_hooks()
        self.check_unchanged()
        if self.guards:
            return  # a guard has no hooks to commit for it: await_commit looks at it together with the counter
        self.counter.discount()

    def await_commit(self, until: float, deadline: float) -> bool:
        """Wait for the switch; whether it came before ``until`` (``time.monotonic()``). Raises at ``deadline``."""
        pause = _FIRST_POLL
        while True:
            remaining = min(until, deadline) - time.monotonic()
            if not self.counter.value:
                return True
            if self.guards:
                self.rest(min(pause, remaining))
                finished = self._switch_if_idle()
                pause = min(pause * 2, _LAST_POLL)
            else:
                self.resting = True
                finished = self._done.acquire(timeout=max(0.0, min(0.1, remaining)))
                self.resting = False
            if finished or self.go_on(deadline) or (self._allow_suspended and self._switch_past_suspended()):
                return True
            if remaining <= 0:
                return False
            if time.monotonic() - self._told > _EXPLAIN_EVERY:
                self._told = time.monotonic()
                self._publish("waiting", counter=self.counter.value)
                self.check_hooks()
                self.check_unchanged()
                if self.guards:
                    self._accounts.refresh(thorough=True)

    def _only_suspended(self) -> bool:
        """Whether nothing but what is suspended executes old code. Trampolines are in: no more can come to it."""
        allowed: list[tuple[str, Any]] = []
        for version, excess in self._accounts.active().items():
            # Read after the count: what is there now was there then, as old code is entered no more.
            found = self._accounts.suspended_in(version, tasks=True)
            if excess != len(found) * references_of_a_frame(version.code):
                return False
            allowed += found
        self._note_allowed(allowed)
        return True

    def _switch_past_suspended(self) -> bool:
        """Switch where all that is counted as inside is suspended, which is looked at in the same C call."""
        if self.guards:
            return False
        found: list[tuple[str, Any]] = []
        for version in self._trampoline_versions():
            found += self._accounts.suspended_in(version, tasks=True)
        probes = {id(thing): probe for _, thing in found if (probe := suspension(thing)) is not None and probe()}
        entered = [(name, thing) for name, thing in found if id(thing) in probes]
        if not entered:
            return False
        expected = [True] * len(probes)
        if not switch_if_idle(self.counter, expected, map(call, probes.values()), self._commit, inside=len(probes)):
            return False
        self._note_allowed(entered)
        return True

    def _note_allowed(self, found: list[tuple[str, Any]]) -> None:
        """They finish on the old code: said in the report, and in an event."""
        described = [describe_suspended(name, thing, self._since) for name, thing in found]
        self.allowed += [holder.as_dict() for holder in described if holder is not None]
        self._publish("allowed", holders=self.allowed)

    def status(self) -> dict[str, Any]:
        gate = {"gate": self.gate.as_dict()} if self.gate is not None and self.gate.tries else {}
        return super().status() | gate

    def _kept_unseen(self, version: Version, module: str, named: list[Holder]) -> list[Holder]:
        """Greenlets, and tasks by way of an async generator, to which nothing leads from who asks it for a value."""
        code, known = version.code, [one.name for one in named if one.at_gate]
        found = []
        for kind, name, since in self.gate.kept(code) if self.gate is not None else ():
            if name in known:
                known.remove(name)
                continue
            function = f"{module}:{code.co_qualname}"
            found.append(Holder(kind, name, function, code.co_filename, code.co_firstlineno, since, at_gate=True))
        return found

    def hold_at_gate(self, gate: Gate, deadline: float) -> None:
        """Close the gate for its bound, open it, and again after a longer and longer while, until the switch."""
        try:
            unasked = [version_of(code) for swap in self._all_swaps() for _, code in swap.trampolines]
            if not self._exchange(gate) or self._await_nobody_in(unasked, deadline):
                return
            pause = gate.bound
            while True:
                gate.close()
                finished = self.await_commit(time.monotonic() + gate.bound, deadline)
                gate.open()
                if finished or self.await_commit(time.monotonic() + pause, deadline):
                    return
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            gate.stop()
            self.report["gate"] = gate.as_dict()

    def _exchange(self, gate: Gate) -> bool:
        """Put the second generation in, unless the switch has come. Whether it did so.

        This thread counts itself as inside meanwhile: a switch in between would be covered by trampolines that were
        made before it.
        """
        if not self.counter.count():
            return False
        self.enable(gate.question)
        self.counter.discount()
        return True

    def _await_nobody_in(self, unasked: list[Version], deadline: float) -> bool:
        """Wait until all who entered without being asked have left. Whether the switch came meanwhile.

        Not for long: an unstarted generator may keep its trampoline for good. Of those who are left the gate cannot
        tell the children, which it may then keep for its bound.
        """
        until = time.monotonic() + _LONGEST_PAUSE
        while time.monotonic() < until and any(n > 1 for n in counts(unasked)):  # one is the swap's own entry
            if self.await_commit(time.monotonic() + _LAST_POLL, deadline):
                return True
        return False

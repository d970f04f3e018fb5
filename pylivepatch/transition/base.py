"""What every mode of transition shares: preparing, the way back, who holds it, and the report.

The state machine, whose edges are drawn in one place, here::

    PREPARED ──▶ DRAINING ──▶ RELEASED ──▶ COMMITTED
        │            │            │
        │            └────────────┴──────▶ REVERSED      (from PREPARED nothing is to be reversed)
        └── fast path, stop-machine ────▶ COMMITTED

A mode says only how it gets from PREPARED to COMMITTED: :meth:`Transition.carry_out`.
"""

from __future__ import annotations

import _thread
import enum
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, starmap
from operator import call
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch import events
from pylivepatch.activeness import Holder, holders
from pylivepatch.activeness.accounts import Accounts
from pylivepatch.activeness.references import Version, base, counts, raw_counts, references_of_a_frame, version_of
from pylivepatch.commit import (
    at_once,
    calls,
    note,
    once,
    read,
    read_attribute,
    set_attribute,
    set_code,
    set_codes,
    switch_if_idle,
)
from pylivepatch.counter import Counter
from pylivepatch.errors import (
    CodeMismatch,
    DataMismatch,
    LivePatchError,
    MissedHook,
    PrepareError,
    TransitionRestart,
    TransitionReversed,
    TransitionTimeout,
    UnknownHolders,
    UnswappableShape,
)
from pylivepatch.transition.gate import codes_that_keep
from pylivepatch.transition.swap import NOBODY_ASKS, Attribute, Guard, Question, Swap, build_trampoline
from pylivepatch.transition.tally import Tally


class State(enum.Enum):
    PREPARED = "prepare"
    DRAINING = "drain"
    RELEASED = "release"
    COMMITTED = "commit"
    REVERSED = "reverse"


_lingering: list[tuple[Version | None, Version]] = []
"""Trampolines that some frame still executes after their transition: with the body's version where that is the old
body of a transition that was reversed, forced or let suspended ones go on (such a frame executes it, and a later
transition must wait for it), else ``None``."""


class Transition:
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
        self.patch = patch
        self.action = action
        self.swaps = swaps
        self.attributes = attributes
        self.guards = guards
        self.state = State.PREPARED
        self.started = time.time()
        self.counter = Counter()
        self.report: dict[str, Any] = {}
        self._deep = deep
        self._tally = tally
        self._modules = list(modules)
        self._since: dict[Any, float] = {}
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._times: list[float] = []
        self._plan: list[Any] = []  # the steps of the commit
        self._committer: list[Any] = []  # the thread that carried out the commit, or None for one that has no name
        self._found: list[Any] = []  # by the commit, in the place of each attribute
        self._hold = 0.0
        self._stages: dict[str, float] = {}
        self._entered = time.perf_counter()
        self._born_trampolines: list[tuple[Version, weakref.ref[CodeType]]] = []
        self._accounts = Accounts((), (), list)
        self._question = NOBODY_ASKS
        self._request = ""
        self.resting = False  # its thread sleeps, and no variable of its frames holds code: a good moment to fork
        self.forced: list[dict[str, Any]] | None = None  # who was inside when it was forced
        self.allowed: list[dict[str, Any]] = []  # what was suspended at the switch, and finishes on the old code
        self._inside: dict[int, tuple[int, int]] = {}  # the trampolines, for those who ask whether they are inside

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
        _prune_lingering()
        self._commit = once(*self._steps(), times=self._times, plan=self._plan)
        self.counter.at_zero(self._commit)
        self._ask_audit_hooks()
        _give_way()
        watched = {id(v): v for v in self._watched()}
        self._accounts = Accounts(watched.values(), self._modules, self._trampoline_code)
        _give_way()
        for swap in self._all_swaps():
            self._accounts.know(swap.functions)
        self._find_every_instance()
        _give_way()

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

    def enable(self, question: Question = NOBODY_ASKS) -> None:
        """Put the trampolines in, in one C call. ``question`` is asked at each entry.

        Called again, it puts a second generation in: the same counter, another question.
        """
        self._stage("enable" if self.state is State.PREPARED else "gate")
        self._question = question
        pairs: list[tuple[FunctionType, CodeType]] = []
        for swap in self._all_swaps():
            born = [function for r in swap.born if (function := r()) is not None]
            pairs += [(function, self._trampoline(swap, function)) for function in (*swap.functions, *born)]
            swap.trampolines += pairs[len(pairs) - len(swap.functions) - len(born) :]
            _give_way()
        times: list[float] = []
        self.state = State.DRAINING if self.state is State.PREPARED else self.state
        at_once(note(times), set_codes(pairs), note(times))
        self._hold = max(self._hold, times[1] - times[0])
        self._accounts.refresh(thorough=False)

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

    def _take_out(self) -> None:
        # Code that another tool has put in meanwhile stays.
        old = [(f, swap.old.code) for swap in self._all_swaps() for f, c in swap.trampolines if f.__code__ is c]
        born = [set_code(filter(None, map(call, swap.born)), swap.old.code) for swap in self._all_swaps()]
        at_once(set_codes(old), *born)

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

    def _all_swaps(self) -> Iterator[Swap]:
        for swap in self.swaps:
            yield from swap

    def _watched(self) -> Iterator[Version]:
        """The versions that must be idle: old code, guards, and old bodies left over from a reversed transition."""
        bodies = set()
        for swap in self._all_swaps():
            bodies.add(id(swap.old))
            yield swap.old
        for guard in self.guards:
            yield guard.version
        for body, trampoline in tuple(_lingering):
            if id(body) in bodies:
                yield trampoline

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

    def _trampoline(self, swap: Swap, function: FunctionType) -> CodeType:
        defaults = {a.name: a.new for a in self.attributes if a.owner is function}
        note_late = self._tally.note_late if self._tally else None
        code = build_trampoline(
            swap, function, self.counter, self._commit, self._adopt, self._question, defaults, note_late
        )
        self._inside[id(code)] = swap.template.body
        return code

    def _trampoline_code(self) -> list[CodeType]:
        codes = [code for swap in self._all_swaps() for _, code in swap.trampolines]
        codes += [code for _, r in self._born_trampolines if (code := r()) is not None]
        return codes + [trampoline.code for _, trampoline in tuple(_lingering)]

    def _trampoline_versions(self) -> list[Version]:
        versions = [version_of(code) for swap in self._all_swaps() for _, code in swap.trampolines]
        return versions + [version_of(code) for _, r in self._born_trampolines if (code := r()) is not None]

    def _adopt(self, swap: Swap, function: FunctionType) -> None:
        """A function that an old body has just made: it takes part from its first call on."""
        if function.__code__ is not swap.old.code or self.state is State.REVERSED:
            return
        code = self._trampoline(swap, function)
        self._born_trampolines.append((swap.old, weakref.ref(code)))
        swap.born.append(weakref.ref(function))
        function.__code__ = code
        # Pairs with reverse(), which sets the state after it has put the old code back on what was born by then.
        if self.counter.is_stopped:
            function.__code__ = swap.old.code
        elif not self.counter.value:  # forced: old bodies go on after the switch
            function.__code__ = swap.new.code

    def _find_every_instance(self) -> None:
        """A nested function may have live instances anywhere: find them all, or refuse."""
        if not self._accounts.active():
            return
        self._take_in(self._accounts.refresh(thorough=True))
        self._accounts.refresh(thorough=False)  # the trampolines just made hold nested code too
        missing = self._unexplained_instances()
        if missing and self._deep:
            self._take_in(self._accounts.deep())
            self._accounts.refresh(thorough=False)
            self._publish("deep", seconds=self._accounts.deep_seconds)
            self.report["deep_search"] = self._accounts.deep_seconds
            self._hold = max(self._hold, self._accounts.deep_seconds)
            return  # what is left is executing, and drains
        if missing:
            where, n = missing[0]
            raise UnknownHolders(
                f"{n} reference{'s' if n > 1 else ''} to a nested function cannot be explained: live instances of it "
                "may exist that the module's namespace does not lead to",
                where=where,
                advice="load with deep=True (--deep): it searches the heap, which holds every thread for tens of "
                "milliseconds per million objects",
            )

    def _unexplained_instances(self) -> list[tuple[str, int]]:
        """Where, and how many. No code object: the error's traceback would keep it, and so hold the next try."""
        nested = {id(s.old): s.name for s in self._all_swaps() if s.is_nested}
        nested |= {id(g.version): g.name for g in self.guards if g.version.code.co_name != "<genexpr>"}
        result = []
        for version, excess in self._accounts.active().items():
            if id(version) in nested:
                code = version.code
                frames = [*holders.find([code], {}), *self._accounts.suspended(version, {})]
                missing = excess - len(frames) * references_of_a_frame(code)
                if missing > 0:
                    where = f"{nested[id(version)]} ({code.co_filename}:{code.co_firstlineno})"
                    result.append((where, missing))
        return result

    def _take_in(self, functions: Iterable[FunctionType]) -> None:
        """Functions that are found to run old code become targets."""
        nested = {id(s.old.code): s for s in self._all_swaps() if s.everywhere}
        guarded = {id(g.version.code): g for g in self.guards}
        for function in functions:
            if id(function.__code__) in guarded:
                raise UnswappableShape(
                    "a live instance exists of a nested function that has no counterpart after the switch, or one of "
                    "another signature, kind or closure",
                    where=f"{guarded[id(function.__code__)].name} ({function.__code__.co_filename}:"
                    f"{function.__code__.co_firstlineno})",
                    advice="patch at a moment when no such instance is alive, or keep the nested function's shape",
                )
            swap = nested.get(id(function.__code__))
            if swap is None or any(function is f for f in swap.functions):
                continue
            swap.functions.append(function)
            if self.state is not State.PREPARED:
                code = self._trampoline(swap, function)
                swap.trampolines.append((function, code))
                function.__code__ = code

    # --- while it lasts -----------------------------------------------------------------------------------

    def _explain(self) -> None:
        """Look closer at what is active: instances that frames made before they were drained, and who holds."""
        functions = self._accounts.refresh(thorough=True)
        self._take_in(functions)
        self._accounts.refresh(thorough=False)
        if self._deep and self._accounts.active():
            self._take_in(self._accounts.deep())
            self._accounts.refresh(thorough=False)
        found = self.holders()
        if found:
            self._publish("holders", holders=[holder.as_dict() for holder in found])

    def holders(self) -> list[Holder]:
        """Who keeps the transition from finishing, as far as it can be told."""
        return [one for one in self._everyone_there() if not one.at_gate]

    def _everyone_there(self) -> list[Holder]:
        """The holders, and who waits at the gate: these have a frame, which the references that are missing tell of."""
        found: list[Holder] = []
        gate = codes_that_keep()
        for module, version, excess in self._executing():
            named = holders.find([version.code], self._since, gate)
            missing = excess - len(named) * references_of_a_frame(version.code)
            if missing > 0:
                suspended = self._accounts.suspended(version, self._since, gate)
                named += suspended
                missing -= len(suspended) * references_of_a_frame(version.code)
            if missing > 0:
                kept = self._kept_unseen(version, module, named)[: missing // references_of_a_frame(version.code)]
                named += kept
                missing -= len(kept) * references_of_a_frame(version.code)
            if missing > 0:
                named.append(holders.unexplained(version.code, module, missing, self._since))
            found += named
        return found

    def _kept_unseen(self, version: Version, module: str, named: list[Holder]) -> list[Holder]:
        """Who waits at the gate to enter ``version`` and is not among ``named``."""
        return []

    def _executing(self) -> Iterator[tuple[str, Version, int]]:
        """Old code and trampolines that somebody executes: module, version, references that are no known holder's."""
        modules = {id(swap.old): swap.module for swap in self._all_swaps()}
        for version, excess in self._accounts.active().items():
            yield modules.get(id(version), "?"), version, excess
        for swap in self._all_swaps():
            for function, code in swap.trampolines:
                version = version_of(code)
                excess = counts([version])[0] - 2 - (function.__code__ is code)  # the list's, this frame's, its own
                if excess > 0:
                    yield swap.module, version, excess

    def status(self) -> dict[str, Any]:
        """JSON-able: what is under way."""
        there = self._everyone_there()
        return {
            "patch": self.patch,
            "action": self.action,
            "stage": self.state.value,
            "counter": self.counter.value,
            "since": self.started,
            "functions": [swap.name for swap in self._all_swaps()],
            "holders": [one.as_dict() for one in there if not one.at_gate],
            "at_gate": [one.as_dict() for one in there if one.at_gate],
        }

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

    def check_hooks(self) -> None:
        """Hooks and interpreter must agree: each call that is counted holds a reference to its trampoline.

        A count without a frame is an exit that no hook saw. Raises :class:`MissedHook`.
        """
        versions = self._trampoline_versions()
        # One C call, so that both are of one instant. Each trampoline has at least two other references than its
        # frames': its entry in the swap, or being adopted, and its function or this list; the rest is generous.
        found = read(chain(self.counter.probe(), raw_counts(versions)))
        if len(found) == len(versions) or self.counter.is_stopped:
            return  # it is 0, or will never be
        counter = found.pop(0)
        references = sum(n - base() for n in found)
        counted = counter - (0 if self.state is State.RELEASED and not self.guards else 1)
        if counted > references:
            raise MissedHook(
                f"{counted} calls are counted as inside, but only {references} references to the functions exist",
                where=", ".join(swap.name for swap in self.swaps[:5]),
                advice="the transition was reversed and nothing was changed; please report this",
            )

    def _timeout(self) -> TransitionTimeout:
        if self._deep and not self._accounts.deep_seconds:
            self._explain()  # the time was up before the first look
        found = self.holders()
        who = "".join(f"\n    {holder}" for holder in found) or "\n    nobody was seen: it was in use each time"
        return TransitionTimeout(
            f"the {self.action} of {self.patch!r} did not finish in time and was reversed; held by{who}",
            where=", ".join(swap.name for swap in self.swaps[:5]),
            advice=_advice(found),
            holders=found,
            details={"holders": [holder.as_dict() for holder in found], "counter": self.counter.value},
        )

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
                return self._commit()
            except Exception as error:
                events.log.exception("a step of the switch of %s failed, the others are done", self.patch)
                self.report.setdefault("failed_steps", []).append(repr(error))

    def _clean_up(self) -> None:
        self._stage("")
        _give_way()
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
        self._accounts = Accounts((), (), list)
        if hasattr(self, "_commit"):
            del self._commit
        _give_way()
        _prune_lingering()

    def _remember_who_lingers(self) -> None:
        """Whoever still executes a trampoline: see ``_lingering``."""
        old_goes_on = self.state is State.REVERSED or self.forced is not None or bool(self.allowed)
        for swap in self._all_swaps():
            body = swap.old if old_goes_on else None
            _lingering.extend((body, version_of(code)) for _, code in swap.trampolines)  # no variable keeps the last
            swap.trampolines.clear()
        for old, reference in self._born_trampolines:
            born = reference()
            if born is not None:
                _lingering.append((old if old_goes_on else None, version_of(born)))
            del born
        self._born_trampolines.clear()

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        previous = getattr(self, "_current", "prepare")
        if previous:
            self._stages[previous] = self._stages.get(previous, 0.0) + now - self._entered
        self._entered, self._current = now, name
        if name:
            self._publish(name, counter=self.counter.value)

    def _publish(self, kind: str, **data: Any) -> None:
        events.publish(kind, self.patch, action=self.action, **data)


def insist(step: Callable[[], None]) -> None:
    """Do ``step``, which may be repeated, to its end: an interrupt in the middle is raised after it.

    A second Ctrl-C, or an exception that another thread sets, must not leave a process half-way.
    """
    interrupt: BaseException | None = None
    for _ in range(100):
        try:
            step()
            break
        except Exception:
            raise
        except BaseException as error:  # KeyboardInterrupt, SystemExit, what PyThreadState_SetAsyncExc was given
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _advice(found: list[Holder]) -> str:
    text = "try again when these are done, or with a longer timeout"
    if any(holder.kind == "reference" for holder in found):
        text += "; deep=True (--deep) looks for what a reference is"
    return text


def _nothing() -> None:
    """What a woken event loop is given to do."""


def linger(pairs: Iterable[tuple[Version, Version]]) -> None:
    """Frames may go on in code (second) whose body is that of another version (first): whoever patches that waits for
    them, too."""
    _lingering.extend(pairs)
    _prune_lingering()


def _prune_lingering() -> None:
    """Forget trampolines that nobody executes any more.

    One by one: another thread may add some meanwhile, an arrival's or one that ends a tracing.
    """
    known = tuple(_lingering)
    for item, n in zip(known, counts(trampoline for _, trampoline in known), strict=True):
        if n <= 0:
            with suppress(ValueError):  # the other was faster
                _lingering.remove(item)


def _give_way() -> None:
    """Let other threads run: they would have to wait for the switch interval otherwise."""
    time.sleep(0)

"""Who holds a transition: every live instance of what it patches, and whoever executes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness import Holder, holders
from pylivepatch.activeness.references import Version, base, counts, raw_counts, references_of_a_frame, version_of
from pylivepatch.commit import read
from pylivepatch.errors import MissedHook, TransitionTimeout, UnknownHolders, UnswappableShape
from pylivepatch.transition import lingering
from pylivepatch.transition.gate import codes_that_keep
from pylivepatch.transition.hooked import Hooked
from pylivepatch.transition.stages import State


class Held(Hooked):
    """What old code's references and the stacks say of those who are inside."""

    def __init__(self, *args: Any, modules: Iterable[ModuleType], deep: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.report: dict[str, Any] = {}
        self._deep = deep
        self._modules = list(modules)
        self._since: dict[Any, float] = {}

    def _watched(self) -> Iterator[Version]:
        """The versions that must be idle: old code, guards, and old bodies left over from a reversed transition."""
        bodies = set()
        for swap in self._all_swaps():
            bodies.add(id(swap.old))
            yield swap.old
        for guard in self.guards:
            yield guard.version
        for body, trampoline in tuple(lingering.LINGERING):
            if id(body) in bodies:
                yield trampoline

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
        modules |= {id(guard.version): guard.name.partition(":")[0] for guard in self.guards}
        left = tuple(lingering.LINGERING)
        modules |= {id(trampoline): modules[id(body)] for body, trampoline in left if id(body) in modules}
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


def _advice(found: list[Holder]) -> str:
    text = "try again when these are done, or with a longer timeout"
    if any(holder.kind == "reference" for holder in found):
        text += "; deep=True (--deep) looks for what a reference is"
    return text

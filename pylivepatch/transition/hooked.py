"""The trampolines of a transition: made, put in and taken out again, also of functions that are born meanwhile."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from operator import call
from types import CodeType, FunctionType
from typing import Any

from pylivepatch.activeness.accounts import Accounts
from pylivepatch.activeness.pace import give_way
from pylivepatch.activeness.references import Version, version_of
from pylivepatch.commit import at_once, note, set_code, set_codes
from pylivepatch.transition import lingering
from pylivepatch.transition.stages import Stages, State
from pylivepatch.transition.swap import NOBODY_ASKS, Attribute, Guard, Question, Swap, build_trampoline
from pylivepatch.transition.tally import Tally


class Hooked(Stages):
    """Functions whose entries and exits are hooked from :meth:`enable` on."""

    def __init__(
        self,
        patch: str,
        action: str,
        swaps: list[Swap],
        attributes: list[Attribute],
        guards: list[Guard],
        *,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(patch, action)
        self.swaps = swaps
        self.attributes = attributes
        self.guards = guards
        self.forced: list[dict[str, Any]] | None = None  # who was inside when it was forced
        self.allowed: list[dict[str, Any]] = []  # what was suspended at the switch, and finishes on the old code
        self._tally = tally
        self._commit: Callable[[], None]  # from prepare on
        self._hold = 0.0
        self._question = NOBODY_ASKS
        self._born_trampolines: list[tuple[Version, weakref.ref[CodeType]]] = []
        self._inside: dict[int, tuple[int, int]] = {}  # the trampolines, for those who ask whether they are inside
        self._accounts = Accounts((), (), list)

    def _all_swaps(self) -> Iterator[Swap]:
        for swap in self.swaps:
            yield from swap

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
            give_way()
        times: list[float] = []
        self.state = State.DRAINING if self.state is State.PREPARED else self.state
        at_once(note(times), set_codes(pairs), note(times))
        self._hold = max(self._hold, times[1] - times[0])
        self._accounts.refresh(thorough=False)

    def _take_out(self) -> None:
        # Code that another tool has put in meanwhile stays.
        old = [(f, swap.old.code) for swap in self._all_swaps() for f, c in swap.trampolines if f.__code__ is c]
        born = [set_code(filter(None, map(call, swap.born)), swap.old.code) for swap in self._all_swaps()]
        at_once(set_codes(old), *born)

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
        return codes + [trampoline.code for _, trampoline in tuple(lingering.LINGERING)]

    def _trampoline_versions(self) -> list[Version]:
        versions = [version_of(code) for swap in self._all_swaps() for _, code in swap.trampolines]
        return versions + [version_of(code) for _, r in self._born_trampolines if (code := r()) is not None]

    def _remember_who_lingers(self) -> None:
        """Whoever still executes a trampoline: see :mod:`pylivepatch.transition.lingering`."""
        old_goes_on = self.state is State.REVERSED or self.forced is not None or bool(self.allowed)
        for swap in self._all_swaps():
            body = swap.old if old_goes_on else None
            # From a generator: no variable here keeps the last one's code.
            lingering.LINGERING.extend((body, version_of(code)) for _, code in swap.trampolines)
            swap.trampolines.clear()
        for old, reference in self._born_trampolines:
            born = reference()
            if born is not None:
                lingering.LINGERING.append((old if old_goes_on else None, version_of(born)))
            del born
        self._born_trampolines.clear()

"""How many calls went through the trampolines of a transition, where somebody wants to know.

The counter tells how many are inside, not how many there were, and a hook that added to a second number would cost
every call. So nothing is counted unless it is asked for; then each entry asks, as it does for the gate, and who is
asked adds one in one C call.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from operator import not_
from typing import Any

from pylivepatch.transition.swap import Question


class Tally:
    """Calls through trampolines. ``note`` is called at each entry, ``note_late`` of those that the new function gets.

    Both are one C call and give a false value.
    """

    def __init__(self) -> None:
        self._entries, self._late = count(1), count(1)
        self._reads = ([0], [0])
        self.note: Callable[[], bool] = map(not_, self._entries).__next__  # of 1, 2, 3 …
        self.note_late: Callable[[], bool] = map(not_, self._late).__next__
        self.question = Question([1], self._note_entering, self._note_awaiting)

    def _note_entering(self, enter: Callable[[], Any]) -> Any:
        if self.question.asking[0]:
            self.note()
        return enter()

    async def _note_awaiting(self) -> bool:
        return self.note()

    def stop(self) -> None:
        """Ask no more."""
        self.question.asking[0] = 0

    def as_dict(self) -> dict[str, int]:
        """JSON-able: ``entered``, and how many of them were ``redirected`` to the new function."""
        return {"entered": _read(self._entries, self._reads[0]), "redirected": _read(self._late, self._reads[1])}


def _read(numbers: count[int], reads: list[int]) -> int:
    """How often something else has taken a number: that can only be told by taking one."""
    reads.append(next(numbers))
    return reads[-1] - (len(reads) - 1)

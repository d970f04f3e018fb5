"""What may be asked of the transition under way: how it is, to go back, to switch all the same, to wake who sleeps."""

from __future__ import annotations

from typing import Any

from pylivepatch import journal
from pylivepatch.errors import NoTransition
from pylivepatch.journal import UnderWay


def status() -> dict[str, Any] | None:
    """The transition under way, JSON-able, or ``None``: its stage, its counter, and who holds it."""
    journal.settle()
    transition = _current()
    return transition.status() if transition is not None else None


def reverse() -> dict[str, Any]:
    """Have the transition under way taken back: the ``load`` or ``unload`` raises :class:`TransitionReversed`.

    Asks, and does not wait; a switch that comes first stays. Returns the status of what was asked. Raises
    :class:`NoTransition`.
    """
    return _ask("reverse")


def force() -> dict[str, Any]:
    """Have the transition under way switch now, whoever is inside.

    Breaks the second rule: those inside finish on the old functions, beside new calls. So the process is tainted, and
    a patch whose load was forced cannot be taken out. Asks, and does not wait. Raises :class:`NoTransition`.
    """
    return _ask("force")


def _ask(request: str) -> dict[str, Any]:
    transition = _under_way()
    status = transition.status()
    transition.ask(request)
    return status


def signal() -> list[str]:
    """Wake those who sleep and keep the transition waiting, where Python can wake them. Returns whom.

    These are event loops that wait for I/O. A thread that sleeps in a lock or in a system call cannot be woken.
    Raises :class:`NoTransition`.
    """
    return _under_way().wake()


def _under_way() -> UnderWay:
    journal.settle()
    transition = _current()
    if transition is None:
        raise NoTransition("no transition is under way", advice="`pylivepatch list` shows what is applied")
    return transition


def _current() -> UnderWay | None:
    undertaking = journal.under_way()
    return undertaking.transition if undertaking is not None else None

"""The service under repair: it knows nothing of patches. Each old function is followed by its new version.

Every reply says by which version each of its two parts was made.
"""

from __future__ import annotations

from collections.abc import Callable

Reply = tuple[str, str]


def answer(number: int, backend: Callable[[], object]) -> Reply:
    """The reply to a client's line ``number``. May sleep in the midst of it, until the backend has answered."""
    backend()
    return "old", phrase(number)


def phrase(number: int) -> str:
    return "old"


def answer_anew(number: int, backend: Callable[[], object]) -> Reply:
    backend()
    return "new", phrase(number)


def phrase_anew(number: int) -> str:
    return "new"

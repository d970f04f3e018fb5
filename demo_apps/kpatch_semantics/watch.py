"""A post that is never left: the one on watch goes when the other has come. So one of them is inside at any time.

Each watch writes the log with a function of its own, and the two must be of one version.
"""

from __future__ import annotations

from collections.abc import Callable

Log = tuple[str, str]


def day_watch(relieved: Callable[[], object]) -> Log:
    relieved()
    return "old", day_log()


def day_log() -> str:
    return "old"


def night_watch(relieved: Callable[[], object]) -> Log:
    relieved()
    return "old", night_log()


def night_log() -> str:
    return "old"


def day_watch_anew(relieved: Callable[[], object]) -> Log:
    relieved()
    return "new", day_log()


def day_log_anew() -> str:
    return "new"


def night_watch_anew(relieved: Callable[[], object]) -> Log:
    relieved()
    return "new", night_log()


def night_log_anew() -> str:
    return "new"

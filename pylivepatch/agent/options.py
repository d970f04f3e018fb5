"""The options of a load or unload as a request gives them: in JSON, or as text in a query."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from pylivepatch.agent.wire import BadRequest
from pylivepatch.errors import PrepareError
from pylivepatch.way import MODES, SUSPENDED, Way

_MAX_TIMEOUT = 86400.0
_TRUTH = {"0": False, "false": False, "1": True, "true": True}


def from_json(given: Mapping[str, Any], *, but: tuple[str, ...], flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options among ``given``, checked. ``but``: keys that are none; ``flags``: further ones, true or false.

    Raises :class:`BadRequest`.
    """
    checks = _CHECKS | dict.fromkeys(flags, _flag)
    unknown = given.keys() - checks.keys() - set(but)
    if unknown:
        takes = ", ".join([*but, *checks])
        raise _bad(f"the request has {', '.join(sorted(unknown))}", f"it takes {takes}")
    options = {name: checks[name](name, value) for name, value in given.items() if name in checks}
    try:
        Way(**{name: value for name, value in options.items() if name not in flags})
    except PrepareError as error:
        raise _bad(error.message, error.advice) from error
    return options


def from_query(query: Mapping[str, str]) -> dict[str, Any]:
    """The same from ``?timeout=15&deep=0&gate=none``."""
    return from_json({name: _READ.get(name, str)(text) for name, text in query.items()}, but=())


def _timeout(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_TIMEOUT:
        raise _bad(f"{name} is seconds, above 0 and up to {_MAX_TIMEOUT:.0f}")
    return float(value)


def _gate(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(f"{name} is seconds, or null for no gate")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _bad(f"{name} is true or false, not {str(value)[:40]!r}")
    return value


def _word(words: tuple[str, ...]) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in words:
            raise _bad(f"{name} is one of {', '.join(words)}")
        return str(value)

    return check


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "timeout": _timeout,
    "deep": _flag,
    "mode": _word(MODES),
    "gate": _gate,
    "suspended": _word(SUSPENDED),
    "incremental": _flag,
    "count_calls": _flag,
}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


_READ: dict[str, Callable[[str], Any]] = {
    "timeout": _number,
    "deep": lambda text: _TRUTH.get(text.lower(), text),
    "incremental": lambda text: _TRUTH.get(text.lower(), text),
    "count_calls": lambda text: _TRUTH.get(text.lower(), text),
    "gate": lambda text: None if text.lower() in ("none", "null") else _number(text),
}


def _bad(message: str, advice: str = "") -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, message, advice)

"""Which versions of Python a patch is for: the clauses of ``requires_python``, and whether a version meets them."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")


def unmet(requirement: str, version: tuple[int, ...]) -> str:
    """The first clause of ``requires_python`` that ``version`` (``sys.version_info[:3]``) does not meet, or ``""``.

    Raises ``ValueError`` for what is no list of clauses such as ``>=3.11, !=3.12.*``.
    """
    failed = ""
    for clause in filter(None, (part.strip() for part in requirement.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if match is None or (match[1] == "~=" and ("." not in match[2] or match[3])):
            raise ValueError(f"{clause!r} is not understood")
        wanted = tuple(map(int, match[2].split(".")))
        mine = version[: len(wanted)] if match[3] else version
        padded = wanted if match[3] else wanted + (0,) * (len(version) - len(wanted))
        met = {
            ">=": mine >= padded,
            "<=": mine <= padded,
            ">": mine > padded,
            "<": mine < padded,
            "==": mine == padded,
            "!=": mine != padded,
            "~=": mine >= padded and version[: len(wanted) - 1] == wanted[:-1],
        }[match[1]]
        failed = failed or ("" if met else clause)
    return failed

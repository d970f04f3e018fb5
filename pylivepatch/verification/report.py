"""What came of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One aspect of one name: what the process has, and what a fresh import gives. ``""`` where there is nothing.

    ``what`` is ``code``, ``signature``, ``value``, ``name`` (it is there on one side only), and so on.
    """

    module: str
    symbol: str
    what: str
    live: str
    fresh: str

    def __str__(self) -> str:
        return f"{self.module}:{self.symbol}: {self.what}: live {self.live or '(none)'}, fresh {self.fresh or '(none)'}"


@dataclass(frozen=True, slots=True)
class Report:
    """``against`` is ``disk`` (the sources that are installed), ``new`` or ``old`` (a patch's version).

    ``different`` are differences of what the process runs. Beside them are those that do not count as such:
    ``modified`` (data that the process changed while it ran: neither version gives it), ``noted`` (what `pylivepatch
    build` told of: a name that is gone and was left in place, a default for old instances, a docstring), ``varies``
    (what two fresh imports do not agree on either). ``moved`` are modules whose text differs in comments or layout.

    ``compared`` are modules, ``not_compared`` says why of those that were left out, ``opaque`` counts the values of
    which only the type could be compared, and ``missing`` are modules of the patch that the process has and that were
    not compared.
    """

    against: str
    patch: str
    applied: tuple[str, ...]
    different: tuple[Difference, ...]
    modified: tuple[Difference, ...]
    noted: tuple[Difference, ...]
    varies: tuple[Difference, ...]
    moved: tuple[str, ...]
    compared: tuple[str, ...]
    not_compared: Mapping[str, str]
    missing: tuple[str, ...]
    opaque: int

    @property
    def outcome(self) -> str:
        """``equal``, ``different``, or ``incomplete`` where nothing differs but not all could be compared.

        Without a patch that is all modules, with one its own that the process has imported.
        """
        if self.different:
            return "different"
        lacking = self.missing if self.patch else tuple(self.not_compared)
        return "incomplete" if lacking or not self.compared else "equal"

    def as_dict(self) -> dict[str, Any]:
        shape = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("different", "modified", "noted", "varies"):
            shape[name] = [asdict(one) for one in shape[name]]
        for name in ("applied", "moved", "compared", "missing"):
            shape[name] = list(shape[name])
        return {"outcome": self.outcome, **shape, "not_compared": dict(self.not_compared)}

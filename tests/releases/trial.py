"""One pair, from the two wheels to its row of the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pylivepatch import patchfile
from pylivepatch.build import BuildResult
from pylivepatch.errors import LivePatchError, ReleaseError
from tests.releases.pairs import Pair, result, unpack_needs, with_hooks
from tests.releases.wheels import unpack

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Outcome:
    """``refused`` is what the builder refused or left to the author, ``still_refused`` what it did with the author's
    part. ``edits`` counts the findings by class and code. ``differs_after_load`` and ``differs_after_unload`` are
    ``None`` where no process was patched; ``not_compared`` are modules of the patch that a child could not import
    afresh. ``answers`` is what the pair's behaviour said before the load, after it and after the unload. ``deep`` is
    whether the heap had to be searched. ``trouble`` is what went wrong where a patch was built and the process did not
    live through it.
    """

    pair: str
    result: str
    edits: dict[str, dict[str, int]] = field(default_factory=dict)
    carried: int = 0
    refused: list[str] = field(default_factory=list)
    still_refused: list[str] = field(default_factory=list)
    differs_after_load: list[str] | None = None
    differs_after_unload: list[str] | None = None
    not_compared: list[str] = field(default_factory=list)
    deep: bool = False
    answers: list[bool | None] = field(default_factory=list)
    trouble: str = ""
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        """Whether a patch was built and did not do what it says."""
        return bool(self.trouble or self.differs_after_load or self.differs_after_unload)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def try_pair(pair: Pair) -> Outcome:
    begin = time.monotonic()
    try:
        found = result(pair)
    except ReleaseError as error:
        return Outcome(str(pair), "not to be had", refused=[error.code])
    except LivePatchError as error:
        return Outcome(str(pair), "not examined", refused=[str(error)])
    outcome = Outcome(str(pair), found.outcome)
    for (verdict, code), count in sorted(
        Counter((one.verdict, one.code) for one in (*found.changes, *found.refusals)).items()
    ):
        outcome.edits.setdefault(verdict, {})[code] = count
    outcome.carried = sum(finding.carried for finding in found.changes)
    outcome.refused = list(dict.fromkeys(f"{one.code} {one.place.partition(' (')[0]}" for one in found.refusals))
    if found.patch is None and (hooked := with_hooks(pair)) is not None:
        found = hooked
        outcome.result = f"{found.outcome} with hooks"
        outcome.still_refused = [str(one) for one in found.refusals]
    if found.patch is not None:
        with tempfile.TemporaryDirectory(prefix="pylivepatch-releases-") as folder:
            _live(pair, found, outcome, Path(folder))
    outcome.seconds = round(time.monotonic() - begin, 1)
    return outcome


def _live(pair: Pair, found: BuildResult, outcome: Outcome, folder: Path) -> None:
    assert found.patch is not None
    patchfile.write(found.patch, folder / "fix.plp")
    modules = sorted({module.name for module in found.patch.modules})
    needs = unpack_needs(pair, folder / "needs")
    old, new = (unpack(pair.dist, version, folder / version) for version in (pair.old, pair.new))
    try:
        live = _run(folder, old, needs, str(folder / "fix.plp"), pair.dist, pair.key, *modules)
        fresh = _run(folder, new, needs, "-", pair.dist, pair.key)
    except RuntimeError as error:
        outcome.trouble = str(error)
        return
    outcome.answers, outcome.deep = live["answers"], live["deep"]
    outcome.differs_after_load = _differences(live["after_load"])
    outcome.differs_after_unload = _differences(live["after_unload"])
    outcome.not_compared = sorted({*live["after_load"]["missing"], *live["after_unload"]["missing"]})
    if fresh["answers"] != live["answers"][1:2]:
        outcome.trouble = "a fresh process of the new release answers otherwise"
    elif not live["imported"]:
        outcome.trouble = "none of its modules can be imported by this Python"


def _differences(report: dict[str, Any]) -> list[str]:
    return [f"{one['module']}:{one['symbol']} ({one['what']})" for one in report["different"]]


def _run(folder: Path, release: Path, needs: Path, *arguments: str) -> Any:
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, (release, needs, ROOT))), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONHASHSEED": "0", "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.releases.live", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])

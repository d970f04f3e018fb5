"""Every pair of releases: built with so many changes, or refused for these reasons; and what the built ones do live.

Five small ones, unless ``PYLIVEPATCH_RELEASES=all`` is set: the whole practice ground takes many minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pylivepatch import patchfile
from pylivepatch.errors import ReleaseError
from tests.releases.behaviours import BEHAVIOURS
from tests.releases.pairs import Pair, pairs, result, unpack, unpack_needs

pytestmark = [pytest.mark.slow, pytest.mark.network]
ROOT = Path(__file__).resolve().parents[2]

BUILT: dict[str, int] = {
    "werkzeug-3.0.1": 1,
    "werkzeug-3.0.6": 2,
    "jinja2-3.1.3": 7,
    "jinja2-3.1.6": 3,
    "flask-2.3.2": 3,
    "requests-2.31.0": 7,
    "requests-2.32.4": 12,
    "urllib3-1.26.18": 6,
    "idna-3.7": 7,
    "starlette-0.27.0": 5,
    "python-multipart-0.0.18": 1,
    "tornado-6.4.2": 10,
    "waitress-3.0.1": 7,
    "pyjwt-2.4.0": 28,
    "django-4.2.16": 4,
    "django-5.1.8": 7,
    "mako-1.2.2": 2,
    "zipp-3.19.1": 2,
}
"""Pair → how many changes the patch carries."""

REFUSED: dict[str, set[str]] = {
    "werkzeug-2.2.3": {"PLP253", "PLP255", "PLP260"},
    "urllib3-2.0.6": {"PLP261"},
    "sqlparse-0.4.4": {"PLP231", "PLP255", "PLP263", "PLP282"},
    "mistune-2.0.3": {"PLP260"},
    "paramiko-3.4.0": {"PLP250", "PLP255", "PLP274"},
    "aiohttp-3.9.2": {"PLP253", "PLP255", "PLP263"},
}
"""Pair → the codes of what is refused."""

ORDERED_BY_A_SET = {"jwt.utils:_PEM_RE"}
"""Made of a set of texts, joined in the order that they happen to have in each process."""

ALL = pairs()
_SMALL = {"idna-3.7", "jinja2-3.1.6", "mako-1.2.2", "zipp-3.19.1", "python-multipart-0.0.18"}
CHOSEN = [pair for pair in ALL if os.environ.get("PYLIVEPATCH_RELEASES") == "all" or pair.key in _SMALL]


def examined(pair: Pair) -> Any:
    try:
        return result(pair)
    except ReleaseError as error:
        if "from versions" in str(error) or "No matching" in str(error):
            pytest.skip(f"{pair} has no wheel for this Python")
        raise


def test_every_pair_has_an_expectation() -> None:
    assert [pair.key for pair in ALL if (pair.key in BUILT) == (pair.key in REFUSED)] == []
    assert {*BUILT, *REFUSED} == {pair.key for pair in ALL}
    assert BEHAVIOURS.keys() <= BUILT.keys()


@pytest.mark.parametrize("pair", CHOSEN, ids=str)
def test_what_the_builder_says(pair: Pair) -> None:
    found = examined(pair)
    if pair.key in BUILT:
        assert [str(finding) for finding in found.refusals] == []
        assert sum(finding.carried for finding in found.changes) == BUILT[pair.key]
    else:
        assert {finding.code for finding in found.refusals} == REFUSED[pair.key]
        assert found.patch is None


@pytest.mark.parametrize("pair", [pair for pair in CHOSEN if pair.key in BUILT], ids=str)
def test_a_process_of_the_old_release_becomes_the_new_one_and_goes_back(pair: Pair, tmp_path: Path) -> None:
    found = examined(pair)
    patchfile.write(found.patch, tmp_path / "fix.plp")
    modules = [module.name for module in found.patch.modules]
    unpack_needs(pair, tmp_path / "needs")
    old, new = (unpack(pair.dist, version, tmp_path / version) for version in (pair.old, pair.new))
    live = run(tmp_path, old, str(tmp_path / "fix.plp"), pair.key, *modules)
    imported = live["imported"]
    if not imported:
        pytest.skip(f"{pair.dist} {pair.old} cannot be imported by this Python")
    if pair.key in BEHAVIOURS:
        assert live["answers"] == [True, False, True]
    before, after, back = live["portraits"]
    assert back == before
    assert after != before
    renewed = run(tmp_path, new, "-", pair.key, *imported)
    assert renewed["imported"] == imported
    assert renewed["answers"] == live["answers"][1:2]
    (fresh,) = renewed["portraits"]
    left = {f"{finding.module}:{finding.symbol}" for finding in found.changes if not finding.carried}
    assert {name for name in fresh if after.get(name) != fresh[name]} <= left | ORDERED_BY_A_SET
    defaults = {f"{finding.module}:{finding.symbol}" for finding in found.changes if finding.code == "PLP215"}
    assert after.keys() - fresh.keys() <= before.keys() | defaults


def run(folder: Path, release: Path, *arguments: str) -> Any:
    path = os.pathsep.join(map(str, (release, folder / "needs", ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
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
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)

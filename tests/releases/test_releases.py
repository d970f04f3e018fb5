"""Every pair of releases: built with so many changes, or refused for these reasons; and what the built ones do live.

Five small ones, unless ``PYLIVEPATCH_RELEASES=all`` is set.
"""

from __future__ import annotations

import os

import pytest

from tests.releases.behaviours import BEHAVIOURS
from tests.releases.pairs import HERE, Pair, pairs
from tests.releases.smokes import SMOKES
from tests.releases.trial import try_pair

pytestmark = [pytest.mark.slow, pytest.mark.network]

BUILT: dict[str, int] = {
    "werkzeug-3.0.1": 1,
    "werkzeug-3.0.6": 2,
    "jinja2-3.1.3": 7,
    "jinja2-3.1.6": 3,
    "flask-2.3.2": 3,
    "requests-2.31.0": 7,
    "requests-2.32.4": 12,
    "urllib3-1.26.18": 6,
    "urllib3-2.0.6": 3,
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
    "paramiko-3.4.0": 19,
    "mistune-2.0.3": 4,
}
"""Pair → how many changes the patch carries."""

WITH_HOOKS: dict[str, set[str]] = {
    "werkzeug-2.2.3": {"PLP255"},
    "sqlparse-0.4.4": {"PLP255"},
    "aiohttp-3.9.2": {"PLP255"},
}
"""Pair → the codes of what is left to the author, whose part is in ``hooks``."""

NOT_COMPARED = {"django-4.2.16": ["django.contrib.auth.forms"]}
"""Modules that a fresh process cannot import by itself: it would have to call ``django.setup()`` first."""

ALL = pairs()
_SMALL = {"idna-3.7", "jinja2-3.1.6", "mako-1.2.2", "zipp-3.19.1", "python-multipart-0.0.18"}
CHOSEN = [pair for pair in ALL if os.environ.get("PYLIVEPATCH_RELEASES") == "all" or pair.key in _SMALL]


def test_every_pair_has_a_use_and_every_fix_an_expectation() -> None:
    assert {pair.dist for pair in ALL} == SMOKES.keys()
    assert BUILT.keys() & WITH_HOOKS.keys() == set()
    assert {*BUILT, *WITH_HOOKS} == {pair.key for pair in pairs("fixes")}
    hooks = list((HERE / "hooks").glob("*.py"))
    assert len(hooks) == len(WITH_HOOKS)
    assert all(len(path.read_text().splitlines()) <= 20 for path in hooks)
    assert BEHAVIOURS.keys() <= {pair.key for pair in ALL}


@pytest.mark.parametrize("pair", CHOSEN, ids=str)
def test_a_busy_process_of_the_old_release_becomes_the_new_one_and_goes_back_or_nothing_is_built(pair: Pair) -> None:
    outcome = try_pair(pair)
    if outcome.result == "not to be had":
        pytest.skip(f"{pair} has no wheel for this Python")
    if pair.key in BUILT:
        assert (outcome.result, outcome.carried, outcome.refused) == ("built", BUILT[pair.key], [])
    elif pair.key in WITH_HOOKS:
        assert (outcome.result, outcome.still_refused) == ("built with hooks", [])
        assert {refusal.split()[0] for refusal in outcome.refused} == WITH_HOOKS[pair.key]
    assert outcome.trouble == ""
    if outcome.result.startswith("built"):
        assert (outcome.differs_after_load, outcome.differs_after_unload) == ([], [])
        assert outcome.not_compared == NOT_COMPARED.get(pair.key, [])
        assert outcome.answers == ([True, False, True] if pair.key in BEHAVIOURS else [None] * 3)

"""The options of ``pytest --livepatch``.

pytest imports this wherever pylivepatch is installed (the entry point ``pytest11``), so it is a module by itself, and
nothing of pylivepatch is imported unless the option is given.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("livepatch", "rehearsing a live patch")
    group.addoption(
        "--livepatch", metavar="FILE", help="Load this patch file when all tests are collected, and run them on it."
    )
    group.addoption("--unload-after", action="store_true", help="Unload it after the tests, and verify the way back.")


def pytest_configure(config: pytest.Config) -> None:
    file, unload_after = config.getoption("--livepatch"), config.getoption("--unload-after")
    if file is not None:
        from pylivepatch.rehearsal import Rehearsal

        config.pluginmanager.register(Rehearsal(file, unload_after=unload_after), "livepatch-rehearsal")
    elif unload_after:
        raise pytest.UsageError("--unload-after is for a patch: give one with --livepatch FILE")

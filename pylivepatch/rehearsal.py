"""``pytest --livepatch FILE``: a test suite in a process that started on the old code and was patched live.

The tests are collected, the patch's modules imported, and the patch is loaded while a thread keeps the interpreter
busy, as it is in a service. Then the suite runs, on the functions, classes and instances that were there before. Before
the load, after it and after the unload the process is compared with a fresh import (``pylivepatch.verify``).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pylivepatch import core, live, patchfile
from pylivepatch.errors import LivePatchError
from pylivepatch.patch import Patch
from pylivepatch.verification import Live, Report, check, scope


class Rehearsal:
    """The plugin. ``failed`` says what went wrong; the run is then no success, whatever the tests say."""

    def __init__(self, file: str, *, unload_after: bool) -> None:
        self.file, self.unload_after = file, unload_after
        try:
            self.patch = patchfile.read(file)
        except LivePatchError as error:
            raise pytest.UsageError(str(error)) from error
        self.told: list[str] = []
        self.failed: list[str] = []

    def pytest_report_header(self) -> str:
        changes = sum(1 for _ in self.patch.changes())
        return f"livepatch: {self.patch.name} ({changes} changes), to be loaded when all tests are collected"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        if session.config.option.collectonly or _distributes(session.config):
            return (yield)
        try:
            applied = self._load()
        except LivePatchError as error:
            self.failed.append(f"the load failed: {error}")
            pytest.exit(f"livepatch: {error}", returncode=1)
        try:
            return (yield)
        finally:
            if self.unload_after:
                self._unload(applied)

    def _load(self) -> core.Applied:
        for module in self.patch.modules:
            try:
                importlib.import_module(module.name)
            except Exception as error:
                self.told.append(f"{module.name} cannot be imported here: {type(error).__name__}: {error}")
        before = self._verify("old")
        self.own = {str(one) for one in before.different}  # what the suite did to the modules by itself
        self.told += [f"before the load it differs from the old version: {one}" for one in before.different]
        with busy():
            applied = core.load(self.patch)
        report = applied.report
        what = f"{len(applied.functions)} functions, {len(applied.attributes)} attributes"
        self.told.append(f"loaded {self.patch.name}: {what}, in {report['duration'] * 1e3:.1f} ms")
        self.told += [f"another tool's wrapper stays: {one}" for one in report.get("wrapped", [])]
        self._expect("new", "after the load")
        return applied

    def _unload(self, applied: core.Applied) -> None:
        try:
            with busy():
                applied.unload()
            self.told.append(f"unloaded {self.patch.name}")
            self._expect("old", "after the unload")
        except LivePatchError as error:
            self.failed.append(f"the unload failed: {error}")

    def _expect(self, version: str, when: str) -> None:
        report = self._verify(version)
        wrong = [one for one in map(str, report.different) if one not in self.own]
        self.failed += [f"{when} the process is not the {version} version: {one}" for one in wrong]
        if not wrong:
            outcome = "equals" if report.outcome == "equal" or self.own else "is, as far as it could be compared,"
            self.told.append(f"{when} the process {outcome} a fresh one of the {version} version")

    def _verify(self, version: str) -> Report:
        return verify_here(self.patch, version)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.failed and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("livepatch")
        for line in self.told:
            terminalreporter.write_line(line)
        for line in self.failed:
            terminalreporter.write_line(f"FAILED {line}", red=True)


def verify_here(patch: Patch, version: str) -> Report:
    """Compare this process with a fresh import of one version of a patch."""
    return check(Live.of(live.portrait(*scope(patch))), patch, version)


@contextmanager
def busy() -> Iterator[None]:
    """A thread that computes all the while, so that nothing happens in one go."""
    stopped = False

    def compute() -> None:
        while not stopped:
            sum(range(100))

    thread = threading.Thread(target=compute, name="pylivepatch-busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped = True
        thread.join()


def _distributes(config: pytest.Config) -> bool:
    """Whether this process only hands the tests out to others (pytest-xdist), which load the patch each."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")

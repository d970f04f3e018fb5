"""One case of the corpus in this process: the old package imported and in use, patched, compared, and taken back."""

from __future__ import annotations

import importlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pylivepatch
from pylivepatch.build import BuildResult, examine
from pylivepatch.compiled import compile_patch
from pylivepatch.errors import TransitionTimeout
from pylivepatch.portrait import Portrait, portray
from pylivepatch.verification.compare import differing, named_as_in
from tests.edits.cases import Case, Question

_PATIENCE = 20.0  # seconds
_numbers = itertools.count()


class Pair:
    """Two versions of a package in a folder, and the process that runs the old one."""

    def __init__(self, folder: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        self.name = f"edit_{next(_numbers)}"
        for side, files in (("old", old), ("new", new)):
            for path, text in {"__init__.py": "", **files}.items():
                target = folder / f"{self.name}-{side}" / self.name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        self.old, self.new = (folder / f"{self.name}-{side}" for side in ("old", "new"))
        self.modules = [self._module(path) for path in sorted({"__init__.py", *old})]
        self.fresh = [self._module(path) for path in sorted({"__init__.py", *new})]

    def _module(self, path: str) -> str:
        parts = [self.name, *path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def build(self) -> BuildResult:
        return examine(self.old, self.new, name=self.name)

    def portrait(self) -> Portrait:
        """What is imported now, with the modules' names as the cases write them: without the package's own."""
        found: Portrait = {}
        names = sorted({*self.modules, *self.fresh} & sys.modules.keys())
        for name, part in portray({name: sys.modules[name] for name in names}, evaluate=True):
            for aspects in part.values():
                if "is" in aspects:
                    aspects["is"] = aspects["is"].removeprefix(f"{self.name}.")
            found.setdefault(name.removeprefix(f"{self.name}."), {}).update(part)
        for symbols in found.values():
            symbols.pop("_made", None)
        return found

    @contextmanager
    def imported(self, side: Path, modules: Sequence[str]) -> Iterator[ModuleType]:
        """``main`` of a fresh import of one side; what was imported under these names before is back afterwards."""
        saved = self._take_out()
        sys.path.insert(0, str(side))
        importlib.invalidate_caches()
        try:
            for name in modules:
                importlib.import_module(name)
            yield sys.modules[f"{self.name}.main"]
        finally:
            self._take_out()
            sys.modules.update(saved)
            sys.path.remove(str(side))

    def _take_out(self) -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == self.name]
        return {name: sys.modules.pop(name) for name in names}


def answers(questions: Sequence[Question], module: ModuleType, made: Mapping[str, Any]) -> list[str]:
    """What each question gives among the module's names now, and those that were made before."""
    return [_answer(question.expression, module, made) for question in questions]


def _answer(expression: str, module: ModuleType, made: Mapping[str, Any]) -> str:
    try:
        return repr(eval(expression, {**vars(module), **made, "m": module}))
    except Exception as error:
        return type(error).__name__


@contextmanager
def busy_with(work_once: Callable[[], object]) -> Iterator[None]:
    """A thread that does this again and again."""
    over, going = threading.Event(), threading.Event()

    def work() -> None:
        while not over.is_set():
            work_once()
            going.set()

    thread = threading.Thread(target=work, name="asker")
    thread.start()
    try:
        assert going.wait(20)
        yield
    finally:
        over.set()
        thread.join()


def findings(result: BuildResult) -> dict[str, set[str]]:
    """The codes of what the builder says, by ``builds`` and ``refuses``."""
    found = {"builds": {one.code for one in result.changes}, "refuses": {one.code for one in result.refusals}}
    return {"refuses": found["refuses"]} if found["refuses"] else {"builds": found["builds"]}


def made_in(module: ModuleType, code: str) -> dict[str, Any]:
    namespace = {**vars(module), "m": module}
    known = set(namespace)
    exec(code, namespace)
    made = {name: value for name, value in namespace.items() if name not in known and name != "__builtins__"}
    vars(module)["_made"] = made  # where a load looks for living functions
    return made


def differences(live: Portrait, fresh: Portrait) -> set[str]:
    """The names, ``main:f``, of which anything differs."""
    live = named_as_in(live, fresh)
    return {
        f"{module}:{symbol}"
        for module in {*live, *fresh}
        for symbol, _ in differing(live.get(module, {}), fresh.get(module, {}))
    }


def load_patch(result: BuildResult, timeout: float = _PATIENCE) -> pylivepatch.Applied:
    """Compiled here: a process of its own for each of so many would take too long."""
    assert result.patch is not None
    return pylivepatch.load(compile_patch(result.patch), timeout=timeout)


def run(case: Case, pair: Pair) -> None:
    """Hold the case to what it says. Raises ``AssertionError``."""
    result = pair.build()
    outcome = findings(result)
    kind = next(iter(outcome))
    if "may build" not in case.head:
        assert outcome[kind] == set(case.head.get(kind, ())), [*map(str, (*result.refusals, *result.changes))]
    before, after, in_fresh = (
        [getattr(question, when) for question in case.questions] for when in ("before", "after", "fresh")
    )
    with pair.imported(pair.new, pair.fresh) as module:
        made = made_in(module, case.made)
        fresh = pair.portrait()
        assert answers(case.questions, module, made) == in_fresh, "a fresh import of the new version"
    with pair.imported(pair.old, pair.modules) as module:
        made = made_in(module, case.made)
        assert answers(case.questions, module, made) == before, "before the load"
        old = pair.portrait()
        if result.patch is None:
            differing = differences(old, fresh) if kind == "builds" else set()
            assert differing == set(case.head.get("differs", ())), "nothing to carry"
            return
        with busy_with(lambda: answers(case.questions, module, made)):
            if "load refuses" in case.head:
                refusal = case.head["load refuses"]
                with pytest.raises(pylivepatch.LivePatchError) as caught:
                    load_patch(result, 0.2 if refusal == [TransitionTimeout.code] else _PATIENCE)
                assert [caught.value.code] == refusal
            else:
                applied = load_patch(result)
                try:
                    assert answers(case.questions, module, made) == after, "after the load"
                    live = pair.portrait()
                finally:
                    applied.unload()
                found = differences(live, fresh)
                assert found == set(case.head.get("differs", ())), f"the new version, and the live one: {found}"
        assert answers(case.questions, module, made) == before, "after the unload"
        assert differences(pair.portrait(), old) == set(), "the names after the unload"

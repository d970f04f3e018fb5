"""Run in a process of its own, on an old release that a thread is using: ask, load, ask, unload, ask.

``python -m tests.releases.live FILE.plp DIST KEY MODULE…`` prints JSON: the answers of the pair's behaviour, and what
``pylivepatch.verify`` says after the load and after the unload. With ``-`` for the file, as in a process of the new
release, only the one answer.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import Any

import pylivepatch
from pylivepatch.errors import UnknownHolders
from tests.releases.behaviours import BEHAVIOURS
from tests.releases.smokes import SMOKES


class User(threading.Thread):
    """Uses the package without a pause, until it is told to stop or something does not work."""

    def __init__(self, dist: str) -> None:
        super().__init__(name=f"uses {dist}", daemon=True)
        self.smoke = SMOKES.get(dist, lambda: None)
        self.rounds = 0
        self.trouble = ""
        self.stopped = False
        self.changed = threading.Condition()

    def run(self) -> None:
        while not self.stopped:
            try:
                self.smoke()
            except BaseException:
                self.trouble = traceback.format_exc()
            with self.changed:
                self.rounds += 1
                self.changed.notify_all()
            if self.trouble:
                return

    def works(self) -> None:
        """Return when a round that began after this call went well."""
        with self.changed:
            wanted = self.rounds + 2
            if not self.changed.wait_for(lambda: self.trouble or self.rounds >= wanted, timeout=60):
                raise SystemExit(f"{self.name}: no round ended within 60 s")
        if self.trouble:
            raise SystemExit(f"{self.name}: {self.trouble}")

    def stop(self) -> None:
        self.stopped = True
        self.join(60)


def import_all(names: Iterable[str]) -> list[str]:
    """Import what can be imported here: not the modules of other platforms, or with needs of their own."""
    done = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as problem:
            print(f"{name}: {type(problem).__name__}: {problem}", file=sys.stderr)
        else:
            done.append(name)
    return done


def load(path: str) -> tuple[pylivepatch.Applied, bool]:
    """Load, and where lost tracebacks hold the transition, or closures cannot be found, search the heap."""
    gc.collect()
    try:
        return pylivepatch.load(path, timeout=10), False
    except (pylivepatch.TransitionTimeout, UnknownHolders):
        return pylivepatch.load(path, deep=True, gate=1.0, timeout=60), True


def unload(applied: pylivepatch.Applied) -> bool:
    gc.collect()
    try:
        applied.unload(timeout=10)
    except (pylivepatch.TransitionTimeout, UnknownHolders):
        applied.unload(deep=True, gate=1.0, timeout=60)
        return True
    return False


def main() -> None:
    path, dist, key, *modules = sys.argv[1:]
    question = BEHAVIOURS.get(key, lambda: None)
    answers = [question()]  # first: django's settings have to be there before the rest is imported
    found: dict[str, Any] = {"answers": answers}
    if path != "-":
        found["imported"] = import_all(modules)
        user = User(dist)
        user.start()
        user.works()
        applied, deep = load(path)
        user.works()
        answers.append(question())
        found["after_load"] = pylivepatch.verify(path).as_dict()
        deep |= unload(applied)
        user.works()
        answers.append(question())
        found["after_unload"] = pylivepatch.verify(path).as_dict()
        found["deep"] = deep
        user.stop()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""Run in a process of its own, on an old release that a thread is using: ask, load, ask, unload, ask.

``python -m tests.releases.live FILE.plp DIST KEY MODULE…`` prints JSON: the answers of the pair's behaviour, and the
process's portrait at each of the three times. With ``-`` for the file, as in a process of the new release, once.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import traceback

import pylivepatch
from tests.releases.behaviours import BEHAVIOURS
from tests.releases.portrait import import_all, portrait
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


def main() -> None:
    path, dist, key, *modules = sys.argv[1:]
    question = BEHAVIOURS.get(key, lambda: None)
    answers, portraits = [question()], []  # first: django's settings have to be there before the rest is imported
    imported = import_all(modules)
    user = User(dist)
    user.start()
    user.works()
    portraits.append(portrait(imported))
    if path != "-":
        gc.collect()  # what a traceback keeps holds the transition
        applied = pylivepatch.load(path)
        user.works()
        answers.append(question())
        portraits.append(portrait(imported))
        gc.collect()
        applied.unload()
        user.works()
        answers.append(question())
        portraits.append(portrait(imported))
    user.stop()
    json.dump({"imported": imported, "answers": answers, "portraits": portraits}, sys.stdout)


if __name__ == "__main__":
    main()

"""Run in a process of its own, on an old release: ask, load, ask, unload, ask.

``python -m tests.releases.live FILE.plp KEY MODULE…`` prints JSON: the answers of the pair's behaviour, and the
process's portrait at each of the three times. With ``-`` for the file, as in a process of the new release, once.
"""

from __future__ import annotations

import gc
import json
import sys

import pylivepatch
from tests.releases.behaviours import BEHAVIOURS
from tests.releases.portrait import import_all, portrait


def main() -> None:
    path, key, *modules = sys.argv[1:]
    question = BEHAVIOURS.get(key, lambda: None)
    answers, portraits = [question()], []  # first: django's settings have to be there before the rest is imported
    imported = import_all(modules)
    portraits.append(portrait(imported))
    if path != "-":
        gc.collect()  # what a traceback keeps holds the transition
        applied = pylivepatch.load(path)
        answers.append(question())
        portraits.append(portrait(imported))
        gc.collect()
        applied.unload()
        answers.append(question())
        portraits.append(portrait(imported))
    json.dump({"imported": imported, "answers": answers, "portraits": portraits}, sys.stdout)


if __name__ == "__main__":
    main()

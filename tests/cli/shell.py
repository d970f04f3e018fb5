"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import environment, write_trees

_built: dict[tuple[str, ...], bytes] = {}


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; anything beside it is an error."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


class Shell:
    """Runs the command as a person does, 80 columns wide, in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = write_trees(folder)

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "pylivepatch", *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.folder / "run", COLUMNS="80", XDG_RUNTIME_DIR=str(self.folder))

    def __call__(self, *arguments: object) -> Done:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def build(self) -> Path:
        """The patch file ``fix.plp`` from what ``old`` and ``new`` hold: built once for each such pair."""
        file = self.folder / "fix.plp"
        sources = tuple((tree / "service.py").read_text() for tree in (self.old, self.new))
        if sources not in _built:
            assert self("build", "--from", "old", "--to", "new", "-o", "fix.plp").status == 0
            _built[sources] = file.read_bytes()
        file.write_bytes(_built[sources])
        return file

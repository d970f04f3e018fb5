"""A small project with a test suite of its own, in a folder, and a patch for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pylivepatch import patchfile
from pylivepatch.build import build_patch

ROOT = Path(__file__).resolve().parents[2]

OLD = """\
LIMIT = 5

def allowed(x):
    return x <= LIMIT

class Account:
    def __init__(self):
        self.spent = 0

    def spend(self, x):
        if not allowed(x):
            raise ValueError(x)
        self.spent += x
        return self.spent
"""
NEW = OLD.replace("LIMIT = 5", "LIMIT = 3").replace("return self.spent", "return float(self.spent)")

SUITE = """\
import pytest, shop

account = shop.Account()  # made on the old code, when the tests were collected
assert shop.LIMIT == 5

def test_the_limit_is_the_new_one():
    with pytest.raises(ValueError):
        account.spend(4)

def test_spending_gives_a_float():
    assert type(account.spend(1)) is float
"""


class Project:
    """``old/shop.py`` and ``test_shop.py``, and the patch ``fix.plp`` for the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for side, text in (("old", OLD), ("new", NEW)):
            (folder / side).mkdir()
            (folder / side / "shop.py").write_text(text)
        self.write("test_shop.py", SUITE)
        self.fix = folder / "fix.plp"
        patchfile.write(build_patch(folder / "old", folder / "new", name="fix"), self.fix)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (self.folder / "old", ROOT)))}
        return found | {"PYLIVEPATCH_DIR": str(self.folder / "run"), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def pytest(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "pytest", "-p", "pytest_livepatch", "-p", "no:cacheprovider", *arguments)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)

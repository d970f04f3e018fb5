"""An environment for the service alone: Werkzeug 3.0.0, pylivepatch, and the one library that it needs.

``rich`` and ``click`` are not in it: a patched process never imports them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import venv
from pathlib import Path

from processes import ChildFailed, Children

WERKZEUG = "werkzeug==3.0.0"


def make(folder: Path, children: Children, *more: str) -> Path:
    """Make the environment in ``folder``, with ``more`` packages for the service, and return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    bytecode = f"bytecode=={importlib.metadata.version('bytecode')}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", os.fspath(python)]
    try:
        children.run([*pip, "install", "--quiet", "--no-compile", WERKZEUG, bytecode, *more])
    except ChildFailed as failure:
        raise ChildFailed(f"could not install {' '.join([WERKZEUG, *more])} for the service\n{failure}") from None
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "pylivepatch").symlink_to(package(), target_is_directory=True)
    return python


def package() -> Path:
    """The folder of the pylivepatch that this demo shows."""
    spec = importlib.util.find_spec("pylivepatch")
    if spec is None or not spec.submodule_search_locations:
        raise ChildFailed(
            "pylivepatch is not installed for this Python: "
            "run `pip install '.[demo]'` in the folder of its README"
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def clean() -> dict[str, str]:
    """Environment variables for the service: ours, without those that would mix our packages with its own."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours}

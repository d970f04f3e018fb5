"""A process whose files changed on disk since it started: what it runs counts, not what lies there."""

from __future__ import annotations

import inspect
import linecache
import traceback
from pathlib import Path
from typing import Any

import pytest

import pylivepatch

OLD = "LIMIT = 1\n\ndef check(x):\n    if x > LIMIT:\n        raise ValueError('old')\n"
OLD += "\ndef same():\n    return 'same'\n"
NEW = "LIMIT = 2\n\ndef check(x):\n    # twice as much\n    if x > LIMIT:\n        raise ValueError('new')\n"
NEW += "\ndef same():\n    return 'same'\n"


def shown(call: Any) -> str:
    try:
        call()
    except ValueError as error:  # no ExceptionInfo: as garbage it would hold the next transition until a collection
        return "".join(traceback.format_exception(error))
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize("what", ["upgraded", "upgraded further", "removed"])
def test_a_process_is_patched_right_whatever_became_of_its_files(sources: Any, what: str) -> None:
    module = sources.load(OLD)
    patch = sources.patch(module, NEW)
    assert "raise ValueError('old')" in shown(lambda: module.check(3))
    file = Path(module.__file__)
    if what == "removed":
        file.unlink()
    else:
        file.write_text(NEW if what == "upgraded" else "# third version\n" * 20 + NEW.replace("2", "3"))
    linecache.checkcache()
    applied = pylivepatch.load(patch)
    assert (module.LIMIT, module.check(2), module.same()) == (2, None, "same")
    text = shown(lambda: module.check(3))
    assert f'File "<livepatch fix>/{module.__name__}.py", line 6, in check\n    raise ValueError(\'new\')' in text
    assert inspect.getsource(module.check).startswith("def check(x):\n    # twice as much\n")
    assert pylivepatch.verify(patch).outcome == "equal"
    applied.unload()
    assert module.LIMIT == 1
    with pytest.raises(ValueError, match="old"):
        module.check(2)
    assert pylivepatch.verify(patch).outcome == "equal"

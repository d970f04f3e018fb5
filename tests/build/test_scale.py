"""Building takes work in proportion to what changed: counted in lines of Python that run, not in seconds."""

from __future__ import annotations

import ast
import gc
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pylivepatch.build import examine, same
from pylivepatch.build.builder import examine_files
from pylivepatch.build.nodes import walk
from pylivepatch.build.tree import arrange
from pylivepatch.errors import SourceError

HEAD = "import re\nfrom functools import lru_cache\n"
LINK = "from .mod_{} import LIMIT_0 as other, function_0 as given, Class_0 as Base\n"
FUNCTION = """\
LIMIT_{0} = {1}
PATTERN_{0} = re.compile('a{1}')
def function_{0}(x, y={0}):
    return given(x) if x else y + {1} + LIMIT_{0}
class Class_{0}(Base):
    size = {1}
    def __init__(self, a):
        self.a = a
        self.b = a * {1}
    @lru_cache
    def method(self, x):
        return self.a + x + {1} + self.b
"""


def write(folder: Path, modules: int, parts: int, version: int) -> Path:
    """Modules that import from each other, with so many functions, values and classes each, all of them changed."""
    package = folder / "big"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for number in range(modules):
        link = LINK.format(number - 1) if number else "given, Base = len, object\n"
        body = "".join(FUNCTION.format(part, version) for part in range(parts))
        (package / f"mod_{number}.py").write_text(HEAD + link + body)
    return folder


def lines_run(folder: Path, modules: int, parts: int) -> int:
    """How many lines run to build the patch."""
    old, new = (write(folder / f"{modules}-{parts}-{version}", modules, parts, version) for version in (1, 2))
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = examine(old, new, name="big")
    finally:
        sys.settrace(before)
    assert result.outcome == "built", result.refusals[:3]
    assert len(result.changes) >= modules * parts * 4
    return count


@pytest.mark.parametrize(("small", "large"), [((1, 15), (1, 60)), ((4, 3), (16, 3))])
def test_four_times_the_changes_take_about_four_times_the_work(
    small: tuple[int, int], large: tuple[int, int], tmp_path: Path
) -> None:
    few, many = lines_run(tmp_path, *small), lines_run(tmp_path, *large)
    assert many < few * 5.5, (few, many)  # what is quadratic, in an essential part, makes it sixteen


def test_the_collector_is_off_in_a_build_and_as_before_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []

    def compare(*arguments: Any, **named: Any) -> Any:
        states.append(gc.isenabled())
        raise SourceError("as it is for a test")

    monkeypatch.setattr("pylivepatch.build.builder.compare_trees", compare)
    old = new = write(tmp_path, 1, 1, 1)
    for is_on in (True, False):
        (gc.enable if is_on else gc.disable)()
        try:
            with pytest.raises(SourceError):
                examine(old, new, name="big")
            states.append(gc.isenabled())
        finally:
            gc.enable()
    assert states == [False, True, False, False]


def test_walking_visits_what_the_library_visits_but_for_nodes_without_fields() -> None:
    for path in (Path(ast.__file__), Path(__file__)):
        tree = ast.parse(path.read_text())
        silent = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
        assert list(map(id, walk(tree))) == [id(one) for one in ast.walk(tree) if not isinstance(one, silent)]


@pytest.mark.parametrize("body", ["return {0}", "return 1"])
def test_four_times_as_many_functions_of_one_name_take_four_times_the_work(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited = 0
    pairs = same._compared_fields

    def counted(node: ast.AST) -> list[str]:
        nonlocal visited
        visited += 1
        return pairs(node)

    monkeypatch.setattr(same, "_compared_fields", counted)

    def nodes_compared(count: int) -> int:
        nonlocal visited
        visited = 0
        old, new = (
            "".join(f"def f():\n    x = {version}\n    {body.format(number)}\n" for number in range(count)).encode()
            for version in (1, 2)
        )
        result = examine_files(arrange({"mod.py": old}), arrange({"mod.py": new}), name="fix")
        assert len(result.changes) + len(result.refusals) == count
        return visited

    few, many = nodes_compared(100), nodes_compared(400)
    assert 0 < many < few * 4.5, (few, many)


def test_equal_trees_have_one_fingerprint_and_others_another() -> None:
    texts = ["1", "1.0", "True", "0.0", "-0.0", "'a'", "b'a'", "None", "...", "[1, 2]", "[[1], 2]", "(1, 2)"]
    texts += ["f(a, b=c)", "f(a)(b)", "a.b", "a[b]", "lambda a, /, b: a", "lambda a, b, /: a", "f(a, *b)", "{**a}"]
    trees = [ast.parse(text) for text in texts]
    for one in trees:
        assert [same.same_tree(one, other) for other in trees] == [
            same.fingerprint(one) == same.fingerprint(other) for other in trees
        ]
    assert same.fingerprint(ast.parse("u'a' + 1")) == same.fingerprint(ast.parse("\n'a'   +(1)"))

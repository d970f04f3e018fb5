"""Functions of random shapes, in any number of versions.

Each answers with a list of ``(function, version)``: its own, and those of the functions that it calls. So one call
tells the version of everybody in it.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from hypothesis import strategies as st

PIECES = (
    "x = own",
    "for x in range(3):\n    if x == 1:\n        continue\n    b = x",
    "while k:\n    k -= 1",
    "try:\n    x = int('no')\nexcept ValueError as error:\n    x = str(error)",
    "try:\n    x = 1\nfinally:\n    x = 2",
    "try:\n    try:\n        raise KeyError(own)\n    finally:\n        x = 3\nexcept KeyError:\n    x = 4",
    "with memoryview(b'12') as x:\n    b = x[0]",
    "x = [y for y in range(3) if y]",
    "x = {y: own for y in 'ab'}",
    "x = sum(y for y in range(4))",
    "if a:\n    return [('early', own)]",
    "assert not a, own",
    "match k:\n    case 0:\n        x = 5\n    case _:\n        x = 6",
    "import math; x = math.pi",
    "x = f'{own!r:>10}'",
)


@dataclass(frozen=True)
class Shape:
    """One version of a function: its body before and after its calls."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    callees: tuple[int, ...]


def shapes(number: int, functions: int) -> st.SearchStrategy[Shape]:
    """Versions of function ``number`` of ``functions``: it may call those that come after it."""
    pieces = st.lists(st.sampled_from(PIECES), max_size=4).map(tuple)
    later = range(number + 1, functions)
    callees = st.lists(st.sampled_from(later), max_size=2, unique=True).map(tuple) if later else st.just(())
    return st.builds(Shape, pieces, pieces, callees)


def make(number: int, version: int, shape: Shape, generator: bool, space: dict[str, Any]) -> FunctionType:
    """The function, with ``space`` as its globals and bound to nothing there."""
    early = "yield ('early', own)\n    return" if generator else "return [('early', own)]"

    def block(pieces: tuple[str, ...]) -> str:
        text = "\n".join(pieces).replace("return [('early', own)]", early)
        return textwrap.indent(text, "    ")

    calls = "".join(f"    called += f{callee}()\n" for callee in shape.callees)
    own = f"({number}, own)"
    end = f"    yield from called\n    yield {own}\n" if generator else f"    return [{own}] + called\n"
    source = (
        f"def f{number}(a=0, *, k=2):\n    own = {version}\n    pause()\n{block(shape.before)}\n    called = []\n"
        + (f"    yield {own}\n" if generator else "")
        + f"{calls}{block(shape.after)}\n{end}"
    )
    if generator:  # callers want a list
        source = source.replace(f"def f{number}(", f"def g{number}(")
    scratch: dict[str, Any] = {}
    exec(compile(source, f"<f{number} version {version}>", "exec"), space, scratch)
    (function,) = scratch.values()
    assert isinstance(function, FunctionType)
    return function

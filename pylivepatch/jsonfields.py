"""One JSON object, read strictly: each field by its name and kind, text that is Python compiled to see that it is.

Nothing is executed, and a field that nobody has asked for is an error. What is wrong is said by ``bad``, which makes
the error from a message.
"""

from __future__ import annotations

import ast
import sys
import warnings
from typing import Any, Literal

from pylivepatch.patch import CodeRef

_PYTHON = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - two numbers of five


class Fields:
    """One JSON object, read field by field; what is left over at the end is an error."""

    def __init__(self, raw: Any, title: str, bad: Any) -> None:
        if not isinstance(raw, dict):
            raise bad(f"{title} is no object")
        self.raw, self.title, self.bad = dict(raw), title, bad

    def take(self, key: str, *kinds: type) -> Any:
        if key not in self.raw:
            raise self.bad(f"{self.title} has no {key}")
        value = self.raw.pop(key)
        if type(value) not in kinds:
            names = {str: "text", int: "a number", list: "a list", dict: "an object", type(None): "null"}
            raise self.bad(f"{self.title}.{key} is not {' or '.join(names[kind] for kind in kinds)}")
        return value

    def text(self, key: str) -> str:
        value = self.take(key, str)
        assert isinstance(value, str)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self.bad(f"{self.title}.{key} is no proper text")
        return value

    def number(self, key: str) -> int:
        value = self.take(key, int)
        assert isinstance(value, int)
        if not 0 <= value < 1 << 31:
            raise self.bad(f"{self.title}.{key} is no line or index")
        return value

    def expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str:
        """The text of an expression (of this kind of display), or ``""``. Compiled to see, not run."""
        text = self.text(key)
        if text:
            self.check(f"{self.title}.{key}", text, kind)
        return text

    def whole_expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str:
        if self.raw.get(key) == "":
            raise self.bad(f"{self.title}.{key} is empty, and no expression")
        return self.expression(key, kind)

    def maybe_expression(self, key: str, kind: type[ast.expr] = ast.expr) -> str | None:
        if self.raw.get(key, "") is None:
            self.raw.pop(key)
            return None
        return self.whole_expression(key, kind)

    def check(self, title: str, text: str, kind: type[ast.expr] = ast.expr) -> None:
        tree = _parsed(text, "eval")
        if isinstance(tree, str):
            raise self.bad(f"{title} is no expression of Python {_PYTHON}: {tree}")
        if not isinstance(tree.body, kind):
            raise self.bad(f"{title} is no {kind.__name__.lower()} display")

    def statement(self, key: str, name: str) -> str:
        """The text of one import statement that binds ``name`` and nothing else, or of a ``try`` or ``if`` of imports
        and assignments that may bind it.
        """
        text = self.text(key)
        tree = _parsed(text, "exec")
        if isinstance(tree, str):
            raise self.bad(f"{self.title}.{key} is no statement of Python {_PYTHON}: {tree}")
        match tree.body:
            case [ast.Import(names=[ast.alias(name=module, asname=asname)])]:
                bound = asname or module.partition(".")[0]
            case [ast.ImportFrom(names=[ast.alias(name=module, asname=asname)])]:
                bound = asname or module
            case [ast.Try() | ast.If() as block]:
                bound = name if name in (_names_bound(block) or ()) else "other names"
            case _:
                raise self.bad(f"{self.title}.{key} is no import statement of one name")
        if bound != name:
            raise self.bad(f"{self.title}.{key} binds {bound}, not {name}")
        return text

    def items(self, key: str) -> list[Any]:
        value = self.take(key, list)
        assert isinstance(value, list)
        return value

    def is_null(self, key: str) -> bool:
        """Whether the field is there and null; it is taken then."""
        return key in self.raw and self.raw[key] is None and self.raw.pop(key) is None

    def names(self, key: str) -> tuple[str, ...]:
        found = self.items(key)
        if not all(type(name) is str and name.isidentifier() for name in found):
            raise self.bad(f"{self.title}.{key} is no list of names")
        return tuple(found)

    def ref(self, key: str) -> CodeRef:
        return self._ref(self.take(key, dict), f"{self.title}.{key}")

    def refs(self, key: str) -> tuple[CodeRef, ...]:
        return tuple(self._ref(one, f"{self.title}.{key}[{number}]") for number, one in enumerate(self.items(key)))

    def _ref(self, raw: Any, title: str) -> CodeRef:
        inner = Fields(raw, title, self.bad)
        found = CodeRef(inner.text("qualname"), inner.number("line"), inner.number("index"))
        inner.done()
        return found

    def done(self) -> None:
        if self.raw:
            raise self.bad(
                f"{self.title} has a field that is not known: {min(self.raw)!r}", "update pylivepatch"
            )


def _parsed(text: str, mode: Literal["eval", "exec"]) -> Any:
    """The syntax tree of a piece of source, or what is wrong with it. It is compiled too: not all that parses does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree: Any = ast.parse(text.strip(), "<manifest>", mode)
            compile(text.strip(), "<manifest>", mode, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return getattr(problem, "msg", None) or str(problem) or "it is nested too deeply"
    return tree


def _names_bound(node: ast.stmt) -> set[str] | None:
    """The names that a statement binds; ``None`` where it holds anything but imports and assignments of names."""
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        case ast.Assign(targets=[ast.Name(id=name)]):
            return {name}
        case ast.Pass():
            return set()
        case ast.If(body=body, orelse=orelse):
            inner = [*body, *orelse]
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=[]):
            inner = [*body, *orelse, *(part for handler in handlers for part in handler.body)]
        case _:
            return None
    found: set[str] = set()
    for names in map(_names_bound, inner):
        if names is None:
            return None
        found |= names
    return found

"""A new module as code: once as it is, for whoever imports it after the switch, and once for executing it aside."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from pylivepatch.ftrace.trampoline import Path


class WholeCode(NamedTuple):
    """Marshalled code of the module, and the trampoline of each of its outermost functions, by where it lies."""

    code: bytes
    templates: tuple[tuple[Path, bytes], ...]


class CompiledNew(NamedTuple):
    """What a target takes for one new module."""

    name: str
    filename: str
    source: bytes  # compressed
    is_package: bool
    looks_itself_up: bool
    plain: WholeCode
    aside: WholeCode

    def packed(self) -> tuple[Any, ...]:
        """Plain tuples, to be marshalled."""
        return *self[:5], tuple(self.plain), tuple(self.aside)

    @classmethod
    def unpacked(cls, parts: tuple[Any, ...]) -> CompiledNew:
        return cls(*parts[:5], *(WholeCode(*one) for one in parts[5:]))


def looks_itself_up(tree: ast.Module) -> bool:
    """Whether a class decorator may look for the module's names in ``sys.modules``: annotations that are text."""
    as_text = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    quoted = any(
        isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Constant) for node in ast.walk(tree)
    )
    decorated = any(isinstance(node, ast.ClassDef) and node.decorator_list for node in ast.walk(tree))
    return decorated and (as_text or quoted)

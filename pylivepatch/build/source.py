"""One source file: decoding, parsing and compiling it without executing any of it.

Whatever a file may hold (null bytes, a wrong coding cookie, syntax of another Python, nesting that is too
deep) ends in a ``SourceError`` that names the file and, where there is one, the line.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType

from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import mark_own_flags
from pylivepatch.errors import SourceError

TOO_DEEP = "split the expression that is nested so deeply, or leave the file out of the diff"
_MEND = "build with a Python whose syntax the file uses, or mend the file"


@dataclass(frozen=True, eq=False)
class Source:
    """A module's source: ``name`` is its import name, ``path`` its place in the tree."""

    name: str
    path: str
    text: str
    is_package: bool = False
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", _parse(self.text, self.path))
        if "TYPE_CHECKING" in self.text:
            mark_own_flags(self.tree)

    @cached_property
    def codes(self) -> dict[tuple[str, int], list[CodeType]]:
        """``(co_qualname, co_firstlineno)`` → the code objects of that name and line, in pre-order of
        ``co_consts``.
        """
        return index_codes(_compile(self.tree, self.path, 0))

    @cached_property
    def codes_optimized(self) -> dict[tuple[str, int], list[CodeType]]:
        """The same as ``python -O`` compiles it: without asserts, with ``__debug__`` false."""
        return index_codes(_compile(self.tree, self.path, 1))

    @cached_property
    def declared_global(self) -> dict[str, int]:
        """The names that a ``global`` statement declares → the line of the first one."""
        if "global" not in self.text:  # most modules: no need to look at every node
            return {}
        found: dict[str, int] = {}
        for node in walk(self.tree):
            if isinstance(node, ast.Global):
                for name in node.names:
                    found.setdefault(name, node.lineno)
        return found

    @property
    def package(self) -> str:
        """What a relative import starts from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def decode(data: bytes, path: str) -> str:
    """The text of a source file, by its byte order mark or coding cookie (PEP 263), line ends made ``\\n``.

    Raises ``SourceError``.
    """
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise SourceError(
            "the file holds a null byte, so it is no Python source",
            where=f"{path}:{line}",
            advice="save the file as UTF-8 (UTF-16 has null bytes), or leave it out of the diff",
        )
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, LookupError) as problem:
        raise SourceError(
            f"the file's coding is unknown or wrong: {problem}",
            where=f"{path}:1",
            advice="save the file as UTF-8, or name its coding in the first line",
        ) from problem
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise SourceError(
            f"the file is not {problem.encoding}: {problem.reason} at byte {problem.start}",
            where=f"{path}:{line}",
            advice="save the file as UTF-8, or name its coding in the first line",
        ) from problem
    except UnicodeError as problem:  # of a codec that decodes nothing, such as `undefined`
        raise SourceError(
            f"the file's coding is unknown or wrong: {problem}",
            where=f"{path}:1",
            advice="save the file as UTF-8, or name its coding in the first line",
        ) from problem
    # What the compiler does too: a patch is to hold one text, whichever line ends the release has.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def index_codes(root: CodeType) -> dict[tuple[str, int], list[CodeType]]:
    """Every code object in ``root``, by qualified name and first line, in pre-order of ``co_consts``."""
    index: dict[tuple[str, int], list[CodeType]] = {}
    for code in walk_codes(root):
        index.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
    return index


def walk_codes(root: CodeType) -> Iterator[CodeType]:
    """``root`` and every code object in it, in pre-order."""
    stack = [root]
    while stack:
        code = stack.pop()
        yield code
        stack.extend(const for const in reversed(code.co_consts) if isinstance(const, CodeType))


# Written with a base, integers may be longer than what Python turns into decimal digits, and so into a message.
_LONG_INTEGER = re.compile(r"0(?<!\w.)(?:[xX][0-9a-fA-F_]{3500}|[oO][0-7_]{4700}|[bB][01_]{14200})", re.DOTALL)


def _parse(text: str, path: str) -> ast.Module:
    long = _LONG_INTEGER.search(text)
    if long:
        raise SourceError(
            "the file has an integer of thousands of digits, which Python does not show",
            where=f"{path}:{text.count(chr(10), 0, long.start()) + 1}",
            advice="make it of parts, or leave the file out of the diff",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _split(ast.parse(text, path))
    except SyntaxError as problem:
        raise SourceError(
            f"the file does not parse with this Python: {problem.msg}",
            where=f"{path}:{problem.lineno or 1}",
            advice=_MEND,
        ) from problem
    except (RecursionError, MemoryError) as problem:
        raise SourceError("the file is nested too deeply to parse", where=f"{path}:1", advice=TOO_DEEP) from problem
    except ValueError as problem:
        raise SourceError(f"the file does not parse: {problem}", where=f"{path}:1", advice=_MEND) from problem


def _split(tree: ast.Module) -> ast.Module:
    """``a = b = 1`` of the module or of a class made ``a = 1`` and ``b = 1``, which is the same where the value cannot
    change: each name is then compared by itself.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        for field_name, body in ast.iter_fields(stack.pop()):
            if field_name not in ("body", "orelse", "handlers", "finalbody") or not isinstance(body, list):
                continue
            body[:] = [one for node in body for one in _singly(node)]
            stack += [node for node in body if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return tree


def _singly(node: ast.AST) -> list[ast.AST]:
    match node:
        case ast.Assign(targets=targets, value=value) if (
            len(targets) > 1 and all(isinstance(target, ast.Name) for target in targets) and is_plain(value)
        ):
            return [ast.copy_location(ast.Assign([target], copy.deepcopy(value)), node) for target in targets]
    return [node]


def is_plain(node: object) -> bool:
    """A literal that cannot change, so that all who have it may share it."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=ast.Constant()):
            return True
        case ast.Tuple(elts=parts):
            return all(map(is_plain, parts))
    return False


def _compile(tree: ast.Module, path: str, optimize: int) -> CodeType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(tree, path, "exec", dont_inherit=True, optimize=optimize)
    except SyntaxError as problem:
        raise SourceError(
            f"the file does not compile with this Python: {problem.msg}",
            where=f"{path}:{problem.lineno or 1}",
            advice=_MEND,
        ) from problem
    except (RecursionError, MemoryError) as problem:
        raise SourceError("the file is nested too deeply to compile", where=f"{path}:1", advice=TOO_DEEP) from problem
    except ValueError as problem:
        raise SourceError(f"the file does not compile: {problem}", where=f"{path}:1", advice=_MEND) from problem

"""One module of a patch as code: an item for each change, each marshalled by itself.

The items are made from the old and the new source and the list of changes; the target loads them one at a time. What
an item holds is agreed between here and its loaders in the target (``prepare``, and ``switches``, ``values`` and
``classes`` below it).
"""

from __future__ import annotations

import ast
import functools
import marshal
import sys
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from pylivepatch.errors import CompileError
from pylivepatch.pairs import checked_trampoline, code_at, dump_pair, functions_of_body, make_pair, optional_parameters
from pylivepatch.patch import (
    CodeRef,
    Forgotten,
    FunctionChange,
    ModulePatch,
    NewBases,
    NewClass,
    NewFields,
    NewFunction,
    NewImport,
    NewModule,
    NewState,
    Removed,
    Unregistered,
    ValueChange,
)
from pylivepatch.symbols import Symbols, aside_tree, imported_names, new_modules_in, source_of
from pylivepatch.wholly import CompiledNew, WholeCode, looks_itself_up


class Item(NamedTuple):
    """One change of a module, ready to be loaded: ``kind`` and what its loader needs (see ``core``)."""

    kind: str  # "function", "new", "replaced", "value", "import", "class", "fields", "bases", "removed"
    target: str
    payload: bytes  # marshalled
    optional: bool = False  # in a function or class that the old source defines under a condition only
    decorated: bool = False  # a function that the old source has decorators for


@dataclass(frozen=True, slots=True)
class CompiledModule:
    """What a target takes for one module.

    ``prepared`` is one for the whole patch: the parts that ``prepare`` has made, by module, so that a module may import
    a name that the same patch brings to another.
    """

    name: str
    filename: str  # the co_filename of the new code
    source: bytes  # the new source, compressed, for tracebacks
    items: tuple[Item, ...]
    is_same: bool = False  # both versions have the same source: what it computes from other modules' values changes
    prepared: WeakValueDictionary[str, Any] = field(default_factory=WeakValueDictionary, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledModule, (self.name, self.filename, self.source, self.items, self.is_same)


def compile_new(
    patch: str, module: NewModule, optimize: int, brought: Collection[tuple[str, str]], new: Collection[str]
) -> CompiledNew:
    filename = f"<livepatch {patch}>/{module.path}"
    tree = ast.parse(module.new_source)
    own = Symbols(module.name, imported_names(module), brought)
    versions = []
    for root in (tree, aside_tree(ast.parse(module.new_source), own, module, new)):
        code = compile_source(root, filename, optimize)
        templates = [
            (path, checked_trampoline(code_at(code, path), []).to_bytes()) for path in functions_of_body(code)
        ]
        versions.append(WholeCode(marshal.dumps(code), tuple(templates)))
    packed = zlib.compress(module.new_source.encode())
    return CompiledNew(module.name, filename, packed, module.is_package, looks_itself_up(tree), *versions)


def compile_module(
    patch: str,
    module: ModulePatch,
    optimize: int,
    brought: Collection[tuple[str, str]] = (),
    new_modules: Collection[str] = (),
) -> CompiledModule:
    filename = f"<livepatch {patch}>/{module.path}"
    old = compile_source(module.old_source, module.path, optimize)
    new = compile_source(module.new_source, filename, optimize)
    items = []
    plain = _undecorated(module.old_source)
    symbols = Symbols(module.name, imported_names(module), brought)
    for change in module.changes:
        where = f"{module.name}:{change.target}"
        if isinstance(change, FunctionChange):
            codes = _find(old, change.old, where), _find(new, change.new, where)
            pair = make_pair(*codes, optional_parameters(module.old_source), optional_parameters(module.new_source))
            texts = (change.defaults, change.kwdefaults, change.annotations)
            values = [_expression(text, filename, symbols=symbols) for text in texts]
            if module.old_source == module.new_source:  # for a process that imports the module after the load
                values += [_expression(text, filename, symbols=symbols, old=True) for text in texts]
            decorated = (change.old.qualname.rpartition(".")[2], change.old.line) not in plain
            items.append(Item("function", change.target, dump_pair(pair, values), decorated=decorated))
        elif isinstance(change, NewFunction):
            code = _find(new, change.new, where)
            displays = (change.defaults, change.kwdefaults, change.annotations)
            values = [_expression(text or None, filename, symbols=symbols) for text in displays]
            decorators = [_expression(text, filename, change.new.line) for text in change.decorators]
            template = checked_trampoline(code, [])
            made = marshal.dumps((code, values, decorators, template.to_bytes()))
            if change.replaces is None:
                items.append(Item("new" if change.bound else "registered", change.target, made))
                continue
            goes = _leaving(_find(old, change.replaces, where))
            items.append(Item("replaced", change.target, marshal.dumps((made, goes))))
        elif isinstance(change, ValueChange):
            before = _expression(change.old, filename, change.line, symbols=symbols, old=True)
            after = _expression(change.new, filename, change.line, symbols=symbols)
            items.append(Item("value", change.target, marshal.dumps((change.owner, change.name, before, after))))
        elif isinstance(change, NewImport):
            statement = _statement(change.statement, filename, change.line, optimize)
            origin = _origin(change.statement, module)
            whole = None
            if new_modules_in(change.statement, module, new_modules):
                whole = compile_source(
                    aside_tree(ast.parse(change.statement), symbols, module, new_modules), filename, optimize
                )
            brings = origin if origin in brought else None
            payload = change.name, statement, brings, _bound_before(change.name, module), whole
            items.append(Item("import", change.target, marshal.dumps(payload)))
        elif isinstance(change, NewClass):
            items.append(Item("class", change.target, dump_class(module, new, change.new, filename)))
        elif isinstance(change, Removed):
            gone = _leaving(_find(old, change.old, where)) if change.old else None
            items.append(Item("removed", change.target, marshal.dumps((change.owner, change.name, gone))))
        elif isinstance(change, Unregistered):
            from_ = [_expression(text, filename, change.line) for text in change.dispatchers]
            left = _leaving(_find(old, change.old, where)), from_
            items.append(Item("unregistered", change.target, marshal.dumps(left)))
        elif isinstance(change, NewState):
            arguments = _expression(change.arguments, filename, change.line, symbols=symbols)
            state = change.owner, change.name, change.cls, arguments
            items.append(Item("state", change.target, marshal.dumps(state)))
        elif isinstance(change, Forgotten):
            used = [(ref.qualname, _leaving(_find(old, ref, where))) for ref in change.fillers]
            memo = change.owner, change.name, (change.init.qualname, _find(old, change.init, where)), used
            items.append(Item("memo", change.target, marshal.dumps(memo)))
        elif isinstance(change, NewFields):
            own = sorted(_bound_in(_class_statement(module.new_source, change.new)) - {*change.after})
            parts = dump_class(module, new, change.new, filename), own, change.before, change.after
            items.append(Item("fields", change.target, marshal.dumps(parts)))
        elif isinstance(change, NewBases):
            before, after = (_expression(text, filename, change.line) for text in (change.old, change.new))
            items.append(Item("bases", change.target, marshal.dumps((change.owner, before, after))))
    conditional = _conditional(module.old_source)
    items = [item._replace(optional=item.target.partition(".")[0] in conditional) for item in items]
    packed = zlib.compress(module.new_source.encode())
    return CompiledModule(module.name, filename, packed, tuple(items), module.old_source == module.new_source)


def _leaving(code: CodeType) -> tuple[CodeType, bytes, bytes]:
    """A function that is left: nobody may be inside at the switch. Its code, and trampolines of that and of a copy."""
    ways = (checked_trampoline(one, []).to_bytes() for one in (code, code.replace()))
    return code, *ways  # type: ignore[return-value]


def dump_class(module: ModulePatch, new: CodeType, ref: CodeRef, filename: str) -> bytes:
    """A class statement of the new source: the code of its body, its parts, and trampolines of its functions."""
    import dis

    body = _find(new, ref, f"{module.name}:{ref.qualname}")
    node = _class_statement(module.new_source, ref)
    bases, decorators = (
        [_expression(ast.unparse(part), filename, part.lineno) for part in parts]
        for parts in (node.bases, node.decorator_list)
    )
    keywords = [(one.arg, _expression(ast.unparse(one.value), filename, one.value.lineno)) for one in node.keywords]
    instructions = list(dis.get_instructions(body))
    loads, stores = (
        {str(one.argval) for one in instructions if one.opname == name} for name in ("LOAD_NAME", "STORE_NAME")
    )
    functions = [
        (path, checked_trampoline(code_at(body, path), []).to_bytes()) for path in functions_of_body(body)
    ]
    parts = node.name, body, bases, keywords, decorators, sorted(loads - stores), sorted(loads & stores)
    return marshal.dumps((parts, functions))


def _class_statement(source: str, ref: CodeRef) -> ast.ClassDef:
    """The statement whose body's code ``ref`` names. Raises :class:`CompileError`."""
    name = ref.qualname.rpartition(".")[2]
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.ClassDef) and node.name == name and _first_line(node) == ref.line:
            return node
    raise CompileError(
        f"the source has no class {ref}",
        where=ref.qualname,
        advice="the patch file's sources and its list of changes do not belong together; build it again",
    )


def _bound_in(node: ast.ClassDef) -> set[str]:
    """The names that a class's body binds, ``__doc__`` among them if it has a docstring."""
    found = {"__doc__"} if ast.get_docstring(node) is not None else set()
    for part in node.body:
        match part:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return found


def _first_line(node: ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _undecorated(source: str) -> set[tuple[str, int]]:
    """Name and line of the functions without decorators: what is around one of these at run time came from outside."""
    return {
        (node.name, node.lineno)
        for node in ast.walk(_parsed(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list
    }


def _conditional(source: str) -> set[str]:
    """The functions and classes that a module defines, but only under conditions: a process may have none of them.

    Where it has none, the condition did not hold when it was imported, and the new version's (the same: the builder
    refuses another) would not hold either.
    """
    always: set[str] = set()
    found: set[str] = set()
    stack: list[tuple[ast.stmt, bool]] = [(node, False) for node in _parsed(source).body]
    while stack:
        node, under = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            (found if under else always).add(node.name)
        elif isinstance(node, ast.If | ast.Try):
            inner = [*node.body, *node.orelse]
            if isinstance(node, ast.Try):
                inner += [*node.finalbody, *(part for handler in node.handlers for part in handler.body)]
            stack += [(one, True) for one in inner]
    return found - always


def _origin(statement: str, module: ModulePatch) -> tuple[str, str] | None:
    """The module and the name in it that ``from module import name`` means, relative ones resolved."""
    match ast.parse(statement).body:
        case [ast.ImportFrom(names=[alias]) as node]:
            return source_of(node, module), alias.name
    return None


def _bound_before(name: str, module: ModulePatch) -> tuple[str, str] | None:
    """The module and the name in it (``""`` for the module itself) that the old source imports as ``name``."""
    stars = []
    for node in _parsed(module.old_source).body:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom) and (alias.asname or alias.name) == name:
                return source_of(node, module), alias.name
            if isinstance(node, ast.ImportFrom) and alias.name == "*":
                stars.append(source_of(node, module))
            if isinstance(node, ast.Import) and (alias.asname or alias.name.partition(".")[0]) == name:
                return (alias.name if alias.asname else name), ""
    return (stars[0], name) if len(stars) == 1 else None


@functools.lru_cache(maxsize=1)
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def compile_source(source: str | ast.Module, filename: str, optimize: int) -> CodeType:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(source, filename, "exec", dont_inherit=True, optimize=optimize)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CompileError(
            f"Python {sys.version.split()[0]} cannot compile the source: {error}",
            where=f"{filename}:{getattr(error, 'lineno', None) or 1}",
            advice="the patch needs a Python whose syntax it uses; the target runs this one",
        ) from error


def _expression(
    text: str | None, filename: str, line: int = 1, *, symbols: Symbols | None = None, old: bool = False
) -> CodeType | None:
    if text is None:
        return None
    try:
        tree = ast.parse(text.strip(), filename, "eval")
        ast.increment_lineno(tree, line - 1)
        if symbols is not None:
            tree = symbols.replaced(tree, old=old)
        return compile(tree, filename, "eval", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _no_source(text, filename, line, error) from error


def _statement(text: str, filename: str, line: int, optimize: int) -> CodeType:
    try:
        return compile(text, filename, "exec", dont_inherit=True, optimize=optimize)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _no_source(text, filename, line, error) from error


def _no_source(text: str, filename: str, line: int, error: Exception) -> CompileError:
    return CompileError(
        f"Python {sys.version.split()[0]} cannot compile {text[:60]!r}: {getattr(error, 'msg', None) or error}",
        where=f"{filename}:{line}",
        advice="build the patch again, with a Python no newer than the one that it is for",
    )


def _find(module: CodeType, ref: CodeRef, where: str) -> CodeType:
    """The code object that ``ref`` names."""
    from pylivepatch.activeness.references import nested_code

    same = [
        code for code in nested_code(module) if (code.co_qualname, code.co_firstlineno) == (ref.qualname, ref.line)
    ]
    if ref.index >= len(same):
        raise CompileError(
            f"the source has no function {ref}",
            where=where,
            advice="the patch file's sources and its list of changes do not belong together; build it again",
        )
    return same[ref.index]

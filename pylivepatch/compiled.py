"""A patch as code: what is made outside the target process and sent to it.

Compiling a module of 3,000 lines holds the GIL for tens of milliseconds, and trampolines take about two milliseconds
each, so neither happens in a process that must not pause. The client (or a helper process of the target's own
interpreter: ``python -m pylivepatch.compiled``) compiles the old and the new source, finds the functions, makes their
trampolines for both directions, and marshals each function by itself: the target loads them one at a time.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import json
import marshal
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path as FilePath
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from pylivepatch import cores, errors, groups
from pylivepatch.errors import CompileError, LivePatchError, WrongPython
from pylivepatch.ftrace.hooks import kind
from pylivepatch.ftrace.late import signature_key
from pylivepatch.ftrace.trampoline import Path, Template, trampoline
from pylivepatch.ftrace.verify import check
from pylivepatch.patch import (
    CodeRef,
    FunctionChange,
    HooksFile,
    ModulePatch,
    NewBases,
    NewClass,
    NewFields,
    NewFunction,
    NewImport,
    NewModule,
    NewState,
    Patch,
    Removed,
    Unregistered,
    ValueChange,
)
from pylivepatch.patchfile import unmet
from pylivepatch.symbols import Symbols, aside_tree, imported_names, new_modules_in, source_of
from pylivepatch.wholly import CompiledNew, WholeCode, looks_itself_up

_HEADER_OF_ANY = b"pylivepatch compiled "
_HEADER = _HEADER_OF_ANY + b"4\n"
"""The number goes up with each change of what is shipped, the hooks of trampolines included: a service goes on with the
agent that it started with, whatever is installed since."""
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "__annotate__")


@dataclass(frozen=True, slots=True)
class Nested:
    """A function nested in a changed one, which differs: where it lies in the old and the new outer code."""

    old_path: Path
    new_path: Path
    forward: Template
    backward: Template


@dataclass(frozen=True, slots=True)
class Pair:
    """Old and new code of one outermost function, with trampolines for both directions.

    ``guards_old`` and ``guards_new`` are nested code objects without a counterpart on the other side: they cannot be
    redirected, so they must be idle at the switch.
    """

    old: CodeType
    new: CodeType
    forward: Template
    backward: Template
    nested: tuple[Nested, ...] = ()
    guards_old: tuple[Path, ...] = ()
    guards_new: tuple[Path, ...] = ()


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


class HooksCode(NamedTuple):
    """The author's part, ready to be executed: marshalled code, and the compressed source for tracebacks."""

    filename: str
    code: bytes
    source: bytes


@dataclass(frozen=True, slots=True)
class CompiledPatch:
    """What a target takes. ``magic`` is ``importlib.util.MAGIC_NUMBER``, ``optimize`` the ``-O`` level it is for."""

    name: str
    description: str
    magic: bytes
    optimize: int
    modules: tuple[CompiledModule, ...]
    groups: tuple[groups.Group, ...] = ()
    hooks: HooksCode | None = None
    new_modules: tuple[CompiledNew, ...] = ()
    distributions: tuple[tuple[str, str, str], ...] = ()
    prepared: WeakValueDictionary[str, Any] = field(default_factory=WeakValueDictionary, compare=False, repr=False)

    def __post_init__(self) -> None:
        shared = self.prepared
        object.__setattr__(self, "modules", tuple(replace(module, prepared=shared) for module in self.modules))

    def to_bytes(self) -> bytes:
        head: dict[str, Any] = {"name": self.name, "description": self.description}
        head |= {"magic": self.magic.hex(), "optimize": str(self.optimize)}
        head |= {"groups": groups.to_json(self.groups), "distributions": self.distributions}
        body = [(m.name, m.filename, m.source, [tuple(item) for item in m.items], m.is_same) for m in self.modules]
        whole: Any = body, self.hooks and tuple(self.hooks), [new.packed() for new in self.new_modules]
        return _HEADER + json.dumps(head).encode() + b"\n" + marshal.dumps(whole)

    @classmethod
    def from_bytes(cls, data: bytes) -> CompiledPatch:
        """Read it back. Raises :class:`WrongPython` before anything version-specific is read."""
        try:
            if not data.startswith(_HEADER):
                known = data.startswith(_HEADER_OF_ANY)
                raise ValueError("another version of pylivepatch made it" if known else "it does not begin as one")
            line, _, body = data[len(_HEADER) :].partition(b"\n")
            head = json.loads(line)
            magic, optimize = bytes.fromhex(head["magic"]), int(head["optimize"])
            check_python(magic, optimize)
            parts, hooks, new = marshal.loads(body)
            modules = tuple(
                CompiledModule(name, filename, source, tuple(Item(*item) for item in items), is_same)
                for name, filename, source, items, is_same in parts
            )
            apart = groups.from_json(head.get("groups", ()))
            named = str(head["name"]), str(head["description"])
            whole = tuple(map(CompiledNew.unpacked, new))
            dists = tuple((str(one), str(old), str(new)) for one, old, new in head.get("distributions", ()))
            return cls(*named, magic, optimize, modules, apart, hooks and HooksCode(*hooks), whole, dists)
        except (ValueError, TypeError, KeyError, EOFError) as error:
            raise CompileError(
                f"this is not a compiled patch: {error}",
                advice="send what `pylivepatch load` makes of a patch file, by the version that the process runs",
            ) from error


def check_python(magic: bytes, optimize: int) -> None:
    """Raise :class:`WrongPython` unless code for ``magic`` and ``optimize`` can run here."""
    if magic != importlib.util.MAGIC_NUMBER:
        raise WrongPython(
            "the patch was compiled by another version of Python than this process runs",
            where=f"{sys.executable} ({sys.version.split()[0]})",
            advice="compile it with this process's interpreter (`pylivepatch load` does)",
        )
    if optimize != sys.flags.optimize:
        raise WrongPython(
            f"the patch was compiled for optimization level {optimize}, this process runs with {sys.flags.optimize}",
            where=sys.executable,
            advice="compile it for the level of the process (`pylivepatch load` does)",
        )


def check_requirement(requirement: str, name: str) -> None:
    """Raise :class:`WrongPython` unless this Python meets ``requirement``: clauses like ``>=3.11``, commas between."""
    try:
        clause = unmet(requirement, sys.version_info[:3])
    except ValueError as error:
        raise WrongPython(
            f"the patch's requirement {requirement!r} is not understood: {error}",
            where=name,
            advice="write it as clauses like >=3.11 or <3.14, with commas between",
        ) from error
    if clause:
        raise WrongPython(
            f"the patch needs Python {clause}, and this is {sys.version.split()[0]}",
            where=sys.executable,
            advice="build a patch for this Python",
        )


FEW = 20
"""Up to so many functions, about 0.2 s of work, a patch is compiled on one core: two pay from about ten on."""


def compile_patch(patch: Patch, *, optimize: int | None = None, spread: bool = False) -> CompiledPatch:
    """Compile ``patch`` with this interpreter. Raises :class:`CompileError`.

    ``spread`` is for processes that nobody patches: the modules of a big patch are compiled on all cores (``cores``).
    """
    if patch.replacements:
        raise CompileError(
            "a patch of live functions cannot be compiled for another process",
            where=patch.name,
            advice="load it in the process that has the functions, or build it from sources",
        )
    check_requirement(patch.requires_python, patch.name)
    level = sys.flags.optimize if optimize is None else optimize
    brought = {
        (module.name, change.target)
        for module, change in patch.changes()
        if not isinstance(change, FunctionChange | Removed | Unregistered)
    }
    new = {module.name for module in patch.new_modules}

    def compile_one(module: ModulePatch) -> CompiledModule:
        return _compile_module(patch.name, module, level, brought, new)

    if spread and sum(isinstance(change, FunctionChange | NewFunction) for _, change in patch.changes()) > FEW:
        modules, apart = cores.on_all(compile_one, patch.modules, lambda: groups.of_patch(patch))
    else:
        modules, apart = [compile_one(module) for module in patch.modules], groups.of_patch(patch)
    whole = tuple(_compile_new(patch.name, module, level, brought, new) for module in patch.new_modules)
    magic = importlib.util.MAGIC_NUMBER
    hooks = _compile_hooks(patch.name, patch.hooks, level) if patch.hooks is not None else None
    named = patch.name, patch.description
    return CompiledPatch(*named, magic, level, tuple(modules), apart, hooks, whole, patch.distributions)


def _compile_hooks(patch: str, hooks: HooksFile, optimize: int) -> HooksCode:
    filename = f"<livepatch {patch}>/{hooks.name}"
    code = _compile(hooks.source, filename, optimize)
    return HooksCode(filename, marshal.dumps(code), zlib.compress(hooks.source.encode()))


def compile_with(executable: str, path: str | os.PathLike[str], *, optimize: int) -> bytes:
    """The bytes of the compiled patch file ``path``, made by a helper process of ``executable``.

    Raises :class:`CompileError`; an error of the helper's own comes back as what it is.
    """
    here = str(FilePath(__file__).resolve().parent.parent)
    bytecode_home = importlib.util.find_spec("bytecode")
    paths = [here]
    if bytecode_home is not None and bytecode_home.origin is not None:
        paths.append(str(FilePath(bytecode_home.origin).resolve().parent.parent))
    code = f"import sys; sys.path[:0] = {paths[:1]!r}; sys.path += {paths[1:]!r}\n"
    code += "from pylivepatch.compiled import main; main()"
    command = [executable, "-I", "-X", "utf8", "-c", code, os.fspath(path), str(optimize)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(
            f"the helper process could not compile the patch: {error}",
            where=executable,
            advice="the target's interpreter must be executable, and able to import pylivepatch",
        ) from error
    if done.returncode == 0:
        return done.stdout
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    kind = getattr(errors, str(report.get("error")), CompileError)
    raise (kind if isinstance(kind, type) and issubclass(kind, LivePatchError) else CompileError)(
        report.get("message") or f"the helper process failed: {' '.join(last) or f'exit {done.returncode}'}",
        where=report.get("where") or executable,
        advice=report.get("advice") or "the target's interpreter must be able to import pylivepatch and bytecode",
        code=report.get("code"),
    )


def main() -> None:
    """``python -m pylivepatch.compiled FILE.plp OPTIMIZE``: the compiled patch to standard output."""
    import gc

    from pylivepatch import patchfile

    gc.disable()  # a process for one patch: there are many objects that stay, and next to no cycles
    try:
        data = compile_patch(patchfile.read(sys.argv[1]), optimize=int(sys.argv[2]), spread=True).to_bytes()
    except LivePatchError as error:
        sys.stdout.write(json.dumps(error.as_dict()))
        sys.exit(1)
    sys.stdout.buffer.write(data)


# --- one module ---------------------------------------------------------------------------------------------


def _compile_new(
    patch: str, module: NewModule, optimize: int, brought: Collection[tuple[str, str]], new: Collection[str]
) -> CompiledNew:
    filename = f"<livepatch {patch}>/{module.path}"
    tree = ast.parse(module.new_source)
    own = Symbols(module.name, imported_names(module), brought)
    versions = []
    for root in (tree, aside_tree(ast.parse(module.new_source), own, module, new)):
        code = _compile(root, filename, optimize)
        templates = [
            (path, checked_trampoline(code_at(code, path), []).to_bytes()) for path in _functions_of_body(code)
        ]
        versions.append(WholeCode(marshal.dumps(code), tuple(templates)))
    packed = zlib.compress(module.new_source.encode())
    return CompiledNew(module.name, filename, packed, module.is_package, looks_itself_up(tree), *versions)


def _compile_module(
    patch: str,
    module: ModulePatch,
    optimize: int,
    brought: Collection[tuple[str, str]] = (),
    new_modules: Collection[str] = (),
) -> CompiledModule:
    filename = f"<livepatch {patch}>/{module.path}"
    old = _compile(module.old_source, module.path, optimize)
    new = _compile(module.new_source, filename, optimize)
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
                whole = _compile(
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
        (path, checked_trampoline(code_at(body, path), []).to_bytes()) for path in _functions_of_body(body)
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


def _functions_of_body(body: CodeType, at: Path = ()) -> Iterator[Path]:
    """Where the methods of a class lie in its body's code, those of inner classes included."""
    for index, const in enumerate(body.co_consts):
        if not isinstance(const, CodeType):
            continue
        if not const.co_flags & inspect.CO_OPTIMIZED:
            yield from _functions_of_body(const, (*at, index))
        elif _is_function(const) and const.co_name not in _COMPREHENSIONS:
            yield *at, index


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


def _compile(source: str | ast.Module, filename: str, optimize: int) -> CodeType:
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


# --- old and new code of a function -------------------------------------------------------------------------


Optional = dict[tuple[str, int], list[tuple[int, frozenset[str]]]]


@lru_cache(maxsize=4)  # asked once for every function of a module
def optional_parameters(source: str) -> Optional:
    """How many positional and which keyword parameters of each function have defaults, by ``co_name`` and line.

    A code object does not say: a live instance of a nested function keeps the defaults that it was made with.
    """
    found: Optional = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name, line = node.name, min(part.lineno for part in (node, *node.decorator_list))
        elif isinstance(node, ast.Lambda):
            name, line = "<lambda>", node.lineno
        else:
            continue
        keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        optional = frozenset(argument.arg for argument, value in keywords if value is not None)
        found.setdefault((name, line), []).append((len(node.args.defaults), optional))
    return found


def make_pair(old: CodeType, new: CodeType, before: Optional | None = None, after: Optional | None = None) -> Pair:
    """Pair the nested functions of ``old`` and ``new``, and make all trampolines, checked.

    Nested functions are paired by qualified name and order. A pair that is equal but for line numbers is left alone:
    its live instances go on as they are. One whose signature, kind or free variables differ has no counterpart.
    ``before`` and ``after`` say which parameters are optional (:func:`optional_parameters`), where that is known.
    """
    before, after = before or {}, after or {}
    olds, news = dict(_nested(old)), dict(_nested(new))
    pairs: list[tuple[Path, Path]] = []
    guards_old: list[Path] = []
    guards_new: list[Path] = []
    for key, (path, code) in olds.items():
        if key not in news:
            guards_old.append(path)
            continue
        new_path, new_code = news[key]
        places = ((one.co_name, one.co_firstlineno) for one in (code, new_code))
        same_optional = before.get(next(places)) == after.get(next(places))
        if same_optional and normal_form(code) == normal_form(new_code):
            continue
        if same_optional and _can_follow(code, new_code):
            pairs.append((path, new_path))
        else:
            guards_old.append(path)
            guards_new.append(new_path)
    guards_new += [path for key, (path, _) in news.items() if key not in olds]
    olds_paired, news_paired = [p for p, _ in pairs], [p for _, p in pairs]
    nested = tuple(
        Nested(
            old_path,
            new_path,
            checked_trampoline(code_at(old, old_path), children(olds_paired, old_path)),
            checked_trampoline(code_at(new, new_path), children(news_paired, new_path)),
        )
        for old_path, new_path in pairs
    )
    return Pair(
        old,
        new,
        checked_trampoline(old, children(olds_paired, ())),
        checked_trampoline(new, children(news_paired, ())),
        nested,
        tuple(guards_old),
        tuple(guards_new),
    )


def equal_nested(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The nested functions that :func:`make_pair` leaves alone: the code of both sides."""
    news = dict(_nested(new))
    for key, (_, code) in _nested(old):
        if key in news and normal_form(code) == normal_form(news[key][1]):
            yield code, news[key][1]


def nested_paths(code: CodeType) -> list[Path]:
    """Where the functions nested in ``code`` lie."""
    return [path for _, (path, _) in _nested(code)]


def children(paths: list[Path], outer: Path) -> list[Path]:
    """Those of ``paths`` that lie below ``outer`` with none of the others between, relative to it."""
    below = [p for p in paths if len(p) > len(outer) and p[: len(outer)] == outer]
    nearest = [p for p in below if not any(p != q and p[: len(q)] == q for q in below)]
    return [p[len(outer) :] for p in nearest]


def checked_trampoline(code: CodeType, adopt: list[Path]) -> Template:
    """The trampoline of ``code``, after :func:`pylivepatch.ftrace.verify.check`.

    For a patch made by hand this runs in the process that must not pause: it gives up the GIL after each half.
    """
    template = trampoline(code, adopt=adopt)
    time.sleep(0)
    check(code, template, adopt)
    time.sleep(0)
    return template


def code_at(code: CodeType, path: Path) -> CodeType:
    """The nested code object at ``path``."""
    for index in path:
        code = code.co_consts[index]
    return code


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & 1) and not code.co_name.startswith("<generic parameters")


def _nested(code: CodeType, prefix: Path = ()) -> Iterator[tuple[tuple[str, int], tuple[Path, CodeType]]]:
    """Nested functions, lambdas and generator expressions by name and order, however deep."""
    counts: dict[str, int] = {}

    def visit(outer: CodeType, at: Path) -> Iterator[tuple[tuple[str, int], tuple[Path, CodeType]]]:
        for index, const in enumerate(outer.co_consts):
            if not isinstance(const, CodeType):
                continue
            path = (*at, index)
            if _is_function(const) and (const.co_name not in _COMPREHENSIONS or const.co_name == "<genexpr>"):
                number = counts[const.co_qualname] = counts.get(const.co_qualname, -1) + 1
                yield (const.co_qualname, number), (path, const)
            yield from visit(const, path)

    return visit(code, prefix)


def _can_follow(old: CodeType, new: CodeType) -> bool:
    return (
        old.co_name != "<genexpr>"
        and old.co_freevars == new.co_freevars
        and kind(old) == kind(new)
        and signature_key(old) == signature_key(new)
    )


def normal_form(code: CodeType) -> tuple[Any, ...]:
    """What ``code`` does, without where it stands: equal for code that differs in line numbers and file only."""
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_names,
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
        code.co_flags,
        code.co_qualname,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_stacksize),
        tuple(normal_form(c) if isinstance(c, CodeType) else _constant_key(c) for c in code.co_consts),
    )


def _constant_key(value: Any) -> Any:
    """Tells 1 from 1.0 and True, and 0.0 from -0.0, as CPython's compiler does."""
    if isinstance(value, tuple):
        return (tuple, tuple(_constant_key(item) for item in value))
    if isinstance(value, frozenset):
        return (frozenset, frozenset(_constant_key(item) for item in value))
    if isinstance(value, float | complex):
        return (type(value), repr(value))
    return (type(value), value)


# --- marshalling --------------------------------------------------------------------------------------------


def dump_pair(pair: Pair, values: list[CodeType | None]) -> bytes:
    nested = [(n.old_path, n.new_path, n.forward.to_bytes(), n.backward.to_bytes()) for n in pair.nested]
    return marshal.dumps(
        (
            pair.old,
            pair.new,
            pair.forward.to_bytes(),
            pair.backward.to_bytes(),
            nested,
            pair.guards_old,
            pair.guards_new,
            values,
        )
    )


def load_pair(data: bytes) -> tuple[Pair, list[CodeType | None]]:
    old, new, forward, backward, nested, guards_old, guards_new, values = marshal.loads(data)
    pair = Pair(
        old,
        new,
        Template.from_bytes(forward),
        Template.from_bytes(backward),
        tuple(Nested(o, n, Template.from_bytes(f), Template.from_bytes(b)) for o, n, f, b in nested),
        guards_old,
        guards_new,
    )
    return pair, values


if __name__ == "__main__":
    main()

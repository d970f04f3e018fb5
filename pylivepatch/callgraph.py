"""Who may reach whom, by the names that source code mentions: coarse on purpose, rather too much than too little.

A graph of names. An edge from one to another says that whoever has the first may come to call, read or write the
second. Nothing is resolved by type: ``x.save()`` leads to everything that is called ``save``, in any class of any of
the modules. What is known more exactly is what belongs to a function alone: its variables are names of their own.

What leads on:

* a definition leads to all that its text mentions, decorators, defaults, annotations and nested functions among it, and
  strings that read as names (``getattr(x, "save")``, tables of names);
* a name that is bound (assignment, loop, ``with``, import) leads to all that the bound expression mentions, so a table
  of handlers leads to the handlers;
* a parameter leads to all that any call hands to a function of that name; so does the object whose method is called
  (``handlers.append(f)``);
* ``eval``, ``globals``, ``getattr`` with a computed name and their like lead to :data:`ANYTHING`.

Modules are nodes of their own (:func:`module_node`), and so is what a definition sets (:meth:`CallGraph.differs`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

ANYTHING = "*"
"""What code leads to that may look anything up by a name that is computed."""

_LOOKS_UP = {"eval", "exec", "globals", "locals", "vars", "dir", "__import__", "import_module", "reload", "modules"}
_LOOKS_UP |= {"__dict__", "__class__", "__subclasses__", "__getattribute__", "__globals__", "__code__", "getmembers"}
_BY_NAME = {"getattr", "setattr", "delattr", "hasattr", "attrgetter", "methodcaller"}
_KEEP_NOTHING = {"asyncio", "threading", "multiprocessing", "concurrent", "subprocess", "queue", "socket", "os", "io"}
_KEEP_NOTHING |= {"time", "datetime", "math", "random", "json", "re", "struct", "string", "hashlib", "copy", "pathlib"}
_KEEP_NOTHING |= {"itertools", "functools", "collections", "contextlib", "dataclasses", "typing"}
"""Modules that call what they are handed in that very call, on a thread or task of its own, or not at all."""
_LOGS = {"debug", "info", "warning", "error", "exception", "critical", "log"}  # methods that keep nothing either
_COMPUTED = "?("  # what calls hand to a function that has no name
_SELF = {"self", "cls"}
_TAKE_FOR_THE_CLASS = {"__init__", "__new__", "__call__"}


def module_node(name: str) -> str:
    """The node of a module as a whole."""
    return f"import {name}"


def definition_node(module: str, qualname: str) -> str:
    """The node of one function or class, whatever else has its name."""
    return f"{module}:{qualname}"


class CallGraph:
    """The names of some source files and where they lead. Both versions of a module may be read into one graph."""

    def __init__(self) -> None:
        self.edges: dict[str, set[str]] = {}
        self._sets: tuple[dict[str, set[str]], dict[str, set[str]]] = ({}, {})  # of the old version, of the new

    def read(self, module: str, source: str, *, package: bool = False, new: bool = False) -> None:
        """Take in one source file. ``package`` says that it is an ``__init__.py``, ``new`` that it is the new version.

        :raises SyntaxError: it is none that this Python reads
        """
        _Reader(self.edges, self._sets[new], module, package).visit(ast.parse(source))

    def lead(self, name: str, to: Iterable[str]) -> None:
        """Note that ``name`` leads to these."""
        self.edges.setdefault(name, set()).update(to)

    def differs(self, definition: str) -> set[str]:
        """The attributes and keys that a definition, or what is nested in it, assigns in one version only."""
        old, new = (
            {value for name, values in sets.items() if (name + ".").startswith(definition + ".") for value in values}
            for sets in self._sets
        )
        return old ^ new


class _Reader(ast.NodeVisitor):
    def __init__(
        self, edges: dict[str, set[str]], sets: dict[str, set[str]], module: str, package: bool
    ) -> None:
        self._edges = edges
        self._sets = sets
        self._module = module
        self._package = package
        self._path: list[str] = []  # of the definitions around
        self._scopes: list[tuple[bool, dict[str, str]]] = []  # around: whether it is a class, the node of each name
        self._stars: list[str] = []
        self._owner = definition_node(module, "")
        self._captured: list[set[str]] = []

    # --- noting -------------------------------------------------------------------------------------------

    def _lead(self, name: str, to: Iterable[str]) -> None:
        self._edges.setdefault(name, set()).update(to)

    def _mention(self, name: str) -> None:
        if name in _SELF:
            return
        self._lead(self._owner, [name])
        for captured in self._captured:
            captured.add(name)

    @contextmanager
    def _capture(self) -> Iterator[set[str]]:
        """What is mentioned meanwhile."""
        captured: set[str] = set()
        self._captured.append(captured)
        yield captured
        self._captured.pop()

    def _mentions(self, *nodes: ast.AST | None) -> set[str]:
        with self._capture() as captured:
            for node in nodes:
                if node is not None:
                    self.visit(node)
        return captured

    def _node(self, name: str) -> str:
        """The node of a plain name: the variable of the innermost function that has it, else what has it anywhere."""
        for is_class, names in reversed(self._scopes):
            if name in names and (not is_class or names is self._scopes[-1][1]):
                return names[name]
        return name

    # --- definitions --------------------------------------------------------------------------------------

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        outside = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
        decorators: list[ast.expr] = [] if isinstance(node, ast.Lambda) else node.decorator_list
        definition = self._define(name, node, [*outside, *decorators])
        for decorator in decorators:
            self._hand(decorator, {definition, self._node(name)})
        if decorators or name == "<lambda>":
            self._as_value(name)
        parameters = _parameters(node.args)
        variables = {one: f"{definition}.<{node.lineno}>.{one}" for one in _variables(node)}
        owner, self._owner = self._owner, definition
        in_class = self._path and not self._path[-1].endswith("<locals>")
        receivers = [f"{name}(", *([f"{self._path[-1]}("] if in_class and name in _TAKE_FOR_THE_CLASS else [])]
        self._scopes.append((False, variables))
        self._path += [name, "<locals>"]
        for one in parameters:
            self._lead(variables[one], [*receivers, f"?{name}"])
        self._lead(definition, variables.values())
        for part in [*parameters.values(), getattr(node, "returns", None), *getattr(node, "type_params", ())]:
            self._mentions(part)
        for statement in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(statement)
        del self._path[-2:]
        self._scopes.pop()
        self._owner = owner

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        definition = self._define(node.name, node, [*node.bases, *node.keywords, *node.decorator_list])
        for base in node.bases:  # what makes an object of the class hands to what makes one of the base
            for one in _last_name(base):
                self._lead(f"{one}(", [f"{node.name}("])
        for decorator in node.decorator_list:
            self._hand(decorator, {definition, self._node(node.name)})
        owner, self._owner = self._owner, definition
        self._path.append(node.name)
        self._scopes.append((True, {name: name for name in _bound(node.body)}))  # they are attributes
        for statement in node.body:
            self.visit(statement)
        self._scopes.pop()
        self._path.pop()
        self._owner = owner

    def _define(self, name: str, node: ast.AST, outside: list[ast.expr | ast.keyword]) -> str:
        """A definition begins: whoever has its name has it, and so has the one around."""
        definition = definition_node(self._module, ".".join([*self._path, name]))
        if name != "<lambda>":
            self._lead(self._node(name), [definition])
        self._mention(definition)
        self._lead(definition, self._stars)
        self._lead(definition, self._mentions(*outside))
        return definition

    # --- names --------------------------------------------------------------------------------------------

    def _as_value(self, name: str) -> None:
        """A function of this name may be called without its name: then it is handed what such calls hand."""
        self._lead(f"?{name}", [_COMPUTED])

    def visit_Name(self, node: ast.Name) -> None:
        self._as_value(node.id)
        self._name(node)

    def _name(self, node: ast.Name) -> None:
        self._mention(self._node(node.id))
        if node.id in _LOOKS_UP or node.id in _BY_NAME:
            self._mention(ANYTHING)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._as_value(node.attr)
        self._attribute(node)

    def _attribute(self, node: ast.Attribute) -> None:
        self._mention(node.attr)
        if not isinstance(node.ctx, ast.Load):
            self._sets.setdefault(self._owner, set()).add(node.attr)
        if node.attr in _LOOKS_UP or node.attr in _BY_NAME:
            self._mention(ANYTHING)
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
            self._sets.setdefault(self._owner, set()).add(str(node.slice.value))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            parts = node.value.replace(":", ".").split(".")
            if all(part.isidentifier() for part in parts):
                for part in parts:
                    self._as_value(part)
                    self._mention(part)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._bind_import(alias.asname or alias.name.partition(".")[0], [module_node(alias.name)])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            around = self._module.split(".")
            around = around[: len(around) - node.level + self._package]
            source = ".".join([*around, *([source] if source else [])])
        for alias in node.names:
            if alias.name == "*":  # any name may be one of these
                self._stars.append(module_node(source))
                continue
            nodes = [module_node(source), module_node(f"{source}.{alias.name}"), alias.name]
            self._bind_import(alias.asname or alias.name, nodes)
            if alias.asname:
                self._lead(f"{alias.name}(", [f"{alias.asname}("])

    def _bind_import(self, name: str, to: list[str]) -> None:
        self._lead(self._node(name), to)
        self._mention(self._node(name))

    # --- what flows ---------------------------------------------------------------------------------------

    def _bind(self, targets: Iterable[ast.AST], *values: ast.AST | None) -> None:
        given = self._mentions(*values)
        for target in targets:
            for name in self._mentions(target):
                self._lead(name, given)
            for one in _last_name(target):  # another name for a function: what it is handed is handed to that
                for value in values:
                    for other in _last_name(value):
                        self._lead(f"{other}(", [f"{one}("])

    def visit_Assign(self, node: ast.Assign) -> None:
        self._bind(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._bind([node.target], node.value, node.annotation)
        if self._scopes and self._scopes[-1][0]:  # a field of a dataclass, perhaps
            for name in _last_name(node.target):
                self._lead(name, [f"{self._path[-1]}("])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._bind([node.target], node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind([node.target], node.value)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._bind([node.target], node.iter)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    visit_AsyncFor = visit_For

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._bind([node.target], node.iter)
        for condition in node.ifs:
            self.visit(condition)

    def visit_withitem(self, node: ast.withitem) -> None:
        self._bind([node.optional_vars] if node.optional_vars else [], node.context_expr)

    def visit_Match(self, node: ast.Match) -> None:
        given = self._mentions(node.subject)
        for case in node.cases:
            for part in ast.walk(case.pattern):
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if name:
                    self._lead(self._node(name), given)
        for case in node.cases:
            self.visit(case)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for attr in node.kwd_attrs:
            self._mention(attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _BY_NAME and _names_constants(name, node):
            for one in ast.walk(node.func):  # the names are in the text, as strings
                if isinstance(one, ast.Attribute | ast.Name) and one is not node.func:
                    self.visit(one)
        elif isinstance(node.func, ast.Name):
            self._name(node.func)
        elif isinstance(node.func, ast.Attribute):
            self._attribute(node.func)
        else:
            self.visit(node.func)
        if isinstance(node.func, ast.Call) and getattr(node.func.func, "id", "") == "type":
            self._mention(ANYTHING)  # type(x)(…) makes an object of a class that is not named
        given = self._mentions(*node.args, *node.keywords)
        for argument in node.args:  # what is called may put any other into it, as heapq.heappush does
            if isinstance(argument, ast.Name) and argument.id not in _SELF:
                self._lead(self._node(argument.id), given)
            elif isinstance(argument, ast.Attribute):
                self._lead(argument.attr, given)
        for keyword in node.keywords:
            if keyword.arg:
                self._lead(keyword.arg, self._mentions(keyword.value))
        self._hand(node.func, given)

    def _hand(self, function: ast.expr, given: set[str]) -> None:
        """A call hands ``given`` to ``function``, and to the object whose method that is."""
        named = False
        for name in _last_name(function):
            self._lead(f"{name}(", given)
            named = isinstance(function, ast.Attribute) or self._node(name) == name
        if not named:
            self._lead(_COMPUTED, given)
        base = function.func if isinstance(function, ast.Call) else function
        if isinstance(base, ast.Attribute) and base.attr in _LOGS:
            return
        while isinstance(base, ast.Attribute | ast.Subscript | ast.Call):
            base = base.func if isinstance(base, ast.Call) else base.value
            if isinstance(base, ast.Attribute):
                self._lead(base.attr, given)
            elif isinstance(base, ast.Name) and base.id not in _SELF | _KEEP_NOTHING:
                self._lead(self._node(base.id), given)


def _last_name(node: ast.AST | None) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Call):  # a decorator with arguments
        return _last_name(node.func)
    return []


def _names_constants(name: str, call: ast.Call) -> bool:
    """Whether the names that ``getattr`` or the like is given are strings in the text."""
    given = call.args[1:2] if name.endswith("attr") else call.args if name == "attrgetter" else call.args[:1]
    return bool(given) and all(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in given)


def _parameters(arguments: ast.arguments) -> dict[str, ast.expr | None]:
    """The parameters, with their annotations."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {one.arg: one.annotation for one in every if one is not None}


def _variables(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names that belong to a function: parameters, and what its own body binds."""
    body = function.body if isinstance(function.body, list) else [function.body]
    return set(_parameters(function.args)) | _bound(body)


def _bound(body: Iterable[ast.AST]) -> set[str]:
    """What the body of a function or class binds, without that of others in it."""
    found: set[str] = set()
    elsewhere: set[str] = set()
    queue = list(body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            queue += ast.iter_child_nodes(node)
    return found - elsewhere

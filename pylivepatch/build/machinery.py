"""What acts while a class is created: it has acted on a live class, and does not see what a patch binds later.

``dataclass``, ``Enum``, ``ABCMeta`` and their like ask for certain names once; a metaclass, an ``__init_subclass__``
or a class decorator of the tree may read any. Where it is certain that they would have read the changed or new
member, it is refused; where they may have, it is told.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pylivepatch.build import codes
from pylivepatch.build.classes import Class
from pylivepatch.build.computed import check_computed
from pylivepatch.build.context import Context
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import FunctionNode, Item
from pylivepatch.build.stdlib import METACLASSES
from pylivepatch.build.world import Place

_ONLY_AT_CREATION = frozenset({"__init_subclass__", "__set_name__", "__prepare__", "__mro_entries__"})
_AFTER_INIT = frozenset({"__post_init__", "__attrs_post_init__", "__attrs_pre_init__", "model_post_init"})
_MEMBER_MAKERS = frozenset({"__new__", "__init__", "_generate_next_value_"})
_CLASS_MAKERS = frozenset({"__new__", "__init__", "__prepare__"})
_ORDER = frozenset({"__lt__", "__le__", "__gt__", "__ge__"})
_STDLIB_ABSTRACT = ("collections.abc.", "typing.", "contextlib.", "io.", "numbers.", "importlib.abc.")
_ABSTRACT = frozenset(
    {"abc.abstractmethod", "abc.abstractproperty", "abc.abstractclassmethod", "abc.abstractstaticmethod"}
)
_LISTERS = frozenset({"vars", "dir", "getmembers"})
_FILTERS = frozenset({"isinstance", "issubclass", "hasattr", "callable", "isfunction", "isroutine", "getattr"})


def check_new_member(context: Context, item: Item) -> bool:
    """Whether a new method or attribute of a class does what it does in a new class; reports where it does not."""
    cls = _live(context)
    if cls is None:
        return True
    why = _needed_at_creation(context, cls, item)
    if why:
        message, advice = why
        if context.report.refused(
            codes.NEEDS_CLASS_CREATION, context.symbol(item.name), message, advice, new_line=item.line
        ):
            return False
    return _check_watchers(context, cls, item, is_new=True)


def acts_at_creation(context: Context, item: Item) -> str:
    """Why a member that is gone did something when its class was created; ``""`` where it did not."""
    cls = _live(context)
    why = _needed_at_creation(context, cls, item) if cls is not None else None
    names = context.old.names
    if item.kind == "function" and any(names.dotted(one) in _ABSTRACT for one in item.function.decorator_list):
        return "which methods are abstract is fixed when the class is created"
    return why[0] if why else ""


def check_changed_attribute(context: Context, item: Item, *, difference: str) -> bool:
    """The same for a class attribute with another value."""
    cls = _live(context)
    if cls is None:
        return True
    return _check_watchers(context, cls, item, is_new=False, difference=difference) and check_computed(
        context, cls, item, difference
    )


def check_changed_method(context: Context, item: Item) -> bool:
    """The same for a method whose code changed: some have run while the tree's classes were created."""
    cls = _live(context)
    if cls is None or item.name not in _ONLY_AT_CREATION | _MEMBER_MAKERS | _CLASS_MAKERS:
        return True
    classes, made = context.world.old.classes, ""
    if item.name == "__init_subclass__":
        made = next((str(_place(context, child, "class")) for child in classes.descendants(cls)), "")
    elif item.name == "__set_name__":
        made = _described(context, cls)
    elif context.shape == "enum" and item.name in _MEMBER_MAKERS:
        enums = (cls, *classes.descendants(cls))
        made = next((str(_place(context, one, "members of")) for one in enums if _has_members(one)), "")
        if not made:
            return True
    elif item.name in _CLASS_MAKERS and _is_metaclass(context, cls):
        made = next((str(_place(context, one, "class")) for one in _instances(context, cls)), "")
    else:
        return True
    if made:
        return not context.report.refused(
            codes.MADE_AT_IMPORT,
            context.symbol(item.name),
            f"it ran while classes were created, and what it made of them stays as the old one made it: {made}",
            "do the changed work where the class is used",
            new_line=item.line,
        )
    context.report.note(
        codes.MAY_BE_STALE,
        context.symbol(item.name),
        "it runs while classes are created, and is not run again for those that exist",
        new_line=item.line,
    )
    return True


def _live(context: Context) -> Class | None:
    return context.world.old.classes.all.get((context.module, context.owner)) if context.owner else None


def _place(context: Context, cls: Class, what: str) -> Place:
    path = context.world.old.modules[cls.symbol[0]].source.path
    return Place(path, cls.node.lineno, f"{what} {cls.symbol[1]}")


# --- what asks for certain names ----------------------------------------------------------------------------


def _needed_at_creation(context: Context, cls: Class, item: Item) -> tuple[str, str] | None:
    """Why the member should have been there when the class was created, and the way out."""
    name, classes, old = item.name, context.world.old.classes, context.world.old
    if item.kind == "function" and name in _ONLY_AT_CREATION:
        return (
            f"{name} acts only while a class is created, and this class exists already",
            "do its work where the class is used",
        )
    if name == "__eq__" and item.kind == "function" and "__hash__" not in context.new_hidden:
        return (
            "a class statement with __eq__ and no __hash__ makes the class unhashable; a method added later does not",
            "define __hash__ too",
        )
    inherited = any(name in base.defines for base in classes.ancestors(cls))
    if name in _AFTER_INIT and not inherited:
        for one in (cls, *classes.descendants(cls)):
            if old.class_shape(one.symbol[0], one.node) == "fields":
                return (
                    f"the __init__ that was made for the class ({_place(context, one, 'class')}) calls {name} only if "
                    "it was there when the class was created",
                    "do its work where the instances are used",
                )
    if context.shape == "enum" and name in _MEMBER_MAKERS:
        return (
            f"an enum calls {name} while its members are made, and they exist already",
            "give the members what they need in a method or a property",
        )
    if name in _CLASS_MAKERS and _is_metaclass(context, cls):
        return (
            f"a metaclass's {name} acts only while a class is created; those that exist were made without it",
            "do its work where the classes are used",
        )
    abstract = _abstract_in(context, cls, name)
    if abstract:
        return (
            f"it implements the abstract {abstract}, and the class stays abstract: which methods are is fixed when it "
            "is created",
            "leave the class for a restart",
        )
    if _is_checked_protocol(context, cls):
        return (
            "which members a runtime_checkable protocol asks for is fixed when the class is created",
            "leave the protocol as it is",
        )
    names = context.old.names
    if name in _ORDER and any(names.dotted(one) == "functools.total_ordering" for one in cls.node.decorator_list):
        roots = _ORDER & cls.defines.keys()
        if roots and name > max(roots):
            return (
                f"total_ordering made the other comparisons of {max(roots)}, and would make them of {name}",
                "define all four of the comparisons",
            )
    return None


def _is_metaclass(context: Context, cls: Class) -> bool:
    return any(name in METACLASSES for name in context.world.old.classes.outside(cls))


def _instances(context: Context, metaclass: Class) -> Iterator[Class]:
    """The tree's classes that the metaclass made."""
    classes = context.world.old.classes
    kinds = {metaclass.symbol, *(child.symbol for child in classes.descendants(metaclass))}
    for cls in classes.all.values():
        if any(_symbol(context, one, one.metaclass) in kinds for one in (cls, *classes.ancestors(cls))):
            yield cls


def _symbol(context: Context, cls: Class, node: ast.expr | None) -> tuple[str, str]:
    if node is None:
        return "", ""
    module = cls.symbol[0]
    dotted = context.world.old.modules[module].names.dotted(node)
    return context.world.old.resolve(module, dotted) if dotted else ("", "")


def _described(context: Context, descriptor: Class) -> str:
    """A class with an attribute made by the descriptor's class."""
    classes = context.world.old.classes
    kinds = {descriptor.symbol, *(child.symbol for child in classes.descendants(descriptor))}
    for cls in classes.all.values():
        for item in cls.items:
            made_by = item.value.func if item.kind == "value" and isinstance(item.value, ast.Call) else None
            if made_by is not None and _symbol(context, cls, made_by) in kinds:
                return str(_place(context, cls, f"{item.name} of"))
    return ""


def _has_members(cls: Class) -> bool:
    return any(item.kind == "value" and not item.name.startswith("_") for item in cls.items)


def _abstract_in(context: Context, cls: Class, name: str) -> str:
    """The abstract method that ``name`` of the class, or of a class that would inherit it, implements."""
    classes = context.world.old.classes
    for one in (cls, *classes.heirs(cls, name)):
        above = list(classes.ancestors(one))
        nearest = next((base for base in above if name in base.defines), None)
        if nearest is not None and cls in above[above.index(nearest) :]:
            continue  # it goes on being found before the new one
        if nearest is not None:
            item = nearest.defines[name]
            names = context.world.old.modules[nearest.symbol[0]].names
            if item.kind == "function" and any(names.dotted(d) in _ABSTRACT for d in item.function.decorator_list):
                return f"{nearest.symbol[1]}.{name}"
            continue
        for dotted in classes.outside(one):
            if dotted.startswith(_STDLIB_ABSTRACT) and name in _abstract_of(dotted):
                return f"{dotted}.{name}"
    return ""


def _abstract_of(dotted: str) -> frozenset[str]:
    """The abstract methods of a class of the standard library."""
    module, _, name = dotted.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    found = getattr(found, "__origin__", found)  # typing.Mapping
    return frozenset(getattr(found, "__abstractmethods__", ()))


def _is_checked_protocol(context: Context, cls: Class) -> bool:
    protocols = {("", "typing.Protocol"), ("", "typing_extensions.Protocol")}
    if not protocols & set(cls.bases):
        return False
    for one in (cls, *context.world.old.classes.descendants(cls)):
        names = context.world.old.modules[one.symbol[0]].names
        checked = any(names.dotted(d).endswith(".runtime_checkable") for d in one.node.decorator_list)
        if checked and protocols & set(one.bases):
            return True
    return False


# --- what may ask for any name ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watcher:
    """A function of the tree (``None`` for one from elsewhere) that saw a class or its body when it was created."""

    place: str
    node: FunctionNode | None = None
    sees: frozenset[str] = frozenset()  # its parameters for the class and the body's names


def _check_watchers(context: Context, cls: Class, item: Item, *, is_new: bool, difference: str = "") -> bool:
    classes, symbol = context.world.old.classes, context.symbol(item.name)
    told = False
    for one in (cls, *classes.heirs(cls, item.name)):
        for watcher in watchers(context, one):
            read = "unknown" if watcher.node is None else _reads(watcher.node, watcher.sees, item.name, is_new)
            if read == "yes":
                return not context.report.refused(
                    codes.NEEDS_CLASS_CREATION if is_new else codes.COPIED_AT_IMPORT,
                    symbol,
                    f"{watcher.place} read it when the class {one.symbol[1]} was created, and what came of it would "
                    "stay",
                    "leave the class's members as they were, and let the functions use something else",
                    new_line=item.line,
                    difference=difference,
                )
            if read and not told:
                told = True
                context.report.note(
                    codes.MAY_BE_STALE,
                    symbol,
                    f"{watcher.place} may have read it when the class {one.symbol[1]} was created; what came of it "
                    "stays as it is",
                    new_line=item.line,
                )
    return True


def watchers(context: Context, cls: Class) -> Iterator[Watcher]:
    version, module = context.world.old, cls.symbol[0]
    names = version.modules[module].names
    for decorator in cls.node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        dotted = names.dotted(function)
        home, name = version.resolve(module, dotted) if dotted else ("", "")
        found = _function_named(context, home, name)
        if found is not None:
            node: FunctionNode | None = found
            if isinstance(decorator, ast.Call):
                node = next((part for part in found.body if isinstance(part, FunctionNode)), found)
            assert node is not None
            yield Watcher(f"the decorator {name} ({_path(context, home)}:{node.lineno})", node, _parameters(node, 0))
        elif not version.is_known_decorator(dotted):
            yield Watcher(f"the decorator {ast.unparse(function)}")
    for base in version.classes.ancestors(cls):
        item = base.defines.get("__init_subclass__")
        if item is not None and item.kind == "function":
            where = f"{base.symbol[1]}.__init_subclass__ ({_path(context, base.symbol[0])}:{item.line})"
            yield Watcher(where, item.function, _parameters(item.function, 0))
    for one in (cls, *version.classes.ancestors(cls)):
        home, name = _symbol(context, one, one.metaclass)
        metaclass = version.classes.all.get((home, name))
        if metaclass is None:
            if name and not name.startswith("enum.") and name not in METACLASSES:
                yield Watcher(f"the metaclass {name}")
            continue
        for kind in (metaclass, *version.classes.ancestors(metaclass)):
            for method, seen in (("__new__", (3,)), ("__init__", (0, 3))):
                item = kind.defines.get(method)
                if item is not None and item.kind == "function":
                    where = f"{kind.symbol[1]}.{method} ({_path(context, kind.symbol[0])}:{item.line})"
                    yield Watcher(where, item.function, _parameters(item.function, *seen))
        return


def _path(context: Context, module: str) -> str:
    return context.world.old.modules[module].source.path


def _function_named(context: Context, module: str, name: str) -> FunctionNode | None:
    uses = context.world.old.modules.get(module)
    found = [item for item in uses.items if item.name == name] if uses else []
    return found[0].function if len(found) == 1 and found[0].kind == "function" else None


def _parameters(node: FunctionNode, *positions: int) -> frozenset[str]:
    every = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return frozenset(every[at] for at in positions if at < len(every))


def _reads(node: FunctionNode, sees: frozenset[str], name: str, is_new: bool) -> str:
    """``yes`` or ``maybe`` where the function reads ``name`` of what it sees; ``""`` where it does not."""
    maybe = False
    for part in walk(node):
        match part:
            case ast.Attribute(value=ast.Name(id=seen), attr=attr) if attr == name and seen in sees:
                return "yes"
            case ast.Constant(value=text) if text == name:
                return "yes"
            case ast.For(iter=source, body=body) if _lists(source, sees):
                if is_new and not _filters(body):
                    return "yes"
                maybe = True
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                if any(_lists(one.iter, sees) for one in part.generators):
                    if is_new and not _filters([part]):
                        return "yes"
                    maybe = True
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id=seen), ast.Name(), *_]) if seen in sees:
                maybe = True
    return "maybe" if maybe else ""


def _lists(source: ast.expr, sees: frozenset[str]) -> bool:
    """Whether an expression goes over the names of a class or of its body."""
    for part in walk(source):
        match part:
            case ast.Attribute(attr="__dict__"):
                return True
            case ast.Name(id=name) if name in sees and not isinstance(source, ast.Attribute):
                return not (isinstance(source, ast.Call) and ast.unparse(source.func).endswith("__subclasses__"))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _LISTERS:
                return True
    return False


def _filters(body: Sequence[ast.AST]) -> bool:
    for statement in body:
        for part in walk(statement):
            match part:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _FILTERS:
                    return True
    return False

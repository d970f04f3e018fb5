"""What was computed at import from a value that changed follows it: copies, other values, defaults, and so on.

From each changed value (a *root*) outwards, when all modules have been compared. A list, dict or set whose old and new
value are of one kind gets its new content in place, so that aliases need nothing. For what else read the value at
import: a ``from module import NAME`` is bound anew; a value of a module or class whose expression is pure is evaluated
again; so are a function's defaults. What cannot be evaluated again (a decorator, code, a call of a function that is
not known to be pure) keeps the old value, and the root is refused, with the places named.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pylivepatch.build import codes
from pylivepatch.build.constructed import Made, made_by_word, tell_what_is_made_of
from pylivepatch.build.context import Ambiguous, Context, Root, bound_in
from pylivepatch.build.displays import annotations_display, keyword_defaults, positional_defaults
from pylivepatch.build.machinery import check_changed_attribute
from pylivepatch.build.names import Unsafe, check_annotation, is_literal, is_shareable
from pylivepatch.build.nodes import walk
from pylivepatch.build.pure import container_kind
from pylivepatch.build.quiet import made_anew
from pylivepatch.build.reach import Hit
from pylivepatch.build.scope import Item, items_of
from pylivepatch.build.stale import may_be_stale
from pylivepatch.build.uses import Copy, Evaluated
from pylivepatch.build.world import Place
from pylivepatch.patch import Change, CodeRef, FunctionChange, NewImport, ValueChange

# What a release calls itself. A live patch does not make a process another release, so the old name may stay.
_VERSION_NAMES = frozenset({"__version__", "__version_info__", "version", "version_info", "VERSION"})


def follow_values(contexts: Mapping[str, Context]) -> None:
    """Carry what has to follow the changed values, or refuse those that cannot be followed."""
    roots = [root for context in contexts.values() for root in context.roots]
    changed = {(root.context.module, root.change.target) for root in roots}
    made: dict[str, dict[str, list[Made]]] = {}
    for root in roots:
        chain = _Chain(root, changed)
        chain.run()
        is_version = not root.change.owner and root.change.name in _VERSION_NAMES
        if not chain.places or not (is_version or _refuse(root, chain.places)):
            for context, change, code, symbol, message, line in chain.planned:
                _carry(context, change, code, symbol, message, line)
            module = root.context.module
            if module not in made:
                made[module] = made_by_word(root.context.new.items)
            tell_what_is_made_of(root, made[module])
            continue
        _withdraw(root)
        if is_version:
            root.context.report.note(
                codes.LEFT_IN_PLACE,
                root.change.target,
                "the version's name was copied at import in ways that cannot be followed; the process goes on "
                "naming the version that it started as",
                old_line=root.old.line,
                new_line=root.new.line,
                difference=root.difference,
            )


@dataclass
class _Chain:
    """The search from one root. ``planned`` is what follows; ``places`` is where the old value would stay."""

    root: Root
    changed: set[tuple[str, str]]
    planned: list[tuple[Context, Change, str, str, str, int]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    _queue: list[tuple[str, str, bool]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _handled: set[int] = field(default_factory=set)
    _hits: list[Hit] = field(default_factory=list)

    def run(self) -> None:
        root = self.root
        before = container_kind(root.old_expr, root.context.purity(old=True))
        in_place = bool(before) and before == container_kind(root.new_expr, root.context.purity())
        self._add(root.context.module, root.change.target, in_place)
        while self._queue:
            module, symbol, in_place = self._queue.pop(0)
            self._readers(module, symbol, in_place)
            if "." not in symbol:
                self._copies(module, symbol, in_place)
        self._check_hits()

    def _add(self, module: str, symbol: str, in_place: bool) -> None:
        if (module, symbol) not in self._seen:
            self._seen.add((module, symbol))
            self._queue.append((module, symbol, in_place))

    def _readers(self, module: str, symbol: str, in_place: bool) -> None:
        """The import-time code that read it: by its name, in functions that it called, by its name's text."""
        world = self.root.context.world
        owner, _, name = symbol.rpartition(".")
        for home, piece, line in world.readings(module, name, owner=owner):
            self._handled.add(id(piece))
            if (home, symbol) == (self.root.context.module, self.root.change.target) and line < self.root.new.line:
                self.places.append(str(Place(world.new.modules[home].source.path, line, piece.what)))
                continue  # before the last assignment: it has read another value
            if in_place and _only_holds(piece.node, name):
                if piece.role == "value":
                    self._add(home, piece.owner, True)
                continue
            self._piece(home, piece, line)
        self._hits += [*world.reach.of_value((module, symbol)), *world.reach.looked_up((module, symbol))]

    def _check_hits(self) -> None:
        """Those that came to the value by another way than its names that were followed."""
        itself = self.root.context.module, self.root.change.target
        hits = [hit for hit in self._hits if hit.via or id(hit.piece) not in self._handled]
        hits = [hit for hit in hits if (hit.module, hit.piece.owner) != itself or hit.piece.role != "value"]
        self.places += [str(hit) for hit in hits if hit.sure and hit.kept]
        rest = [hit for hit in hits if not (hit.sure and hit.kept)]
        if rest and not self.places:
            what = "the old value may have been read while modules were imported"
            may_be_stale(self.root.context, self.root.change.target, what, rest, self.root.new)

    def _piece(self, home: str, piece: Evaluated, line: int) -> None:
        context = self.root.context.peers[home]
        if piece.role == "value" and self._value(context, piece):
            return
        if piece.role == "default" and self._defaults(context, piece):
            return
        if piece.role == "annotation" and self._annotations(context, piece):
            return
        self.places.append(str(Place(context.new.source.path, line, piece.what)))

    def _value(self, context: Context, piece: Evaluated) -> bool:
        """Evaluate another value again."""
        if (context.module, piece.owner) in self.changed:
            return True  # it changed itself, and is evaluated with the new value
        scope, items = _scope(context, piece.owner)
        found = [item for item in items if item.name == piece.owner.rpartition(".")[2]]
        if scope is None or len(found) != 1 or found[0].kind != "value" or found[0].guard or found[0].main_only:
            return False
        item = found[0]
        if not scope.owner and item.name in context.new.bound_by_code:
            return False
        if scope.shape == "enum" or (scope.shape != "plain" and isinstance(item.node, ast.AnnAssign)):
            return False
        try:
            node = scope.expression(item.value, item.line)
            scope.purity().check(node)
        except Unsafe:
            return False
        if not check_changed_attribute(scope, item, difference=self.root.difference):
            return True  # refused there
        text = ast.unparse(node)
        change = ValueChange(scope.owner, item.name, item.line, text, text)
        self._plan(context, change, codes.VALUE_CHANGED, "computed at import from {}", item.line)
        kind = container_kind(node, scope.purity())
        self._add(context.module, piece.owner, bool(kind))
        return True

    def _annotations(self, context: Context, piece: Evaluated) -> bool:
        """Evaluate a function's annotations again. What is annotated besides is for type checkers."""
        scope, items = _scope(context, piece.owner)
        if any(item.kind != "function" for item in items if item.name == piece.owner.rpartition(".")[2]):
            return scope is None or scope.shape == "plain"
        pair = _function(context, piece.owner)
        if scope is None or pair is None or (scope.owner and bound_in(items) & _names_in(piece.node)):
            return False
        try:
            check_annotation(piece.node, context.new.names)  # type: ignore[arg-type]
            old, new = _refs(scope, *pair)
        except (Unsafe, Ambiguous):
            return False
        text = annotations_display(scope, context.new, pair[1].function)
        change = FunctionChange(old, new, annotations=text)
        message = "an annotation of it was computed at import from {}"
        self._plan(context, change, codes.FUNCTION_CHANGED, message, pair[1].line)
        return True

    def _defaults(self, context: Context, piece: Evaluated) -> bool:
        """Evaluate a function's defaults again."""
        scope, _ = _scope(context, piece.owner)
        pair = _function(context, piece.owner)
        if scope is None or pair is None:
            return False
        node, line = pair[1].function, pair[1].line
        values = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        try:
            for value in values:
                expression = scope.expression(value, line)
                scope.purity().check(expression)
                if value is not piece.node and not is_shareable(value, context.new.names):
                    return False  # evaluated again it would lose its state
            defaults, kwdefaults = positional_defaults(scope, node), keyword_defaults(scope, node)
            old, new = _refs(scope, *pair)
        except (Unsafe, Ambiguous):
            return False
        hits = context.world.reach.of_functions([(context.module, piece.owner)])
        self.places += [str(hit) for hit in hits if hit.sure and hit.kept and not self._made_anew(context, piece, hit)]
        positional = any(value is piece.node for value in node.args.defaults)
        change = FunctionChange(old, new, defaults if positional else None, None if positional else kwdefaults)
        message = "a default of it was computed at import from {}"
        if piece.owner.endswith((".__init__", ".__new__")):
            message += "; instances that exist have what was made of the old one"
        self._plan(context, change, codes.FUNCTION_CHANGED, message, line)
        return True

    def _made_anew(self, context: Context, default: Evaluated, hit: Hit) -> bool:
        """Set anew what a constructor with that default has made at import."""
        cls = default.owner.removesuffix(".__init__")
        if hit.via or hit.module != context.module or cls == default.owner:
            return False
        change = made_anew(context, hit.piece)
        if change is None or change.cls != cls:
            return False
        world = context.world
        for _home, piece, _ in world.readings(context.module, change.name, owner=change.owner):
            if piece is not hit.piece and not _only_holds(piece.node, change.name):
                return False
        message = "made at import by a constructor that uses {}: it gets the attributes that the new one sets"
        self._plan(context, change, codes.VALUE_CHANGED, message, change.line)
        return True

    def _copies(self, module: str, name: str, in_place: bool) -> None:
        """``from module import name``: bound anew; where the content changes in place, only what was made of it."""
        root, world = self.root, self.root.context.world
        for copy in world.new.copies.get(module, ()):
            if copy.name not in (name, "*") or not _was_there(root.context, copy):
                continue
            peer = root.context.peers[copy.importer]
            bound = name if copy.name == "*" else copy.bound
            if copy.name == "*" and not _is_exported(world.new.modules[module].items, name):
                continue
            own = sum(item.name == bound for item in peer.new.items)
            if in_place and own == (copy.name != "*") and not copy.conditional:
                self._add(copy.importer, bound, True)
                continue
            unclear = copy.conditional or bound in peer.new.rebound or own != (copy.name != "*")
            if unclear or (copy.importer, bound) in self.changed:
                place = Place(peer.new.source.path, copy.line, f"from {copy.module} import {copy.name}")
                self.places.append(str(place))
                continue
            change: Change
            if module == root.context.module and name == root.change.name and _is_plain(root):
                change = ValueChange("", bound, copy.line, ast.unparse(root.old.value), ast.unparse(root.new.value))
            else:
                alias = "" if bound == name else f" as {bound}"
                change = NewImport(bound, copy.line, f"from {copy.module} import {name}{alias}")
            message = f"the name was imported from {copy.module}, where its value changed"
            self._plan(peer, change, codes.VALUE_CHANGED, message, copy.line)
            self._add(copy.importer, bound, False)

    def _plan(self, context: Context, change: Change, code: str, message: str, line: int) -> None:
        root = f"{self.root.context.module}:{self.root.change.target}"
        self.planned.append((context, change, code, change.target, message.replace("{}", root), line))


def _carry(context: Context, change: Change, code: str, symbol: str, message: str, line: int) -> None:
    """Add what follows to its module's changes, or to the change that the module has of it already."""
    changes = context.changes
    for number, other in enumerate(changes):
        if isinstance(change, FunctionChange) and isinstance(other, FunctionChange) and other.new == change.new:
            changes[number] = replace(
                other,
                defaults=change.defaults if other.defaults is None else other.defaults,
                kwdefaults=change.kwdefaults if other.kwdefaults is None else other.kwdefaults,
                annotations=change.annotations if other.annotations is None else other.annotations,
            )
            return
        if not isinstance(change, FunctionChange) and other.target == change.target:
            return
    changes.append(change)
    context.report.applied(code, symbol, message, old_line=line, new_line=line)


def _withdraw(root: Root) -> None:
    root.context.changes.remove(root.change)
    findings = root.context.report.findings
    findings[:] = [
        one for one in findings if (one.code, one.symbol) != (codes.VALUE_CHANGED, root.change.target)
    ]


def _refuse(root: Root, places: list[str]) -> bool:
    """Whether it stops the build: the author may have said that the places do not matter."""
    places = list(dict.fromkeys(places))
    shown = ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
    return root.context.report.refused(
        codes.COPIED_AT_IMPORT,
        root.change.target,
        f"the old value was used while modules were imported, and what was made of it would stay: {shown}",
        "give the new value a new name and let the functions use it, or change the places named",
        old_line=root.old.line,
        new_line=root.new.line,
        difference=root.difference,
    )


def _is_plain(root: Root) -> bool:
    """Whether the value means the same in every module, and an equal one is as good."""
    old, new = root.context.old.names, root.context.new.names
    return (
        is_literal(root.old.value)
        and is_literal(root.new.value)
        and is_shareable(root.old.value, old)
        and is_shareable(root.new.value, new)
    )


def _was_there(context: Context, copy: Copy) -> bool:
    """Whether the old version copied too: a new import gets the new value by itself."""
    old = context.world.old.modules.get(copy.importer)
    return old is not None and any(
        (other.module, other.name, other.bound) == (copy.module, copy.name, copy.bound) for other in old.copies
    )


def _is_exported(items: list[Item], name: str) -> bool:
    """Whether ``import *`` may hand out the name."""
    values = [item.value for item in items if item.name == "__all__" and item.kind == "value"]
    match values:
        case [ast.List(elts=parts) | ast.Tuple(elts=parts)] if all(isinstance(part, ast.Constant) for part in parts):
            return any(isinstance(part, ast.Constant) and part.value == name for part in parts)
    return bool(values) or not name.startswith("_")


def _scope(context: Context, symbol: str) -> tuple[Context | None, list[Item]]:
    """The context and the items of the body that the definition stands in."""
    owner = symbol.rpartition(".")[0]
    if not owner:
        return context, context.new.items
    cls = context.world.new.classes.all.get((context.module, owner))
    if cls is None:
        return None, []
    shape = context.world.new.class_shape(context.module, cls.node)
    hidden = bound_in(list(cls.items))
    scope = replace(context, owner=owner, old_hidden=hidden, new_hidden=hidden, shape=shape, has_bases=bool(cls.bases))
    return scope, list(cls.items)


def _function(context: Context, symbol: str) -> tuple[Item, Item] | None:
    """The old and the new definition of a function that both versions define once."""
    name = symbol.rpartition(".")[2]
    olds, news = (
        [item for item in items if item.name == name]
        for items in (_old_items(context, symbol), _scope(context, symbol)[1])
    )
    if len(olds) != 1 or len(news) != 1 or {olds[0].kind, news[0].kind} != {"function"}:
        return None
    return olds[0], news[0]


def _refs(scope: Context, old: Item, new: Item) -> tuple[CodeRef, CodeRef]:
    """Raises :class:`Ambiguous` where a function has no code of its own."""
    for source, item in ((scope.old.source, old), (scope.new.source, new)):
        scope.code(source, item.function)
    return scope.ref(old.function), scope.ref(new.function)


def _names_in(node: ast.AST) -> set[str]:
    return {part.id for part in walk(node) if isinstance(part, ast.Name)}


def _old_items(context: Context, symbol: str) -> list[Item]:
    owner = symbol.rpartition(".")[0]
    cls = context.world.old.classes.all.get((context.module, owner))
    return context.old.items if not owner else items_of(cls.node.body) if cls else []


def _only_holds(node: ast.AST, name: str) -> bool:
    """Whether every reading of ``name`` in the expression keeps the object itself, and asks nothing of it."""

    def holders(node: ast.AST) -> Iterator[ast.AST]:
        match node:
            case ast.Name() | ast.Attribute():
                yield node
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Dict(values=parts):
                for part in parts:
                    yield from holders(part)

    def is_it(node: ast.AST) -> bool:
        match node:
            case ast.Name(id=found) | ast.Attribute(attr=found):
                return bool(found == name)
        return False

    held = {id(part) for part in holders(node)}
    return all(id(part) in held for part in walk(node) if is_it(part))

"""The order of a scope's definitions, where it decides something.

Definitions of different names may change places. Not so definitions of one name, of which the last one is live;
import-time code and a definition that it reads; a statement and import-time code that share a value; the fields of
a class.
"""

from __future__ import annotations

import ast
from collections import Counter, deque
from collections.abc import Iterable

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.names import OVERLOADS, SAFE_DECORATORS, Names
from pylivepatch.build.registered import is_registered, share_a_class
from pylivepatch.build.same import fingerprint
from pylivepatch.build.scope import Item, import_text
from pylivepatch.build.uses import Evaluated, evaluated_of, executed_nodes

Token = tuple[object, ...]


def check_order(context: Context, old: list[Item], new: list[Item], reused: set[str]) -> None:
    """Report what the order of definitions changes. ``reused`` are names that are refused already."""
    scopes = _Scope(context, old, new, old=True), _Scope(context, new, old, old=False)
    told = _check_last(context, *scopes, reused)
    told |= _check_registered(context, *scopes)
    told |= _check_readers(context, *scopes, told | reused)
    if not told:
        _check_statements(context, *scopes)
        _check_shape(context, *scopes)


class _Scope:
    """One version of a body: who binds each name, and what runs at which place."""

    def __init__(self, context: Context, items: list[Item], others: list[Item], *, old: bool) -> None:
        self.uses = context.old if old else context.new
        self.items = [item for item in items if not item.typing_only and not item.main_only]
        names = self.uses.names
        live = [item for item in self.items if item.kind != "function" or not _is_overload(item, names)]
        functions = [item for item in live if item.kind == "function"]
        pairs = _pairs_by_name(functions, [item for item in others if item.kind == "function"], old)
        self.registered = {
            (item.name, pairs.get(id(item.node), item.line)): item
            for item in functions
            if is_registered(context, item, old=old)
        }
        self.binders: dict[str, list[tuple[int, Token, Item]]] = {}
        counts = {id(item) for item in live}
        for position, item in enumerate(self.items):
            if id(item) not in counts:
                continue
            if item.kind == "function":
                if is_registered(context, item) or any(
                    continues(decorator, item.name) for decorator in item.function.decorator_list
                ):
                    continue
                self._bind(item.name, position, ("function", pairs.get(id(item.node), item.line)), item)
            elif item.kind == "import":
                plain = isinstance(item.node, ast.Import) and item.alias is not None and not item.alias.asname
                self._bind(item.name, position, ("import", () if plain else (import_text(item), item.guard)), item)
            elif item.kind in ("value", "class"):
                earlier = sum(token[0] == item.kind for _, token, _ in self.binders.get(item.name, ()))
                self._bind(item.name, position, (item.kind, earlier), item)
            elif item.kind == "code":
                for name in _bound_by_code(item):
                    self._bind(name, position, ("code", item.skeleton or ast.dump(item.node)), item)
        self.pieces: list[tuple[int, Evaluated]] = [
            (position, piece)
            for position, item in enumerate(self.items)
            for piece in evaluated_of(item, context.owner, self.uses.future_annotations)
            if piece.role != "annotation"
        ]

    def _bind(self, name: str, position: int, token: Token, item: Item) -> None:
        self.binders.setdefault(name, []).append((position, token, item))

    def tokens(self, name: str) -> list[Token]:
        found: list[Token] = []
        for _, token, _ in self.binders.get(name, ()):
            if token not in found[-1:]:  # `import a.b` and `import a.c`
                found.append(token)
        return found

    def reaching(self, name: str, position: int) -> Token | None:
        """The definition of ``name`` that code at ``position`` meets."""
        return next((token for at, token, _ in reversed(self.binders.get(name, ())) if at < position), None)


def _pairs_by_name(items: list[Item], others: list[Item], old: bool) -> dict[int, int]:
    """Function node → the number of its pair within its name, the same on both sides."""
    numbers: dict[int, int] = {}
    by_name: dict[str, tuple[list[Item], list[Item]]] = {}
    for item in items:
        by_name.setdefault(item.name, ([], []))[0].append(item)
    for item in others:
        by_name.setdefault(item.name, ([], []))[1].append(item)
    for mine, theirs in by_name.values():
        pairs, _, _ = pair_functions(mine, theirs) if old else pair_functions(theirs, mine)
        for number, pair in enumerate(pairs):
            numbers[id(pair[0 if old else 1].node)] = -1 - number  # lines, of those without a pair, are positive
    return numbers


def _check_last(context: Context, old: _Scope, new: _Scope, reused: set[str]) -> set[str]:
    """Names that several definitions bind: the same ones, in the same order, with the same one at the end."""
    told = set()
    for name in new.binders:
        if name not in old.binders or name in reused:
            continue
        before, after = old.tokens(name), new.tokens(name)
        if len(before) < 2 and len(after) < 2:
            continue
        common = [token for token in before if token in after]
        same_order = common == [token for token in after if token in before]
        more = any(token[0] == "function" and token not in before for token in after)  # it would be bound as if last
        if same_order and before[-1] == after[-1] and not more:
            continue
        if {token[0] for token in before + after} == {"value"}:
            continue  # assigned more than once: said there
        told.add(name)
        first, last = old.binders[name][-1][2], new.binders[name][-1][2]
        context.report.refused(
            codes.ORDER_CHANGED,
            context.symbol(name),
            f"the name is bound {len(after)} times, and its definitions are others, or in another order, than before",
            "give each of them a name of its own, or leave their order as it was",
            old_line=first.line,
            new_line=last.line,
        )
    return told


def _check_registered(context: Context, old: _Scope, new: _Scope) -> set[str]:
    """Of two implementations of a generic function for one class, the later one is live."""
    told = set()
    places = {key: position for position, key in enumerate(new.registered)}
    both = [key for key in old.registered if key in places]
    for number, first in enumerate(both):
        for last in both[number + 1 :]:
            one, other = old.registered[first], old.registered[last]
            if places[first] > places[last] and share_a_class(context, one, other):
                told |= {one.name, other.name}
                context.report.refused(
                    codes.ORDER_CHANGED,
                    context.symbol(other.name),
                    f"it is registered for a class of {one.name}, too, and comes before it now: the generic function "
                    f"would have the one that comes last",
                    "leave their order as it was, or change the body of the last one",
                    old_line=other.line,
                    new_line=new.registered[last].line,
                )
    return told


def _check_readers(context: Context, old: _Scope, new: _Scope, skip: set[str]) -> set[str]:
    """Import-time code that both versions have, and the definitions that it read."""
    before: dict[tuple[str, str, str], list[tuple[int, Evaluated]]] = {}
    for position, piece in old.pieces:
        before.setdefault(piece.key, []).append((position, piece))
    level = _level(old, new)
    movable = {
        name
        for name in old.binders.keys() & new.binders.keys() - skip
        if len(old.binders[name]) > 1 or len(new.binders[name]) > 1 or _moved(name, old, new, level)
    }
    told: set[str] = set()
    if not movable:
        return told
    for position, piece in new.pieces:
        same = before.get(piece.key)
        if not same:
            continue
        was, _ = same.pop(0)
        for name in sorted(_read_by(context, piece) & movable - told):
            if old.reaching(name, was) == new.reaching(name, position):
                continue
            told.add(name)
            context.report.refused(
                codes.ORDER_CHANGED,
                context.symbol(name),
                f"import-time code in line {piece.line} ran with another definition of it than it would now, and what "
                f"it made stays",
                "leave the order of the definitions and of the code that uses them as it was",
                old_line=old.binders[name][0][2].line,
                new_line=piece.line,
            )
    return told


def _moved(name: str, old: _Scope, new: _Scope, level: frozenset[int]) -> bool:
    """Whether the single definition of ``name`` changed places with something else. May say yes too often."""
    (before, _, _), (after, _, _) = old.binders[name][0], new.binders[name][0]
    return before != after or before not in level


def _level(old: _Scope, new: _Scope) -> frozenset[int]:
    """The positions above which both versions have the same, in whatever order."""
    more: Counter[str] = Counter()  # how many more of each the old version has; none where it is as many
    found = {0}
    for position, pair in enumerate(zip(old.items, new.items, strict=False), 1):
        for item, by in zip(pair, (1, -1), strict=True):
            what = _identity(item)
            more[what] += by
            if not more[what]:
                del more[what]
        if not more:
            found.add(position)
    return frozenset(found)


def _identity(item: Item) -> str:
    return f"{item.kind} {item.name}" if item.name else f"{item.kind} {ast.dump(item.node)}"


def _read_by(context: Context, piece: Evaluated) -> frozenset[str]:
    if context.owner:
        return frozenset(
            node.id
            for node in executed_nodes(piece.node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        )
    return context.world.reach.reads(context.module, piece)


def _check_statements(context: Context, old: _Scope, new: _Scope) -> None:
    """A statement and import-time code that changed places, and share a value that the module made."""
    keys = [piece.key for _, piece in old.pieces]
    if keys == [piece.key for _, piece in new.pieces]:
        return
    before = {key: number for number, key in enumerate(keys)}
    common = [piece for _, piece in new.pieces if piece.key in before]
    ranks = [before[piece.key] for piece in common]
    if ranks == sorted(ranks):
        return
    values = {item.name for item in new.items if item.kind == "value"}
    for number, piece in enumerate(common):
        for later, rank in zip(common[number + 1 :], ranks[number + 1 :], strict=True):
            if ranks[number] <= rank:
                continue
            if "code" in (piece.role, later.role):
                shared = _read_by(context, piece) & _read_by(context, later) & values
                if shared:
                    context.report.refused(
                        codes.ORDER_CHANGED,
                        context.symbol(later.owner if piece.role == "code" else piece.owner),
                        f"import-time code in lines {piece.line} and {later.line} ran in another order, and both use "
                        f"{', '.join(sorted(shared))}",
                        "leave the order of the code as it was",
                        old_line=old.pieces[before[piece.key]][1].line,
                        new_line=piece.line,
                    )
                    return
            elif _callee(context, piece) and _callee(context, piece) == _callee(context, later):
                context.report.note(
                    codes.MAY_BE_STALE,
                    context.symbol(piece.owner.removeprefix(f"{context.owner}.")),
                    f"import-time code in lines {piece.line} and {later.line} ran in another order; what came of it "
                    f"stays as it is",
                    new_line=piece.line,
                )
                return


def _callee(context: Context, piece: Evaluated) -> str:
    """What a decorator or a call is that may do something where it runs, such as count or register."""
    node = piece.node
    if piece.role == "value" and not isinstance(node, ast.Call):
        return ""
    if piece.role not in ("value", "decorator") or not isinstance(node, ast.expr):
        return ""
    dotted = context.new.names.dotted(node.func if isinstance(node, ast.Call) else node)
    home, name = context.world.new.resolve(context.module, dotted)
    if home and name.endswith(".register"):  # of functools.singledispatch: by type
        return ""
    safe = not home and (dotted in SAFE_DECORATORS or piece.role == "value")
    return "" if safe or (home, name) in context.world.new.classes.all else f"{home}:{name}"


def _check_shape(context: Context, old: _Scope, new: _Scope) -> None:
    """Fields and members have an order: that of an ``__init__``'s parameters, of an enum's iteration."""
    if context.shape not in ("fields", "enum", "unknown"):
        return

    def fields(scope: _Scope) -> list[str]:
        annotated = [item for item in scope.items if isinstance(item.node, ast.AnnAssign)]
        return [item.name for item in (_values(scope.items) if context.shape == "enum" else annotated)]

    before, after = fields(old), fields(new)
    common = [name for name in before if name in after]
    if common != [name for name in after if name in before]:
        moved = next(name for name, now in zip(common, (n for n in after if n in before), strict=True) if name != now)
        context.report.refused(
            codes.CLASS_SHAPE,
            context.symbol(moved),
            "the order of the class's fields or members changed; it is fixed when the class is created",
            "leave the order as it was",
            new_line=next(item.line for item in new.items if item.name == moved),
        )


def _values(items: Iterable[Item]) -> list[Item]:
    return [item for item in items if item.kind == "value"]


def _bound_by_code(item: Item) -> list[str]:
    node: ast.AST = item.node
    if item.skeleton:
        if not isinstance(node, ast.With):
            return []
        targets = [entry.optional_vars for entry in node.items if entry.optional_vars]
        return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    found = [
        part.id
        for part in executed_nodes(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del)
    ]
    return list(dict.fromkeys(found))


def _is_overload(item: Item, names: Names) -> bool:
    return any(names.dotted(decorator) in OVERLOADS for decorator in item.function.decorator_list)


def continues(decorator: ast.expr, name: str) -> bool:
    """``@x.setter``, ``@f.register(int)``: the earlier object of the name lives on in the later one."""
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name


def pair_functions(
    old: list[Item], new: list[Item]
) -> tuple[list[tuple[Item, Item]], list[Item], list[Item]]:
    """Functions of one name, paired by decorators and condition, in order; then what is left over, if it is
    clear.
    """
    if len(old) == len(new) == 1:
        return [(old[0], new[0])], [], []
    pairs: list[tuple[Item, Item]] = []
    left, right = list(old), list(new)
    for key in (_whole, _role):  # equal ones first, so that an insertion does not shift the rest
        waiting: dict[tuple[object, ...], deque[Item]] = {}
        for was in left:
            waiting.setdefault(key(was), deque()).append(was)
        found = [(same.popleft(), now) for now in right if (same := waiting.get(key(now)))]
        taken = {id(item) for pair in found for item in pair}
        left, right = ([item for item in items if id(item) not in taken] for items in (left, right))
        pairs += found
    if len(left) == len(right) == 1:
        pairs.append((left.pop(), right.pop()))
    return sorted(pairs, key=lambda pair: pair[1].line), left, right


def _role(item: Item) -> tuple[object, ...]:
    return (item.guard, *(ast.dump(decorator) for decorator in item.function.decorator_list))


def _whole(item: Item) -> tuple[object, ...]:
    return (*_role(item), fingerprint(item.node))

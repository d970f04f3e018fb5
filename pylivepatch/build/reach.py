"""Which import-time results depend on a function or a value: who calls it, and who calls those, up to the modules.

A live patch does not run the import again. So what an unchanged piece of import-time code computed with a changed
function or value stays as the old version made it. The search goes from the change outwards, through the functions
that call or read it (``runs``); modules that do not have its name in their text are not looked at.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pylivepatch.build.classes import Class, Symbol
from pylivepatch.build.runs import Ref, Run, run_of_function, run_of_piece
from pylivepatch.build.scope import Item
from pylivepatch.build.uses import Evaluated

if TYPE_CHECKING:
    from pylivepatch.build.world import Version

_MADE_BY_CALL = frozenset({"__init__", "__new__", "__post_init__", "__attrs_post_init__"})
MADE_BY_CALL = _MADE_BY_CALL | {"__call__"}
"""The methods that calls of something else run: of the class, of an instance."""
_FUNCTION = -1  # in place of a piece's number
_LONGEST_UNSURE = 3
_LONGEST = 8  # calls from import-time code to the change; a longer chain is not followed


Packed = tuple[list[Symbol], bytes]
"""What a module's code runs, as it is sent: the symbols, and all of it in a form that few will have to read."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An import-time piece that depends on the change, by the functions ``via``.

    ``sure``: no condition and no call that might not happen is on the way. ``kept``: the piece is more than the call.
    """

    module: str
    path: str
    piece: Evaluated
    line: int
    sure: bool
    kept: bool
    via: tuple[str, ...]

    def __str__(self) -> str:
        through = f", through {' and '.join(self.via)}" if self.via else ""
        return f"{self.path}:{self.line} ({self.piece.what}{through})"


@dataclass(slots=True)
class _Index:
    """One module's runs, by the function's qualified name; who has each symbol (a piece, or the run of a function); and
    the import-time code that looks names up by text.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    refs: dict[Symbol, list[tuple[Ref, Run, Evaluated | None]]] = field(default_factory=dict)
    looked_up: list[tuple[Evaluated, dict[str, int]]] = field(default_factory=list)


class Reach:
    """The search, over one version. ``pieces`` gives a module's import-time code that both versions have."""

    def __init__(self, version: Version, pieces: Callable[[str], Sequence[Evaluated]]) -> None:
        self._version, self._pieces = version, pieces
        self._indexes: dict[str, _Index] = {}
        self._sent: dict[str, bytes] = {}  # those that another process made and nobody has asked for
        self._having: dict[Symbol, list[str]] = {}  # which of all these have the symbol
        self._asked: set[str] = set()  # the words whose modules all have their index
        self._places = {module: place for place, module in enumerate(version.modules)}

    def of_functions(self, symbols: Iterable[Symbol]) -> list[Hit]:
        """The import-time pieces that call one of these functions."""
        return self._search([(symbol, True) for symbol in symbols])

    def of_value(self, symbol: Symbol) -> list[Hit]:
        """The import-time pieces that read the value, by themselves (no ``via``) or in functions that they call."""
        return self._search([(symbol, False)])

    def looked_up(self, symbol: Symbol) -> list[Hit]:
        """The import-time pieces of its module that look the value up by its name's text."""
        path = self._version.modules[symbol[0]].source.path
        return [
            Hit(symbol[0], path, piece, texts[symbol[1]], True, True, ())
            for piece, texts in self._index(symbol[0]).looked_up
            if symbol[1] in texts and piece.owner != symbol[1]
        ]

    def reads(self, module: str, piece: Evaluated) -> frozenset[str]:
        """The names of ``module`` that the piece reads or calls, in functions of the module that it calls too."""
        found: set[str] = set()
        queue = [run_of_piece(self._version, self._version.modules[module], piece)]
        runs = self._index(module).runs
        seen: set[str] = set()
        while queue:
            run = queue.pop()
            for ref in run.refs:
                if ref.symbol[0] != module:
                    continue
                name = ref.symbol[1]
                found.add(name.partition(".")[0].removesuffix("()"))
                if ref.is_call and name in runs and name not in seen:
                    seen.add(name)
                    queue.append(runs[name])
        return frozenset(found)

    def _search(self, start: list[tuple[Symbol, bool]]) -> list[Hit]:
        hits: dict[int, Hit] = {}
        seen: set[tuple[Symbol, bool]] = set()
        queue: list[tuple[Symbol, bool, bool, tuple[str, ...]]] = [(symbol, call, True, ()) for symbol, call in start]
        later: list[tuple[Symbol, bool, bool, tuple[str, ...]]] = []  # the unsure ones, after all that is sure
        while queue or later:
            symbol, is_call, sure, via = queue.pop(0) if queue else later.pop(0)
            if (symbol, is_call) in seen or len(via) > (_LONGEST if sure else _LONGEST_UNSURE):
                continue
            seen.add((symbol, is_call))
            for ref, run, piece, module, certain in self._users(symbol, is_call):
                certain = certain and sure and ref.sure
                if piece is not None:
                    hit = Hit(
                        module, self._version.modules[module].source.path, piece, ref.line, certain, ref.kept, via
                    )
                    before = hits.get(id(piece))
                    if before is None or (before.sure, before.kept) < (hit.sure, hit.kept):
                        hits[id(piece)] = hit
                elif run.symbol != symbol:
                    (queue if certain else later).append((run.symbol, True, certain, (run.symbol[1], *via)))
        return list(hits.values())

    def _users(self, symbol: Symbol, is_call: bool) -> Iterator[tuple[Ref, Run, Evaluated | None, str, bool]]:
        for spelled, self_only, certain, reading in self._spellings(symbol, is_call):
            # What is said of a change must not depend on the searches before it: only these modules, in their order.
            among = self._among(spelled)
            having = [module for module in self._having.get(spelled, ()) if module in among]
            for module in sorted(having, key=self._places.__getitem__):
                for ref, run, piece in self._index(module).refs[spelled]:
                    if (ref.is_call == is_call or reading) and (ref.via_self or not self_only):
                        yield ref, run, piece, module, certain

    def _spellings(self, symbol: Symbol, is_call: bool) -> Iterator[tuple[Symbol, bool, bool, bool]]:
        """What calls and readings of ``symbol`` may look like: the symbol that they name, whether only by ``self``
        counts, whether it is this one for sure, and whether a reading is a call (of a property).
        """
        module, name = symbol
        classes = self._version.classes
        owner, _, attr = name.rpartition(".")
        cls = classes.all.get((module, owner))
        if cls is None or owner.endswith("<locals>"):
            for result in self._results(symbol) if is_call else (symbol,):
                yield result, False, True, False
            return
        reading = is_call and _is_property(cls.defines.get(attr))
        yield symbol, False, True, reading
        heirs = list(classes.heirs(cls, attr))
        for heir in heirs:
            yield (heir.symbol[0], f"{heir.symbol[1]}.{attr}"), False, True, reading
        for child in classes.descendants(cls):
            yield (child.symbol[0], f"{child.symbol[1]}.<super>.{attr}"), False, True, reading
        for base in classes.ancestors(cls):
            yield (base.symbol[0], f"{base.symbol[1]}.{attr}"), True, False, reading
        if is_call and attr in _MADE_BY_CALL:
            for made in (cls, *heirs):
                yield made.symbol, False, True, False
        if is_call and attr == "__call__":
            for made in (cls, *heirs):
                yield (made.symbol[0], made.symbol[1] + "()"), False, True, False

    def _results(self, symbol: Symbol) -> list[Symbol]:
        """``symbol``, and the calls that give it where it is a nested function: ``make()`` for what make returns."""
        module, name = symbol
        outer = name.rpartition(".<locals>.")[0]
        found = [symbol]
        run = self._index(module).runs.get(outer) if outer else None
        if run is not None and name in run.gives:
            found += [(module, one + "()") for _, one in self._results((module, outer))]
        return found

    def _among(self, symbol: Symbol) -> Set[str]:
        """The modules that may name the symbol; all of them have their index then."""
        module, name = symbol
        base = name.replace("()", "").replace(".<super>", "")
        word = base.rpartition(".")[2]
        if "<" in word:
            self._index(module)
            return {module}
        words = {word}
        queue = [(module, base)]
        while queue:  # it may be imported by another name, or have a value's name
            where = queue.pop()
            also = [(one.importer, one.bound) for one in self._version.copies.get(where[0], ()) if one.name == where[1]]
            for one in (*also, *self._version.aliases.get(where, ())):
                if one[1] not in words:
                    words.add(one[1])
                    queue.append(one)
        for one in words - self._asked:
            for found in self._by_word.get(one, ()):
                if found not in self._sent:
                    self._index(found)
        self._asked |= words
        every = [self._by_word[one] for one in words if one in self._by_word]
        return every[0] if len(every) == 1 else set().union(*every)

    @cached_property
    def _by_word(self) -> dict[str, set[str]]:
        """Each word → the modules that have it in their text."""
        found: dict[str, set[str]] = {}
        for module, uses in self._version.modules.items():
            for word in set(re.findall(r"\w+", uses.source.text)):
                found.setdefault(word, set()).add(module)
        return found

    def naming(self, words: Set[str]) -> list[str]:
        """The modules that have one of the words in their text."""
        found = {module for word in words for module in self._by_word.get(word, ())}
        return sorted(found, key=self._places.__getitem__)

    def packed(self, module: str) -> Packed:
        """What the module's code runs, to be sent to a process that has the same trees."""
        runs = self._read(module)
        plain = [(run.symbol[1], [*map(tuple, run.refs)], run.gives, run.texts, number) for run, number in runs]
        return [*{ref.symbol: None for run, _ in runs for ref in run.refs}], marshal.dumps(plain)

    def unpack(self, module: str, packed: Packed) -> None:
        """Take what another process has made of the module."""
        symbols, self._sent[module] = packed
        for symbol in symbols:
            self._having.setdefault(symbol, []).append(module)

    def _index(self, module: str) -> _Index:
        found = self._indexes.get(module)
        if found is None and module in self._sent:
            plain = marshal.loads(self._sent.pop(module))
            found = self._indexes[module] = self._indexed(
                module,
                [
                    (Run((module, name), [*map(Ref._make, refs)], gives, texts=texts), number)
                    for name, refs, gives, texts, number in plain
                ],
            )
        elif found is None:
            found = self._indexes[module] = self._indexed(module, self._read(module))
            for symbol in found.refs:
                self._having.setdefault(symbol, []).append(module)
        return found

    def _read(self, module: str) -> list[tuple[Run, int]]:
        """The runs of all functions, and of the import-time pieces with their numbers."""
        uses = self._version.modules[module]
        runs: list[tuple[Run, int]] = []
        for item, owner in functions_of(self._version, module):
            qualname = f"{owner}.{item.name}" if owner else item.name
            run = run_of_function(self._version, uses, item.function, qualname, owner)
            runs += [(one, _FUNCTION) for one in run.everything()]
        for number, piece in enumerate(self._pieces(module)):
            if piece.role != "annotation":
                runs.append((run_of_piece(self._version, uses, piece), number))
        return runs

    def _indexed(self, module: str, runs: list[tuple[Run, int]]) -> _Index:
        found = _Index()
        pieces = self._pieces(module)
        for run, number in runs:
            piece = None if number == _FUNCTION else pieces[number]
            if piece is None:
                found.runs[run.symbol[1]] = run
            elif run.texts:
                found.looked_up.append((piece, run.texts))
            for ref in run.refs:
                found.refs.setdefault(ref.symbol, []).append((ref, run, piece))
        return found


def functions_of(version: Version, module: str) -> Iterator[tuple[Item, str]]:
    """Each function of the module and of its classes, and the qualified name of its class, ``""`` for none."""
    return _functions(version.modules[module].items, "", version.classes.all, module)


def _functions(
    items: Iterable[Item], owner: str, classes: dict[Symbol, Class], module: str
) -> Iterator[tuple[Item, str]]:
    for item in items:
        if item.kind == "function":
            yield item, owner
        elif item.kind == "class":
            qualname = f"{owner}.{item.name}" if owner else item.name
            cls = classes.get((module, qualname))
            if cls is not None:
                yield from _functions(cls.items, qualname, classes, module)


def _is_property(item: Item | None) -> bool:
    if item is None or item.kind != "function":
        return False
    return any("property" in ast_name for ast_name in map(_last, item.function.decorator_list))


def _last(decorator: object) -> str:
    return str(getattr(decorator, "attr", getattr(decorator, "id", "")))

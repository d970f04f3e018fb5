"""Modules that are made up, and edits of them: parts with fields, of which an edit draws some anew.

``pick`` chooses one of some options (Hypothesis does); everything else follows from what it chose. Functions call only
functions with smaller numbers, and classes' methods call no classes, so that what a module does comes to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol


class Pick(Protocol):
    def __call__(self, options: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Part:
    kind: str
    number: int
    fields: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        return f"{NAMES[self.kind]}{self.number}"

    def text(self) -> str:
        return RENDER[self.kind](self.name, dict(self.fields))


@dataclass(frozen=True)
class Made:
    """A package of two modules."""

    main: tuple[Part, ...]
    other: tuple[Part, ...]

    def files(self) -> dict[str, str]:
        return {"main.py": _HEAD + _text(self.main), "other.py": _HEAD + _text(self.other)}


NAMES = {"constant": "K", "function": "f", "class": "C", "import": "i", "code": "c"}
_ORDER = list(NAMES)
_HEAD = """\
import functools
import re
from dataclasses import dataclass
registry = []
def twice(f):
    @functools.wraps(f)
    def call(*a, **k): return [f(*a, **k), f(*a, **k)]
    return call
"""
_LITERALS = ("0", "1", "2.5", "'a'", "None", "True", "(1, 2)", "-1", "b'x'")
_VALUES = (*_LITERALS, "[1, 2]", "{'a': 1}", "frozenset({1})", "re.compile('a+')", "re.compile('b')", "K0", "K1", "[]")
_VALUES += ("(K0, 1)", "dict(a=1)", "lambda x: x", "lambda x: (x, 1)", "object()", "len('ab')", "1 + 2")


def made_up(pick: Pick) -> Made:
    def some(kinds: Sequence[tuple[str, int]]) -> tuple[Part, ...]:
        return tuple(part(pick, kind, number) for kind, most in kinds for number in range(pick(range(most + 1))))

    main = some((("import", 3), ("constant", 2), ("function", 4), ("class", 2), ("code", 1)))
    return Made(main, some((("constant", 2), ("function", 2))))


def edited(pick: Pick, made: Made) -> Made:
    """Another version: one to four edits."""
    main, other = list(made.main), list(made.other)
    for _ in range(pick((1, 1, 2, 3, 4))):
        parts = other if other and pick((False, False, False, True)) else main
        edit = pick(("field", "field", "field", "field", "anew", "drop", "add", "add", "swap"))
        if edit == "add" or not parts:
            kind = pick(tuple(NAMES) if parts is main else ("constant", "function"))
            free = next(n for n in range(20) if (kind, n) not in {(one.kind, one.number) for one in parts})
            parts.append(part(pick, kind, free))
            parts.sort(key=lambda one: _ORDER.index(one.kind))
            continue
        place = pick(range(len(parts)))
        if edit == "drop":
            del parts[place]
        elif edit == "swap":
            parts.insert(pick(range(len(parts))), parts.pop(place))
        else:
            fresh = part(pick, parts[place].kind, parts[place].number)
            if edit == "field":
                field, _ = pick(fresh.fields)
                was = dict(parts[place].fields)
                fresh = replace(fresh, fields=tuple((key, dict(fresh.fields)[key] if key == field else was[key])
                                                    for key in was))
            parts[place] = fresh
    return Made(tuple(main), tuple(other))


def part(pick: Pick, kind: str, number: int) -> Part:
    return Part(kind, number, tuple((field, draw(pick, number)) for field, draw in FIELDS[kind].items()))


def _text(parts: Sequence[Part]) -> str:
    return "".join(one.text() for one in parts)


# --- what a part is made of ----------------------------------------------------------------------------------

Draw = Callable[[Pick, int], Any]


def _one_of(*options: Any) -> Draw:
    return lambda pick, number: pick(options)


def _expression(pick: Pick, number: int) -> str:
    """What a function's body may give; ``number`` is the function's own."""
    lower = [f"f{n}" for n in range(number)]
    match pick(range(12)):
        case 0 | 1 | 2:
            return str(pick(_LITERALS))
        case 3:
            return "a"
        case 4:
            return str(pick(("K0", "K1", "K2", "len(registry)", "__name__[-4:]")))
        case 5 if lower:
            return f"{pick(lower)}({pick(('', '1', '1, 2'))})"
        case 6:
            return f"[{_expression(pick, number)} for x in (1, 2)]"
        case 7:
            return f"(lambda x: [x, {_expression(pick, number)}])(1)"
        case 8:
            return f"C{pick((0, 1))}().{pick(('m0()', 'm1()', 'x0', 'y0', 'm0'))}"
        case 9:
            # No call of `math.floor`: whether the module imports `math` makes other code of it, with one meaning.
            return str(pick(("math.pi", "floor(1.5)", "other.K0", "oK", "of()", "[other.f0][0]()")))
        case 10:
            return f"({_expression(pick, number)}, {_expression(pick, number)})"
    return f"{{'k': {_expression(pick, number)}}}"


def _in_a_method(pick: Pick, number: int) -> str:
    lower = ["self.x0", "self.x1", "self.y0", "K0", "1", "'a'", "f0", "type(self).__name__", "__class__.__name__"]
    lower += [f"self.m{n}()" for n in range(number)]
    return f"({pick(lower)}, {pick(lower)})"


def _default(pick: Pick, number: int) -> str:
    return str(pick((*_LITERALS, "[]", "K0", "{}", "registry.append(1)")))


def _members(pick: Pick, number: int) -> tuple[tuple[str, str, str], ...]:
    """``(decorator, arguments, expression)`` of some methods."""
    decorators = ("", "", "", "@property", "@staticmethod", "@classmethod", "@functools.cached_property")
    return tuple((pick(decorators), pick(("", ", b=1")), _in_a_method(pick, n)) for n in range(pick(range(4))))


FIELDS: dict[str, dict[str, Draw]] = {
    "constant": {"value": _one_of(*_VALUES), "annotation": _one_of("", "", "", ": object", " = K9", " = K8")},
    "import": {
        "statement": _one_of(
            "import math", "from math import floor", "from . import other", "from .other import K0 as oK",
            "from .other import f0 as of", "try:\n    import nothing\nexcept ImportError:\n    nothing = None",
        )
    },
    "code": {"statement": _one_of("registry.append(1)", "registry.append('x')", "T = {'f': f0}", "T = [K0, f0()]")},
    "function": {
        "decorator": _one_of("", "", "", "", "@functools.cache", "@twice", "@functools.lru_cache(maxsize=2)"),
        "kind": _one_of("def", "def", "def", "def", "yield", "async def"),
        "arguments": _one_of("a=1", "a=1", "a=1, b={}", "a=1, *, b={}", "a, b={}", "*a", "a: int = 1", "a=1, /"),
        "default": _default,
        "doc": _one_of("", "", "", "'old'", "'new'"),
        "shape": _one_of("plain", "plain", "closure", "nested", "handled", "given", "class"),
        "body": _expression,
        "more": _expression,
    },
    "class": {
        "bases": _one_of("", "", "", "", "(Exception)", "(C0)", "(dict)"),
        "decorator": _one_of("", "", "", "", "@dataclass"),
        "doc": _one_of("", "", "'old'", "'new'"),
        "attributes": lambda pick, number: tuple(
            (f"y{n}", pick((*_LITERALS, "K0", "[1]", "functools.partial(len, 'a')"))) for n in range(pick(range(3)))
        ),
        "state": lambda pick, number: tuple((f"x{n}", pick((*_LITERALS, "[]", "b"))) for n in range(pick(range(3)))),
        "members": _members,
        "special": _one_of("", "", "", "__len__", "__eq__", "__hash__", "__getattr__", "__slots__", "__call__"),
    },
}


def _constant(name: str, fields: dict[str, Any]) -> str:
    return f"{name}{fields['annotation']} = {fields['value']}\n"


def _statement(name: str, fields: dict[str, Any]) -> str:
    return f"{fields['statement']}\n"


def _function(name: str, fields: dict[str, Any]) -> str:
    arguments = fields["arguments"].format(fields["default"])
    body, more = fields["body"], fields["more"]
    lines = {
        "plain": [],
        "closure": [f"    def inner(): return a, {more}", "    kept = inner()"],
        "nested": [f"    def inner(x=1): return {more}", "    return inner()"],
        "handled": ["    try:", f"        kept = {more}", "    except TypeError as error:", "        raise error"],
        "given": [f"    given = lambda: ({more}, a)", "    registry and None", "    return given()"],
        "class": ["    class Inner:", f"        def m(self): return {more}", "    kept = Inner().m()"],
    }[fields["shape"]]
    head = "def" if fields["kind"] == "yield" else fields["kind"]
    last = f"    yield {body}" if fields["kind"] == "yield" else f"    return {body}"
    doc = fields["doc"] and f"    {fields['doc']}"
    lines = [fields["decorator"], f"{head} {name}({arguments}):", doc, *lines, last]
    return "\n".join(line for line in lines if line) + "\n"


def _class(name: str, fields: dict[str, Any]) -> str:
    bases = fields["bases"] if fields["bases"] != f"({name})" else ""
    lines = [fields["decorator"], f"class {name}{bases}:", f"    {fields['doc'] or 'pass'}"]
    lines += [f"    {key}{': int' if fields['decorator'] else ''} = {value}" for key, value in fields["attributes"]]
    if fields["state"]:
        lines += ["    def __init__(self, b=3):", *(f"        self.{key} = {value}" for key, value in fields["state"])]
    for number, (decorator, arguments, body) in enumerate(fields["members"]):
        first = "" if decorator == "@staticmethod" else "self"
        given = f"{first}{arguments}" if "property" not in decorator else first
        lines += [f"    {decorator}"] * bool(decorator)
        lines += [f"    def m{number}({given.removeprefix(', ')}): return {body}"]
    lines += {
        "": [],
        "__len__": ["    def __len__(self): return 3"],
        "__eq__": ["    def __eq__(self, other): return True"],
        "__hash__": ["    def __hash__(self): return 7"],
        "__getattr__": ["    def __getattr__(self, name): return 0 if name[0] in 'mxy' else self.__dict__[name]"],
        "__slots__": ["    __slots__ = ('x0', 'x1', 'x2')"],
        "__call__": ["    def __call__(self): return 'called'"],
    }[fields["special"]]
    return "\n".join(line for line in lines if line) + "\n"


RENDER: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "constant": _constant,
    "import": _statement,
    "code": _statement,
    "function": _function,
    "class": _class,
}

"""Portraits: equal things give equal text, whatever they are, and nothing of theirs is run."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from pylivepatch.portrait import Symbols, portray


def portrait(source: str, **more: Any) -> Symbols:
    module = types.ModuleType("sitter")
    vars(module).update(more)
    exec(compile(source, "sitter.py", "exec"), vars(module))
    found: Symbols = {}
    for _, symbols in portray({"sitter": module}):
        for symbol, aspects in symbols.items():
            found.setdefault(symbol, {}).update(aspects)
    return found


def value(source: str) -> str:
    return portrait(f"x = {source}")["x"]["value"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a', 'b', 'c'}", "{'c', 'b', 'a'}"),
        ("frozenset({(1, 'a'), (2, 'b')})", "frozenset({(2, 'b'), (1, 'a')})"),
        ("__import__('re').compile('a', 2)", "__import__('re').compile('a', __import__('re').I)"),
        ("type('C', (), {'__module__': 'm'})()", "type('C', (), {'__module__': 'm'})()"),
        ("[object()]", "[object()]"),
        ("bytearray(b'a')", "bytearray([97])"),
        ("__import__('array').array('I', [1, 2])", "__import__('array').array('I', (1, 2))"),
    ],
)
def test_equal_things_give_equal_text(one: str, other: str) -> None:
    assert value(one) == value(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("(1,)", "(True,)"),
        ("0.0", "-0.0"),
        ("{1: 2, 3: 4}", "{3: 4, 1: 2}"),
        ("'x' * 1000", "'x' * 999 + 'y'"),
        ("b'x' * 1000", "b'x' * 999 + b'y'"),
        ("10 ** 5000", "10 ** 5000 + 1"),
        ("list(range(10_000))", "[*range(9_999), 0]"),
        ("(lambda a: [a, a])([1])", "[[1], [1]]"),
        ("[lambda: 1]", "[lambda: 2]"),
        ("__import__('functools').partial(int, base=2)", "__import__('functools').partial(int, base=8)"),
        ("__import__('operator').itemgetter(1)", "__import__('operator').itemgetter(2)"),
        ("set()", "dict()"),
        ("bytearray(b'a')", "bytearray(b'b')"),
        ("__import__('array').array('I', [1, 2])", "__import__('array').array('I', [1, 3])"),
        ("__import__('array').array('B', [1, 0])", "__import__('array').array('H', [1])"),
    ],
)
def test_different_things_give_different_text(one: str, other: str) -> None:
    assert portrait(f"x = {one}")["x"] != portrait(f"x = {other}")["x"]


def test_where_code_stands_is_not_in_its_digest_but_in_its_lines() -> None:
    source = "def f(x):\n    class C:\n        def g(self): self.a = self.b = x\n    return C\n"
    one, other = portrait(source)["f"], portrait("\n" * 300 + source)["f"]
    assert one["code"] == other["code"]
    assert one["lines"] != other["lines"]
    assert portrait(source.replace("= x", "= 1"))["f"]["code"] != one["code"]


def test_who_asks_a_class_for_annotations_that_it_has_none_of_does_not_change_it() -> None:
    source = "class C:\n    def f(self): return 1\n"
    assert portrait(source + "C.__annotations__\n") == portrait(source)
    assert portrait(source.replace("    def", "    x: int\n    def"))["C"] != portrait(source)["C"]


def test_cycles_end() -> None:
    assert portrait("x = []\nx.append(x)\ny = {}\ny[1] = [y]\n")["y"]["value"] == "{1: […0]}"
    assert portrait("def f(g=None): pass\nf.__defaults__ = (f,)\nf.me = [f]\n")["f"]["kind"] == "function"


HOSTILE = """\
class Meta(type):
    def __getattribute__(cls, name):
        ran.append(f"meta {name}")
        return type.__getattribute__(cls, name)
    def __instancecheck__(cls, other): ran.append("instancecheck"); return True
    def __eq__(cls, other): ran.append("meta eq"); return True
    def __hash__(cls): return 1

class Hostile(metaclass=Meta):
    __slots__ = ("there", "not_there")
    def __getattribute__(self, name):
        ran.append(name)
        return object.__getattribute__(self, name)
    def __repr__(self): ran.append("repr"); return "x"
    def __eq__(self, other): ran.append("eq"); return True
    def __hash__(self): return 1
    def __len__(self): ran.append("len"); return 0
    def __iter__(self): ran.append("iter"); return iter(())
    @property
    def __class__(self): ran.append("class"); return int

class Descriptor:
    def __get__(self, *arguments): ran.append("get"); return 1

class Holder:
    lazy = Descriptor()

class Text(str):
    def __repr__(self): ran.append("text"); return "x"

x = Hostile()
x.there = Text("a")
y = {x: Text("b"), Text("c"): x, "s": {x}}
z = (Hostile, Holder, Text("d"))
ran.clear()
"""


def test_nothing_is_run_of_what_is_looked_at() -> None:
    ran: list[str] = []
    found = portrait(HOSTILE, ran=ran)
    assert ran == []
    assert found["x"]["value"] == "sitter.Hostile(there=sitter.Text('a'))"
    assert found["Hostile"]["metaclass"] == "sitter.Meta"


def test_data_that_changes_while_it_is_looked_at_does_no_harm() -> None:
    module = types.ModuleType("busy")
    table: dict[int, list[int]] = {number: [] for number in range(50_000)}
    vars(module).update(table=table)
    stopped, begun = threading.Event(), threading.Event()

    def change() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            table[number % 100_000] = [number]
            table.pop((number * 7) % 100_000, None)
            begun.set()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert begun.wait(20)
        found = dict(portray({"busy": module}))
    finally:
        stopped.set()
        thread.join()
    assert found["busy"]["table"]["kind"] == "dict"


def test_a_repr_under_way_is_no_difference() -> None:
    module = types.ModuleType("sitter")
    during: list[Any] = []

    def look(one: object) -> str:
        during.append(dict(portray({"sitter": module}))["sitter"]["text"])
        return ""

    vars(module)["look"] = look
    source = "import reprlib\n@reprlib.recursive_repr()\ndef text(one):\n    return look(one)\n"
    exec(compile(source, "sitter.py", "exec"), vars(module))
    module.text(1)
    assert during == [dict(portray({"sitter": module}))["sitter"]["text"]]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="classes know their first line since 3.13")
@pytest.mark.parametrize("line", [1, 100, 254, 255, 256, 300, 70_000])
def test_the_first_line_of_a_class_in_a_function_is_no_difference(line: int) -> None:
    source = "def f():\n    class C:\n        x = 5\n    return C\n"
    assert portrait("\n" * line + source)["f"]["code"] == portrait(source)["f"]["code"]


def test_annotations_that_only_one_process_evaluates_change_nothing_else() -> None:
    module = types.ModuleType("sitter")
    source = "def f(x: int) -> str: ...\n\nshared = []\nx = {1: f, 2: [shared, shared], 3: lambda: f}\ndel f, shared\n"
    exec(source, vars(module))
    one, other = (dict(portray({"sitter": module}, evaluate=evaluate)) for evaluate in (True, False))
    assert one["sitter"]["x"] == other["sitter"]["x"]

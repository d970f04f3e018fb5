"""What generic functions (``functools.singledispatch``) do for a class is exchanged with the switch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pylivepatch
from pylivepatch.build import examine
from pylivepatch.errors import DataMismatch
from tests.build.conftest import Package
from tests.build.test_edits import build, summary

Make = Callable[..., Package]

BASE = "import functools\n@functools.singledispatch\ndef show(x): return 'any'\n"
FOR_INT = "@show.register\ndef _(x: int): return 'int'\n"


def test_an_implementation_registered_at_run_time_refuses_the_load(package: Make) -> None:
    pair = package({"m.py": BASE}, {"m.py": BASE + FOR_INT})
    show = pair.module("m").show
    show.register(int, lambda x: "somebody's")
    with pytest.raises(DataMismatch, match="has one for int already"):
        pair.load()
    assert show(1) == "somebody's"


def test_an_implementation_registered_over_the_patch_refuses_the_unload(package: Make) -> None:
    pair = package({"m.py": BASE}, {"m.py": BASE + FOR_INT})
    show = pair.module("m").show
    applied = pair.load()
    show.register(int, lambda x: "somebody's")
    with pytest.raises(pylivepatch.LivePatchError):
        applied.unload()
    assert show(1) == "somebody's"
    show.register(int, pair.module("m")._)
    applied.unload()
    assert show(1) == "any"


def test_implementations_registered_at_run_time_for_other_classes_stay(package: Make) -> None:
    pair = package({"m.py": BASE}, {"m.py": BASE + FOR_INT})
    show = pair.module("m").show
    applied = pair.load()
    show.register(str, lambda x: "somebody's")
    applied.unload()
    assert (show(1), show("")) == ("any", "somebody's")


def test_what_the_generic_function_found_before_is_forgotten(package: Make) -> None:
    pair = package({"m.py": BASE}, {"m.py": BASE + FOR_INT})
    show = pair.module("m").show
    assert (show(True), show(1)) == ("any", "any")  # bool by way of int, too: both are in the cache
    applied = pair.load()
    assert (show(True), show(1)) == ("int", "int")
    applied.unload()
    assert (show(True), show(1)) == ("any", "any")


def test_a_virtual_subclass_of_a_new_abstract_class_is_found(package: Make) -> None:
    sized = "@show.register\ndef _(x: Sized): return 'sized'\n"
    head = "from collections.abc import Sized\n"
    pair = package({"m.py": head + BASE}, {"m.py": head + BASE + sized})
    module = pair.module("m")
    applied = pair.load()

    class Own:
        pass

    assert module.show(Own()) == "any"
    module.Sized.register(Own)
    assert module.show(Own()) == "sized"
    applied.unload()
    assert module.show(Own()) == "any"


def test_an_implementation_takes_effect_with_the_functions_of_the_patch(package: Make) -> None:
    old = BASE + "class A: pass\ndef pair(): return ('old', show(A()))\n"
    new = old.replace("'old'", "'new'") + "@show.register\ndef _(x: A): return 'A'\n"
    pair = package({"m.py": old}, {"m.py": new})
    module = pair.module("m")
    seen: set[tuple[str, str]] = set()
    over, going = threading.Event(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            seen.add(module.pair())
            going.set()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert going.wait(20)
        for _ in range(20):
            pair.load().unload()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen <= {("old", "any"), ("new", "A")}


def test_a_class_whose_metaclass_compares_is_refused(package: Make) -> None:
    meta = "class M(type):\n def __hash__(cls): return 1\n def __eq__(cls, other): return cls is other\n"
    old = meta + "class A(metaclass=M): pass\n" + BASE
    pair = package({"m.py": old}, {"m.py": old + "@show.register(A)\ndef _(x): return 'A'\n"})
    show = pair.module("m").show
    with pytest.raises(pylivepatch.LivePatchError, match="metaclass of A"):
        pair.load()
    assert show(pair.module("m").A()) == "any"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("@show.register(make())\ndef _(x): pass\n", ["!PLP234 _"]),
        ("@other.register\ndef _(x: int): pass\n", ["!PLP234 _"]),
        ("if x:\n @show.register\n def _(x: int): pass\n", ["!PLP235 _", "!PLP280 "]),
    ],
)
def test_what_is_not_known_to_be_a_registration_is_refused(tmp_path: Path, more: str, expected: list[str]) -> None:
    head = BASE + "import other\nx = 1\ndef make(): return int\n"
    assert summary(build(tmp_path, head, head + more)) == expected


FOR_TEXT = "@show.register\ndef _(x: str): return 'str'\n"


@pytest.mark.parametrize(("stays", "expected"), [(FOR_INT, ["!PLP236 _"]), (FOR_TEXT, ["PLP208 _"])])
def test_the_last_of_one_name_cannot_go_alone(tmp_path: Path, stays: str, expected: list[str]) -> None:
    assert summary(build(tmp_path, BASE + FOR_INT + FOR_TEXT, BASE + stays)) == expected


@pytest.mark.parametrize(
    ("stays", "goes"),
    [
        (FOR_INT.replace("def _", "def _int"), "@show.register(int)\ndef _(x): return 'another'\n"),
        (FOR_INT.replace("int):", "int | str):"), "@show.register\ndef text(x: 'str'): return 'another'\n"),
        ("def impl(x): return 'int'\nshow.register(int, impl)\n", FOR_INT),
        ("I = int\n" + FOR_INT.replace("def _", "def _int"), "@show.register(I)\ndef _(x): return 'another'\n"),
        (FOR_INT.replace("int)", "I)") + "from builtins import int as I\n", FOR_INT),
        ("", "@show.register(object)\ndef _(x): return 'another'\n"),
    ],
)
def test_one_that_took_the_place_of_another_cannot_go(tmp_path: Path, stays: str, goes: str) -> None:
    result = build(tmp_path, BASE + stays + goes, BASE + stays)
    assert summary(result) == [f"!PLP236 {'text' if 'text' in goes else '_'}"]


def test_one_that_took_the_place_of_another_cannot_be_registered_otherwise(tmp_path: Path) -> None:
    first, last = FOR_INT.replace("def _", "def _int"), "@show.register(int)\ndef _(x): return 'another'\n"
    result = build(tmp_path, BASE + first + last, BASE + first + last.replace("(int)", "(str)"))
    assert summary(result) == ["!PLP236 _"]


INT_A, INT_B = (f"@show.register\ndef _{n}(x: int): return '{n}'\n" for n in "ab")
BY_CALL = "def by_call(x): return 1\nshow.register(int, by_call)\n"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (INT_A, ["!PLP285 _b"]),
        (INT_A.replace("int", "Number"), ["!PLP285 _b"]),
        (INT_A.replace("int", "str"), []),
        (INT_A.replace("show", "other"), []),
    ],
)
def test_two_for_one_class_stay_in_their_order(tmp_path: Path, last: str, expected: list[str]) -> None:
    head = BASE + BASE.replace("show", "other") + "Number = int\n"
    assert summary(build(tmp_path, head + last + INT_B, head + INT_B + last)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (INT_A, INT_A + INT_B, ["!PLP236 _b"]),
        (INT_A, INT_B + INT_A, ["!PLP236 _b"]),
        (BY_CALL, BY_CALL + INT_B, ["!PLP236 _b"]),
        ("", INT_B.replace("int", "object"), ["!PLP236 _b"]),
        ("O = object\n", "O = object\n" + INT_B.replace("int", "O"), ["!PLP236 _b"]),
        (INT_A + INT_B.replace("int", "str"), INT_A + INT_B, ["!PLP236 _b"]),
        (INT_A, INT_B, [".PLP222 _a", "PLP208 _a", "PLP211 _b"]),
        (INT_A.replace("show", "other"), INT_A.replace("show", "other") + INT_B, ["PLP211 _b"]),
    ],
)
def test_a_new_one_takes_no_place_of_another(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    head = BASE + BASE.replace("show", "other")
    assert summary(build(tmp_path, head + old, head + new)) == expected


def test_methods_of_one_name_in_two_classes_are_two_generic_functions(tmp_path: Path) -> None:
    body = "    @functools.singledispatchmethod\n    def show(self, x): return 'any'\n"
    impl = "    @show.register\n    def _int(self, x: int): return 'int'\n"
    old = f"import functools\nclass A:\n{body}{impl}class B:\n{body}"
    assert summary(build(tmp_path, old, old + impl)) == ["PLP211 B._int"]


def test_a_generic_function_is_never_left_without_its_default(package: Make) -> None:
    gone = "anything = object\n@show.register(anything)\ndef _(x): return 'another'\n"
    pair = package({"m.py": BASE + gone}, {"m.py": BASE + "anything = object\n"})
    show = pair.module("m").show
    with pytest.raises(pylivepatch.LivePatchError):
        pair.load()
    assert show(1) == "another"


def test_one_whose_lines_an_earlier_patch_moved_is_found_by_a_later_one(package: Make) -> None:
    more = FOR_INT + FOR_TEXT
    pair = package({"m.py": BASE + more}, {"m.py": BASE + "x = 1\n" + more.replace("'text'", "'str'")})
    show = pair.module("m").show
    first = pair.load()
    later = pair.new.parent / "later" / pair.name
    later.mkdir(parents=True)
    (later / "__init__.py").write_text("")
    (later / "m.py").write_text(BASE + "x = 1\n" + more.replace("'int'", "'number'"))
    second = pylivepatch.load(examine(pair.new, later.parent, name=pair.name + "_later").patch)  # type: ignore[arg-type]
    assert (show(1), show("")) == ("number", "str")
    second.unload()
    first.unload()
    assert (show(1), show("")) == ("int", "str")


def test_of_two_that_are_equal_but_for_their_lines_none_is_taken(package: Make) -> None:
    more = FOR_INT.replace("'int'", "x") + "@show.register\ndef _(x: float): return x\n" + FOR_TEXT
    pair = package({"m.py": BASE + more}, {"m.py": BASE + "x = 1\n" + more})
    show = pair.module("m").show
    pair.load()
    later = pair.new.parent / "later" / pair.name
    later.mkdir(parents=True)
    (later / "__init__.py").write_text("")
    (later / "m.py").write_text(BASE + "x = 1\n" + more.replace("int): return x", "int): return -x"))
    with pytest.raises(pylivepatch.LivePatchError):
        pylivepatch.load(examine(pair.new, later.parent, name=pair.name + "_later").patch)  # type: ignore[arg-type]
    assert (show(1), show(1.0)) == (1, 1.0)


@pytest.mark.parametrize("goes", [INT_A, FOR_INT])
def test_a_patch_takes_out_what_the_one_that_it_replaces_took_out(package: Make, goes: str) -> None:
    rest = "def f(): return 0\n" + FOR_TEXT
    pair = package({"m.py": BASE + goes + rest}, {"m.py": BASE + rest.replace("0", "2")})
    module = pair.module("m")
    show, was = module.show, module.show(1)
    pair.load()
    assert show(1) == "any"
    (pair.new / pair.name / "m.py").write_text(BASE + rest.replace("0", "3"))
    applied = pylivepatch.load(examine(pair.old, pair.new, name="second").patch, replace=True)  # type: ignore[arg-type]
    assert (show(1), show(""), module.f()) == ("any", "str", 3)
    applied.unload()
    assert (show(1), show(""), module.f()) == (was, "str", 0)


def test_a_patch_puts_back_what_the_one_that_it_replaces_took_out(package: Make) -> None:
    rest = "def f(): return 0\n"
    pair = package({"m.py": BASE + INT_A + rest}, {"m.py": BASE + rest})
    module = pair.module("m")
    pair.load()
    (pair.new / pair.name / "m.py").write_text(BASE + INT_A + rest.replace("0", "3"))
    applied = pylivepatch.load(examine(pair.old, pair.new, name="second").patch, replace=True)  # type: ignore[arg-type]
    assert (module.show(1), module.f()) == ("a", 3)
    applied.unload()
    assert (module.show(1), module.f()) == ("a", 0)

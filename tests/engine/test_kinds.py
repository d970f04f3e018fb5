"""Every kind of function is patched and given back: behaviour, and the very code object that it had."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import pylivepatch
from pylivepatch.activeness.functions import unwrap

KINDS: dict[str, str] = {  # source that defines `target` and `call`; the new version says 'new'
    "plain": "def target(): return 'old'\ncall = target",
    "method": "class K:\n  def target(self): return 'old'\ncall = K().target\ntarget = K.target",
    "static method": "class K:\n  @staticmethod\n  def t(): return 'old'\ncall = K.t\ntarget = K.__dict__['t']",
    "class method": "class K:\n  @classmethod\n  def t(c): return 'old'\ncall = K.t\ntarget = K.__dict__['t']",
    "property getter": "class K:\n  @property\n  def t(s): return 'old'\ncall = lambda: K().t\ntarget = K.t",
    "cached property": (
        "import functools\nclass K:\n  @functools.cached_property\n  def t(s): return 'old'\n"
        "call = lambda: K().t\ntarget = K.t"
    ),
    "under wraps": (
        "import functools\ndef deco(f):\n  @functools.wraps(f)\n  def w(*a): return f(*a)\n  return w\n"
        "@deco\ndef target(): return 'old'\ncall = target"
    ),
    "under two wraps": (
        "import functools\ndef deco(f):\n  @functools.wraps(f)\n  def w(*a): return f(*a)\n  return w\n"
        "@deco\n@deco\ndef target(): return 'old'\ncall = target"
    ),
    "under lru_cache": (
        "import functools\n@functools.lru_cache\ndef target(): return 'old'\n"
        "def call():\n  target.cache_clear()\n  return target()"
    ),
    "under contextmanager": (
        "import contextlib\n@contextlib.contextmanager\ndef target(): yield 'old'\n"
        "def call():\n  with target() as v: return v"
    ),
    "under asynccontextmanager": (
        "import contextlib, asyncio\n@contextlib.asynccontextmanager\nasync def target(): yield 'old'\n"
        "async def use():\n  async with target() as v: return v\ndef call(): return asyncio.run(use())"
    ),
    "in a partial": "import functools\ndef f(x): return 'old'\ncall = target = functools.partial(f, 1)",
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef target(x): return 'old'\ncall = lambda: target(1)"
    ),
    "singledispatchmethod": (
        "import functools\nclass K:\n  @functools.singledispatchmethod\n  def t(s, x): return 'old'\n"
        "k = K()  # one: 3.13.0 keeps each instance that it dispatches for\n"
        "call = lambda: k.t(1)\ntarget = K.__dict__['t']"
    ),
    "lambda": "target = call = lambda: 'old'",
    "closure": "def make(v):\n  def t(): return v, 'old'\n  return t\ntarget = make(1)\ncall = lambda: target()[1]",
    "recursive": (
        "def target(n=30): return target(n - 1) if n else 'old'\ncall = target"
    ),
    "generator": "def target(): yield 'old'\ncall = lambda: next(target())",
    "generator that returns": ("def target():\n  return 'old'\n  yield\ndef outer(): return (yield from target())\n"
        "def call():\n  try: next(outer())\n  except StopIteration as e: return e.value"),
    "coroutine": "import asyncio\nasync def target(): return 'old'\ncall = lambda: asyncio.run(target())",
    "async generator": (
        "import asyncio\nasync def target(): yield 'old'\n"
        "async def use():\n  async for v in target(): r = v\n  return r\ncall = lambda: asyncio.run(use())"
    ),
    "types.coroutine": (
        "import asyncio, types\n@types.coroutine\ndef target():\n  yield\n  return 'old'\n"
        "async def use(): return await target()\ncall = lambda: asyncio.run(use())"
    ),
    "__init__": "class K:\n  def __init__(s): s.v = 'old'\ncall = lambda: K().v\ntarget = K.__init__",
    "__new__": "class K:\n  def __new__(c): return 'old'\ncall = K\ntarget = K.__new__",
    "__call__": "class K:\n  def __call__(s): return 'old'\ncall = K()\ntarget = K.__call__",
    "__getattr__": "class K:\n  def __getattr__(s, n): return 'old'\ncall = lambda: K().x\ntarget = K.__getattr__",
    "with super()": (
        "class B:\n  def t(s): return 'o'\nclass K(B):\n  def t(s): return super().t() and (__class__ is K and 'old')\n"
        "call = lambda: K().t()\ntarget = K.t"
    ),
    "metaclass method": (
        "class M(type):\n  def t(c): return 'old'\nclass K(metaclass=M): pass\ncall = K.t\ntarget = M.t"
    ),
    "nested class method": "class A:\n  class B:\n    def t(s): return 'old'\ncall = A.B().t\ntarget = A.B.t",
    "sort key": "def target(x): return (x, 'old')\ndef call(): return min([2, 1], key=target) and target(1)[1]",
}


def define(source: str) -> dict[str, Any]:
    """The namespace of a module that can be found, made from ``source``."""
    module = ModuleType("test_kinds_defined")
    sys.modules[module.__name__] = module
    space = vars(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # return in a finally block: one of the ways out
        exec(compile(source, "<versions>", "exec"), space)
    return space


@pytest.fixture(autouse=True)
def _forget_what_was_defined() -> Iterator[None]:
    yield
    sys.modules.pop("test_kinds_defined", None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_of_each_kind_is_patched_and_given_back(kind: str, each_path: str) -> None:
    source = KINDS[kind]
    space = define(source)
    # The new version is made in the same namespace, so that it has the same globals.
    newer = dict(space)
    exec(compile(source.replace("'old'", "'new'"), "<versions>", "exec"), space)
    new_target = space["target"]
    names = ("target", "call", "K", "M", "A", "B", "f", "k", "make")
    space.update({name: newer[name] for name in newer if name in names})
    target, call = space["target"], space["call"]
    (function,) = unwrap(target)
    original = function.__code__
    assert call() == "old"
    # Once before counting: looking through this frame's variables leaves a copy of them in the frame before 3.13.
    pylivepatch.load(pylivepatch.Patch("fix").replace(target, new_target)).unload()
    gc.collect()
    references = sys.getrefcount(function)

    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(target, new_target))
    assert call() == "new"
    assert function.__code__ is not original
    applied.unload()
    del applied

    assert call() == "old"
    assert function.__code__ is original
    gc.collect()
    assert sys.getrefcount(function) == references


def test_all_accessors_of_a_property_switch_at_once(each_path: str) -> None:
    class Old:
        def __init__(self) -> None:
            self.log: list[str] = []

        def _get(self) -> str:
            return "old"

        def _set(self, value: str) -> None:
            self.log.append("old " + value)

        def _delete(self) -> None:
            self.log.append("old deleted")

        value = property(_get, _set, _delete)

    class New:
        log: list[str]

        def _get(self) -> str:
            return "new"

        def _set(self, value: str) -> None:
            self.log.append("new " + value)

        def _delete(self) -> None:
            self.log.append("new deleted")

        value = property(_get, _set, _delete)

    thing = Old()
    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(Old.value, New.value))
    thing.value = "x"
    del thing.value
    assert (thing.value, thing.log) == ("new", ["new x", "new deleted"])
    applied.unload()
    thing.value = "x"
    del thing.value
    assert (thing.value, thing.log[2:]) == ("old", ["old x", "old deleted"])


def old(x: int = 1) -> tuple[str, int]:
    return ("old", x)


def new(x: int = 1) -> tuple[str, int]:
    return ("new", x)


class Holder:
    method = old  # type: ignore[assignment]


def test_aliases_bound_methods_and_callbacks_follow(each_path: str) -> None:
    alias = old
    registry = {"callback": [old]}
    bound = Holder().method
    partial = functools.partial(old, 2)
    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(old, new))
    results = [alias()[0], registry["callback"][0]()[0], bound()[0], partial()[0]]  # type: ignore[operator]
    assert results == ["new"] * 4
    applied.unload()
    assert [alias()[0], registry["callback"][0]()[0], bound()[0], partial()[0]] == ["old"] * 4  # type: ignore[operator]


PARAMETERS = [
    "def target(a, b): return (V, a, b)",
    "def target(a, /, b): return (V, a, b)",
    "def target(a, /, b=5, *args, c=6, d, **kw): return (V, a, b, args, c, d, kw)",
    "def target(*a): return (V, a)",
    "def target(**k): return (V, k)",
    "def target(*, a=1, b=2): return (V, a, b)",
    "def target(a, b=2, *c, d=4, **e):\n  f = lambda: (a, b, c, d, e)\n  return (V, *f())",
    "def target(a, b):\n  def inner():\n    nonlocal a\n    a += b\n    return a\n  return (V, inner(), a)",
]
CALLS: list[Callable[[Any], Any]] = [
    lambda f: f(1, 2),
    lambda f: f(1, b=2),
    lambda f: f(a=1, b=2),
    lambda f: f(1, 2, 3, 4, c=7, d=8, e=9),
    lambda f: f(1, d=8),
    lambda f: f(),
    lambda f: f(x=1),
]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except TypeError as error:
        return str(error)


@pytest.mark.parametrize("source", PARAMETERS)
def test_every_kind_of_parameter_binds_alike_in_each_stage(source: str, hold: Any) -> None:
    space = dict(define("V = 'v'\n" + source))
    target = space.pop("target")
    exec(source.replace("(V", "('new'"), space)
    expected = [outcome(lambda c=c: c(target)) for c in CALLS]
    after = [outcome(lambda c=c: c(space["target"])) for c in CALLS]
    held = hold(pylivepatch.Patch("fix").replace(target, space["target"]))
    assert [outcome(lambda c=c: c(target)) for c in CALLS] == expected
    assert held.counted == 0
    applied = held.finish()
    assert [outcome(lambda c=c: c(target)) for c in CALLS] == after
    held = held.unloading()
    assert [outcome(lambda c=c: c(target)) for c in CALLS] == after
    held.finish()
    assert [outcome(lambda c=c: c(target)) for c in CALLS] == expected
    assert applied not in pylivepatch.patches()


def documented(a: int = 1, *, b: int = 2) -> int:
    """Old words."""
    return a + b


def redocumented(a: float = 10, *, b: float = 20) -> float:
    """New words."""
    return a + b


def test_defaults_annotations_and_documentation_move_with_the_code(each_path: str) -> None:
    before = (documented.__defaults__, documented.__kwdefaults__, dict(documented.__annotations__), documented.__doc__)
    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(documented, redocumented))
    assert documented() == 30
    assert documented.__doc__ == "New words."
    assert documented.__annotations__ == redocumented.__annotations__
    applied.unload()
    assert documented() == 3
    assert (
        documented.__defaults__,
        documented.__kwdefaults__,
        dict(documented.__annotations__),
        documented.__doc__,
    ) == before


def test_a_default_that_is_equal_but_another_value_moves_too(each_path: str) -> None:
    def one(a: Any = 1, *, b: Any = 0.0) -> Any:
        return a, b

    def true(a: Any = True, *, b: Any = -0.0) -> Any:
        return a, b

    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(one, true))
    assert one()[0] is True
    assert str(one()[1]) == "-0.0"
    applied.unload()
    assert one()[0] == 1
    assert one()[0] is not True


def test_defaults_that_cannot_be_compared_are_no_obstacle(each_path: str) -> None:
    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    def before(a: Any = Array()) -> str:  # noqa: B008
        return "old"

    def after(a: Any = Array()) -> str:  # noqa: B008
        return "new"

    applied = pylivepatch.load(pylivepatch.Patch("fix").replace(before, after))
    assert before() == "new"
    applied.unload()
    assert before() == "old"


EXITS = textwrap.dedent('''
    import contextlib
    def by_return(): return 1
    def by_implicit_return(): pass
    def by_raise():
        raise KeyError("x")
    def by_return_in_finally():
        for i in range(3):
            try:
                raise KeyError
            finally:
                return i
    def by_reraise():
        try:
            try:
                raise KeyError("inner")
            except KeyError as e:
                raise ValueError("outer")
        except ValueError:
            raise
    def by_from():
        try: {}["x"]
        except KeyError as e: raise ValueError from e
    def by_with_return():
        with contextlib.nullcontext(3) as x:
            return x
    def by_suppressed():
        with contextlib.suppress(KeyError):
            raise KeyError
        return "suppressed"
    def by_raising_in_finally():
        try: return 1
        finally: raise KeyError
    def by_break_in_finally():
        while True:
            try: return 1
            finally: break
        return 2
    def by_group():
        try:
            raise ExceptionGroup("g", [KeyError(1), ValueError(2)])
        except* KeyError:
            pass
    def by_system_exit(): raise SystemExit(3)
    def by_recursion_error():
        return by_recursion_error() + 1
    def by_match(x=(1, 2)):
        match x:
            case (1, y) if y > 1: return y
            case _: return None
    def by_comprehension(): return [i for i in range(3) if (lambda: i)()]
    def by_assert(): assert False, "no"
    def by_stop(): raise StopIteration(4)
''')


def signature_of_exit(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except BaseException as error:
        lines = [(f.name, f.lineno) for f in traceback.extract_tb(error.__traceback__)][1:5]
        return type(error), str(error)[:30], lines, type(error.__context__), type(error.__cause__)


@pytest.mark.parametrize("name", [n for n in define(EXITS) if n.startswith("by_")])
def test_every_way_out_is_the_same_while_it_is_counted(name: str, hold: Any) -> None:
    space = define(EXITS)
    function = space[name]
    expected = signature_of_exit(function)

    def changed() -> str:
        return "new"

    held = hold(pylivepatch.Patch("fix").replace(function, changed))
    try:
        raise LookupError("the one being handled")
    except LookupError as error:
        handled = signature_of_exit(function)
        unchanged = sys.exc_info()[1] is error
    assert unchanged, "the hooks left an exception state behind"
    assert sys.exc_info() == (None, None, None)
    assert handled if isinstance(handled, tuple) else handled == expected
    assert signature_of_exit(function) == expected
    assert held.counted == 0
    held.finish()
    assert function() == "new"


def test_the_exception_being_handled_is_the_callers(hold: Any) -> None:
    def look() -> Any:
        return sys.exc_info()[1]

    def raise_in_context() -> None:
        raise ValueError

    held = hold(pylivepatch.Patch("fix").replace(look, lambda: None).replace(raise_in_context, lambda: None))
    try:
        raise KeyError
    except KeyError as error:
        seen = look() is error
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            raise_in_context()
        kept = caught.value.__context__ is error
    assert (seen, kept) == (True, True)
    assert held.counted == 0
    held.finish()


def test_a_recursion_at_the_limit_leaves_the_counter_balanced(hold: Any) -> None:
    def dive(n: int) -> int:
        return dive(n + 1) + 1

    held = hold(pylivepatch.Patch("fix").replace(dive, lambda n: n))
    for _ in range(5):
        with pytest.raises(RecursionError):
            dive(0)
        assert held.counted == 0
    held.finish()
    assert dive(3) == 3


def test_the_last_one_out_commits_even_at_the_recursion_limit(hold: Any) -> None:
    """The commit is a call: it must not be lost where no call is possible."""

    def leaf(inside: Any) -> str:
        inside()
        return "old"

    def dive(n: int, inside: Any) -> Any:
        return leaf(inside) if n == 0 else dive(n - 1, inside)

    limit = sys.getrecursionlimit()
    for spare in range(8):
        held = hold(pylivepatch.Patch(f"fix{spare}").replace(leaf, lambda inside: "new"))
        # Find the depth that just works, then be the last one out at that depth.
        depth = limit
        entered: list[int] = []

        def inside(entered: list[int] = entered) -> None:
            entered.append(1)

        while not entered:
            depth -= 1
            with contextlib.suppress(RecursionError):
                dive(depth, inside)
        generator = _enter_and_wait(leaf, held)
        with contextlib.suppress(RecursionError):
            dive(depth - spare, lambda: None)
        with contextlib.suppress(StopIteration):
            next(generator)
        held.finish().unload()
        assert leaf(lambda: None) == "old"


def _enter_and_wait(leaf: Callable[[Any], str], held: Any) -> Any:
    held.let_go()
    yield


def test_positions_in_a_traceback_are_the_bodys(hold: Any) -> None:
    def fails(x: int) -> float:
        y = x + 1

        return y / (x - x)

    line = fails.__code__.co_firstlineno + 3
    held = hold(pylivepatch.Patch("fix").replace(fails, lambda x: 0.0))
    with pytest.raises(ZeroDivisionError) as caught:
        fails(1)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.name, frame.lineno, len(traceback.extract_tb(caught.value.__traceback__))) == ("fails", line, 2)
    held.finish()


def test_frames_and_introspection_see_the_function_itself(hold: Any) -> None:
    def look() -> Any:
        x = 1
        # The frame in a variable of its own would be a cycle, and hold the transition until it is collected
        return sys._getframe().f_code.co_name, sys._getframe().f_lineno, sys._getframe(1).f_code.co_name, locals()

    expected = look()
    held = hold(pylivepatch.Patch("fix").replace(look, lambda: None))
    assert look() == expected
    held.finish()


def test_an_asyncio_program_runs_through_trampolines(hold: Any) -> None:
    async def leaf(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def many(n: int) -> int:
        return sum([await leaf(i) async for i in numbers(n)])

    async def numbers(n: int) -> Any:
        for i in range(n):
            yield await leaf(i)

    async def main() -> list[int]:
        return list(await asyncio.gather(*(many(i) for i in range(10))))

    expected = asyncio.run(main())

    async def other(n: int) -> int:
        return -1

    async def others(n: int) -> Any:
        yield -1

    held = hold(pylivepatch.Patch("fix").replace(leaf, other).replace(many, other).replace(numbers, others))
    assert asyncio.run(main()) == expected
    assert held.counted == 0
    held.finish()
    assert asyncio.run(main()) == [-1] * 10

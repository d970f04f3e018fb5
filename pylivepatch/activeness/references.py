"""The check itself: CPython counts the users of a code object for us.

The problem: to know that nobody executes a function, without a walk over every stack and a scan of the heap. In
CPython every frame that executes a code object owns a reference to it: running and sleeping threads, suspended
greenlets, suspended and even unstarted generators and coroutines. So ``sys.getrefcount(code)``, one C call in constant
time, never misses one. It may count too many: other references to the same object. Those that are known are
subtracted; *equal to the known ones* proves that the code is idle; *more* means that somebody may execute it, and what
cannot be explained is treated as active (the reliable-stack rule of Linux livepatch).

The known holders of a code object ``c`` are

* the :class:`Version` that this package keeps of it: one reference, however many patches refer to ``c``;
* each function whose ``__code__`` it is;
* each ``co_consts`` tuple that it lies in, where it is nested in other code that is alive.

The arithmetic is calibrated at import with a fresh code object, as versions of CPython differ in what a call of
``getrefcount`` itself adds.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from sys import getrefcount
from types import CodeType

from pylivepatch.activeness.pace import paced
from pylivepatch.commit import read
from pylivepatch.errors import EngineUnsupported


class Version:
    """One version of a function: the only holder of its code object in this package."""

    __slots__ = ("__weakref__", "code")

    def __init__(self, code: CodeType) -> None:
        self.code = code

    def __repr__(self) -> str:
        return f"<Version {self.code.co_qualname}:{self.code.co_firstlineno}>"


_versions: weakref.WeakValueDictionary[int, Version] = weakref.WeakValueDictionary()


def version_of(code: CodeType) -> Version:
    """The one :class:`Version` of ``code``, which is told from others by identity."""
    version = _versions.get(id(code))  # the id is not reused while the Version keeps the code alive
    if version is None:
        version = _versions[id(code)] = Version(code)
    return version


def live_versions() -> Iterator[Version]:
    """Every version that some patch still refers to."""
    for reference in _versions.valuerefs():  # a copy: they change while the caller goes on
        version = reference()
        if version is not None:
            yield version


_code = attrgetter("code")
_SLICE = 150  # code objects looked at between two offers of the GIL


def counts(versions: Iterable[Version]) -> list[int]:
    """How many references each version's code has beside its own :class:`Version`. One C call."""
    return [n - _BASE for n in read(raw_counts(list(versions)))]


def raw_counts(versions: Iterable[Version]) -> Iterator[int]:
    """The same as an iterator that runs no Python code, uncalibrated: compare with ``known + base()``."""
    return map(getrefcount, map(_code, versions))


def base() -> int:
    return _BASE


def nested_code(code: CodeType) -> Iterator[CodeType]:
    """``code`` and every code object nested in it, each once for each place."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from nested_code(const)


def tuples_that_hold(codes: Iterable[CodeType], wanted: set[int]) -> Iterator[tuple[object, ...]]:
    """The ``co_consts`` at or below ``codes`` that hold a code object whose id is wanted, each once.

    Gives up the GIL as it goes.
    """
    seen: set[int] = set()
    for code in paced(chain.from_iterable(map(nested_code, codes)), _SLICE):
        if id(code.co_consts) not in seen:
            seen.add(id(code.co_consts))
            if any(id(const) in wanted for const in code.co_consts):
                yield code.co_consts


def can_be_suspended(code: CodeType) -> bool:
    """Whether it is a generator's, a coroutine's or an async generator's; any other code runs on a stack only."""
    return bool(code.co_flags & _GENERATOR_LIKE)


def references_of_a_frame(code: CodeType) -> int:
    """How many references to its code one frame makes: a generator-like object may own another beside its frame's."""
    return _SUSPENDED if can_be_suspended(code) else 1


def references_of_a_finished_one() -> int:
    """How many references to its code a generator-like object keeps when its frame is gone."""
    return _FINISHED


_GENERATOR_LIKE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _calibrate() -> tuple[int, int, int]:
    # Also where such a build was told to run with a GIL (PYTHON_GIL=1): nothing of what follows was shown for it.
    if "free-threading" in sys.version or not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise EngineUnsupported(
            "this is a free-threaded build of CPython: reference counts and single C calls prove nothing here, so that "
            "nobody can be told to be outside of a function",
            where=f"{sys.executable} ({sys.version})",
            advice="run the service on the default build of CPython; patches can be built and shown here all the same",
        )
    scope: dict[str, object] = {}
    exec("def probe():\n    yield\n", scope)
    probe = scope.pop("probe")
    assert hasattr(probe, "__code__")
    version = Version(probe.__code__.replace(co_name="calibrated"))
    (idle,) = map(getrefcount, map(_code, [version]))
    probe.__code__ = version.code
    (owned,) = map(getrefcount, map(_code, [version]))
    suspended = probe()  # type: ignore[operator]
    (held,) = map(getrefcount, map(_code, [version]))
    suspended.close()
    (finished,) = map(getrefcount, map(_code, [version]))
    del suspended
    (freed,) = map(getrefcount, map(_code, [version]))
    # `freed` may be above `owned`: a profiler's table keeps the code of what it saw called.
    if not (owned == idle + 1 and held > freed >= owned):
        raise EngineUnsupported(
            "this interpreter does not count references to code objects exactly "
            f"(idle {idle}, held by a function {owned}, by a generator too {held}, after it {freed})",
            where=sys.version,
            advice="please report this with the version of Python",
        )
    return idle, held - freed, finished - freed


_BASE, _SUSPENDED, _FINISHED = _calibrate()

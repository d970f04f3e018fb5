"""Finding the live functions that a patch names, also where another tool has put something around them.

A profiler, a tracer or a test may have replaced a module's function by a wrapper that calls it. The wrapper's own code
is none of the patch's business: the function inside is what the patch was built against and what runs in the end, so
that is what gets the new code, and the wrapper stays. Where the name leads to something that does not have the function
inside, a patch of the function would change nothing that anybody calls: it is refused, and what stands there is named.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pylivepatch.activeness.functions import reachable, unwrap, walk
from pylivepatch.below import Below
from pylivepatch.errors import CodeMismatch, TargetNotFound
from pylivepatch.pairs import normal_form

REBUILD = "build the patch against the version that this process runs"
_TAKE_OUT = "take its change out first, or load the patch before it comes"


def locate(module: ModuleType, qualname: str, old: CodeType, below: Below) -> list[FunctionType]:
    """The live functions whose code is ``old``: where the name leads to, else wherever the namespace does.

    Raises :class:`TargetNotFound` or :class:`CodeMismatch`.
    """
    thing = static_lookup(module, qualname)
    named = unwrap(thing)
    found = [f for f in named if same_code(below.code(f), old)]
    if not found:
        called_so = [f for f in (*walk([module]), *below.taken_out(module)) if f.__code__.co_qualname == qualname]
        found = [f for f in called_so if same_code(below.code(f), old)]
        if not found:  # it stands elsewhere: an earlier patch moved the lines of what it did not change
            called_so = [f for f in named if normal_form(below.code(f)) == normal_form(old)] or called_so
            found = [f for f in called_so if normal_form(below.code(f)) == normal_form(old)]
            if len({id(f) for f in found} - {id(f) for f in named}) > 1:
                found = []  # which of those that are equal but for their lines it is cannot be told
        if found and _hides(module, qualname, thing, named, found):
            raise _replaced(module, qualname, thing, named)
    if found:
        return list({id(f): f for f in found}.values())
    where = f"{module.__name__}:{qualname}"
    others = [f for f in named if f.__code__.co_qualname == qualname]
    if others:
        live = others[0].__code__
        raise CodeMismatch(
            f"the live code of {qualname} is not the code that the patch was built against",
            where=f"{where} ({live.co_filename}:{live.co_firstlineno})",
            advice=f"{REBUILD}; if another tool changed the function, take its change out first",
        )
    if named or _is_mock(thing):
        raise _replaced(module, qualname, thing, named)
    raise TargetNotFound(
        f"the module has no function {qualname} with the code that the patch was built against",
        where=f"{where} ({getattr(module, '__file__', '?')})",
        advice=REBUILD,
    )


def around(module: ModuleType, qualname: str, functions: list[FunctionType]) -> str:
    """What the name leads to where that is not one of ``functions`` itself, for people; ``""`` where it is."""
    thing = static_lookup(module, qualname)
    if thing is None or any(thing is function for function in functions):
        return ""
    return _described(thing)


def _hides(
    module: ModuleType, qualname: str, thing: Any, named: list[FunctionType], found: list[FunctionType]
) -> bool:
    """Whether another tool's function or mock has the name, and none of ``found`` is inside it.

    A decorator of the program's own may leave such a thing, too (a registry's, that keeps the function elsewhere): that
    comes from a decorator in the source, as an object of any class. It is no plain function of another name.
    """
    if not (_is_mock(thing) or (named and all(f.__code__.co_qualname != qualname for f in named))):
        return False
    inside = {id(function) for function in reachable(thing, module.__name__)}
    return not any(id(function) in inside for function in found)


def _replaced(module: ModuleType, qualname: str, thing: Any, named: list[FunctionType]) -> CodeMismatch:
    where = f"{module.__name__}:{qualname}"
    if named and not _is_mock(thing):
        code = named[0].__code__
        return CodeMismatch(
            f"{qualname} was replaced: the name leads to {_described(named[0])}",
            where=f"{where} ({code.co_filename}:{code.co_firstlineno})",
            advice=f"another tool patched or wrapped it; {_TAKE_OUT}",
        )
    return CodeMismatch(
        f"{qualname} was replaced: the name leads to a {_described(thing)}",
        where=where,
        advice=f"a test's mock has its place; {_TAKE_OUT}",
    )


def _described(thing: Any) -> str:
    if type(thing) is FunctionType and _is_mock(thing):
        return f"function of {_described(thing.__dict__['mock'])}"
    if type(thing) is FunctionType:
        return f"{thing.__module__}.{thing.__code__.co_qualname}"
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_mock(thing: Any) -> bool:
    """By its real class: a mock claims to be of any. With ``autospec`` it is a function that has a mock."""
    mock = sys.modules.get("unittest.mock")
    if mock is not None and type(thing) is FunctionType:
        thing = thing.__dict__.get("mock")
    return mock is not None and issubclass(type(thing), mock.NonCallableMock)


def same_code(live: CodeType, built: CodeType) -> bool:
    """Equal, or equal but for the columns that ``-X no_debug_ranges`` leaves out."""
    if live == built:
        return True
    return (
        live.co_firstlineno == built.co_firstlineno
        and normal_form(live) == normal_form(built)
        and list(live.co_lines()) == list(built.co_lines())
    )


def static_lookup(module: ModuleType, qualname: str) -> Any:
    """What the dotted name leads to, without running descriptors; ``None`` where it leads nowhere."""
    thing: Any = module
    for name in qualname.split("."):
        space = vars(thing) if isinstance(thing, ModuleType | type) else {}
        thing = space.get(name, space.get(mangled(thing, name) if isinstance(thing, type) else name))
        if thing is None:
            return None
    return thing


def mangled(owner: type, name: str) -> str:
    """A private name as the class's body binds it."""
    if name.startswith("__") and not name.endswith("__"):
        stripped = owner.__name__.lstrip("_")
        return f"_{stripped}{name}" if stripped else name
    return name

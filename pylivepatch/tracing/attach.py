"""Which functions are traced, by whom, and how their code gets in and out.

A function that several tracers want has one traced code object that tells all of them. All functions of a tracer are
switched in one C call, in and out.

A frame that executes traced code when the function is given its original back goes on in the traced one, whose body is
the original's. Later transitions must wait for it as for any other old body: it *lingers*, as trampolines of a
transition that was reversed do.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat, takewhile
from types import CodeType, FrameType, FunctionType
from typing import Any, Protocol

from pylivepatch.activeness.references import Version, version_of
from pylivepatch.commit import at_once, set_codes
from pylivepatch.errors import TargetBusy, UnswappableShape
from pylivepatch.ftrace.trampoline import Template, instantiate, traced
from pylivepatch.ftrace.verify_traced import find_problem_of_traced
from pylivepatch.journal import is_executing
from pylivepatch.transition.lingering import linger

Hook = Callable[..., object]
SLOTS = ("on_entry", "on_return", "on_raise")


class Listener(Protocol):
    """Whom the hooks tell: a tracer or a probe.

    One that wants ``values`` has its ``on_entry`` called with a tuple of the parameters' values and its ``on_return``
    with what is returned, each by a function that the traced one calls: so that is ``sys._getframe(2)``. Where an
    interrupt strikes in one, ``on_abandon`` is called: another end of this call may never be told.
    """

    values: bool

    def hooks(self, function: FunctionType) -> Mapping[str, Hook]:
        """A callable for each of :data:`SLOTS`, and ``on_abandon`` for who wants values. None may raise."""

    def set_aside(self, functions: Collection[FunctionType]) -> None:
        """These are not traced from now on, for a while."""

    def resumed(self, functions: Collection[FunctionType]) -> None:
        """They are again."""

    def silence(self) -> None:
        """In a child that was forked: what still executes traced code is not to be told of."""


@dataclass(eq=False)
class _Traced:
    """One function. ``templates`` are of ``body``, its own code, without and with values, and ``code`` what it runs
    while it is traced.
    """

    function: weakref.ref[FunctionType]
    listeners: dict[Listener, Mapping[str, Hook]] = field(default_factory=dict)
    body: Version | None = None
    templates: dict[bool, Template] = field(default_factory=dict)
    code: Version | None = None
    aside: set[object] = field(default_factory=set)  # one for each undertaking that has set it aside

    @property
    def values(self) -> bool:
        return any(listener.values for listener in tuple(self.listeners))


_traced: dict[int, _Traced] = {}  # by the id of the function
_at_work: list[FrameType] = []
"""The frames whose functions work on what is traced, oldest first: the first that executes has its turn."""
_PATIENCE = 5.0  # seconds


class _Alone:
    """A lock that cannot be lost. An interrupt may strike between the instruction that takes a lock and the block that
    gives it back; so what is noted is the frame that holds it, and where that executes no more it holds nothing.

    Whoever has it may take it again further down on the stack.
    """

    def __enter__(self) -> None:
        mine = sys._getframe(1)
        _at_work.append(mine)
        try:
            until = time.monotonic() + _PATIENCE
            while self._is_held_before(mine):
                if time.monotonic() >= until:
                    raise TargetBusy("another thread is at work on what is traced", advice="try again")
                time.sleep(0.001)
        except BaseException:
            self._leave(mine)
            raise

    def __exit__(self, *_: object) -> None:
        self._leave(sys._getframe(1))

    @staticmethod
    def _is_held_before(mine: FrameType) -> bool:
        _forget_who_was_cut_off()
        others = list(takewhile(lambda one: one is not mine, tuple(_at_work)))
        above: FrameType | None = mine
        while others and above is not None:
            others = [one for one in others if one is not above]
            above = above.f_back
        return bool(others)

    @staticmethod
    def _leave(mine: FrameType) -> None:
        with suppress(ValueError):  # in a child that was forked in its midst
            _at_work.remove(mine)


_alone = _Alone()


def _forget_who_was_cut_off() -> None:
    """Also for the sake of their variables: they would hold code, and the next transition."""
    for frame in tuple(_at_work):
        if not is_executing(frame):
            with suppress(ValueError):  # the other was faster
                _at_work.remove(frame)


def attach(listener: Listener, functions: Iterable[FunctionType]) -> dict[str, str]:
    """Have ``listener`` told of each entry and exit. Returns the functions that cannot be traced, with the reason.

    The caller sees to it that no transition is under way (:mod:`pylivepatch.journal`). Gives up the GIL on the way.
    """
    refused: dict[str, str] = {}
    wanted: list[_Traced] = []
    for function in functions:
        with _alone:
            entry = _entry_of(function)
            try:
                _prepare(entry, function, {listener.values, *(other.values for other in entry.listeners)})
                _ask_audit_hooks(function)
            except UnswappableShape as error:
                refused[f"{function.__module__}.{function.__qualname__}"] = error.message
                _forget_if_unused(function, entry)
                continue
            entry.listeners[listener] = listener.hooks(function)
            wanted.append(entry)
    _install(wanted)
    return refused


def detach(listener: Listener) -> None:
    """Tell ``listener`` no more. Functions that nobody traces any more get their own code back. May be repeated."""
    with _alone:
        every = list(_traced.values())
        entries = [entry for entry in every if entry.listeners.pop(listener, None) is not None and entry.listeners]
        _take_out([entry for entry in every if not entry.listeners])
        for entry in every:
            function = entry.function()
            if function is not None:
                _forget_if_unused(function, entry)
    _install(entries)


def set_aside(modules: Collection[str], ending: list[Callable[[], None]]) -> None:
    """Trace no function of these modules for a while: they are to be patched.

    What traces them again is added to ``ending``, before anything is done: an interrupt may strike at any line. It may
    be repeated.
    """
    _forget_who_was_cut_off()
    if not _traced:
        return  # the usual case
    mine = object()
    entries: list[_Traced] = []
    ending.append(lambda: _resume(mine, entries))
    with _alone:
        entries += [e for e in _traced.values() if (f := e.function()) is not None and _module_of(f) in modules]
        for entry in entries:
            entry.aside.add(mine)
        _take_out(entries)
        _tell(entries, "set_aside")


def _resume(whose: object, entries: list[_Traced]) -> None:
    with _alone:
        for entry in entries:
            entry.aside.discard(whose)
        back = [entry for entry in entries if entry.listeners and not entry.aside]
        for entry in back:
            function = entry.function()
            if function is None:
                continue
            try:
                _prepare(entry, function, {listener.values for listener in entry.listeners})
                for listener in tuple(entry.listeners):
                    entry.listeners[listener] = listener.hooks(function)  # it may have other parameters now
            except UnswappableShape:  # the new code has no such form: it is not traced any more
                entry.listeners.clear()
        for entry in entries:
            function = entry.function()
            if function is not None:
                _forget_if_unused(function, entry)
        _install(back)
        _tell(back, "resumed")
        entries.clear()  # a second call does nothing


def own_code(function: FunctionType) -> CodeType:
    """The code of ``function``; where it is traced, the code that it has by itself."""
    code, entry = function.__code__, _traced.get(id(function))
    if entry is not None and entry.code is not None and entry.body is not None and code is entry.code.code:
        return entry.body.code
    return code


def _module_of(function: FunctionType) -> str:
    return str(function.__globals__.get("__name__"))


def _entry_of(function: FunctionType) -> _Traced:
    key = id(function)
    entry = _traced.get(key)
    if entry is None:
        entry = _traced[key] = _Traced(weakref.ref(function, lambda _: _traced.pop(key, None)))
    return entry


def _forget_if_unused(function: FunctionType, entry: _Traced) -> None:
    if not entry.listeners and not entry.aside:
        _traced.pop(id(function), None)


def _prepare(entry: _Traced, function: FunctionType, forms: set[bool]) -> None:
    """Make the templates of the code that it has now, without or with values, unless they are there."""
    code = function.__code__
    if entry.code is not None and entry.body is not None and code is entry.code.code:
        code = entry.body.code
    else:
        entry.code = None  # somebody else has given it another one
    if entry.body is None or entry.body.code is not code:
        entry.body, entry.templates = version_of(code), {}
    for values in forms - set(entry.templates):
        template = traced(code, values=values)
        problem = find_problem_of_traced(code, template, values=values)
        if problem:
            raise UnswappableShape(f"its traced code fails the check: {problem}")
        entry.templates[values] = template


def _ask_audit_hooks(function: FunctionType) -> None:
    """One that forbids the assignment must do so now, not in the midst of those of other functions."""
    try:
        sys.audit("object.__setattr__", function, "__code__", function.__code__)
    except Exception as error:
        raise UnswappableShape(f"an audit hook does not allow it: {type(error).__name__}: {error}") from error


def _install(entries: Iterable[_Traced]) -> None:
    """In one C call; but not where somebody has changed the function's code meanwhile, or for the time of a patch."""
    with _alone:
        pairs: list[tuple[FunctionType, CodeType]] = []
        chosen: list[_Traced] = []
        for entry in entries:
            function = entry.function()
            template = entry.templates.get(entry.values)
            if function is None or entry.body is None or template is None or entry.aside or not entry.listeners:
                continue
            if own_code(function) is not entry.body.code:
                continue
            pairs.append((function, instantiate(template, entry.body.code, _slots(entry))))
            chosen.append(entry)
        _let_linger(chosen)
        _switch(chosen, [version_of(code) for _, code in pairs], pairs)


def _take_out(entries: Iterable[_Traced]) -> None:
    chosen = [entry for entry in entries if entry.code is not None and entry.body is not None]
    pairs = []
    for entry in chosen:
        function = entry.function()
        assert entry.code is not None
        assert entry.body is not None
        if function is not None and function.__code__ is entry.code.code:
            pairs.append((function, entry.body.code))
    _let_linger(chosen)
    _switch(chosen, [None] * len(chosen), pairs)


def _switch(
    entries: list[_Traced], codes: Sequence[Version | None], pairs: list[tuple[FunctionType, CodeType]]
) -> None:
    """Give functions their code, and note it, in one C call: an interrupt finds neither without the other.

    What the functions ran until now lingers already.
    """
    at_once(map(setattr, entries, repeat("code"), codes), set_codes(pairs))
    pairs.clear()


def _let_linger(entries: Iterable[_Traced]) -> None:
    linger((entry.body, entry.code) for entry in entries if entry.body is not None and entry.code is not None)


def _slots(entry: _Traced) -> dict[str, Hook]:
    every = list(entry.listeners.items())
    if not entry.values:
        return {slot: _all([hooks[slot] for _, hooks in every]) for slot in SLOTS}
    plain = {slot: [hooks[slot] for listener, hooks in every if not listener.values] for slot in SLOTS}
    wanting = {slot: [hooks[slot] for listener, hooks in every if listener.values] for slot in SLOTS}
    abandon = [hooks["on_abandon"] for listener, hooks in every if listener.values]
    return {slot: _all_with_values(plain[slot], wanting[slot], abandon) for slot in SLOTS}


def _all(hooks: list[Hook]) -> Hook:
    if len(hooks) == 1:
        return hooks[0]

    def each() -> None:
        for hook in hooks:
            hook()

    return each


def _all_with_values(plain: list[Hook], wanting: list[Hook], abandon: list[Hook]) -> Hook:
    def each(*values: object) -> None:
        try:
            for hook in plain:
                hook()
            for hook in wanting:
                hook(*values)
        except BaseException:
            for hook in abandon:
                hook()
            raise

    return each


def _tell(entries: Iterable[_Traced], what: str) -> None:
    functions: dict[Any, list[FunctionType]] = {}
    for entry in entries:
        function = entry.function()
        for listener in entry.listeners:
            if function is not None:
                functions.setdefault(listener, []).append(function)
    for listener, concerned in functions.items():
        getattr(listener, what)(concerned)


def _after_fork() -> None:
    """In a child nobody reads: its functions get their own code back."""
    _at_work.clear()
    for entry in list(_traced.values()):
        for listener in entry.listeners:
            listener.silence()
        entry.listeners.clear()
    _take_out(list(_traced.values()))
    _traced.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""A hooks file in the target: executed once for each load, in ``prepare``, after every target was verified."""

from __future__ import annotations

import contextvars
import marshal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from pylivepatch.callbacks import DEFAULT_LIMIT, Callbacks
from pylivepatch.errors import HooksFailed
from pylivepatch.hooks import MARK
from pylivepatch.hooks.reading import CALLBACKS
from pylivepatch.state import State

_ADVICE = "mend the hooks file, build the patch again and load that; nothing was touched"


@dataclass(frozen=True, slots=True)
class Transformer:
    """``function(instance)`` gives the value of ``module:owner.name``."""

    module: str
    owner: str
    name: str
    eager: bool
    function: FunctionType

    @property
    def target(self) -> str:
        return f"{self.module}:{self.owner}.{self.name}"

    @property
    def place(self) -> str:
        """The function's file and line."""
        return f"{self.function.__code__.co_filename}:{self.function.__code__.co_firstlineno}"


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an executed hooks file defines."""

    callbacks: Callbacks
    states: tuple[State, ...]
    transformers: tuple[Transformer, ...]


def run(patch: str, filename: str, code: bytes, *, limit: float = DEFAULT_LIMIT) -> Hooks:
    """Execute the marshalled ``code`` of a hooks file, and take what it defines.

    On a thread of its own, as callbacks are, which is waited for ``limit`` seconds. Raises :class:`HooksFailed`, with
    file and line, for whatever goes wrong in it, also when it is late: Python cannot stop it, and it goes on.
    """
    module = ModuleType(f"livepatch_hooks_{patch}", f"The hooks of the live patch {patch}.")
    module.__file__ = filename
    sys.modules[module.__name__] = module  # while it runs: dataclasses and their like look their module up
    try:
        error = _executed(lambda: exec(marshal.loads(code), vars(module)), f"livepatch {patch} hooks", limit)
    finally:
        sys.modules.pop(module.__name__, None)
    if error is not None:
        raise HooksFailed(
            f"the hooks file failed: {type(error).__name__}: {error}", where=_place(error, filename), advice=_ADVICE
        ) from error
    space = vars(module)
    try:
        callbacks = Callbacks(**{name: space.get(name) for name in CALLBACKS})
    except TypeError as error:
        raise HooksFailed(str(error), where=filename, advice=_ADVICE) from error
    return Hooks(callbacks, _states(space, filename), _transformers(space))


def _executed(work: Callable[[], None], name: str, limit: float) -> BaseException | None:
    """What ``work`` raised, on a thread of that name; a :class:`TimeoutError` where it has not returned."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except BaseException as error:  # SystemExit too: it is the patch that is given up, not the process
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name=name, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        return TimeoutError(f"it has not returned after {limit:g} s; it goes on and cannot be stopped")
    return errors[0] if errors else None


def _states(space: dict[str, Any], filename: str) -> tuple[State, ...]:
    states = space.get("STATES", ())
    if not isinstance(states, list | tuple) or not all(isinstance(one, State) for one in states):
        raise HooksFailed(
            "STATES is no list of pylivepatch.state.State", where=filename, advice='such as STATES = [State("id", 1)]'
        )
    return tuple(states)


def _transformers(space: dict[str, Any]) -> tuple[Transformer, ...]:
    found = []
    for function in {id(value): value for value in space.values() if isinstance(value, FunctionType)}.values():
        for target, eager in getattr(function, MARK, ()):
            module, _, qualname = target.partition(":")
            owner, _, name = qualname.rpartition(".")
            found.append(Transformer(module, owner, name, eager, function))
    return tuple(found)


def _place(error: BaseException, filename: str) -> str:
    """The last line of the hooks file that the error passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    return f"{filename}:{lines[-1]}" if lines else filename

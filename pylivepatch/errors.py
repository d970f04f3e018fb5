"""Every exception that pylivepatch raises, each with a stable code (``PLP…``).

An error says four things: what was refused, where (module, function, file:line), why, and what the user can do.
The codes are grouped as their readers meet them:

====== ===========================================================================
PLP1xx the engine: preparing, checking and switching a patch in the live process
PLP2xx the builder: a difference between two versions (``docs/edits.md``)
PLP3xx a patch file that cannot be read
PLP4xx the agent and the command line: reaching a process, talking to it
====== ===========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class LivePatchError(Exception):
    """Base of all of them.

    ``code`` is stable across releases; ``where`` names the place (``module:function``, a path, a socket) and
    ``advice`` what the user can do; both may be empty. ``details`` is JSON-able and goes into ``--json`` output.
    """

    code = "PLP100"

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        advice: str = "",
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.advice = advice
        self.details: dict[str, Any] = dict(details or {})
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        if self.where:
            text += f"\n  where: {self.where}"
        if self.advice:
            text += f"\n  what to do: {self.advice}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that ``--json`` and the agent use."""
        return {
            "error": type(self).__name__,
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "advice": self.advice,
            "details": self.details,
        }


# --- the engine ---------------------------------------------------------------------------------------------


class EngineUnsupported(LivePatchError):
    """This interpreter lacks something that the engine's proof of safety needs (a GIL, mortal code objects)."""

    code = "PLP101"


class NothingToTrace(LivePatchError):
    """No function matches what is to be traced."""

    code = "PLP102"


class NoTrace(LivePatchError):
    """There is no such tracing: it has ended."""

    code = "PLP103"


class PrepareError(LivePatchError):
    """A patch was refused before anything was touched. Base of the reasons below."""

    code = "PLP110"


class TargetNotFound(PrepareError):
    """The module has no such function, class or attribute."""

    code = "PLP111"


class CodeMismatch(PrepareError):
    """The live code is not the code that the patch was built against."""

    code = "PLP112"


class TargetBusy(PrepareError):
    """Another transition owns one of the targets, or another transition is under way."""

    code = "PLP113"


class UnswappableShape(PrepareError):
    """The new code cannot take the old one's place: closure, kind of function, or a trampoline that fails its check."""

    code = "PLP114"


class UnknownHolders(PrepareError):
    """More references to a code object exist than can be explained, so live instances may have been missed."""

    code = "PLP115"


class DataMismatch(PrepareError):
    """A module or class attribute is not what the old source gave it: it was changed at run time."""

    code = "PLP116"


class PatchExists(PrepareError):
    """A patch of this name is applied already."""

    code = "PLP117"


class WrongPython(PrepareError):
    """The patch was compiled for, or needs, another Python than the target runs."""

    code = "PLP118"


class TransitionTimeout(LivePatchError):
    """The transition did not finish in time and was reversed; ``holders`` names everyone who held it.

    Each holder is a :class:`pylivepatch.activeness.Holder`.
    """

    code = "PLP120"

    def __init__(self, message: str, *, holders: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.holders = tuple(holders)


class NotApplied(LivePatchError):
    """No patch of this name is applied."""

    code = "PLP121"


class NotRemovable(LivePatchError):
    """A later patch stands on this one, so taking it out would change what that one does."""

    code = "PLP122"


class SwitchedAnyway(LivePatchError):
    """The wait was interrupted (``KeyboardInterrupt``, an asynchronous exception) after the switch had happened."""

    code = "PLP123"


class TransitionReversed(LivePatchError):
    """Somebody asked for the transition to be reversed (``reverse``); it was."""

    code = "PLP125"


class TransitionRestart(LivePatchError):
    """A module of the patch was imported in mid-transition; the load starts again. Never leaves ``load``."""

    code = "PLP126"


class PartlySwitched(LivePatchError):
    """An incremental load or unload was neither completed nor taken back: some groups of the patch are in the new
    version, the others in the old. ``details["groups"]`` says which.
    """

    code = "PLP128"


class NoTransition(LivePatchError):
    """There is nothing to reverse, to force or to wake: no transition is under way."""

    code = "PLP127"


class MissedHook(LivePatchError):
    """The counter and the interpreter disagree about who is inside: an entry or an exit was not counted."""

    code = "PLP124"


class ShadowExists(LivePatchError):
    """The object has a shadow variable of this id already."""

    code = "PLP130"


class ShadowBusy(LivePatchError):
    """This thread is making that very shadow variable, further down its stack, and asked for it again."""

    code = "PLP131"


class IncompatibleState(PrepareError):
    """A state that an applied patch changed is unknown to the new patch, or known to it in an older version only."""

    code = "PLP132"


class CallbackRefused(PrepareError):
    """The patch's ``pre_patch`` refused, failed, or did not return in time. Nothing was touched."""

    code = "PLP133"


class HooksFailed(PrepareError):
    """The patch's hooks file failed in the target, or asks for what the process cannot do. Nothing was touched."""

    code = "PLP134"


# --- the builder --------------------------------------------------------------------------------------------


class BuildError(LivePatchError):
    """The builder could not do its work: unreadable source, a diff that does not apply, a release not found."""

    code = "PLP200"


class DiffError(BuildError):
    """A unified diff does not apply; the message names file, hunk and line."""

    code = "PLP201"


class SourceError(BuildError):
    """A source file cannot be read or compiled."""

    code = "PLP202"


class ReleaseError(BuildError):
    """A release could not be had from the package index."""

    code = "PLP203"


class HooksError(BuildError):
    """A hooks file cannot be read, or one of its statements is not understood or not the author's to make."""

    code = "PLP206"


class BuildRefused(BuildError):
    """Differences that cannot be made into a safe patch; ``refusals`` lists each."""

    code = "PLP204"

    def __init__(self, message: str, *, refusals: Sequence[Any] = (), changes: Sequence[Any] = (), **kw: Any) -> None:
        super().__init__(message, **kw)
        self.refusals = tuple(refusals)
        self.changes = tuple(changes)


class NothingChanged(BuildError):
    """The two versions do not differ in anything that executes."""

    code = "PLP205"


# --- patch files --------------------------------------------------------------------------------------------


class PatchFileError(LivePatchError):
    """A patch file cannot be read: corrupt, truncated, oversized, unsafe paths, or of another format version."""

    code = "PLP300"


# --- agent and command line ---------------------------------------------------------------------------------


class AgentError(LivePatchError):
    """The agent could not be reached, or gave an answer that is none."""

    code = "PLP400"


class AgentNotFound(AgentError):
    """No agent runs in that process."""

    code = "PLP401"


class CompileError(LivePatchError):
    """The patch could not be compiled for the target's Python."""

    code = "PLP402"


class RehearsalError(LivePatchError):
    """A rehearsal did not come about: no such command, or it ended before the patch could be loaded."""

    code = "PLP404"


class VerifyError(LivePatchError):
    """A process could not be compared with a fresh import: no child could be run, or nothing was there to compare."""

    code = "PLP403"

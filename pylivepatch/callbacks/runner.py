"""Runs a patch's callbacks around its transitions, and remembers whose ``pre_patch`` succeeded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pylivepatch.callbacks.call import Call, Outcome, Status, report, settle
from pylivepatch.callbacks.order import Action, Callbacks, Context, Function, Plan, Step, plan
from pylivepatch.errors import CallbackRefused
from pylivepatch.state import PatchStates, State

DEFAULT_LIMIT = 5.0  # seconds that one callback may take


@dataclass(slots=True)
class _Known:
    """A patch whose ``pre_patch`` succeeded, or had none."""

    callbacks: Callbacks
    states: PatchStates


class CallbackRunner:
    """Runs the callbacks of the patches of a process, and remembers whose ``pre_patch`` succeeded.

    To be used by one thread at a time: by the one that owns the transition. ``before_…`` is called before anything is
    touched, then, if that does not raise, either ``after_…`` or ``…_reversed``. A callback's failure is returned, never
    raised, but for a refusal by ``pre_patch``. Where the wait for a callback is interrupted (``KeyboardInterrupt``),
    ``before_…`` runs the way back of what was begun; the others run what is left; and both raise it then.
    """

    def __init__(self, limit: float = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self._known: dict[str, _Known] = {}  # in the order of loading
        self._last: dict[str, Call] = {}  # the end of a patch's queue, where that was not waited for

    @property
    def applied(self) -> tuple[PatchStates, ...]:
        """The states of every patch that ``before_load`` or ``before_replace`` let pass, oldest first."""
        return tuple(known.states for known in self._known.values())

    def before_load(
        self, patch: str, callbacks: Callbacks | None = None, states: Sequence[State] = ()
    ) -> tuple[Outcome, ...]:
        """Run ``pre_patch``. Raises :class:`CallbackRefused`; then the patch is forgotten and nothing is to follow."""
        return self._before_loading("load", patch, callbacks, states, ())

    def after_load(self, patch: str) -> tuple[Outcome, ...]:
        """The patch is applied: run ``post_patch``."""
        return self._run("load", patch, plan("load", patch).after)

    def load_reversed(self, patch: str) -> tuple[Outcome, ...]:
        """The patch is not applied after all: run ``post_unpatch``, if ``pre_patch`` succeeded. Forgets the patch.

        To be called too in the child of a fork that was made between ``before_load`` and ``after_load``.
        """
        return self._run("load", patch, plan("load", patch).reversed, reversing=True)

    def before_unload(self, patch: str) -> tuple[Outcome, ...]:
        """Run ``pre_unpatch``."""
        return self._before("unload", patch, plan("unload", patch))

    def after_unload(self, patch: str) -> tuple[Outcome, ...]:
        """The patch is out: run ``post_unpatch``. Forgets the patch."""
        return self._run("unload", patch, plan("unload", patch).after)

    def unload_reversed(self, patch: str) -> tuple[Outcome, ...]:
        """The patch stays after all: run ``post_patch`` again."""
        return self._run("unload", patch, plan("unload", patch).reversed, reversing=True)

    def before_replace(
        self, patch: str, replaced: Sequence[str], callbacks: Callbacks | None = None, states: Sequence[State] = ()
    ) -> tuple[Outcome, ...]:
        """Run ``pre_patch`` of the new patch, then ``pre_unpatch`` of the replaced. ``replaced``: oldest first.

        Raises :class:`CallbackRefused`; then no callback of a replaced patch was run.
        """
        return self._before_loading("replace", patch, callbacks, states, replaced)

    def after_replace(self, patch: str, replaced: Sequence[str]) -> tuple[Outcome, ...]:
        """Run ``post_unpatch`` of the replaced patches, and forget them; then ``post_patch`` of the new one."""
        return self._run("replace", patch, plan("replace", patch, replaced).after)

    def replace_reversed(self, patch: str, replaced: Sequence[str]) -> tuple[Outcome, ...]:
        """Run ``post_patch`` of those that were to be replaced, then ``post_unpatch`` of the new one. Forgets that."""
        return self._run("replace", patch, plan("replace", patch, replaced).reversed, reversing=True)

    # --- how it is done

    def _before_loading(
        self, action: Action, patch: str, callbacks: Callbacks | None, states: Sequence[State], replaced: Sequence[str]
    ) -> tuple[Outcome, ...]:
        if patch in self._known:
            raise ValueError(f"callbacks of a patch named {patch!r} were run already")
        new = _Known(callbacks or Callbacks(), PatchStates(patch, tuple(states)))
        queue = self._unfinished(patch)
        if queue is not None:
            raise _refusal(queue.context, "late", "it was begun at an earlier load or unload of the patch")
        return self._before(action, patch, plan(action, patch, replaced), new)

    def _before(self, action: Action, actor: str, steps: Plan, new: _Known | None = None) -> tuple[Outcome, ...]:
        """Run what comes before the switch. Whatever this raises, there is nothing to be reversed by the caller."""
        known = dict(self._known)
        if new is not None:
            known[actor] = new
        applied = tuple(k.states for k in known.values())
        outcomes: list[Outcome] = []
        reached: set[str] = set()
        try:
            for patch, name in steps.before:
                if patch in known:
                    reached.add(patch)
                    outcomes += self._one(known[patch], Context(patch, name, action, actor, applied=applied))
                    self._known[patch] = known[patch]  # not before its pre_patch succeeded
        except CallbackRefused:  # by pre_patch, which is the first
            raise
        except BaseException:  # KeyboardInterrupt
            self._run(action, actor, [step for step in steps.reversed if step[0] in reached], reversing=True)
            raise
        return tuple(outcomes)

    def _run(
        self, action: Action, actor: str, steps: Iterable[Step], *, reversing: bool = False
    ) -> tuple[Outcome, ...]:
        """Run what comes after the switch, or in its place: each of them, also where one is interrupted."""
        applied = self.applied
        outcomes: list[Outcome] = []
        interrupt: BaseException | None = None
        for patch, name in steps:
            known = self._known.get(patch)
            if known is None:  # its pre_patch did not succeed
                continue
            if name == "post_unpatch":
                del self._known[patch]
            try:
                outcomes += self._one(known, Context(patch, name, action, actor, reversing, applied))
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            try:
                raise interrupt
            finally:
                del interrupt  # its traceback has this frame, and a cycle would keep what it passed
        return tuple(outcomes)

    def _one(self, known: _Known, context: Context) -> list[Outcome]:
        """Run one callback, if the patch has it. Raises :class:`CallbackRefused` for a ``pre_patch`` that fails."""
        function: Function | None = getattr(known.callbacks, context.callback)
        if function is None:
            return []
        cause: BaseException | None
        call = Call(context, function, self._unfinished(context.patch))
        try:
            call.start()
            outcome = call.wait(self.limit)
        except RuntimeError as error:
            outcome, cause = Outcome(context.patch, context.callback, "failed", 0.0, f"no thread: {error}"), error
        except BaseException:  # KeyboardInterrupt: whoever loads goes, and the callback goes on
            if not call.withdraw():
                settle(call)
                self._leave(call, context, known.callbacks)
            elif context.callback != "pre_patch":  # it is due all the same
                self._queue(Call(context, function, self._unfinished(context.patch)))
            raise
        else:
            if outcome.status == "late":
                self._leave(call, context, known.callbacks)
            cause, call.error = call.error, None
        report(outcome)
        if context.callback == "pre_patch" and not outcome.ok:
            raise _refusal(context, outcome.status, outcome.error) from cause
        return [outcome]

    def _leave(self, call: Call, context: Context, callbacks: Callbacks) -> None:
        """Wait no longer. What ``pre_patch`` may still achieve is undone behind it, as its load is refused."""
        self._last[context.patch] = call
        if context.callback == "pre_patch" and callbacks.post_unpatch is not None:
            back = replace(context, callback="post_unpatch", reversing=True)
            self._queue(Call(back, callbacks.post_unpatch, call, if_it_succeeded=True))

    def _queue(self, call: Call) -> None:
        """Run it without waiting for it."""
        patch = call.context.patch
        try:
            call.start()
        except RuntimeError as error:
            report(Outcome(patch, call.context.callback, "failed", 0.0, f"no thread: {error}"))
        else:
            settle(call)
            self._last[patch] = call

    def _unfinished(self, patch: str) -> Call | None:
        """The end of the patch's queue, if something there still runs."""
        for name in [name for name, call in self._last.items() if not call.running]:
            del self._last[name]
        return self._last.get(patch)


def _refusal(context: Context, status: Status, reason: str) -> CallbackRefused:
    said, advice = {
        "refused": ("refused", "put right what it names, then load again; a pre_patch that accepts returns None"),
        "failed": ("failed", "mend the callback or what it met, then load again"),
    }.get(status, ("has not returned", "see where its thread stands, and load again when it has returned"))
    return CallbackRefused(
        f"{context.callback} of {context.patch!r} {said}, so the patch is not loaded: {reason.strip()}",
        where=f"{context.patch} {context.callback}",
        advice=advice,
        details={"callback": context.callback, "status": status, "reason": reason},
    )

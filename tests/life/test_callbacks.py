"""Callbacks: the order they are run in, what their failure means, and what becomes of a late one."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pylivepatch import events
from pylivepatch.callbacks import CallbackRunner, Callbacks, Context, Outcome, plan
from pylivepatch.callbacks.call import Call
from pylivepatch.errors import CallbackRefused, PrepareError
from pylivepatch.state import State

PATIENCE = 20.0
NAMES = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")


class Log:
    """Callbacks that write down when they are run."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.contexts: list[Context] = []

    def callbacks(self, **others: Callable[[Context], Any] | None) -> Callbacks:
        return Callbacks(**{name: others.get(name, self.note) for name in NAMES})

    def note(self, context: Context) -> None:
        self.contexts.append(context)
        self.lines.append(f"{context.patch}.{context.callback}")

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def runner() -> CallbackRunner:
    return CallbackRunner(PATIENCE)


class Seen(list[events.Event]):
    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Condition()

    def add(self, event: events.Event) -> None:
        with self.came:
            if event.kind == "callback":
                self.append(event)
                self.came.notify_all()

    def wait_for(self, callback: str, **data: Any) -> events.Event:
        def find() -> events.Event | None:
            wanted = {"callback": callback, **data}
            return next((e for e in self if wanted.items() <= dict(e.data).items()), None)

        with self.came:
            assert self.came.wait_for(find, PATIENCE), f"no event {callback} {data} in {list(self)}"
            found = find()
        assert found is not None
        return found


@pytest.fixture
def seen() -> Iterator[Seen]:
    collected = Seen()
    stop = events.subscribe(collected.add)
    yield collected
    stop()


def fail(context: Context) -> None:
    raise ZeroDivisionError(f"on purpose in {context.callback}")


# --- order -------------------------------------------------------------------------------------------------


def test_load_and_unload_run_all_four_in_order(runner: CallbackRunner, log: Log) -> None:
    runner.before_load("fix", log.callbacks())
    assert log.take() == ["fix.pre_patch"]
    runner.after_load("fix")
    assert log.take() == ["fix.post_patch"]
    runner.before_unload("fix")
    assert log.take() == ["fix.pre_unpatch"]
    runner.after_unload("fix")
    assert log.take() == ["fix.post_unpatch"]
    assert runner.applied == ()


def test_a_reversed_load_runs_the_way_back_of_pre_patch_only(runner: CallbackRunner, log: Log) -> None:
    runner.before_load("fix", log.callbacks())
    runner.load_reversed("fix")
    assert log.take() == ["fix.pre_patch", "fix.post_unpatch"]
    assert log.contexts[-1].reversing
    assert runner.load_reversed("fix") == ()
    runner.before_load("fix", log.callbacks())


def test_a_reversed_unload_runs_post_patch_again_and_the_patch_stays(runner: CallbackRunner, log: Log) -> None:
    runner.before_load("fix", log.callbacks())
    runner.after_load("fix")
    runner.before_unload("fix")
    log.take()
    runner.unload_reversed("fix")
    assert log.take() == ["fix.post_patch"]
    runner.before_unload("fix")
    runner.after_unload("fix")
    assert log.take() == ["fix.pre_unpatch", "fix.post_unpatch"]


def loaded(runner: CallbackRunner, log: Log, *names: str) -> None:
    for name in names:
        runner.before_load(name, log.callbacks())
        runner.after_load(name)
    log.take()


def test_a_replace_nests_the_callbacks_of_the_replaced_in_those_of_the_new(runner: CallbackRunner, log: Log) -> None:
    loaded(runner, log, "a", "b")
    runner.before_replace("new", ["a", "b"], log.callbacks())
    assert log.take() == ["new.pre_patch", "b.pre_unpatch", "a.pre_unpatch"]
    runner.after_replace("new", ["a", "b"])
    assert log.take() == ["b.post_unpatch", "a.post_unpatch", "new.post_patch"]
    assert [states.patch for states in runner.applied] == ["new"]
    assert {(c.action, c.actor) for c in log.contexts[-6:]} == {("replace", "new")}


def test_a_reversed_replace_gives_back_what_it_took_inside_out(runner: CallbackRunner, log: Log) -> None:
    loaded(runner, log, "a", "b")
    runner.before_replace("new", ["a", "b"], log.callbacks())
    log.take()
    runner.replace_reversed("new", ["a", "b"])
    assert log.take() == ["a.post_patch", "b.post_patch", "new.post_unpatch"]
    assert [states.patch for states in runner.applied] == ["a", "b"]


def test_a_refused_replace_touches_no_replaced_patch(runner: CallbackRunner, log: Log) -> None:
    loaded(runner, log, "a")
    with pytest.raises(CallbackRefused):
        runner.before_replace("new", ["a"], log.callbacks(pre_patch=fail))
    assert log.take() == []
    assert [states.patch for states in runner.applied] == ["a"]


@pytest.mark.parametrize("action", ["load", "unload", "replace"])
def test_the_plan_of_an_action_names_each_callback_once_a_phase(action: Any) -> None:
    steps = plan(action, "new", ["a", "b"])
    for phase in (steps.before, steps.after, steps.reversed):
        assert len(set(phase)) == len(phase) > 0


def test_a_patch_without_callbacks_runs_none(runner: CallbackRunner, seen: Seen) -> None:
    assert runner.before_load("fix") == ()
    assert runner.after_load("fix") == ()
    assert runner.before_unload("fix") == ()
    assert runner.after_unload("fix") == ()
    assert seen == []


# --- what a callback gets ----------------------------------------------------------------------------------


def test_a_callback_finds_its_own_state_and_the_one_below(runner: CallbackRunner) -> None:
    def take_over(context: Context) -> None:
        mine, below = context.get_state("cache"), context.get_prev_state("cache")
        assert mine is not None
        assert below is not None
        mine.data = f"after {below.data}"

    old, new = State("cache", 1, "old data"), State("cache", 2)
    runner.before_load("old", states=(old,))
    runner.after_load("old")
    outcomes = runner.before_replace("new", ["old"], Callbacks(pre_patch=take_over), (new,))
    assert [outcome.ok for outcome in outcomes] == [True]
    assert new.data == "after old data"


def test_after_a_replace_the_replaced_states_are_still_there_for_the_callbacks(runner: CallbackRunner) -> None:
    found = []
    runner.before_load("old", states=(State("cache", 1, "old data"),))
    runner.after_load("old")
    callbacks = Callbacks(post_patch=lambda context: found.append(context.get_prev_state("cache")))
    runner.before_replace("new", ["old"], callbacks, (State("cache", 2),))
    runner.after_replace("new", ["old"])
    assert found[0].data == "old data"


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_called_or_must_be_awaited_is_refused_where_it_is_written(name: str) -> None:
    async def coroutine(context: Context) -> None: ...

    for wrong in (coroutine, "text"):
        with pytest.raises(TypeError, match=name):
            Callbacks(**{name: wrong})  # type: ignore[arg-type]


# --- failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["the cache is locked", 0, False, -16])
def test_pre_patch_refuses_by_returning_anything_but_none(runner: CallbackRunner, log: Log, answer: object) -> None:
    with pytest.raises(CallbackRefused, match="PLP133") as caught:
        runner.before_load("fix", log.callbacks(pre_patch=lambda context: answer))
    assert isinstance(caught.value, PrepareError)
    assert str(answer) in str(caught.value)
    assert caught.value.details["status"] == "refused"
    assert runner.applied == ()
    assert runner.load_reversed("fix") == ()
    assert log.take() == []  # post_unpatch is not run


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_pre_patch_refuses_by_raising(runner: CallbackRunner, log: Log, error: type[BaseException]) -> None:
    def pre_patch(context: Context) -> None:
        raise error("on purpose")

    with pytest.raises(CallbackRefused) as caught:
        runner.before_load("fix", log.callbacks(pre_patch=pre_patch))
    assert isinstance(caught.value.__cause__, error)
    assert caught.value.details["status"] == "failed"
    assert log.take() == []


def test_an_answer_that_cannot_be_shown_refuses_all_the_same(runner: CallbackRunner) -> None:
    class Unshowable:
        def __str__(self) -> str:
            raise ValueError("cannot be shown")

    with pytest.raises(CallbackRefused, match="cannot be shown"):
        runner.before_load("fix", Callbacks(pre_patch=lambda context: Unshowable()))


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_fails_later_is_reported_and_taints_and_the_patch_goes_on(
    runner: CallbackRunner, log: Log, seen: Seen, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    outcomes: list[Outcome] = []
    with caplog.at_level(logging.ERROR, "pylivepatch"):
        outcomes += runner.before_load("fix", log.callbacks(**{name: fail}))
        outcomes += runner.after_load("fix")
        outcomes += runner.before_unload("fix")
        outcomes += runner.after_unload("fix")
    assert [(o.callback, o.status, o.taints) for o in outcomes] == [
        (each, "failed" if each == name else "done", each == name) for each in NAMES
    ]
    assert log.take() == [f"fix.{each}" for each in NAMES if each != name]
    assert [(e.data["callback"], e.data["status"]) for e in seen] == [(o.callback, o.status) for o in outcomes]
    json.dumps([e.as_dict() for e in seen])
    (record,) = caplog.records
    assert f"on purpose in {name}" in record.getMessage()
    assert "ZeroDivisionError" in record.getMessage()


def test_what_a_callback_returns_later_does_not_matter(runner: CallbackRunner) -> None:
    runner.before_load("fix", Callbacks(post_patch=lambda context: "something"))
    assert [outcome.ok for outcome in runner.after_load("fix")] == [True]


def test_a_reported_failure_keeps_no_frame_of_the_callback(runner: CallbackRunner) -> None:
    references = []

    class Local:
        pass

    def post_patch(context: Context) -> None:
        local = Local()
        references.append(weakref.ref(local))
        raise ZeroDivisionError

    runner.before_load("fix", Callbacks(post_patch=post_patch))
    gc.disable()
    try:
        outcomes = runner.after_load("fix")
        for thread in threading.enumerate():
            if thread.name.startswith("livepatch "):
                thread.join(PATIENCE)
        assert references[0]() is None
    finally:
        gc.enable()
    assert "ZeroDivisionError" in outcomes[0].error


def test_no_thread_for_a_callback_is_a_failure_of_it(
    runner: CallbackRunner, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(runner, log, "other")

    def no_thread(self: Call) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Call, "start", no_thread)
    with pytest.raises(CallbackRefused, match="can't start new thread"):
        runner.before_load("fix", log.callbacks())
    assert [o.status for o in runner.before_unload("other")] == ["failed"]


# --- the time limit ----------------------------------------------------------------------------------------


class Stuck:
    """A callback that returns when it is let go."""

    def __init__(self, answer: object = None) -> None:
        self.inside, self.leave, self.answer = threading.Event(), threading.Event(), answer

    def __call__(self, context: Context) -> object:
        self.inside.set()
        assert self.leave.wait(PATIENCE)
        return self.answer


@pytest.fixture
def impatient() -> CallbackRunner:
    """What is stuck in these tests stays so until it is let go, so any limit will do."""
    return CallbackRunner(0.05)


def test_a_late_pre_patch_refuses_the_load_and_is_undone_when_it_succeeds(
    impatient: CallbackRunner, log: Log, seen: Seen
) -> None:
    stuck = Stuck()
    try:
        with pytest.raises(CallbackRefused, match=r"has not returned(.|\n)*see where its thread stands"):
            impatient.before_load("fix", log.callbacks(pre_patch=stuck))
        assert impatient.applied == ()
        assert log.take() == []
        with pytest.raises(CallbackRefused, match="earlier load"):
            impatient.before_load("fix", log.callbacks())
        impatient.before_load("another", log.callbacks(pre_patch=None))
    finally:
        stuck.leave.set()
    seen.wait_for("pre_patch", status="done", after_limit=True)
    seen.wait_for("post_unpatch", status="done")
    assert log.take() == ["fix.post_unpatch"]
    for thread in threading.enumerate():
        if thread.name.startswith("livepatch fix"):
            thread.join(PATIENCE)
    impatient.limit = PATIENCE
    impatient.before_load("fix", log.callbacks())
    assert log.take() == ["fix.pre_patch"]


def test_a_late_pre_patch_that_refuses_in_the_end_is_not_undone(
    impatient: CallbackRunner, log: Log, seen: Seen
) -> None:
    stuck = Stuck("no")
    try:
        with pytest.raises(CallbackRefused):
            impatient.before_load("fix", log.callbacks(pre_patch=stuck))
    finally:
        stuck.leave.set()
    seen.wait_for("pre_patch", status="refused", after_limit=True)
    for thread in threading.enumerate():
        if thread.name.startswith("livepatch fix"):
            thread.join(PATIENCE)
    assert log.take() == []


def test_what_follows_a_late_callback_runs_behind_it(impatient: CallbackRunner, log: Log, seen: Seen) -> None:
    stuck = Stuck()
    impatient.before_load("fix", Callbacks(pre_unpatch=stuck, post_unpatch=log.note))
    try:
        (late,) = impatient.before_unload("fix")
        assert (late.status, late.taints) == ("late", True)
        (queued,) = impatient.after_unload("fix")
        assert queued.status == "late"
        assert log.take() == []
        with pytest.raises(CallbackRefused):
            impatient.before_load("fix")
    finally:
        stuck.leave.set()
    seen.wait_for("post_unpatch", status="done", after_limit=True)
    assert [e.data["callback"] for e in seen if e.data["after_limit"]] == ["pre_unpatch", "post_unpatch"]
    assert log.take() == ["fix.post_unpatch"]


def test_a_late_callback_of_one_patch_does_not_delay_another(impatient: CallbackRunner, seen: Seen) -> None:
    stuck = Stuck()
    impatient.before_load("fix", Callbacks(post_patch=stuck))
    try:
        assert [o.status for o in impatient.after_load("fix")] == ["late"]
        impatient.limit = PATIENCE
        impatient.before_load("other", Callbacks(post_patch=lambda context: None))
        assert [o.status for o in impatient.after_load("other")] == ["done"]
    finally:
        stuck.leave.set()
    seen.wait_for("post_patch", status="done", after_limit=True)


# --- interrupts and forks ----------------------------------------------------------------------------------


@pytest.fixture
def interrupt() -> Iterator[Callable[[Stuck], threading.Event]]:
    """Press Ctrl-C as soon as a callback is stuck. Returns what is set when that was noticed."""
    noticed = threading.Event()

    def handler(*_: object) -> None:
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def press(stuck: Stuck) -> None:
        assert stuck.inside.wait(PATIENCE)
        for _ in range(200):  # one that comes just before the main thread begins to wait is not noticed by Python
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if noticed.wait(0.1):
                break

    def begin(stuck: Stuck) -> threading.Event:
        threads.append(threading.Thread(target=press, args=(stuck,)))
        threads[-1].start()
        return noticed

    threads: list[threading.Thread] = []
    before = signal.signal(signal.SIGINT, handler)
    yield begin
    signal.signal(signal.SIGINT, before)
    for thread in threads:
        thread.join(PATIENCE)


Interrupt = Callable[[Stuck], threading.Event]


def test_an_interrupted_pre_patch_is_undone_when_it_ends(
    runner: CallbackRunner, log: Log, seen: Seen, interrupt: Interrupt
) -> None:
    stuck = Stuck()
    interrupt(stuck)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.before_load("fix", log.callbacks(pre_patch=stuck))
        assert runner.applied == ()
    finally:
        stuck.leave.set()
    seen.wait_for("post_unpatch", status="done")
    assert log.take() == ["fix.post_unpatch"]


def test_an_interrupted_replace_gives_back_what_it_reached(
    runner: CallbackRunner, log: Log, interrupt: Interrupt
) -> None:
    stuck = Stuck()
    loaded(runner, log, "a")
    runner.before_load("b", log.callbacks(pre_unpatch=stuck))
    runner.after_load("b")
    log.take()
    noticed = interrupt(stuck)

    def let_go() -> None:  # post_patch of b queues behind its pre_unpatch
        noticed.wait(PATIENCE)
        stuck.leave.set()

    releaser = threading.Thread(target=let_go)
    releaser.start()
    with pytest.raises(KeyboardInterrupt):
        runner.before_replace("new", ["a", "b"], log.callbacks())
    releaser.join(PATIENCE)
    assert log.take() == ["new.pre_patch", "b.post_patch", "new.post_unpatch"]
    assert [states.patch for states in runner.applied] == ["a", "b"]


def test_an_interrupt_after_the_switch_leaves_nothing_out(
    runner: CallbackRunner, log: Log, interrupt: Interrupt
) -> None:
    stuck = Stuck()
    runner.before_load("a", log.callbacks(post_unpatch=stuck))
    runner.after_load("a")
    runner.before_replace("new", ["a"], log.callbacks())
    log.take()
    interrupt(stuck)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.after_replace("new", ["a"])
    finally:
        stuck.leave.set()
    assert log.take() == ["new.post_patch"]
    assert [states.patch for states in runner.applied] == ["new"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_while_the_thread_is_started_neither_loses_nor_repeats_a_callback(
    runner: CallbackRunner, log: Log, seen: Seen, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    start = Call.start

    def interrupted(self: Call) -> None:
        monkeypatch.setattr(Call, "start", start)
        if begun:
            start(self)
            self._ended.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.before_load("fix", log.callbacks())
    if begun:
        seen.wait_for("post_unpatch", status="done")
    assert log.take() == (["fix.pre_patch", "fix.post_unpatch"] if begun else [])

    loaded(runner, log, "other")
    monkeypatch.setattr(Call, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.after_unload("other")
    for thread in threading.enumerate():
        if thread.name.startswith("livepatch "):
            thread.join(PATIENCE)
    assert log.take() == ["other.post_unpatch"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_waits_for_no_callback_that_is_not_there(impatient: CallbackRunner, log: Log, seen: Seen) -> None:
    stuck = Stuck()
    try:
        with pytest.raises(CallbackRefused):
            impatient.before_load("fix", log.callbacks(pre_patch=stuck))
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE))
            status = 1
            try:
                impatient.limit = PATIENCE
                impatient.before_load("fix", log.callbacks())
                impatient.load_reversed("fix")
                status = 0 if log.take() == ["fix.pre_patch", "fix.post_unpatch"] else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stuck.leave.set()
    seen.wait_for("post_unpatch", status="done")

"""Which undertaking has its turn, and what becomes of one that was cut off."""

from __future__ import annotations

import gc
import threading
from weakref import ref

import pytest

import pylivepatch
from pylivepatch import Patch, PrepareError, journal
from pylivepatch.errors import TargetBusy
from pylivepatch.journal import Undertaking, perform, settle, under_way
from tests.conftest import PATIENCE

greenlet = pytest.importorskip("greenlet")


def test_one_that_a_greenlet_carries_out_is_under_way_while_that_is_switched_out() -> None:
    def work(mine: Undertaking) -> str:
        greenlet.getcurrent().parent.switch("out")
        return "done"

    worker = greenlet.greenlet(lambda: perform("greenlet's", work))
    assert worker.switch() == "out"
    current = under_way()
    assert current is not None
    assert current.what == "greenlet's"
    with pytest.raises(TargetBusy, match="greenlet's"):
        perform("another", lambda mine: None)
    assert worker.switch() == "done"
    assert under_way() is None
    assert perform("another", lambda mine: 1) == 1


def test_one_that_a_greenlet_was_killed_in_is_settled() -> None:
    ended: list[str] = []

    def work(mine: Undertaking) -> None:
        mine.ending.append(lambda: ended.append("first"))
        mine.ending.append(lambda: ended.append("second"))
        greenlet.getcurrent().parent.switch()

    worker = greenlet.greenlet(lambda: perform("greenlet's", work))
    worker.switch()
    del worker
    gc.collect()
    settle()
    assert ended == ["second", "first"]
    assert under_way() is None


def test_one_that_was_cut_off_is_ended_by_who_looks_next() -> None:
    ended: list[str] = []

    def begin() -> Undertaking:
        """As if an interrupt had come between two lines of ``perform``."""
        import sys

        one = Undertaking("cut off", journal.PATCHES, sys._getframe(), ending=[lambda: ended.append("step")])
        journal._undertakings.append(one)
        return one

    begin()
    assert under_way() is None
    assert perform("next", lambda mine: list(ended)) == ["step"]
    assert journal._undertakings == []


def test_a_step_that_is_interrupted_is_taken_again_and_no_other_is_left_out() -> None:
    taken: list[str] = []

    def interrupted() -> None:
        taken.append("interrupted")
        if taken.count("interrupted") < 3:
            raise KeyboardInterrupt

    def work(mine: Undertaking) -> None:
        mine.ending += [lambda: taken.append("last"), interrupted]

    with pytest.raises(KeyboardInterrupt):
        perform("it", work)
    assert taken == ["interrupted"] * 3 + ["last"]
    assert journal._undertakings == []


def test_of_two_threads_the_first_has_its_turn() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work(mine: Undertaking) -> None:
        inside.set()
        leave.wait(PATIENCE)

    first = threading.Thread(target=perform, args=("first", work))
    first.start()
    assert inside.wait(PATIENCE)
    with pytest.raises(TargetBusy, match="first"):
        perform("second", work)
    assert perform("arrival", lambda mine: "beside it", queue=journal.ARRIVALS) == "beside it"
    leave.set()
    first.join()
    assert perform("third", lambda mine: 3) == 3


def test_an_error_that_is_kept_keeps_no_variables_of_the_engine() -> None:
    """They would hold old code, and so the next transition; those of others are left to their debugger."""

    def work(mine: Undertaking) -> None:
        own = "kept"  # noqa: F841
        pylivepatch.load(Patch("p").replace(len, min))

    with pytest.raises(PrepareError) as caught:
        perform("it", work, queue="another queue")
    frames = [entry.frame.f_locals for entry in caught.traceback if "replacements" in str(entry.path)]
    assert frames
    assert not any(frames)
    assert [entry.frame.f_locals["own"] for entry in caught.traceback if entry.name == "work" and "own" in entry.locals]


def test_nothing_is_left_for_the_collector() -> None:
    class Precious:
        pass

    def begin() -> ref[Precious]:
        precious = Precious()
        perform("it", lambda mine: precious)
        return ref(precious)

    gc.disable()
    try:
        assert begin()() is None
    finally:
        gc.enable()


def test_nothing_is_settled_where_an_undertaking_ends_by_itself_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the journal, then its frame ends. Taken for one that was cut off, it kept others from loading."""

    class Ends(Undertaking):
        def is_executing(self) -> bool:
            journal._undertakings.remove(self)
            return False

    def perform(what: str, *arguments: object) -> None:
        raise AssertionError(what)

    monkeypatch.setattr(journal, "perform", perform)
    journal._undertakings.append(Ends("a load that ends now", journal.PATCHES, None))
    journal.settle()
    assert journal.under_way() is None

"""Tracing: what it sees, that nothing is left of it, and that it and patches do not get into each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.activeness.references import version_of
from pylivepatch.errors import NothingToTrace
from pylivepatch.tracing import attach, find
from pylivepatch.tracing.attach import own_code
from pylivepatch.tracing.records import ASIDE, ENTRY, RAISE, RESUMED, RETURN
from pylivepatch.transition import lingering


def short(tracer: pylivepatch.Tracer) -> list[tuple[int, str]]:
    return [(record.kind, tracer.functions[record.function].name.rpartition(".")[2]) for record in tracer.read()]


def test_patterns_choose_functions_and_methods_of_any_kind(traced: Any) -> None:
    name = traced.__name__
    assert [f.__qualname__ for f in find([f"{name}.Thing.*"])] == ["Thing.method", "Thing.static", "Thing.value"]
    assert find([f"{name}.leaf"]) == [traced.leaf]
    assert traced.leaf not in find([f"{name}.*"], notrace=["*.leaf"])


def test_nothing_that_matches_is_an_error() -> None:
    with pytest.raises(NothingToTrace, match="no_such_module"), pylivepatch.trace("no_such_module.*"):
        pass


def test_afterwards_every_function_has_its_own_code_and_no_reference_more(traced: Any) -> None:
    functions = find([f"{traced.__name__}.*"])
    codes = [f.__code__ for f in functions]
    before = [sys.getrefcount(code) for code in codes]
    for _ in range(3):
        with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
            traced.outer()
            assert all(f.__code__ is not code for f, code in zip(functions, codes, strict=True))
            assert [own_code(f) for f in functions] == codes
    del tracer
    assert all(f.__code__ is code for f, code in zip(functions, codes, strict=True))
    assert [sys.getrefcount(code) for code in codes] == before


def test_two_tracers_see_the_same_function_each_for_its_own_time(traced: Any) -> None:
    name = traced.__name__
    with pylivepatch.trace(f"{name}.leaf") as long:
        traced.leaf()
        with pylivepatch.trace(f"{name}.*") as brief:
            traced.leaf()
        traced.leaf()
    traced.leaf()
    assert len(long.read()) == 6
    assert len(brief.read()) == 2


def test_a_function_that_is_being_executed_when_the_tracing_ends_tells_nobody(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.*") as tracer:
        running = traced.numbers()
        next(running)
    assert short(tracer) == [(ENTRY, "numbers")]
    assert list(running) == [2]
    assert short(tracer) == []


def test_close_and_throw_are_exits(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.numbers") as tracer:
        one, other = traced.numbers(), traced.numbers()
        next(one), next(other)
        one.close()
        with pytest.raises(KeyError):
            other.throw(KeyError)
        list(traced.numbers())
    kinds = [kind for kind, _ in short(tracer)]
    assert kinds == [ENTRY, ENTRY, RAISE, RAISE, ENTRY, RETURN]


def test_a_traced_function_is_patched_and_traced_again(traced: Any, each_path: str) -> None:
    def leaf() -> str:
        return "new"

    with pylivepatch.trace(f"{traced.__name__}.leaf") as tracer:
        traced.leaf()
        applied = pylivepatch.load(Patch("fix").replace(traced.leaf, leaf))
        assert traced.leaf() == "new"
        assert applied.overridden == ()
        applied.unload()
        assert traced.leaf() is None
    assert [kind for kind, _ in short(tracer)] == [
        ENTRY, RETURN, ASIDE, RESUMED, ENTRY, RETURN, ASIDE, RESUMED, ENTRY, RETURN,
    ]  # fmt: skip


def test_a_patched_function_is_traced_and_can_be_unloaded_meanwhile(traced: Any, each_path: str) -> None:
    original = traced.leaf.__code__
    applied = pylivepatch.load(Patch("fix").replace(traced.leaf, lambda: "new"))
    with pylivepatch.trace(f"{traced.__name__}.leaf") as tracer:
        assert traced.leaf() == "new"
        assert applied.overridden == ()
        applied.unload()
        assert traced.leaf() is None
    assert traced.leaf.__code__ is original
    assert [kind for kind, _ in short(tracer)] == [ENTRY, RETURN, ASIDE, RESUMED, ENTRY, RETURN]


def test_who_executes_traced_code_holds_the_transition(traced: Any, each_path: str) -> None:
    """A traced body is an old body: after the tracing, too."""

    def numbers() -> Any:
        yield "new"

    patch = Patch("fix").replace(traced.numbers, numbers)
    with pylivepatch.trace(f"{traced.__name__}.numbers"):
        running = traced.numbers()
        next(running)
        with pytest.raises(pylivepatch.TransitionTimeout):
            pylivepatch.load(patch, timeout=0.1)
    with pytest.raises(pylivepatch.TransitionTimeout) as caught:
        pylivepatch.load(patch, timeout=0.1)
    assert [holder.kind for holder in caught.value.holders] != []
    del caught
    running.close()
    del running
    pylivepatch.load(patch, timeout=10)
    assert list(traced.numbers()) == ["new"]


def test_a_refused_patch_leaves_the_function_traced(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.leaf") as tracer:
        with pytest.raises(pylivepatch.PrepareError):
            pylivepatch.load(Patch("fix").replace(traced.leaf, print))
        traced.leaf()
    assert [kind for kind, _ in short(tracer)][-2:] == [ENTRY, RETURN]


def test_tracing_does_not_begin_in_the_midst_of_a_transition(traced: Any, hold: Any, monkeypatch: Any) -> None:
    from pylivepatch.errors import TargetBusy
    from pylivepatch.tracing import tracer

    monkeypatch.setattr(tracer, "_PATIENCE", 0.05)
    hold(Patch("fix").replace(traced.leaf, lambda: "new"))
    with pytest.raises(TargetBusy), pylivepatch.trace(f"{traced.__name__}.leaf"):
        pass


def test_a_forked_child_is_not_traced(traced: Any) -> None:
    original = traced.leaf.__code__
    with pylivepatch.trace(f"{traced.__name__}.leaf") as tracer:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if traced.leaf.__code__ is original and traced.leaf() is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        traced.leaf()
    assert len(tracer.read()) == 2


def test_a_traceback_from_a_traced_function_shows_its_lines(traced: Any) -> None:
    with pylivepatch.trace(f"{traced.__name__}.bad"), pytest.raises(ValueError, match=r"^$") as caught:
        traced.bad()
    assert caught.traceback[-1].lineno + 1 == traced.bad.__code__.co_firstlineno
    assert len(caught.traceback) == 2


@pytest.mark.parametrize("cycles", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_the_rules_hold_where_functions_are_traced_and_patched_at_once(
    traced: Any, sources: Any, cycles: int, frequent_switches: None, counted: None
) -> None:
    """A storm: callers, a patch that goes in and out, and a tracer that comes and goes. No record is lost uncounted."""
    source = "def helper(): return 'one'\ndef outer():\n    own = 'one'\n    return own, helper(), own\n"
    module = sources.load(source)
    patch = sources.patch(module, source.replace("one", "two"))
    originals = {f: f.__code__ for f in (module.helper, module.outer)}
    mixed: list[Any] = []
    calls, stop = [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            answer = module.outer()
            calls[0] += 1
            if calls[0] % 50 == 0:
                time.sleep(0.0005)  # else the loader waits for four threads each time it gives way
            if len(set(answer)) != 1:
                mixed.append(answer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = lost = 0
    try:
        for _ in range(cycles):
            with pylivepatch.trace(f"{module.__name__}.*", size=2000) as tracer:
                applied = pylivepatch.load(patch, timeout=20)
            first = tracer.read()
            with pylivepatch.trace(f"{module.__name__}.*", size=100) as second:
                applied.unload(timeout=20)
            for one, records in ((tracer, first), (second, second.read())):
                seen += len(records)
                lost += one.lost
                numbers = [record.sequence for record in records]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
                assert one.lost == numbers[0]
                assert one.read() == []
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert mixed == []
    assert calls[0] > cycles
    assert seen > 0
    assert {f: f.__code__ for f in originals} == originals


def interrupted(step: int, action: Any, each: str = "line") -> bool:
    """Do ``action`` with a Ctrl-C at the given line (or ``opcode``) that is executed in attach.py. Whether it came so
    far."""
    seen = [0]

    def watch(frame: Any, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename == attach.__file__:
            frame.f_trace_opcodes = each == "opcode"
            if event == each:
                seen[0] += 1
                if seen[0] == step:
                    raise KeyboardInterrupt
        return watch if frame.f_code.co_filename == attach.__file__ else None

    before = sys.gettrace()
    if each == "opcode":
        sys._getframe().f_trace_opcodes = True  # 3.12 looks once, when the function is set, whether anybody wants them
    sys.settrace(watch)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return seen[0] >= step


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_the_patch_whole_and_the_function_traced(traced: Any, stride: int) -> None:
    def new() -> str:
        return "new"

    original, patch = traced.leaf.__code__, Patch("fix").replace(traced.leaf, new)
    step = 1
    with pylivepatch.trace(f"{traced.__name__}.leaf", f"{traced.__name__}.Thing.method") as tracer:
        while interrupted(step, lambda: pylivepatch.load(patch, timeout=5)):
            tracer.read()
            assert traced.leaf() == ("new" if pylivepatch.patches() else None), step
            traced.Thing().method()
            assert len(tracer.read()) == 6, step
            for applied in pylivepatch.patches():
                applied.unload(timeout=5)
            step += stride
        pylivepatch.unload("fix")
    assert step > 100
    assert traced.leaf.__code__ is original
    assert not attach._traced


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_no_trace_behind(traced: Any, stride: int) -> None:
    def trace() -> None:
        with pylivepatch.trace(f"{traced.__name__}.leaf", f"{traced.__name__}.Thing.method"):
            traced.leaf()

    original, step = traced.leaf.__code__, 1
    while interrupted(step, trace):
        assert traced.leaf.__code__ is original, step
        assert not attach._traced, step
        step += stride
    assert step > 100


@pytest.mark.parametrize("stride", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_instruction_leaves_other_threads_able_to_trace(
    traced: Any, stride: int, monkeypatch: Any
) -> None:
    """Also one between the instruction that takes the lock and the block that gives it back."""
    monkeypatch.setattr(attach, "_PATIENCE", 0.2)
    name, original = traced.__name__, traced.leaf.__code__
    aside: list[Any] = []
    seen: list[int] = []

    def resume() -> None:
        while aside:
            aside[-1]()
            aside.pop()

    def work() -> None:
        with pylivepatch.trace(f"{name}.leaf"):
            attach.set_aside([name], aside)
            resume()

    def trace_too() -> None:
        with pylivepatch.trace(f"{name}.leaf") as other:
            traced.leaf()
        seen.append(len(other.read()))

    step = 1
    while interrupted(step, work, each="opcode"):
        resume()  # as the undertaking that was interrupted would
        thread = threading.Thread(target=trace_too)
        thread.start()
        thread.join()
        assert seen == [2], step
        assert traced.leaf.__code__ is original, step
        seen.clear()
        step += stride
    assert step > 1000
    assert not attach._at_work


def test_while_one_thread_is_at_work_on_what_is_traced_another_waits_and_at_last_is_told(
    traced: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(attach, "_PATIENCE", 0.05)
    tracer = pylivepatch.tracing.start([f"{traced.__name__}.leaf"])
    refused: list[Any] = []

    def stop() -> None:
        try:
            tracer.stop()
        except pylivepatch.LivePatchError as error:
            refused.append(error.code)

    with attach._alone:
        thread = threading.Thread(target=stop)
        thread.start()
        thread.join()
        with attach._alone:
            tracer.stop()  # further down on the same stack
    assert refused == ["PLP113"]
    thread = threading.Thread(target=stop)
    thread.start()
    thread.join()
    assert refused == ["PLP113"]


def test_where_an_audit_hook_forbids_it_nothing_is_traced_and_garbage_is_collected() -> None:
    script = """if True:
    import gc, sys, types, pylivepatch
    module = sys.modules["watched"] = types.ModuleType("watched")
    exec("def f(): return 1", vars(module))
    def forbid(event, args):
        if event == "object.__setattr__" and args[1] == "__code__":
            raise RuntimeError("no")
    sys.addaudithook(forbid)
    with pylivepatch.trace("watched.*") as tracer:
        assert module.f() == 1
    assert not tracer.read()
    assert "no" in tracer.refused["watched.f"], tracer.refused
    assert gc.isenabled()
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_lingers_is_not_lost_where_another_thread_adds_some_meanwhile(monkeypatch: Any) -> None:
    """A tracing ends beside a load that is under way: both look through what lingers."""

    def suspended() -> Any:
        yield

    generator = suspended()
    next(generator)
    version, count, before = version_of(suspended.__code__), lingering.counts, list(lingering.LINGERING)

    def interfered(versions: Any) -> list[int]:
        found = count(versions)
        lingering.LINGERING.append((version, version))
        return found

    monkeypatch.setattr(lingering, "counts", interfered)
    lingering.prune()
    assert (version, version) in lingering.LINGERING
    lingering.LINGERING[:] = before


def test_a_tracing_that_ends_while_a_load_resumes_another_one_does_not_fail_the_load(traced: Any) -> None:
    patch = Patch("fix").replace(traced.leaf, lambda: "new")
    with pylivepatch.trace(f"{traced.__name__}.leaf") as first:
        second = pylivepatch.tracing.start([f"{traced.__name__}.leaf"])
        ending = threading.Thread(target=second.stop)

        class Told(dict[Any, Any]):
            """Listeners, of which the first to be looked at gives the other thread the time that it needs."""

            def __iter__(self) -> Any:
                for one in super().__iter__():
                    yield one
                    if not ending.ident and sys._getframe(1).f_code.co_name == "_tell" and not entry.aside:
                        ending.start()
                        ending.join(0.2)

        (entry,) = attach._traced.values()
        entry.listeners = Told(entry.listeners)
        pylivepatch.load(patch).unload()
        ending.join()
        assert traced.leaf() is None
        assert [kind for kind, _ in short(first)][-2:] == [ENTRY, RETURN]

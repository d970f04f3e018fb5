"""Probes: what their handlers are told, that they cannot harm the calls, and that they and patches get along."""

from __future__ import annotations

import asyncio
import ctypes
import dis
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import pylivepatch
from pylivepatch import Patch
from pylivepatch.errors import NothingToTrace
from pylivepatch.ftrace.trampoline import traced as make
from pylivepatch.ftrace.verify_traced import find_problem_of_traced
from pylivepatch.tracing import Call, attach
from pylivepatch.tracing.records import ENTRY, RETURN
from tests.conftest import PATIENCE

SOURCE = """
import asyncio
def add(a, b=2, *more, c=3, **others):
    others.clear()
    a, b = b, a
    return a + b + c + sum(more)
def kept(a):
    def read(): return a
    a = a + 1
    return read
def nothing(): pass
def constant(n):
    if n: return "yes"
    return "no"
def bad(n): raise ValueError(n)
def caught(n):
    try: bad(n)
    except ValueError as error: return repr(error)
    finally: n = 0
def down(n): return n and down(n - 1)
def numbers(n):
    got = yield n
    yield got
    return "end"
async def wait(n):
    await asyncio.sleep(0)
    return n * 2
async def stream(n):
    for i in range(n): yield i
class Thing:
    def __init__(self, n): self.n = n
    def plus(self, m): return self.n + m
    @staticmethod
    def static(x): return x
"""


@pytest.fixture
def probed(sources: Any) -> Any:
    return sources.load(SOURCE)


@pytest.fixture
def calls() -> list[Call]:
    return []


def test_a_handler_gets_the_arguments_by_name_as_they_were_at_the_entry(probed: Any, calls: list[Call]) -> None:
    with pylivepatch.probe(probed.add, handler=calls.append):
        assert probed.add(1, 5, 7, c=11, d=13) == 24
        assert probed.add(1) == 6
    first, second = calls
    assert first.arguments == {"a": 1, "b": 5, "more": (7,), "c": 11, "others": {"d": 13}}
    assert second.arguments == {"a": 1, "b": 2, "more": (), "c": 3, "others": {}}
    assert (first.function, first.return_value, first.exception) == (f"{probed.__name__}.add", 24, None)
    assert first.who == (threading.get_ident(), "", "")
    assert first.duration > 0


def test_parameters_that_are_kept_in_cells_and_constants_that_are_returned_are_told(
    probed: Any, calls: list[Call]
) -> None:
    with pylivepatch.probe(f"{probed.__name__}.*", handler=calls.append):
        assert probed.kept(1)() == 2
        assert [probed.constant(0), probed.constant(1), probed.nothing()] == ["no", "yes", None]
    assert calls[0].arguments == {"a": 1}
    assert calls[0].return_value() == 2
    assert [call.return_value for call in calls[1:]] == ["no", "yes", None]


def test_methods_are_probed_with_self(probed: Any, calls: list[Call]) -> None:
    with pylivepatch.probe(probed.Thing.plus, probed.Thing.static, handler=calls.append):
        thing = probed.Thing(1)
        assert thing.plus(2) == 3
        assert thing.static(4) == 4
    assert [call.arguments for call in calls] == [{"self": thing, "m": 2}, {"x": 4}]


def test_an_exception_is_told_and_goes_on_as_it_was(probed: Any, calls: list[Call]) -> None:
    with pylivepatch.probe(f"{probed.__name__}.*", handler=calls.append):
        with pytest.raises(ValueError, match=r"^1$") as raised:
            probed.bad(1)
        assert probed.caught(2) == "ValueError(2)"
    assert calls[0].exception is raised.value
    assert len(raised.traceback) == 2
    assert [(call.function.rpartition(".")[2], repr(call.exception), call.return_value) for call in calls] == [
        ("bad", "ValueError(1)", None),
        ("bad", "ValueError(2)", None),
        ("caught", "None", "ValueError(2)"),
    ]


def test_data_goes_from_the_entry_to_the_return_of_the_same_call(probed: Any) -> None:
    depth, told = [0], list[Any]()

    def enter(call: Call) -> None:
        depth[0] += 1
        call.data = depth[0]
        assert call.return_value is None

    with pylivepatch.probe(
        probed.down, entry_handler=enter, handler=lambda call: told.append((call.arguments["n"], call.data))
    ):
        probed.down(3)
    assert told == [(0, 4), (1, 3), (2, 2), (3, 1)]


def test_a_generator_is_told_of_from_its_first_step_to_its_end(probed: Any, calls: list[Call]) -> None:
    begun: list[Call] = []
    with pylivepatch.probe(probed.numbers, entry_handler=begun.append, handler=calls.append):
        one, two, three, never = (probed.numbers(n) for n in range(4))
        assert begun == []
        assert [next(one), next(two), next(three)] == [0, 1, 2]
        assert [call.arguments["n"] for call in begun] == [0, 1, 2]
        assert one.send("sent") == "sent"
        assert calls == []
        assert next(one, None) is None
        two.close()
        with pytest.raises(KeyError):
            three.throw(KeyError)
        never.close()
    assert [(call.arguments["n"], call.return_value, type(call.exception)) for call in calls] == [
        (0, "end", type(None)),
        (1, None, GeneratorExit),
        (2, None, KeyError),
    ]


def test_coroutines_are_told_of_with_their_task(probed: Any, calls: list[Call]) -> None:
    async def main() -> None:
        await asyncio.gather(*[asyncio.create_task(probed.wait(n), name=f"t{n}") for n in range(3)])
        assert [i async for i in probed.stream(2)] == [0, 1]

    with pylivepatch.probe(f"{probed.__name__}.*", handler=calls.append):
        asyncio.run(main())
    waits = [call for call in calls if call.function.endswith(".wait")]
    assert [(call.who[1:], call.arguments["n"], call.return_value) for call in waits] == [
        (("task", f"t{n}"), n, n * 2) for n in range(3)
    ]
    assert [call.return_value for call in calls if call.function.endswith(".stream")] == [None]


def test_a_greenlet_is_told_by_its_name(probed: Any, calls: list[Call]) -> None:
    greenlet = pytest.importorskip("greenlet")
    with pylivepatch.probe(probed.constant, handler=calls.append):
        greenlet.greenlet(probed.constant).switch(1)
    assert calls[0].who[1] == "greenlet"


@pytest.mark.parametrize("which", ["handler", "entry_handler"])
def test_a_handler_that_raises_is_counted_and_logged_and_told_no_more(probed: Any, which: str, caplog: Any) -> None:
    seen: list[str] = []

    def fail(call: Call) -> None:
        seen.append(call.function)
        raise RuntimeError("mine")

    handlers: dict[str, Any] = {which: fail}
    with caplog.at_level(logging.ERROR), pylivepatch.probe(probed.constant, probed.bad, **handlers) as probe:
        assert probed.constant(1) == "yes"
        assert probed.constant(0) == "no"
        with pytest.raises(ValueError, match=r"^3$") as raised:
            probed.bad(3)
        assert raised.value.__context__ is None
    assert seen == [f"{probed.__name__}.constant"]
    assert probe.errors == 1
    (record,) = caplog.records
    assert "RuntimeError: mine" in record.getMessage()
    assert seen[0] in record.getMessage()


def test_a_program_that_recurses_to_the_limit_ends_no_probe(probed: Any, calls: list[Call], caplog: Any) -> None:
    with caplog.at_level(logging.ERROR), pylivepatch.probe(probed.down, handler=calls.append) as probe:
        with pytest.raises(RecursionError):
            probed.down(100_000)
        told, missed = len(calls), probe.nmissed
        assert probed.down(3) == 0
        assert len(calls) == told + 4
    assert missed > 0
    assert (probe.errors, probe.nmissed, probe._active) == (0, missed, {})
    assert not caplog.records


def test_a_handler_that_recurses_to_the_limit_is_one_that_raises(probed: Any, caplog: Any) -> None:
    def again(call: Call) -> None:
        again(call)

    with caplog.at_level(logging.ERROR), pylivepatch.probe(probed.constant, handler=again) as probe:
        assert probed.constant(1) == "yes"
    assert (probe.errors, probe.nmissed) == (1, 0)
    assert "RecursionError" in caplog.text


def test_an_interrupt_in_a_handler_is_the_programs_own(probed: Any) -> None:
    def interrupt(call: Call) -> None:
        raise KeyboardInterrupt

    with pylivepatch.probe(probed.constant, handler=interrupt) as probe:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                probed.constant(1)
    assert probe.errors == 0


def test_what_a_handler_calls_is_not_probed_but_counted(probed: Any) -> None:
    told: list[int] = []

    def call_again(call: Call) -> None:
        told.append(call.return_value)
        probed.down(3)

    with pylivepatch.probe(probed.down, handler=call_again) as probe:
        probed.down(1)
    assert told == [0, 0]
    assert probe.nmissed == 8


def test_a_generator_that_a_handler_closes_is_counted_as_missed(probed: Any, calls: list[Call]) -> None:
    def close(call: Call) -> None:
        calls.append(call)
        generator.close()

    with pylivepatch.probe(probed.numbers, probed.nothing, handler=close) as probe:
        generator = probed.numbers(1)
        next(generator)
        probed.nothing()
        assert probe._active == {}
    assert [call.function.rpartition(".")[2] for call in calls] == ["nothing"]
    assert probe.nmissed == 1


def test_no_more_calls_than_maxactive_are_kept_and_the_others_counted(probed: Any, calls: list[Call]) -> None:
    with pylivepatch.probe(probed.down, handler=calls.append, maxactive=2) as probe:
        probed.down(4)
        probed.down(0)
    assert [call.arguments["n"] for call in calls] == [3, 4, 0]
    assert probe.nmissed == 3


def test_an_audit_hook_that_calls_a_probed_function_does_no_harm() -> None:
    script = """if True:
    import sys, types, pylivepatch
    module = sys.modules["watched"] = types.ModuleType("watched")
    exec("def f(): return 1\\ndef g():\\n yield 1", vars(module))
    def listen(event, args):
        if event == "sys._getframe":
            module.f(), list(module.g())
    with pylivepatch.probe("watched.*", handler=lambda call: told.append(call.function)) as probe:
        told = []
        sys.addaudithook(listen)
        assert module.f() == 1 and list(module.g()) == [1]
        seen = list(told)  # as the hook goes on to call both
    assert seen == ["watched.f", "watched.g"], seen
    assert probe.nmissed > 0
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_several_probes_and_tracers_watch_one_function_each_for_its_own_time(probed: Any) -> None:
    name, one, two = probed.__name__, list[Call](), list[Call]()
    with pylivepatch.trace(f"{name}.constant") as tracer:
        with pylivepatch.probe(probed.constant, handler=one.append):
            probed.constant(1)
            with (
                pylivepatch.probe(probed.constant, handler=two.append),
                pylivepatch.trace(f"{name}.constant") as brief,
            ):
                probed.constant(0)
            probed.constant(1)
        probed.constant(1)
        assert all("each" not in str(const) for const in probed.constant.__code__.co_consts)
    assert [call.return_value for call in one] == ["yes", "no", "yes"]
    assert [call.return_value for call in two] == ["no"]
    assert [record.kind for record in tracer.read()] == [ENTRY, RETURN] * 4
    assert [record.kind for record in brief.read()] == [ENTRY, RETURN]


def test_a_tracer_that_comes_after_a_probe_outlives_it(probed: Any) -> None:
    with pylivepatch.probe(probed.constant, handler=print) as probe:
        tracer = pylivepatch.tracing.start([f"{probed.__name__}.constant"])
    probed.constant(1)
    tracer.stop()
    assert [record.kind for record in tracer.read()] == [ENTRY, RETURN]
    assert probe._active == {}


def test_afterwards_every_function_has_its_own_code_and_no_reference_more(probed: Any) -> None:
    functions = [probed.add, probed.numbers, probed.wait, probed.kept]
    codes = [f.__code__ for f in functions]
    before = [sys.getrefcount(code) for code in codes]
    with pylivepatch.probe(f"{probed.__name__}.*", handler=lambda call: None):
        probed.add(1)
        list(probed.numbers(1))
        assert all(f.__code__ is not code for f, code in zip(functions, codes, strict=True))
    assert all(f.__code__ is code for f, code in zip(functions, codes, strict=True))
    assert [sys.getrefcount(code) for code in codes] == before
    assert not attach._traced


def test_a_call_that_is_under_way_when_the_probe_ends_is_not_told(probed: Any, calls: list[Call]) -> None:
    with pylivepatch.probe(probed.numbers, handler=calls.append) as probe:
        running = probed.numbers(1)
        next(running)
    running.close()
    assert calls == []
    assert probe._active == {}


def test_a_probed_function_is_patched_and_probed_again_with_its_new_parameters(
    probed: Any, calls: list[Call], each_path: str
) -> None:
    def constant(n: int, more: int = 7) -> str:
        return "new"

    with pylivepatch.probe(probed.constant, handler=calls.append) as probe:
        probed.constant(1)
        applied = pylivepatch.load(Patch("fix").replace(probed.constant, constant))
        assert probed.constant(1) == "new"
        assert applied.overridden == ()
        assert probe.aside == set()
        applied.unload()
        probed.constant(0)
    assert [(call.arguments, call.return_value) for call in calls] == [
        ({"n": 1}, "yes"),
        ({"n": 1, "more": 7}, "new"),
        ({"n": 0}, "no"),
    ]
    assert probe.errors == 0


def test_while_a_patch_is_loaded_its_functions_are_set_aside(probed: Any, hold: Any) -> None:
    with pylivepatch.probe(f"{probed.__name__}.*", handler=print) as probe:
        hold(Patch("fix").replace(probed.constant, lambda n: "new"))
        assert f"{probed.__name__}.constant" in probe.aside
        assert len(probe.aside) == len(probe.functions)
        probed.Thing(1)
    assert probe._active == {}


def test_calls_are_let_go_once_they_are_told(probed: Any) -> None:
    class Big:
        pass

    with pylivepatch.probe(probed.kept, handler=lambda call: None):
        gone = len([o for o in gc.get_objects() if isinstance(o, Big)])
        with pytest.raises(TypeError):
            probed.kept(Big())
        assert len([o for o in gc.get_objects() if isinstance(o, Big)]) == gone == 0


def test_a_forked_child_is_not_probed(probed: Any, calls: list[Call]) -> None:
    original = probed.constant.__code__
    with pylivepatch.probe(probed.constant, probed.numbers, handler=calls.append):
        running = probed.numbers(1)
        next(running)
        pid = os.fork()
        if pid == 0:
            running.close()
            probed.constant(1)
            os._exit(0 if probed.constant.__code__ is original and calls == [] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        probed.constant(1)
        running.close()
    assert len(calls) == 2


def test_what_cannot_be_probed_is_refused(probed: Any) -> None:
    with pytest.raises(NothingToTrace), pylivepatch.probe(len, handler=print):
        pass
    with pytest.raises(TypeError, match="handler"), pylivepatch.probe(probed.constant):
        pass
    with pytest.raises(TypeError, match="callable"), pylivepatch.probe(probed.constant, handler=5):  # type: ignore[arg-type]
        pass
    with pylivepatch.probe(attach.detach, handler=print) as probe:
        assert list(probe.refused) == ["pylivepatch.tracing.attach.detach"]
        assert not attach._traced


def test_code_that_tells_other_values_fails_its_check(probed: Any) -> None:
    """Each argument of a hook swapped for another one, in turn: the independent check must find all of them."""
    names = {"LOAD_FAST", "LOAD_DEREF", "LOAD_CONST", "COPY", "BUILD_TUPLE"}
    broken = 0
    for function in (probed.add, probed.constant, probed.kept):
        code = function.__code__
        template = make(code, values=True)
        assert find_problem_of_traced(code, template, values=True) == ""
        assert find_problem_of_traced(code, template) != ""
        assert find_problem_of_traced(code, make(code), values=True) != ""
        own = {(i.opname, i.positions) for i in dis.get_instructions(code)}
        for instr in dis.get_instructions(template.code):
            if instr.opname not in names or (instr.opname, instr.positions) in own or not instr.arg:
                continue
            raw = bytearray(template.code.co_code)
            raw[instr.offset + 1] = instr.arg - 1
            worse = replace(template, code=template.code.replace(co_code=bytes(raw)))
            assert find_problem_of_traced(code, worse, values=True) != "", instr
            broken += 1
    assert broken > 10


def test_a_probe_can_be_begun_again(probed: Any, calls: list[Call]) -> None:
    probe = pylivepatch.Probe(calls.append)
    for _ in range(2):
        probe.start([probed.constant])
        probed.constant(1)
        probe.stop()
        probed.constant(0)
    assert [call.return_value for call in calls] == ["yes", "yes"]


@pytest.fixture
def no_callbacks_of_the_collector() -> Iterator[None]:
    """A test library has some, and what strikes in them is swallowed."""
    those = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks += those


def test_a_thread_that_others_strike_with_exceptions_is_probed_as_before(
    probed: Any, calls: list[Call], no_callbacks_of_the_collector: None
) -> None:
    """Wherever one strikes, in the hooks and handlers too: the thread does not count as in a handler for good."""

    class Struck(BaseException):
        pass

    strikes, ready, struck, going_on = 150, [False], [0], [True]

    def work() -> None:
        while struck[0] < strikes:
            try:
                ready[0] = True  # for one, and no other is under way
                while going_on:
                    probed.caught(probed.constant(1))
                return
            except Struck:
                struck[0] += 1
        probed.constant(0)

    with pylivepatch.probe(f"{probed.__name__}.*", handler=calls.append, entry_handler=lambda call: None) as probe:
        thread = threading.Thread(target=work)
        thread.start()
        end = time.monotonic() + PATIENCE
        for _ in range(strikes):
            while not ready[0] and time.monotonic() < end:
                time.sleep(0.0005)
            if not ready[0]:
                going_on.clear()  # the last strike was lost
                break
            ready[0] = False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Struck))
        thread.join()
    assert struck == [strikes]
    assert calls[-1].return_value == "no"
    assert (probe.errors, probe.nmissed) == (0, 0)


@pytest.mark.parametrize("cycles", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_the_rules_hold_where_functions_are_probed_and_patched_at_once(
    sources: Any, cycles: int, frequent_switches: None, counted: None
) -> None:
    """A storm: callers, a patch that goes in and out, probes that come and go. What is told of a call is right."""
    source = "def helper(n): return 'one', n\ndef outer(n):\n    own = 'one'\n    return own, helper(n), n\n"
    module = sources.load(source)
    patch = sources.patch(module, source.replace("one", "two"))
    originals = {f: f.__code__ for f in (module.helper, module.outer)}
    wrong: list[Any] = []
    told: list[tuple[str, int, bool]] = []
    made, stop = [0] * 4, threading.Event()

    def work(me: int) -> None:
        while not stop.is_set():
            made[me] += 1
            n = made[me] * 4 + me
            own, (inner, same), again = module.outer(n)
            if own != inner or same != n or again != n:
                wrong.append((own, inner, same, again, n))
            if made[me] % 50 == 0:
                time.sleep(0.0005)  # else the loader waits for four threads each time it gives way

    def look(call: Call) -> None:
        n, value = call.arguments["n"], call.return_value
        told.append((call.function.rpartition(".")[2], n, call.data == n and n in value and call.exception is None))

    def enter(call: Call) -> None:
        call.data = call.arguments["n"]

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    probes = []
    try:
        for _ in range(cycles):
            with pylivepatch.probe(f"{module.__name__}.*", handler=look, entry_handler=enter) as one:
                applied = pylivepatch.load(patch, timeout=20)
                with pylivepatch.probe(module.helper, handler=look, entry_handler=enter) as two:
                    applied.unload(timeout=20)
            probes += [one, two]
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert wrong == []
    assert told
    assert all(right for _, _, right in told)
    assert len(set(told)) >= len(told) / 2  # by two probes at most
    assert [(one.errors, one.nmissed, one._active) for one in probes] == [(0, 0, {})] * len(probes)
    assert {f: f.__code__ for f in originals} == originals

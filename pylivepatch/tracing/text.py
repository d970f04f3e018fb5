"""What a trace looks like: the layouts of the kernel's ftrace, for people who know them and for tools that read them.

Tracer ``function`` prints a line for each entry, ``function_graph`` the calls as a tree with the time that each took.
The layouts are those of ``kernel/trace/trace_output.c`` and ``trace_functions_graph.c``: widths, marks and header. Two
columns have no like in Python. There is no CPU, as one interpreter runs one function at a time: the ``function`` layout
says ``[000]``, ``function_graph`` has the column switched off (its options ``nofuncgraph-cpu`` and ``funcgraph-proc``).
A task of the kernel is here a thread, or the greenlet or asyncio task that runs on it: its name and the native id of
its thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pylivepatch.tracing.records import ASIDE, ENTRY, RAISE, RESUMED, RETURN, Record, Traced, Who

Names = Mapping[int, tuple[str, int]]
"""Name and native id of each thread, by ident."""

_MARKS = ((1e9, "$"), (1e8, "@"), (1e7, "*"), (1e6, "#"), (1e5, "!"), (1e4, "+"))
"""Nanoseconds that a duration must exceed, and the mark that says so."""
_PROC_WIDTH, _COMM = 14, 7  # of the TASK/PID column, and of the name in it
_NO_DURATION = " " * 14

GRAPH_HEADER = """\
# tracer: function_graph
#
#  TASK/PID         DURATION                  FUNCTION CALLS
#    |    |         |   |                     |   |   |   |
"""
FUNCTION_HEADER = """\
# tracer: function
#
#           TASK-PID    CPU#     TIMESTAMP  FUNCTION
#              | |        |         |         |
"""


def mark(nanoseconds: int) -> str:
    """How slow it was: ``$`` over 1 s, ``@`` over 100 ms, ``*`` 10 ms, ``#`` 1 ms, ``!`` 100 µs, ``+`` 10 µs."""
    return next((sign for limit, sign in _MARKS if nanoseconds > limit), " ")


def duration(nanoseconds: int) -> str:
    """The DURATION column: a mark, and microseconds with as many decimals as seven figures leave room for."""
    whole, rest = divmod(max(0, nanoseconds), 1000)
    figures = str(whole)
    if len(figures) < 7:
        figures += "." + f"{rest:03}"[: min(4, 7 - len(figures))]
    return f"{mark(nanoseconds)} {figures} us " + " " * (8 - len(figures))


@dataclass(slots=True)
class _Call:
    function: int
    begun: int
    shown: bool = False


@dataclass(slots=True)
class _Stack:
    """The calls that one task is in, outermost first."""

    who: Who
    calls: list[_Call] = field(default_factory=list)


class Graph:
    """Makes lines of tracer ``function_graph`` out of records. ``depth`` limits the nesting; 0 for no limit."""

    def __init__(self, functions: Sequence[Traced], names: Names, *, depth: int = 0) -> None:
        self._functions, self._names, self._depth = functions, names, depth
        self._stacks: dict[Who, _Stack] = {}
        self._suspending: dict[tuple[Who, int], list[int]] = {}
        self._aside: dict[int, int] = {}
        self._last: Who | None = None

    def lines(self, records: Iterable[Record]) -> Iterator[str]:
        """Feed records in order; gives the lines that are complete: a call is shown when what follows is known."""
        for record in records:
            stack = self._stacks.setdefault(record.who, _Stack(record.who))
            if record.kind in (ASIDE, RESUMED):
                yield from self._told(record)
            elif self._functions[record.function].suspends:
                yield from self._of_a_generator(stack, record)
            elif record.kind == ENTRY:
                yield from self._show_open(stack)
                stack.calls.append(_Call(record.function, record.time))
            else:
                yield from self._leave(stack, record)

    def rest(self) -> Iterator[str]:
        """The calls that have not ended."""
        for stack in self._stacks.values():
            yield from self._show_open(stack)

    def _leave(self, stack: _Stack, record: Record) -> Iterator[str]:
        how = " /* raised */" if record.kind == RAISE else ""
        while stack.calls and stack.calls[-1].function != record.function:
            if all(call.function != record.function for call in stack.calls):
                break
            stack.calls.pop()  # its exit was lost: dropped from the buffer, or made while it was set aside
        if not stack.calls or stack.calls[-1].function != record.function:
            # It was entered before the tracing began, or its entry was lost.
            yield from self._line(stack.who, _NO_DURATION, 0, f"}} /* {self._name(record)} */{how}")
            return
        call, took = stack.calls.pop(), record.time
        took -= call.begun
        if call.shown:
            yield from self._line(stack.who, duration(took), len(stack.calls), "}" + how)
        else:
            yield from self._line(stack.who, duration(took), len(stack.calls), f"{self._name(record)}();{how}")

    def _show_open(self, stack: _Stack) -> Iterator[str]:
        if stack.calls and not stack.calls[-1].shown:
            call = stack.calls[-1]
            call.shown = True
            name = self._functions[call.function].name
            yield from self._line(stack.who, _NO_DURATION, len(stack.calls) - 1, f"{name}() {{")

    def _of_a_generator(self, stack: _Stack, record: Record) -> Iterator[str]:
        """It runs now and then, under whoever asks it: told where it begins and where it ends, and does not nest."""
        yield from self._show_open(stack)
        name, depth, key = self._name(record), len(stack.calls), (record.who, record.function)
        if record.kind == ENTRY:
            self._suspending.setdefault(key, []).append(record.time)
            yield from self._line(stack.who, _NO_DURATION, depth, f"{name}(); /* begins */")
            return
        begun = self._suspending.get(key)
        took = duration(record.time - begun.pop()) if begun else _NO_DURATION
        how = "ends, raised" if record.kind == RAISE else "ends"
        yield from self._line(stack.who, took, depth, f"{name}(); /* {how} */")

    def _told(self, record: Record) -> Iterator[str]:
        name = self._name(record)
        if record.kind == ASIDE:
            self._aside[record.function] = record.time
            yield f"# not traced from here on, as it is being patched: {name}"
        else:
            since = record.time - self._aside.pop(record.function, record.time)
            yield f"# traced again, after {since / 1e6:.3f} ms: {name}"

    def _line(self, who: Who, column: str, depth: int, text: str) -> Iterator[str]:
        if self._depth and depth >= self._depth:
            return
        if self._last is not None and self._last != who:
            rule = " ------------------------------------------"
            yield f"{rule}\n {proc(self._last, self._names)} => {proc(who, self._names)}\n{rule}\n"
        self._last = who
        yield f"{proc(who, self._names)} | {column}|  {'  ' * depth}{text}"

    def _name(self, record: Record) -> str:
        return self._functions[record.function].name


class Entries:
    """Makes lines of tracer ``function`` out of records: each entry, and from which traced function it came."""

    def __init__(self, functions: Sequence[Traced], names: Names, *, depth: int = 0) -> None:
        self._functions, self._names, self._depth = functions, names, depth
        self._stacks: dict[Who, list[int]] = {}

    def lines(self, records: Iterable[Record]) -> Iterator[str]:
        for record in records:
            stack = self._stacks.setdefault(record.who, [])
            traced = self._functions[record.function]
            if record.kind in (ASIDE, RESUMED):
                what = "not traced from here on" if record.kind == ASIDE else "traced again"
                yield f"# {what}, as it is being patched: {traced.name}"
            elif record.kind == ENTRY:
                caller = self._functions[stack[-1]].name if stack else "?"
                if not self._depth or len(stack) < self._depth:
                    yield self._line(record, traced.name, caller)
                if not traced.suspends:
                    stack.append(record.function)
            elif record.function in stack:
                while stack.pop() != record.function:
                    pass

    def rest(self) -> Iterator[str]:
        return iter(())

    def _line(self, record: Record, name: str, caller: str) -> str:
        comm, pid = comm_and_pid(record.who, self._names)
        seconds, nanoseconds = divmod(record.time, 1_000_000_000)
        return f"{comm:>16}-{pid:<7} [000] {seconds:5}.{nanoseconds // 1000:06}: {name} <-{caller}"


def comm_and_pid(who: Who, names: Names) -> tuple[str, int]:
    """What a task of the kernel is called: a name without blanks, and a number."""
    ident, _, name = who
    thread, native = names.get(ident, (f"thread-{ident}", 0))
    return "_".join((name or thread).split())[:16], native


def proc(who: Who, names: Names) -> str:
    """The TASK/PID column: centred, the name cut to seven characters as the kernel does."""
    comm, pid = comm_and_pid(who, names)
    text = f"{comm[:_COMM]}-{pid}"
    spaces = max(0, _PROC_WIDTH - len(text))
    return " " * (spaces // 2) + text + " " * (spaces - spaces // 2)


TRACERS: dict[str, tuple[str, type[Graph] | type[Entries]]] = {
    "function": (FUNCTION_HEADER, Entries),
    "function_graph": (GRAPH_HEADER, Graph),
}


def text(
    tracer: str, functions: Sequence[Traced], names: Names, records: Iterable[Record], *, depth: int = 0, lost: int = 0
) -> str:
    """A whole trace as text. ``lost`` is how many records were dropped; said where there are any."""
    header, kind = TRACERS[tracer]
    made = kind(functions, names, depth=depth)
    lines = [*made.lines(records), *made.rest()]
    if lost:
        lines.append(lost_line(lost))
    return header + "".join(line + "\n" for line in lines)


def lost_line(lost: int) -> str:
    return f"# {lost} records were lost: the buffer was full before they were read"


__all__ = ["RETURN", "TRACERS", "Entries", "Graph", "duration", "lost_line", "mark", "proc", "text"]

"""Readers of the kernel's two layouts, written from what ftrace prints, field by field, and not from what we print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

GRAPH_LINE = re.compile(r"(?P<proc>.{14,}?) \| (?P<duration>.{14})\|  (?P<indent>(?:  )*)(?P<what>\S.*)$")
DURATION = re.compile(r"(?P<mark>[ +!#*@$]) (?P<figures>\d+(?:\.\d{1,3})?) us +$")
FUNCTION_LINE = re.compile(
    r"(?P<comm>.{16})-(?P<pid>\d+) +\[(?P<cpu>\d{3})\] +(?P<seconds>\d+)\.(?P<micros>\d{6}): "
    r"(?P<name>\S+) <-(?P<caller>\S+)$"
)
RULE = " ------------------------------------------"
LIMITS = {" ": 0, "+": 10, "!": 100, "#": 1_000, "*": 10_000, "@": 100_000, "$": 1_000_000}
"""Microseconds that a mark says are exceeded."""


@dataclass
class Call:
    """One call of a function_graph: microseconds, its mark, and what it called."""

    name: str
    task: str
    duration: float | None = None
    mark: str = " "
    note: str = ""
    calls: list[Call] = field(default_factory=list)

    def shape(self) -> object:
        return (self.name, [call.shape() for call in self.calls]) if self.calls else self.name


def read_graph(text: str) -> dict[str, list[Call]]:
    """By task, the outermost calls in order. Raises ``ValueError`` where a line has not ftrace's form."""
    lines = text.splitlines()
    if not lines[0].startswith("# tracer: function_graph"):
        raise ValueError(lines[0])
    roots: dict[str, list[Call]] = {}
    stacks: dict[str, list[Call]] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("#"):
            continue
        if line == RULE:  # the task changes: rule, who => whom, rule, and an empty line
            if " => " not in lines[at] or lines[at + 1 : at + 3] != [RULE, ""]:
                raise ValueError(f"a change of tasks is cut short: {lines[at : at + 3]}")
            at += 3
            continue
        found = GRAPH_LINE.match(line)
        if found is None:
            raise ValueError(f"no line of a graph: {line!r}")
        task = found["proc"].strip()
        stack = stacks.setdefault(task, [])
        timed = DURATION.match(found["duration"])
        if timed is None and found["duration"].strip():
            raise ValueError(f"no duration: {found['duration']!r}")
        what, _, note = found["what"].partition(" /* ")
        if what == "}":
            call = stack.pop()
        else:
            name = re.fullmatch(r"(\S+)\(\)(?:;| \{)", what)
            if name is None:
                raise ValueError(f"no call: {what!r}")
            call = Call(name[1], task)
            (stack[-1].calls if stack else roots.setdefault(task, [])).append(call)
        if len(found["indent"]) != 2 * len(stack):
            raise ValueError(f"{len(stack)} calls are open: {line!r}")
        if what.endswith("{"):
            stack.append(call)
        if timed is not None:
            call.duration, call.mark = float(timed["figures"]), timed["mark"]
        call.note = note.removesuffix(" */") or call.note
    return roots


def read_entries(text: str) -> list[tuple[str, int, float, str, str]]:
    """Of tracer ``function``: task, pid, seconds, function, caller."""
    found = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = FUNCTION_LINE.match(line)
        if match is None:
            raise ValueError(f"no line of tracer function: {line!r}")
        at = int(match["seconds"]) + int(match["micros"]) / 1e6
        found.append((match["comm"].strip(), int(match["pid"]), at, match["name"], match["caller"]))
    return found

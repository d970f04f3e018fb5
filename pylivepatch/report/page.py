"""The page: one HTML file with everything in it. It asks no network for anything, which its own policy forbids.

What does not move is written here; the timeline is drawn by the script of ``page.html`` from the same picture.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_MANY = 20  # holders that are shown without being asked for


def html(shown: Mapping[str, Any]) -> str:
    """The page of a :func:`~pylivepatch.report.picture.picture`."""
    title = f"{shown['action']} of {shown['patch']}"
    drawn = {name: shown[name] for name in ("action", "length", "stages", "commits", "curve", "marks", "lanes")}
    parts = {
        "TITLE": escape(title),
        "OUTCOME": _outcome(shown),
        "NUMBERS": _table((), _numbers(shown)),
        "SAMPLING": escape(_sampling(shown["sampling"])),
        "HOLDERS": _holders(shown["holders"]),
        "CHANGES": "".join(_changes(shown)),
        # In a script element nothing but "</script" and "<!--" has a meaning: without "<" there is neither.
        "PICTURE": json.dumps(drawn).replace("<", "\\u003c"),
    }
    page = importlib.resources.files("pylivepatch.report").joinpath("page.html").read_text(encoding="utf-8")
    pieces = page.split("%%")  # so that nothing that a part holds is taken for the place of another
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


_OUTCOMES = {
    "PLP128": "Done in part",
    # of the command's own end, not of the transition's, which went on without it:
    **dict.fromkeys(("", "PLP400", "PLP401"), "How it went is not known"),
}
"""What the error says of the transition, where it is not that nothing was done, by its code."""


def _outcome(shown: Mapping[str, Any]) -> str:
    error, result = shown["error"], shown["result"]
    if error:
        message = str(error.get("message", "")).partition("; held by\n")[0]  # the holders have a table below
        code = str(error.get("code", ""))
        said = _OUTCOMES.get(code, "Not done")
        return f'<p class="outcome failed">{said}: {escape(f"{code} {message}".strip())}</p>'
    if result is None:
        return '<p class="outcome failed">The log ends in the middle: how it went is not known.</p>'
    mark = " By force: old functions may have gone on beside new ones." if result.get("forced") else ""
    return f'<p class="outcome">Complete.{mark}</p>'


def _numbers(shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    result = shown["result"] or {}
    details = (shown["error"] or {}).get("details") or {}
    stages = result.get("stages") or (_stages(shown["stages"]) if shown["error"] else {})
    yield "process", f"{shown['pid']}, Python {shown['python']}: {' '.join(shown['argv'] or ())}"
    yield "begins", str(shown["began"])
    if "duration" in result:
        yield "took", _seconds(result["duration"])
    for name, took in stages.items():
        yield f"stage {name}", _seconds(took)
    for number, (at, action) in enumerate(shown["commits"], 1):
        back = "" if action == shown["action"] else ", switched back"
        which = f" {number}" if len(shown["commits"]) > 1 else ""
        yield f"commit{which}{back}", f"{_seconds(at)} after the beginning"
    if result.get("committed_by"):
        yield "committed by", f"thread {result['committed_by']}"
    if "longest_hold" in result:
        yield "longest moment that anyone stood", _seconds(result["longest_hold"])
    yield from _delay(shown["delay"])
    if calls := result.get("calls") or details.get("calls"):
        yield "calls through trampolines", _calls(calls, stages)
    for stood in result.get("stood") or ():
        yield "the machine stood for", _seconds(stood)
    if gate := result.get("gate"):
        waits = f"{gate['waits']} in {gate['tries']} tries, the longest for {_seconds(gate['longest_wait'])}"
        yield "callers that waited at the gate", waits
    if "deep_search" in result:
        yield "search of the heap", _seconds(result["deep_search"])


def _stages(shown: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """How long each took, all tries together: an error says nothing of it, the events do."""
    took: dict[str, float] = {}
    for name, begun, ended in shown:
        took[name] = took.get(name, 0.0) + ended - begun
    return took


def _delay(delay: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, when in (("during", "worst delay"), ("before", "worst delay before it")):
        if (seen := delay[name]) and seen["ticks"]:
            asks = f"of a thread of the process that asks to run each {_seconds(seen['interval'])}"
            yield when, f"{_seconds(seen['worst'])}, {asks} ({seen['ticks']:,} times)"


def _calls(calls: Mapping[str, Any], stages: Mapping[str, Any]) -> str:
    if not {"enable", "gate"} & stages.keys():
        return "none: no trampoline was put in"
    old, new = calls["entered"] - calls["redirected"], calls["redirected"]
    return f"{calls['entered']:,}: {old:,} executed the old function, {new:,} went on to the new one"


def _sampling(sampling: Mapping[str, Any]) -> str:
    if sampling["median"] is None:
        return "The process was looked at less than twice: there are no lanes to speak of."
    heap = ""
    if held := sampling["heap_looks"]:
        heap = f" Looking for greenlets that are switched out held every thread for up to {_seconds(held)} each time."
    unseen = f" {sampling['unseen']} more looks failed." if sampling["unseen"] else ""
    return (
        f"Lanes are samples: {sampling['count']} looks, {_seconds(sampling['median'])} apart (median; the longest "
        f"gap is {_seconds(sampling['longest'])}). What happened between two looks is not seen; a look is drawn "
        "until the next one, where that comes soon. Stages, the counter's events and "
        f"the commit are the engine's own.{heap}{unseen}"
    )


def _holders(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "<p>Nobody was seen to hold it.</p>"
    rows = [
        (
            f"{one['kind']} {one['name']}",
            f"{one['function']} ({one['file']}:{one['line']})",
            f"{_seconds(one['from'])} to {_seconds(one['to'])}",
        )
        for one in found
    ]
    table = _table(("who", "where", "first and last seen"), rows)
    if len(rows) <= _MANY:
        return table
    return f"<details><summary>{len(rows)} holders and places</summary>{table}</details>"


def _changes(shown: Mapping[str, Any]) -> Iterator[str]:
    diffs = shown["diffs"] or []
    modules = {diff["module"]: number for number, diff in enumerate(diffs)}
    attributes = (shown["result"] or {}).get("attributes") or []
    yield "<ul>"
    for name in [*shown["functions"], *attributes]:
        number = modules.get(name.partition(":")[0])
        text = f"<code>{escape(name)}</code>"
        yield f'<li>{text if number is None else f"""<a href="#diff-{number}">{text}</a>"""}</li>'
    yield "</ul>"
    if not diffs:
        yield "<p>The sources are not in the log: an unload is asked for by name.</p>"
    for number, diff in enumerate(diffs):
        yield f'<details id="diff-{number}" open><summary>{escape(diff["path"])}</summary><pre class="diff">'
        for line in diff["diff"].splitlines():
            kind = {"+": "added", "-": "removed", "@": "place"}.get(line[:1], "")
            yield f'<span class="{kind}">{escape(line)}\n</span>'
        yield "</pre></details>"


def _table(heads: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _seconds(value: float) -> str:
    """A time for people: ``12.3 s``, ``4.5 ms``, ``67 µs``."""
    if abs(value) >= 1:
        return f"{value:.3f} s"
    return f"{value * 1e3:.1f} ms" if abs(value) >= 1e-3 else f"{value * 1e6:.0f} µs"

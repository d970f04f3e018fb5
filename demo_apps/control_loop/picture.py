"""The histogram of each way: in the terminal, and as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ways import EDGES, Outcome

LABELS = ["<1", *(f"{edge * 1000:g}" for edge in EDGES)]
"""Of the bins: from so many milliseconds on."""


def bars(counts: Sequence[int], width: int) -> list[int]:
    """The length of each bar, on a logarithmic scale on which one tick can be seen."""
    top = math.log10(1 + max(1, *counts))
    return [math.ceil(width * math.log10(1 + count) / top) for count in counts]


def terminal(outcomes: Sequence[Outcome]) -> list[str]:
    """A bin a line, a column for each way. 79 columns."""
    lines = [" late by   " + "".join(f"{outcome.way:<17}" for outcome in outcomes)]
    columns = [list(zip(o.histogram, bars(o.histogram, 10), strict=True)) for o in outcomes]
    for number, label in enumerate(LABELS):
        cells = [f"{'█' * column[number][1]:<10}{column[number][0] or '':>5}  " for column in columns]
        lines.append(f"{label:>5} ms   " + "".join(cells))
    return [line.rstrip() for line in lines]


def svg(outcomes: Sequence[Outcome]) -> str:
    """A panel for each way, one below the other, on the same scales."""
    left, top, width, height, gap = 110, 50, 50, 70, 34
    full = left + width * len(LABELS) + 20
    total = top + len(outcomes) * (height + gap) + 20
    scale = math.log10(1 + max(max(outcome.histogram) for outcome in outcomes))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {total}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{full}" height="{total}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15">How late a loop of 1 ms was while its control law was changed</text>',
    ]
    for row, outcome in enumerate(outcomes):
        base = top + row * (height + gap) + height
        parts.append(f'<text x="{left - 10}" y="{base - height / 2:.0f}" text-anchor="end">{outcome.way}</text>')
        parts.append(f'<line x1="{left}" x2="{full - 20}" y1="{base}" y2="{base}" stroke="#888"/>')
        for number, (label, count) in enumerate(zip(LABELS, outcome.histogram, strict=True)):
            x, tall = left + number * width, (height - 14) * math.log10(1 + count) / scale
            colour = "#2a9d55" if number == 0 else "#e0a030" if EDGES[number - 1] < 0.05 else "#c8372d"
            parts.append(
                f'<rect x="{x + 4}" y="{base - tall:.1f}" width="{width - 8}" height="{tall:.1f}" fill="{colour}"/>'
            )
            middle = x + width / 2
            if count:
                parts.append(f'<text x="{middle}" y="{base - tall - 3:.1f}" text-anchor="middle">{count}</text>')
            parts.append(f'<text x="{middle}" y="{base + 14}" text-anchor="middle" fill="#555">{escape(label)}</text>')
    parts.append(
        f'<text x="{full - 20}" y="{total - 8}" text-anchor="end" fill="#555">'
        "late by, from … ms on; ticks, on a logarithmic scale</text></svg>"
    )
    return "\n".join(parts) + "\n"

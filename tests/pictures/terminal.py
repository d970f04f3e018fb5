"""What a command prints on a terminal, as a picture: run on a real pseudo-terminal, drawn by rich."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

_CONTROL = re.compile(r"\x1b\[(?P<number>[\d;?]*)(?P<kind>[A-Za-z])|(?P<move>[\r\n])")
# Without the web font: a picture asks no network for anything.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S).replace(
    "Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace"
)


def run(command: Sequence[str], columns: int, folder: Path, environment: Mapping[str, str]) -> str:
    """All that ``command`` writes to a terminal that is so wide. Raises :class:`subprocess.CalledProcessError`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {name: value for name, value in environment.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
        env={**plain, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while block := os.read(ours, 1 << 16):
            written += block
    except OSError:  # EIO: it has ended
        pass
    finally:
        os.close(ours)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, written.decode())
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that are left on the screen, with their colours: what was moved over and cleared is gone."""
    lines, row, at = [""], 0, 0
    for found in _CONTROL.finditer(written):
        lines[row] += written[at : found.start()]
        at = found.end()
        number, kind = found["number"], found["kind"]
        if found["move"] == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif kind == "m":
            lines[row] += found[0]
        elif kind == "A":
            row = max(0, row - int(number or 1))
        elif kind == "K":
            lines[row] = ""
    lines[row] += written[at:]
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    return lines


def svg(path: Path, title: str, lines: Sequence[str], columns: int) -> None:
    """Draw the lines. Raises :class:`ValueError` where one is too long for the picture."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        text = Text.from_ansi(line)
        text.rstrip()
        if text.cell_len > columns:
            raise ValueError(f"{text.cell_len} columns: {text.plain}")
        console.print(text, soft_wrap=True, highlight=False)
    drawn = console.export_svg(title=title, theme=MONOKAI, code_format=_FORMAT, unique_id=path.stem)
    path.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n")

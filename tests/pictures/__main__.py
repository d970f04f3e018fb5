"""Make the pictures of the documentation again, from real runs.

    python -m tests.pictures                   all of them
    python -m tests.pictures load report       some of them

``load`` and ``report`` come of the README's own service, which is run and patched; ``kpatch_semantics`` and
``control_loop`` of these demos; ``benchmarks`` draws those of ``docs/plots``, which takes half an hour and needs
matplotlib. ``report`` needs Chromium. Nothing is written by hand: what the commands print is what is shown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from tests.pictures import terminal, walk

ROOT = walk.ROOT
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 84
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}


@contextmanager
def service() -> Iterator[tuple[Path, str]]:
    """The README's service at work, with its patch built: the folder, and the process id."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with walk.shell(folder, ENVIRONMENT) as shell:
            for step in walk.steps()[1:4]:
                walk.tell(shell, step.commands.replace(".venv/bin/", ""))
            walk.wait_for_output(folder / "service.log")
            yield folder, walk.tell(shell, "echo $pid").strip()


def load() -> None:
    with service() as (folder, pid):
        lines: list[str] = []
        for command in (
            "tail -n 4 service.log",
            f"pylivepatch load discount.plp --pid {pid} --report report.html",
            "sleep 1; tail -n 4 service.log",
            f"pylivepatch list --pid {pid}",
        ):
            written = terminal.run(["bash", "-c", command], COLUMNS, folder, ENVIRONMENT)
            lines += [f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m", *terminal.screen(written), ""]
        terminal.svg(PICTURES / "load.svg", "a load", lines[:-1], COLUMNS)


def report() -> None:
    with service() as (folder, pid):
        command = ["pylivepatch", "load", "discount.plp", "--pid", pid, "--report", "report.html"]
        subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        screenshot(folder / "report.html", PICTURES / "report.png")


def screenshot(page: Path, path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("the picture of a report needs chromium")
    size = ["--window-size=1000,544", "--hide-scrollbars", f"--user-data-dir={page.parent / 'profile'}"]
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [chromium, *quiet, *size, f"--screenshot={path}", page.as_uri()]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)


def kpatch_semantics() -> None:
    """The step with the counter, and its end."""
    command = ["pylivepatch", "demo", "kpatch_semantics"]
    lines = terminal.screen(terminal.run(command, COLUMNS, ROOT, ENVIRONMENT))
    plain = [Text.from_ansi(line).plain for line in lines]
    first = next(i for i, line in enumerate(plain) if line.startswith("(d)"))
    last = next(i for i, line in enumerate(plain) if line.startswith("(e)"))
    while not plain[last - 1].strip():
        last -= 1
    terminal.svg(PICTURES / "counter.svg", "pylivepatch demo kpatch_semantics", lines[first:last], COLUMNS)


def control_loop() -> None:
    path = ROOT / "demo_apps" / "control_loop" / "lateness.svg"
    subprocess.run(["pylivepatch", "demo", "control_loop", "--svg", str(path)], env=ENVIRONMENT, check=True)


def benchmarks() -> None:
    names = [path.stem for path in sorted((ROOT / "docs" / "plots").glob("*.svg"))]
    command = [sys.executable, "-m", "tests.benchmarks", *names, "--plots", "docs/plots"]
    subprocess.run(command, cwd=ROOT, check=True)


MAKERS: dict[str, Callable[[], None]] = {
    made.__name__: made for made in (load, report, kpatch_semantics, control_loop, benchmarks)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description="Make the pictures again.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(MAKERS)}; all by default")
    names = parser.parse_args().names or list(MAKERS)
    unknown = sorted(set(names) - set(MAKERS))
    if unknown:
        parser.error(f"there is no picture {', '.join(unknown)}; there are {', '.join(MAKERS)}")
    PICTURES.mkdir(exist_ok=True)
    for name in names:
        print(name, flush=True)
        MAKERS[name]()


if __name__ == "__main__":
    main()

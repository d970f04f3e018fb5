"""``load --report``, ``--events`` and the command ``report``: a transition is recorded, and shown afterwards."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal, TextIO

from pylivepatch import patchfile
from pylivepatch.agent.client import Client
from pylivepatch.cli.output import Output
from pylivepatch.errors import LivePatchError
from pylivepatch.patch import Patch
from pylivepatch.report import Recorder, html, picture, read, trace_events
from pylivepatch.tracing.formats import perfetto

_TICKS = 2.0  # seconds that the process goes on measuring delays after the last look


@contextmanager
def recording(
    out: Output, client: Client, action: str, what: str, *, report: str | None, events: str | None, greenlets: bool
) -> Iterator[Recorder | None]:
    """Record what happens in the block, where a report or an event log is asked for; the report is written at its end,
    also where it fails. ``what`` is the patch file of a load, the patch's name of an unload.

    A file that cannot be written any more once the block has begun is told, and no more: how the block went is more
    important, and stays as it is.

    :raises pylivepatch.errors.LivePatchError: a file cannot be opened; then the block is not begun
    """
    if report is None and events is None:
        yield None
        return
    patch = patchfile.read(what) if action == "load" else None
    with ExitStack() as stack:
        page = _opened(report, "w", stack) if report is not None else None
        log = _opened(events, "w+", stack) if events is not None else io.StringIO()
        file: TextIO
        for file in filter(None, (page, log)):
            stack.callback(_closed, file)  # before the stack does, which would not forgive
        info = client.info()
        second = Client(client.pid) if client.pid is not None else Client(path=client.path)
        begun = {
            "action": action,
            "patch": patch.name if patch is not None else what,
            "diffs": _diffs(patch) if patch is not None else [],
            **{name: info.get(name) for name in ("pid", "python", "argv")},
        }

        def look() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return second.status(watch=_TICKS), second.everyone(callers=True, greenlets=greenlets)

        recorder = Recorder(log, look, **begun)
        try:
            with recorder:
                yield recorder
        finally:
            if recorder.failed is not None:
                _tell(f"the event log {events} ends early, as it could not be written: {recorder.failed}")
            if page is not None:
                try:
                    log.seek(0)
                    page.write(html(picture(read(log, events or ""))))
                    page.close()
                    out.hint(f"the report is in {report}")
                except (OSError, LivePatchError) as error:
                    _tell(f"the report {report} could not be written: {error}")


def report(out: Output, log: str, output: str | None, perfetto_file: str | None) -> None:
    """Make a report, or a Perfetto trace, of a saved event log."""
    with ExitStack() as stack:
        shown = picture(read(_opened(log, "r", stack), log))
        if output is not None:
            _opened(output, "w", stack).write(html(shown))
        if perfetto_file is not None:
            _opened(perfetto_file, "w", stack).write(perfetto(trace_events(shown)) + "\n")
    written = [name for name in (output, perfetto_file) if name is not None]
    out.object({"written": written, "lanes": len(shown["lanes"]), "commits": shown["commits"]})
    for name in written:
        out.say(f"Wrote {name}")


def _diffs(patch: Patch) -> list[Mapping[str, Any]]:
    """What changed in each module, as unified diffs."""
    sources = [(module.name, module.path, module.old_source, module.new_source) for module in patch.modules]
    sources += [(module.name, module.path, "", module.new_source) for module in patch.new_modules]
    return [
        {
            "module": name,
            "path": path,
            "diff": "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm="")),
        }
        for name, path, old, new in sources
    ]


def _tell(text: str) -> None:
    """On standard error, with --json too."""
    sys.stderr.write(f"pylivepatch: {text}\n")


def _closed(file: TextIO) -> None:
    with suppress(OSError):  # told already
        file.close()


def _opened(path: str, mode: Literal["r", "w", "w+"], stack: ExitStack) -> TextIO:
    try:
        return stack.enter_context(open(path, mode, encoding="utf-8"))
    except OSError as error:
        verb = "read" if mode == "r" else "written"
        raise LivePatchError(
            f"the file cannot be {verb}: {error.strerror}", where=path, advice="name another", code="PLP410"
        ) from error

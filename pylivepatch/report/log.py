"""The log of a transition: JSON lines, each with ``event`` and ``time`` (``time.time()``, seconds).

==========  ==========================================================================================================
``begun``   the first line: ``action``, ``patch``, the process, ``interval`` between two looks, ``diffs`` of modules
``sample``  a look: ``transition`` (stage, counter, holders, at_gate, patch_state) or ``None``, ``tasks``; ``until`` it
            ended; ``ticker`` and ``greenlets`` as the agent tells them, where it does
``unseen``  a look that failed, with the ``error``
``ended``   the last line: ``result``, the engine's report, or ``error``
otherwise   an event of the engine's, as it came (``pylivepatch/events.py``)
==========  ==========================================================================================================
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

from pylivepatch.errors import LivePatchError

INTERVAL = 0.02  # seconds from the end of a look to the next one
_AFTER = 5  # looks after the end, which show who runs the new version

Look = Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]


class Recorder:
    """Writes a log while something happens. A context manager: it looks at the process until it is left.

    ``look`` gives the process's status, and everyone who is there, as the agent answers. It is called on a thread of
    the recorder's own, at least once before the block begins and some times after its end. An exception of the block is
    noted and goes on. Where the file cannot be written any more the log ends there, and ``failed`` says why: what is
    recorded does not end with it.
    """

    def __init__(self, file: TextIO, look: Look, **begun: Any) -> None:
        self._file = file
        self._look = look
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="pylivepatch-report", daemon=True)
        self.note({"event": "begun", "time": time.time(), "interval": INTERVAL, **begun})

    def __enter__(self) -> Recorder:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = time.time()
        self._over.set()
        self._thread.join()
        if isinstance(error, LivePatchError):
            self.note({"event": "ended", "time": now, "error": error.as_dict()})
        elif error is not None:
            message = str(error) or type(error).__name__
            self.note({"event": "ended", "time": now, "error": {"code": "", "message": message}})

    def ended(self, result: Mapping[str, Any]) -> None:
        """What was waited for is over, with this report."""
        self.note({"event": "ended", "time": time.time(), "result": dict(result)})

    def note(self, event: Mapping[str, Any]) -> None:
        """Write one event, at once: a command that is killed leaves what it knew."""
        line = json.dumps(event, default=str)
        with self._lock:
            if self.failed is None:
                try:
                    self._file.write(line + "\n")
                    self._file.flush()
                except OSError as error:
                    self.failed = error

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self._sample()
        for _ in range(_AFTER):
            self._sample()
            time.sleep(INTERVAL)

    def _sample(self) -> None:
        begun = time.time()
        try:
            status, everyone = self._look()
        except LivePatchError as error:
            self.note({"event": "unseen", "time": begun, "error": error.as_dict()})
            return
        transition = status.get("transition")
        if transition is not None:
            wanted = ("stage", "counter", "holders", "at_gate", "patch_state")
            transition = {name: transition[name] for name in wanted if name in transition}
        kept = ("kind", "name", "function", "line", "callers")  # an older agent tells no callers
        tasks = [{name: task[name] for name in kept if name in task} for task in everyone["tasks"]]
        sample = {"event": "sample", "time": begun, "until": time.time(), "transition": transition, "tasks": tasks}
        more = {"ticker": status.get("ticker"), "greenlets": everyone.get("greenlets")}
        self.note(sample | {name: value for name, value in more.items() if value is not None})


def read(file: TextIO, name: str) -> list[dict[str, Any]]:
    """The events of a log in the order of their times. A last line that was cut off is left out.

    :raises pylivepatch.errors.LivePatchError: it is no such log
    """
    lines = file.read().split("\n")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("time"), float):
            found.append(event)
        elif number != len(lines):
            raise _no_log(f"line {number} is no event", name)
    if not found or found[0]["event"] != "begun":
        raise _no_log("it does not begin with a transition's", name)
    return sorted(found, key=lambda event: float(event["time"]))


def _no_log(why: str, name: str) -> LivePatchError:
    return LivePatchError(
        f"not the event log of a transition: {why}",
        where=name,
        advice="name a file that `load --events` or `unload --events` wrote",
        code="PLP410",
    )

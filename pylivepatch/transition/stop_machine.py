"""The transition of mode ``stop-machine``: the kpatch of 2014, as the baseline.

Everyone is stopped, every stack is looked at, and either the functions are switched or everyone goes on and it is tried
again later: five tries, two seconds apart, are kpatch's.

How everyone is stopped. In the kernel ``stop_machine()`` makes every CPU spin in a known place. Here one C call keeps
every other Python thread from running, as it does not give up the GIL. So the whole of it, the walk over all stacks,
the search for everything suspended, the decision and the switch, is one C call, made of iterators of the standard
library: no Python code runs in it, and none elsewhere. It takes as long as there are frames and heap objects: that is
the pause which mode ``refcount`` avoids, and the report says how long it was.

What it looks at: the stacks of all threads; generators, coroutines and async generators, found by a scan of the heap
(``gc.get_objects``), as are greenlets with the stacks that they sleep on. Two things it would not see:

* A frame that has not come to its first instruction is on no stack. Threads can change hands there up to 3.11, where a
  collection may come while the frame's cells or its generator are made. So the call first makes a small collection of
  its own: where it is refused, as one is under way on some thread, that thread counts as inside.
* What was frozen (``gc.freeze``) is no part of the scan. Where something is, the reference counts are read in the same
  call, and must be those of nobody inside.

What it cannot stop: C code that runs without the GIL. That executes no Python function, so it does no harm.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, starmap
from operator import attrgetter, call, ne, not_
from typing import Any

from pylivepatch.activeness.stacks import every_frame
from pylivepatch.commit import at_once, calls, exhaust, note
from pylivepatch.counter import Counter
from pylivepatch.transition.base import Transition

TRIES = 5
INTERVAL = 2.0  # seconds between two tries
_FROZEN_AT_START = 2000
"""3.12 itself freezes some hundred objects. ``gc.freeze`` takes all that there are: thousands in a bare interpreter."""


class StopMachine(Transition):
    """Stop, look, switch or let go."""

    def __init__(self, *args: Any, tries: int = TRIES, interval: float = INTERVAL, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tries, self._interval = tries, interval

    def carry_out(self, deadline: float) -> None:
        stood: list[float] = []
        self.report["stood"] = stood
        for number in range(self._tries):
            if number and self._pause(deadline):
                return self._committed()
            self._stage("stop")
            codes = {id(version.code) for version in self._accounts.versions}
            times: list[float] = []
            switched = stop_look_and_switch(codes, *self._accounts.once_idle(), self._commit, self.counter, times)
            stood.append(times[1] - times[0])
            self._hold = max(self._hold, stood[-1])
            self._publish("stopped", seconds=stood[-1], switched=switched)
            if switched:
                return self._committed()
            self._explain()
        raise self._timeout()

    def _pause(self, deadline: float) -> bool:
        """Let everyone run until the next try. Whether it was forced meanwhile."""
        until = time.monotonic() + self._interval
        while time.monotonic() < until:
            if self.go_on(deadline):
                return True
            self.rest(min(0.05, self._interval))
        return False


def stop_look_and_switch(
    codes: set[int],
    probe: Iterable[int],
    expected: list[int],
    switch: Callable[[], None],
    counter: Counter,
    times: list[float],
) -> bool:
    """In one C call: ``switch`` unless a frame executes one of ``codes`` (ids: a reference to one would be counted), a
    collection is under way, or objects are frozen and ``probe`` does not give ``expected``.

    Notes its begin and end in ``times``.
    """
    objects: list[Any] = []
    busy: list[bool] = []
    found: list[int] = []
    go = (counter.zero(), switch)
    actions = {False: go, True: ()}
    collected: dict[str, Any] = {}
    frames = every_frame(objects)
    frozen = map(_FROZEN_AT_START.__lt__, starmap(gc.get_freeze_count, [()]))
    busy_by: list[Iterator[bool]] = [
        map(not_, (collected,)),
        map(all, [chain(frozen, map(ne, (found,), (expected,)))]),
        map(codes.__contains__, map(id, map(attrgetter("f_code"), frames))),
    ]
    tell = collected.__setitem__
    gc.callbacks.append(tell)
    try:
        at_once(
            note(times),
            calls((collected.clear, partial(gc.collect, 0))),
            map(objects.extend, starmap(gc.get_objects, [()])),
            map(found.append, probe),
            map(busy.append, map(any, [chain(*busy_by)])),
            map(call, chain.from_iterable(map(actions.__getitem__, busy))),
            note(times),
        )
    except LookupError:  # a container that held a code object changed: before the look, so nothing was done
        busy.append(True)
        times.append(time.perf_counter())
    finally:
        gc.callbacks.remove(tell)
        objects.clear()  # it holds itself, and with it everything that there was
        # Where somebody was found the rest was not looked at. Half used, these iterators hold frames, and these hold
        # them in turn: until the next collection the calls of this moment would seem to go on.
        exhaust(frames)
    return not busy[0]

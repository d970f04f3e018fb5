"""Steps that must come to their end, whatever interrupts the thread that makes them."""

from __future__ import annotations

from collections.abc import Callable


def insist(step: Callable[[], None]) -> None:
    """Do ``step``, which may be repeated, to its end: an interrupt in the middle is raised after it.

    A second Ctrl-C, or an exception that another thread sets, must not leave a process half-way.
    """
    interrupt: BaseException | None = None
    for _ in range(100):
        try:
            step()
            break
        except Exception:
            raise
        except BaseException as error:  # KeyboardInterrupt, SystemExit, what PyThreadState_SetAsyncExc was given
            interrupt = error
    if interrupt is not None:
        raise interrupt

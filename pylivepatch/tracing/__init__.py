"""Function tracing in ftrace's manner, on any Python function of the running process.

The problem is that of ftrace: to see each entry and exit of chosen functions, of all threads, for as long as somebody
looks, and to cost nothing before and after. So a traced function gets, as in a transition, its own body between two
hooks as its ``__code__`` (``pylivepatch/ftrace``); when tracing ends the original code object is put back. A hook is
one call of C code: it takes a number, the time and who runs, and puts them into a ring buffer.

>>> with pylivepatch.trace("myservice.orders.*") as tracer:                         # doctest: +SKIP
...     work()
>>> print(tracer.text("function_graph"))                                            # doctest: +SKIP

A *probe* is the other use of the same hooks: Python handlers that get a call's arguments and what came of it
(``probes.py``).

Tracing and patching the same function: as ftrace's IPMODIFY, one redirector at a time. While a patch's transition is
under way the functions of its modules are not traced, which the trace says, and afterwards they are again.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from pylivepatch.errors import EngineUnsupported
from pylivepatch.tracing.records import Record

with contextlib.suppress(EngineUnsupported):  # records can be read and shown all the same
    from pylivepatch.tracing.functions import find
    from pylivepatch.tracing.probes import Call, Probe, probe
    from pylivepatch.tracing.tracer import Tracer, start, trace

__all__ = ["Call", "Probe", "Record", "Tracer", "find", "probe", "start", "trace"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        importlib.import_module("pylivepatch.tracing.tracer")  # raises anew why it is not there
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The report of a transition: what happened in it, as one page that needs nothing else, and as a Perfetto trace.

``log`` keeps what happened, a JSON object a line: the engine's own events, and what was seen of each thread and task.
``picture`` makes of it what is drawn, ``page`` and ``traceviewer`` draw it. Nothing but the log feeds a report.
"""

from pylivepatch.report.log import INTERVAL, Recorder, read
from pylivepatch.report.page import html
from pylivepatch.report.picture import picture
from pylivepatch.report.traceviewer import trace_events

__all__ = ["INTERVAL", "Recorder", "html", "picture", "read", "trace_events"]

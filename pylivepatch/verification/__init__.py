"""Whether a process runs what it should: its portrait compared with that of a fresh import in a child.

``fresh`` runs the child, ``compare`` tells two portraits apart, ``report`` is what came of it, ``check`` goes through
the steps. The live side is not here: the process portrays itself (``pylivepatch.live``), and its portrait comes by way
of its agent or, in the process itself, directly.
"""

from __future__ import annotations

from pylivepatch.verification.check import Live, check, scope
from pylivepatch.verification.report import Difference, Report

__all__ = ["Difference", "Live", "Report", "check", "scope"]

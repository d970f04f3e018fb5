"""Building a patch from source: two trees, diffs, two revisions of a repository, or two releases.

Nothing of the source is executed. The steps: read the trees (``tree``), parse every module (``source``),
pair their definitions (``definitions``, ``scope``), decide each difference (``functions``, ``values``,
``imports``, with what the other modules make of it in ``world`` and ``uses``), and say what came of it
(``findings``, ``codes``).

``build_*`` gives a patch or raises; ``examine_*`` gives everything that was found, refused or not.
"""

from __future__ import annotations

from pylivepatch.build.builder import (
    build_from_diff,
    build_from_git,
    build_from_releases,
    build_patch,
    examine,
    examine_diff,
    examine_git,
    examine_releases,
)
from pylivepatch.build.findings import BuildResult, Finding

__all__ = [
    "BuildResult",
    "Finding",
    "build_from_diff",
    "build_from_git",
    "build_from_releases",
    "build_patch",
    "examine",
    "examine_diff",
    "examine_git",
    "examine_releases",
]

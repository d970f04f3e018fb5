"""The author's part of a patch: what a hooks file is written with (``pylivepatch build --hooks hooks.py``).

A hooks file is a Python module that the patch carries. It is read when the patch is built, and executed in the target
only, in ``prepare``, after every target was verified. What it may define, at its top level:

=========================================== =======================================================================
``pre_patch(context)``, ``post_patch``,     callbacks, found by their names (``pylivepatch.callbacks``)
``pre_unpatch``, ``post_unpatch``
``@transform("pkg.mod:Class.attribute")``   a function of one instance that gives the attribute's value for it
``safe("PLP255", "pkg.mod:Class.a", why)``  the author's word that a finding is no danger; literals only
``STATES = [State(…)]``                     the system states of the patch (``pylivepatch.state``)
=========================================== =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Transformer = TypeVar("Transformer", bound=Callable[[Any], Any])

MARK = "__livepatch_transform__"


def safe(code: str, symbol: str, why: str) -> None:
    """Say that the difference ``code`` at ``symbol`` needs nothing more than what the patch does.

    ``symbol`` is ``module:qualname`` as the builder prints it (``module`` alone, or a file's path, where it prints no
    more). The builder reads the statement; the difference, which needs its author, is then applied with ``why`` as its
    note. Executed in the target it does nothing.
    """


def transform(target: str, *, eager: bool = False) -> Callable[[Transformer], Transformer]:
    """Give instances that were made before the load an attribute that only the new version sets.

    ``target`` is ``module:Class.attribute``. The function gets an instance that has no such attribute and returns its
    value, which the instance keeps. It is called at the first access; several threads may call it at once, and one
    value wins. ``eager`` has all instances that are alive asked right after the switch, too, which takes a search of
    the heap: such a patch is loaded with ``deep=True`` (``--deep``) only. An exception passes to whoever asked
    (``AttributeError`` as ``RuntimeError``, since it would read as a missing attribute); after an eager search it
    taints.
    """

    def mark(function: Transformer) -> Transformer:
        setattr(function, MARK, (*getattr(function, MARK, ()), (target, eager)))
        return function

    return mark


__all__ = ["safe", "transform"]

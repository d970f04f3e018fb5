"""Portraits: what a process runs, module by module, as JSON-able text that two processes can compare.

The problem: to say of a live process and of a fresh import whether they run the same, from outside of both. Objects
do not travel, so each side describes its own by the same code: this package, which imports nothing but the standard
library and can therefore be run by itself in a child (see ``pylivepatch.verification``).

A portrait runs no code of what it looks at: no ``repr`` of foreign classes, no descriptor, no ``__getattr__``, no
``__eq__``. What cannot be described like this is *opaque*: named by its type, and said to be.
Equal things give equal text in every process: no address, no id, no order of a set, no position of code.
"""

from __future__ import annotations

from pylivepatch.portrait.modules import PARTS, Portrait, Symbols, portray

__all__ = ["PARTS", "Portrait", "Symbols", "portray"]

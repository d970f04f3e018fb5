"""The service under repair: it knows nothing of patches. Each old function is followed by its new version.

``place`` and ``charge`` must agree on the unit of the amount between them: euros in the old version, cents in the new.
A call that runs one old and one new function charges a hundredth, or a hundred times as much.
"""

from __future__ import annotations

from collections.abc import Callable

PRICE = 9  # euros


def place(quantity: int, till: Callable[[], object]) -> int:
    """Take an order: have the customer pay at ``till``, and charge. Returns what was charged, in cents."""
    amount = quantity * PRICE
    till()
    return charge(amount)


def charge(amount: int) -> int:
    """``amount`` is in euros."""
    return amount * 100


def place_in_cents(quantity: int, till: Callable[[], object]) -> int:
    amount = quantity * PRICE * 100
    till()
    return charge(amount)


def charge_in_cents(amount: int) -> int:
    return amount


def right(quantity: int) -> int:
    """What both versions charge, in cents."""
    return quantity * 900

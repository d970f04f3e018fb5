"""How a trade is settled, as the exchange began its day: amounts are written in hundredths.

``settlement_fixed.py`` is what it should be: ten-thousandths, with a check digit behind them. Two functions and a
constant must be of one version in every trade, from its first step to its last.
"""

from __future__ import annotations

from typing import Protocol

TICKS = 100  # to the unit of money


class Ledger(Protocol):
    async def confirm(self) -> None: ...

    async def write(self, amount: int) -> None: ...


async def trade(price: int, quantity: int, ledger: Ledger) -> int:
    """Settle a trade. Returns what the buyer pays, in units of money."""
    amount = price * quantity * TICKS
    await ledger.confirm()
    return await settle(amount, ledger)


async def settle(amount: int, ledger: Ledger) -> int:
    await ledger.write(amount)
    return amount // TICKS

"""How a trade should be settled: amounts are written in ten-thousandths, with a check digit behind them."""

from __future__ import annotations

from typing import Protocol

TICKS = 10_000  # to the unit of money


class Ledger(Protocol):
    async def confirm(self) -> None: ...

    async def write(self, amount: int) -> None: ...


async def trade(price: int, quantity: int, ledger: Ledger) -> int:
    """Settle a trade. Returns what the buyer pays, in units of money."""
    amount = price * quantity * TICKS
    amount = amount * 10 + amount % 9
    await ledger.confirm()
    return await settle(amount, ledger)


async def settle(amount: int, ledger: Ledger) -> int:
    await ledger.write(amount)
    amount, digit = divmod(amount, 10)
    return amount // TICKS if digit == amount % 9 else 0

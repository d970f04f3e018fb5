"""The exchange: a book of orders in one event loop, its ledger, and its clients. It knows nothing of patches."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from dataclasses import dataclass

import settlement

CONFIRMING, WRITING = 0.005, 0.005  # seconds that others take to confirm a trade, and to write it down


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: what was written, and what the trade is worth, in units of money."""

    amount: int
    worth: int

    @property
    def version(self) -> str:
        """Which version wrote it; empty for none of both."""
        if self.amount == self.worth * 100:
            return "old"
        fixed = self.worth * 10_000
        return "fixed" if self.amount == fixed * 10 + fixed % 9 else ""


class Page:
    """Where one trade is written down."""

    def __init__(self, ledger: list[Entry], worth: int) -> None:
        self._ledger = ledger
        self._worth = worth

    async def confirm(self) -> None:
        await asyncio.sleep(CONFIRMING)

    async def write(self, amount: int) -> None:
        await asyncio.sleep(WRITING)
        self._ledger.append(Entry(amount, self._worth))


class Exchange:
    """Matches buyers with sellers: the best price first, then the oldest order."""

    def __init__(self) -> None:
        self.ledger: list[Entry] = []
        self.wrong = 0  # trades in which something else was paid than they are worth
        self._number = itertools.count()
        self._books: dict[bool, list[tuple[int, int, int, asyncio.Future[int]]]] = {True: [], False: []}

    async def order(self, *, buying: bool, limit: int, quantity: int) -> int:
        """Place an order, and wait until it is filled. Returns what is paid for it; 0 where the exchange closes."""
        others = self._books[not buying]
        if not others:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            rank = -limit if buying else limit
            heapq.heappush(self._books[buying], (rank, next(self._number), quantity, future))
            return await future
        rank, _, quantity, other = heapq.heappop(others)
        price = abs(rank)
        paid = await settlement.trade(price, quantity, Page(self.ledger, price * quantity))
        self.wrong += paid != price * quantity
        other.set_result(paid)
        return paid

    def close(self) -> None:
        """Send those home whose orders wait in the book."""
        for book in self._books.values():
            for _, _, _, future in book:
                future.set_result(0)
            book.clear()


class Clients:
    """So many clients, each with a pause of about a second between two orders. ``cash`` is what each has gained."""

    def __init__(self, exchange: Exchange, count: int, seed: int) -> None:
        self.cash = [0] * count
        self.placed = self.filled = self.sent_home = 0  # orders
        self._exchange = exchange
        self._stopping = False
        self._random = random.Random(seed)
        self._tasks = [asyncio.create_task(self._run(n), name=f"client-{n}") for n in range(count)]

    async def _run(self, number: int) -> None:
        await asyncio.sleep(self._random.random())
        while not self._stopping:
            buying = self._random.random() < 0.5
            limit = self._random.randint(100, 110) if buying else self._random.randint(90, 100)
            self.placed += 1
            paid = await self._exchange.order(buying=buying, limit=limit, quantity=self._random.randint(1, 9))
            self.cash[number] += -paid if buying else paid
            self.filled += paid > 0
            self.sent_home += paid == 0
            await asyncio.sleep(0.5 + self._random.random())

    async def stop(self, patience: float) -> None:
        """Let everyone finish what is under way. Raises what a client raised, and :class:`TimeoutError`."""
        self._stopping = True
        async with asyncio.timeout(patience):
            while waiting := [task for task in self._tasks if not task.done()]:
                self._exchange.close()
                await asyncio.wait(waiting, timeout=0.05)
            await asyncio.gather(*self._tasks)

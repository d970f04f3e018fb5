"""Patch an asyncio exchange with 2,000 clients again and again under full load, and check every trade."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from exchange import Clients, Exchange
from screen import Check, Screen

import pylivepatch

HERE = Path(__file__).parent
CLIENTS = 2_000
CYCLES = 5  # loads, each with its unload
PATIENCE = 60.0  # seconds for one load or unload


class Day:
    """One day at the exchange."""

    def __init__(self, screen: Screen, seed: int) -> None:
        self.screen = screen
        self.seed = seed
        self.switches: list[dict[str, Any]] = []
        self.between: list[bool] = []  # whether all that was written between two switches was of the one version

    async def run(self) -> tuple[Exchange, Clients]:
        patch = await asyncio.to_thread(
            pylivepatch.build_patch,
            HERE / "settlement.py",
            HERE / "settlement_fixed.py",
            name="ten-thousandths",
        )
        exchange = Exchange()
        clients = Clients(exchange, CLIENTS, self.seed)
        await asyncio.sleep(2)
        for _ in range(CYCLES):
            await self._switch(exchange, "load", patch)
            await self._trade_on(exchange, "fixed")
            await self._switch(exchange, "unload", patch)
            await self._trade_on(exchange, "old")
        await clients.stop(PATIENCE)
        return exchange, clients

    async def _switch(self, exchange: Exchange, action: str, patch: pylivepatch.Patch) -> None:
        begin, before = time.monotonic(), len(exchange.ledger)
        if action == "load":
            applied = await asyncio.to_thread(pylivepatch.load, patch, timeout=PATIENCE)
            report = applied.report
        else:
            report = await asyncio.to_thread(pylivepatch.unload, patch.name, timeout=PATIENCE)
        gate = report.get("gate", {"tries": 0, "waits": 0, "longest_wait": 0.0})
        self.switches.append(
            {
                "action": action,
                "seconds": time.monotonic() - begin,
                "trades": len(exchange.ledger) - before,
                "gate": gate,
                "longest_hold": report["longest_hold"],
            }
        )
        self.screen.say(
            f"{action:<7} {report['duration'] * 1000:6.0f} ms   {len(exchange.ledger) - before:5,} trades meanwhile   "
            f"{gate['waits']:3} waited, {gate['longest_wait'] * 1000:3.0f} ms at most"
        )

    async def _trade_on(self, exchange: Exchange, version: str) -> None:
        begin = len(exchange.ledger)
        await asyncio.sleep(0.5)
        self.between.append({entry.version for entry in exchange.ledger[begin:]} <= {version})


def checks(day: Day, exchange: Exchange, clients: Clients) -> list[Check]:
    """What the verdict rests on."""
    versions = [entry.version for entry in exchange.ledger]
    runs = [version for version, _ in groupby(versions)]
    mixed = versions.count("")
    waited = sum(switch["gate"]["waits"] for switch in day.switches)
    lost = clients.placed - clients.filled - clients.sent_home
    strays = day.between.count(False)
    return [
        Check("trades that mixed versions", mixed == exchange.wrong == 0, f"{mixed} of {len(versions):,}"),
        Check(
            "changes of version in the ledger, one for each switch",
            len(runs) - 1 == len(day.switches),
            f"{len(runs) - 1} in {len(day.switches)} switches",
        ),
        Check(
            "stretches between switches with trades of the other version",
            strays == 0,
            f"{strays} of {len(day.between)}",
        ),
        Check("money that appeared or vanished", sum(clients.cash) == 0, str(sum(clients.cash))),
        Check("orders without an answer", lost == 0, f"{lost} of {clients.placed:,}"),
        Check(
            "trades went on during every switch",
            all(switch["trades"] > 0 for switch in day.switches),
            f"{min(switch['trades'] for switch in day.switches)} at least; {waited} waited at the gate",
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="asyncio_exchange", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of the clients' orders")
    arguments = parser.parse_args()

    screen = Screen(quiet=arguments.json)
    screen.say(f"{CLIENTS:,} clients trade in one event loop (seed {arguments.seed}). A patch of two functions\n"
               "and a constant goes in and out while they do.")
    day = Day(screen, arguments.seed)
    try:
        exchange, clients = asyncio.run(day.run())
    except KeyboardInterrupt:
        return 130
    results = checks(day, exchange, clients)
    screen.close(results)
    passed = all(check.passed for check in results)
    if arguments.json:
        result = {
            "demo": "asyncio_exchange",
            "verdict": "pass" if passed else "fail",
            "checks": [{"name": c.name, "passed": c.passed, "measured": c.measured} for c in results],
            "seed": arguments.seed,
            "clients": CLIENTS,
            "trades": len(exchange.ledger),
            "wrong": exchange.wrong,
            "switches": day.switches,
        }
        print(json.dumps(result, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

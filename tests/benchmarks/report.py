"""What the benchmarks share: their options, and a table for people or JSON in a file where one was asked for."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int
    json: Path | None

    @classmethod
    def parse(cls, description: str, *, rounds: int) -> Options:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--rounds", type=int, default=rounds, help=f"{rounds} by default")
        parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file, too")
        options = parser.parse_args()
        return cls(options.rounds, options.json)


def show(table: Table, rows: list[dict[str, Any]], options: Options) -> None:
    Console(width=110).print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")

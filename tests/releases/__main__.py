"""``python -m tests.releases``: the table of ``docs/edits.md``, by what the builder says now."""

from __future__ import annotations

from collections import Counter

from pylivepatch.errors import ReleaseError
from tests.releases.pairs import pairs, result


def main() -> None:
    print("| releases | result | why |")
    print("|---|---|---|")
    for pair in pairs():
        try:
            found = result(pair)
        except ReleaseError as error:
            print(f"| {pair} | not to be had | {error.code}: no wheel for this Python? |")
            continue
        if found.patch is not None:
            kinds = Counter(finding.code for finding in found.changes if finding.carried)
            counts = ", ".join(f"{code} × {count}" for code, count in sorted(kinds.items()))
            print(f"| {pair} | built | {counts} |")
        else:
            why = "; ".join(
                dict.fromkeys(f"{finding.code} `{finding.module}:{finding.symbol}`" for finding in found.refusals)
            )
            print(f"| {pair} | refused | {why} |")


if __name__ == "__main__":
    main()

"""``python -m pylivepatch``: the command line."""

from __future__ import annotations

from pylivepatch.cli import main

if __name__ == "__main__":
    main()

"""The talk "Kpatch Without Stop Machine", live: why, with stop_machine, without, and the counter step by step."""

from __future__ import annotations

import argparse
import json
import sys

from screen import Screen
from steps import Story


def main() -> int:
    parser = argparse.ArgumentParser(prog="kpatch_semantics", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--step", action="store_true", help="wait for Enter between the steps")
    arguments = parser.parse_args()

    screen = Screen(quiet=arguments.json, step=arguments.step)
    story = Story(screen)
    try:
        story.run()
    except KeyboardInterrupt:
        return 130
    screen.close(story.checks)
    passed = all(check.passed for check in story.checks)
    if arguments.json:
        result = {
            "demo": "kpatch_semantics",
            "verdict": "pass" if passed else "fail",
            "checks": [{"name": c.name, "passed": c.passed, "measured": c.measured} for c in story.checks],
            **story.measured,
        }
        print(json.dumps(result, indent=2))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

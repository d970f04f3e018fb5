"""Mend CVE-2023-46136 in a web service under load, without a restart, and take the mend out again."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from measure import as_dict
from processes import ChildFailed, Children
from scenario import SERVERS, Story
from screen import Screen


def main() -> int:
    parser = argparse.ArgumentParser(prog="web_cve", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--server", choices=list(SERVERS), default="werkzeug", help="what serves, werkzeug by default")
    arguments = parser.parse_args()
    # An exit by exception: it ends the children, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    screen = Screen(quiet=arguments.json)
    screen.open()
    try:
        with tempfile.TemporaryDirectory(prefix="pylivepatch-demo-") as folder, Children() as children:
            run = Story(Path(folder), children, screen, arguments.server).run()
    except ChildFailed as failure:
        screen.fail(str(failure))
        result = {"demo": "web_cve", "verdict": "fail", "error": str(failure)}
    except KeyboardInterrupt:
        screen.fail("interrupted")
        return 128 + signal.SIGINT
    else:
        screen.close(run)
        result = as_dict(run)
    if arguments.json:
        print(json.dumps(result, indent=2))
    return 0 if result["verdict"] == "pass" else 1


if __name__ == "__main__":
    sys.exit(main())

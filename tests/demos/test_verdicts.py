"""Each demo that needs no network, end to end: its verdict, and what it rests on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

pytestmark = pytest.mark.slow


def verdict_of(name: str, *arguments: str) -> dict[str, Any]:
    """What the demo prints with ``--json``, which must be a pass."""
    done = subprocess.run(
        [sys.executable, ROOT / "demo_apps" / name, "--json", *arguments],
        env=os.environ | {"PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["demo"] == name
    assert result["verdict"] == "pass", json.dumps(result, indent=2)
    assert done.returncode == 0
    assert result["checks"]
    assert all(check["passed"] for check in result["checks"])
    return result


def test_kpatch_semantics_passes() -> None:
    result = verdict_of("kpatch_semantics")
    assert result["one_by_one"]["mixed"] > 0
    assert "stop_look_and_switch();" in result["stop_machine"]["trace"]
    assert "stop_look_and_switch" not in result["refcount"]["trace"]
    assert result["load"]["counters"] == result["unload"]["counters"] == [1, 2, 3, 2, 1, 2, 1, 0]
    assert result["load"]["committed_by"] == result["unload"]["committed_by"] == "dora"
    assert result["busy"]["starved"]
    assert result["incremental"]["groups"] == 2


def test_asyncio_exchange_passes() -> None:
    result = verdict_of("asyncio_exchange")
    assert result["clients"] >= 2000
    assert result["wrong"] == 0
    assert [switch["action"] for switch in result["switches"]] == ["load", "unload"] * 5
    assert all(switch["trades"] > 0 for switch in result["switches"])


def test_control_loop_passes_and_draws_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "lateness.svg"
    result = verdict_of("control_loop", "--svg", str(picture))
    ways = {outcome["way"]: outcome for outcome in result["ways"]}
    assert list(ways) == ["restart", "reload", "stop-machine", "refcount"]
    assert {way: seen["fixed"] for way, seen in ways.items()} == dict.fromkeys(ways, True) | {"reload": False}
    assert {way: seen["state_kept"] for way, seen in ways.items()} == dict.fromkeys(ways, True) | {"restart": False}
    texts = [element.text for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    for way, seen in ways.items():
        assert way in texts
        assert {str(count) for count in seen["histogram"] if count} <= set(texts)


def test_greenlet_server_passes_on_every_hub_that_is_installed() -> None:
    pytest.importorskip("greenlet")
    servers = verdict_of("greenlet_server")["servers"]
    hubs = ["plain greenlets", *(["gevent"] if find_spec("gevent") is not None else [])]
    assert [server["hub"] for server in servers] == hubs
    for server in servers:
        assert server["clients"] >= 2000
        assert server["mixed"] == 0
        assert len(server["held_by"]["names"]) >= 20
        assert server["load"]["went_on"] == server["unload"]["went_on"] == server["clients"]

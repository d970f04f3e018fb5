"""The layers point one way, and the target process never pays for what it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pylivepatch"

# Each layer may import those on its right, and itself. What is not listed may be imported by nobody listed.
ALLOWED = {
    "errors": set(),
    "patch": set(),
    "events": set(),
    "shadow": {"errors"},
    "state": {"errors"},
    "callbacks": {"errors", "events", "state"},
    "hooks": {"callbacks", "state", "errors"},
    "requirement": set(),
    "jsonfields": {"patch"},
    "manifest": {"jsonfields", "requirement", "patch", "hooks", "errors"},
    "patchfile": {"manifest", "patch", "errors"},
    "counter": set(),
    "ftrace": {"counter", "errors"},
    "commit": {"counter"},
    "activeness": {"commit", "errors"},
    "transition": {"activeness", "counter", "ftrace", "commit", "patch", "errors", "events"},
    "callgraph": set(),
    "groups": {"callgraph", "patch"},
    "symbols": {"patch"},
    "wholly": {"ftrace"},
    "cores": set(),
    "pairs": {"ftrace"},
    "items": {"pairs", "wholly", "activeness", "symbols", "patch", "errors"},
    "compiled": {"items", "cores", "groups", "wholly", "patch", "requirement", "patchfile", "errors"},
    "evaluate": {"transition", "commit", "symbols", "errors"},
    "generic": {"transition", "activeness", "commit", "errors"},
    "below": {"transition", "activeness", "commit"},
    "classes": {"activeness", "commit", "pairs", "transition", "errors"},
    "elsewhere": {"activeness"},
    "locate": {"below", "pairs", "activeness", "errors"},
    "installed": {"activeness", "errors"},
    "part": {"locate", "below", "transition", "evaluate", "activeness", "commit", "errors"},
    "switches": {"part", "below", "pairs", "transition", "ftrace", "activeness", "errors"},
    "values": {"part", "locate", "below", "transition", "items", "evaluate", "symbols", "activeness", "commit"}
    | {"errors"},
    "replacements": {"switches", "part", "groups", "below", "transition", "pairs", "activeness", "patch", "errors"},
    "prepare": {"values", "memos", "switches", "part", "generic", "locate", "classes", "elsewhere", "below"}
    | {"transition", "items", "pairs", "evaluate", "activeness", "ftrace", "commit", "errors"},
    "brought": {"values", "part", "below", "transition", "pairs", "wholly", "evaluate", "symbols", "activeness"}
    | {"ftrace", "commit", "errors"},
    "caches": {"generic", "memos", "part", "transition", "activeness", "events"},
    "memos": {"items", "locate", "part", "switches", "transition", "activeness", "errors"},
    "transformers": {"locate", "part", "hooks", "callbacks", "transition", "activeness", "errors"},
    "arrivals": set(),
    "journal": {"transition", "errors"},
    "tracing": {"journal", "transition", "ftrace", "activeness", "commit", "errors"},
    "way": {"errors"},
    "taints": {"events"},
    "cumulative": {"below", "pairs", "switches", "part", "transition", "activeness", "errors"},
    "removable": {"tracing", "locate", "part", "transition", "activeness", "errors"},
    "stack": {"groups", "hooks", "arrivals", "brought", "journal", "callbacks", "items", "part", "removable"}
    | {"taints"},
    "switching": {"stack", "cumulative", "below", "journal", "way", "part", "transition", "activeness"}
    | {"errors", "events"},
    "portions": {"groups", "stack", "part", "transition", "activeness", "patch"},
    "incremental": {"portions", "coming", "stack", "switching", "journal", "way", "removable", "transition"}
    | {"errors", "events"},
    "coming": {"groups", "portions", "items", "transformers", "stack", "switching", "arrivals", "journal", "way"}
    | {"caches", "prepare", "part", "errors", "events"},
    "core": {"replacements", "part"}
    | {"tracing", "callbacks", "state", "prepare", "arrivals", "journal", "compiled", "items", "transition"}
    | {"stack", "switching", "coming", "incremental", "portions", "below", "cumulative", "way", "removable"}
    | {"activeness", "hooks", "transformers", "brought", "caches", "installed", "patchfile", "patch", "errors"},
    "portrait": set(),
    "underway": {"journal", "errors"},
    "live": {"portrait", "core", "underway", "part", "errors"},
    "verification": {"portrait", "hooks", "patch", "errors"},
    "rehearsal": {"verification", "live", "core", "patchfile", "patch", "errors"},
    "build": {"cores", "patch", "requirement", "hooks", "errors"},
    "agent": {"core", "underway", "activeness", "tracing", "live", "verification", "way", "taints", "compiled"}
    | {"patchfile", "patch", "errors", "events"},
    "report": {"errors"},
    "cli": {"agent", "tracing", "report", "verification", "way", "build", "patchfile", "patch", "hooks", "errors"},
}


def modules(layer: str) -> list[Path]:
    folder = PACKAGE / layer
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{layer}.py"]


def imported_layers(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "pylivepatch" else []
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("pylivepatch.")}
    return found & {*ALLOWED, "cli"}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    for path in modules(layer):
        assert imported_layers(path) <= ALLOWED[layer] | {layer}, path


def test_every_module_belongs_to_a_layer() -> None:
    names = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()}
    assert names - {"__init__", "__main__", "__pycache__", "_demos"} == set(ALLOWED)


def test_a_process_that_runs_an_agent_imports_no_command_line_and_no_builder() -> None:
    program = (
        "import sys, pylivepatch, pylivepatch.agent\n"
        "from pylivepatch import core\n"
        "unwanted = [m for m in sys.modules if m.split('.')[0] in ('rich', 'click', 'greenlet')]\n"
        "unwanted += [m for m in sys.modules if m.startswith(('pylivepatch.cli', 'pylivepatch.build'))]\n"
        "print(unwanted)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"

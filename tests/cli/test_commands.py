"""Every command as a person calls it: what it prints, and its exit status."""

from __future__ import annotations

import difflib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from shell import Shell
from targets import MENDED, SERVICE, Target

from pylivepatch import patchfile
from pylivepatch.agent.client import Client
from pylivepatch.cli import process
from pylivepatch.cli.output import Output


def narrow(text: str) -> bool:
    """Whether no table is wider than 80 columns. (A message or a path is a line of its own and not broken.)"""
    return all(len(line) <= 80 for line in text.splitlines() if "  " in line.strip())


# --- build --------------------------------------------------------------------------------------------------


def test_build_from_trees_writes_a_patch_and_exits_0(shell: Shell) -> None:
    done = shell("build", "--from", "old", "--to", "new", "-o", "fix.plp", "--description", "why")
    assert done.status == 0
    assert "service:price" in done.out
    assert narrow(done.out)
    patch = patchfile.read(shell.folder / "fix.plp")
    assert (patch.name, patch.description) == ("fix", "why")


def test_build_from_a_diff(shell: Shell) -> None:
    diff = difflib.unified_diff(
        SERVICE.splitlines(True), MENDED.splitlines(True), "a/service.py", "b/service.py"
    )
    (shell.folder / "fix.patch").write_text("".join(diff))
    done = shell(
        "build", "--diff", "fix.patch", "--source", "old", "-o", "x.plp", "--name", "named", "--json"
    )
    assert done.status == 0
    assert done.json["outcome"] == "built"
    assert done.json["name"] == "named"
    assert Path(done.json["file"]) == shell.folder / "x.plp"
    assert {change["symbol"] for change in done.json["changes"]} == {"price", "hold"}


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_build_from_two_revisions(shell: Shell) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", str(shell.folder / "repo")]
    shutil.copytree(shell.old, shell.folder / "repo")
    subprocess.run(["git", "init", "-q", str(shell.folder / "repo")], check=True)
    for folder, tag in ((shell.old, "v1"), (shell.new, "v2")):
        shutil.copy(folder / "service.py", shell.folder / "repo")
        for command in (["add", "-A"], ["commit", "-q", "-m", tag], ["tag", tag]):
            subprocess.run(["git", *who, *command], check=True)
    done = shell("build", "--git", "repo", "v1", "v2", "-o", "fix.plp")
    assert done.status == 0, done.err
    assert patchfile.read(shell.folder / "fix.plp").modules[0].new_source == MENDED
    done = shell("build", "--git", "repo", "v1", "v3", "-o", "fix.plp")
    assert (done.status, "no revision 'v3'" in done.err) == (1, True)


def test_build_exits_2_when_refused_and_writes_nothing(shell: Shell) -> None:
    (shell.new / "service.py").write_text(
        SERVICE.replace("def price(quantity):", "def price(quantity=open('quantity')):")
    )
    done = shell("build", "--from", "old", "--to", "new", "-o", "fix.plp")
    assert done.status == 2
    assert "Refused" in done.out
    assert narrow(done.out)
    assert not (shell.folder / "fix.plp").exists()
    done = shell("build", "--from", "old", "--to", "new", "-o", "fix.plp", "--json")
    assert done.status == 2
    assert done.json["error"]["code"] == "PLP204"
    assert done.json["refusals"][0]["symbol"] == "price"


def test_build_exits_3_when_nothing_changed(shell: Shell) -> None:
    assert shell("build", "--from", "old", "--to", "old", "-o", "fix.plp").status == 3
    done = shell("build", "--from", "old", "--to", "old", "-o", "fix.plp", "--json")
    assert (done.status, done.json["error"]["code"]) == (3, "PLP205")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from", "old"],
        ["--diff", "x.patch"],
        ["--source", "old"],
        ["--from", "old", "--to", "new"],
        ["--from", "old", "--to", "new", "-o", "x.plp", "--dist", "a", "1", "2"],
        ["--dist", "a", "1"],
        ["--from", "old", "--to", "new", "--name", "no spaces"],
        ["--from", "none", "--to", "new", "-o", "x.plp"],
        ["--diff", "none.patch", "--source", "old", "-o", "x.plp"],
        ["--from", "old", "--to", "new", "-o", "none/x.plp"],
        ["--nonsense"],
        ["surplus"],
    ],
)
def test_a_mistake_in_calling_build_exits_1_so_that_2_means_refused(
    shell: Shell, arguments: list[str]
) -> None:
    done = shell("build", *arguments)
    assert done.status == 1
    assert done.err
    done = shell("build", *arguments, "--json")
    assert done.status == 1
    assert done.json["error"]["message"]


# --- info ---------------------------------------------------------------------------------------------------


def test_info_shows_what_is_in_a_patch_file(shell: Shell) -> None:
    shell.build()
    done = shell("info", "fix.plp")
    assert done.status == 0
    assert "service:price" in done.out
    done = shell("info", "fix.plp", "--json")
    assert done.json["name"] == "fix"
    assert {"kind": "function", "target": "price"} in done.json["modules"][0]["changes"]


HOOKS = """\
from pylivepatch.hooks import safe

safe("PLP280", "service", "printing once is enough")

def post_patch(context):
    import service
    service.told = context.patch
"""


def test_a_hooks_file_goes_through_the_file_and_the_agent_to_the_process(shell: Shell, target: Target) -> None:
    (shell.new / "service.py").write_text(MENDED + "\nprint('ready')\n")
    (shell.folder / "hooks.py").write_text(HOOKS.replace("import service", "import __main__ as service"))
    build = ("build", "--from", "old", "--to", "new", "-o", "fix.plp")
    assert shell(*build).status == 2
    assert shell(*build, "--hooks", "hooks.py").status == 0
    shown = shell("info", "fix.plp")
    assert "post_patch" in shown.out
    assert "PLP280 service is safe: printing once is enough" in " ".join(shown.out.split())
    assert "service.told" not in shown.out
    assert narrow(shown.out)
    assert "service.told = context.patch" in shell("info", "fix.plp", "--hooks").out
    found = shell("info", "fix.plp", "--json").json
    assert (found["hooks"]["callbacks"], "source" in found["hooks"]) == (["post_patch"], False)
    assert "PLP280" in [told["code"] for told in found["told"]]
    done = shell("load", "fix.plp", "--pid", target.pid)
    assert done.status == 0, done.err
    assert target.ask("told") == "fix"
    assert shell("unload", "fix", "--pid", target.pid).status == 0


def test_a_mistake_in_a_hooks_file_exits_1_with_its_place(shell: Shell) -> None:
    (shell.folder / "hooks.py").write_text("safe('PLP230', 'm:f', 'I say so')\n")
    done = shell("build", "--from", "old", "--to", "new", "-o", "fix.plp", "--hooks", "hooks.py")
    assert (done.status, "PLP206" in done.err, "hooks.py:1" in done.err) == (1, True, True)


# --- load, list, status, unload -----------------------------------------------------------------------------


def test_a_patch_goes_in_and_out(shell: Shell, target: Target) -> None:
    shell.build()
    done = shell("load", "fix.plp", "--pid", target.pid)
    assert done.status == 0, done.err
    assert "commit: switched" in done.out, "plain lines where there is no terminal"
    assert "Loaded fix in" in done.out
    assert "Longest moment that anyone stood" in done.out
    assert ":price" in done.out
    assert narrow(done.out)
    assert target.ask("price(2)") == 200

    listed = shell("list", "--pid", target.pid)
    assert listed.status == 0
    assert "fix" in listed.out
    assert narrow(listed.out)
    everyone = shell("list")
    assert str(target.pid) in everyone.out
    assert "fix" in everyone.out
    assert narrow(everyone.out)
    state = shell("status", "--socket", target.socket)
    assert "no transition is under way" in state.out

    done = shell("unload", "fix", "--pid", target.pid)
    assert done.status == 0
    assert "Unloaded fix" in done.out
    assert target.ask("price(2)") == 180
    assert "no patch is applied" in shell("list", "--pid", target.pid).out


def test_json_is_one_object_for_every_command(shell: Shell, target: Target) -> None:
    shell.build()
    loaded = shell("load", "fix.plp", "--pid", target.pid, "--json")
    assert loaded.err == ""
    assert (loaded.json["pid"], loaded.json["patch"], loaded.json["action"]) == (target.pid, "fix", "load")
    assert "longest_hold" in loaded.json
    assert shell("list", "--pid", target.pid, "--json").json["patches"][0]["name"] == "fix"
    (agent,) = shell("list", "--json").json["agents"]
    assert (agent["pid"], agent["patches"]) == (target.pid, ["fix"])
    assert shell("status", "--pid", target.pid, "--json").json["transition"] is None
    assert shell("unload", "fix", "--socket", target.socket, "--json").json["pid"] == target.pid


def test_who_holds_a_transition_is_a_table_that_fits(shell: Shell, target: Target) -> None:
    shell.build()
    target.ask("occupy()")
    done = shell("load", "fix.plp", "--pid", target.pid, "--timeout", "0.4")
    assert done.status == 1
    assert "PLP120" in done.err
    assert "thread occupant" in done.err
    assert "service.py:" in done.err.replace("\n", "").replace(" ", "")
    table = done.err[done.err.index("held by") : done.err.index("what to do")]
    assert all(len(line) <= 80 for line in table.splitlines())
    done = shell("load", "fix.plp", "--pid", target.pid, "--timeout", "0.4", "--json")
    assert done.status == 1
    assert done.json["error"]["details"]["holders"][0]["name"] == "occupant"
    assert target.ask("price(2)") == 180
    assert "PLP120" in shell("status", "--pid", target.pid).out


def test_who_waits_at_the_gate_is_told_apart_from_who_holds_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"kind": "thread", "name": "sitter", "function": "shop:hold", "file": "shop.py", "line": 7}
    kept = {**one, "name": "waiter", "function": "shop:price"}
    transition = {"patch": "fix", "action": "load", "stage": "release", "counter": 1}
    state = {"transition": transition | {"holders": [one], "at_gate": [kept]}, "last": None}
    monkeypatch.setattr(Client, "status", lambda self: state)
    process.status(Output(), Client(pid=1))
    _, _, told = capsys.readouterr().out.partition("held by")
    held, _, waits = told.partition("waits at the gate")
    assert ("thread sitter" in held, "thread waiter" in held) == (True, False)
    assert ("thread sitter" in waits, "thread waiter" in waits) == (False, True)


def test_an_interrupted_load_says_what_becomes_of_it(shell: Shell, target: Target) -> None:
    shell.build()
    target.ask("occupy()")
    process = subprocess.Popen(
        shell.command("load", "fix.plp", "--pid", target.pid, "--timeout", "60"),
        cwd=shell.folder,
        env={**shell.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "held by" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the load of fix goes on in the process (stage drain)" in err
    assert f"pylivepatch status --pid {target.pid}" in err
    assert "drain" in shell("status", "--pid", target.pid).out
    target.ask("leave.set()")


def held_load(shell: Shell, target: Target, *options: str) -> subprocess.Popen[str]:
    """A load that waits for a thread inside ``hold``."""
    shell.build()
    target.ask("occupy()")
    process = subprocess.Popen(
        shell.command("load", "fix.plp", "--pid", target.pid, "--timeout", "60", *options),
        cwd=shell.folder,
        env={**shell.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "held by" in line:
            break
    return process


def test_a_load_is_reversed_from_outside(shell: Shell, target: Target) -> None:
    loading = held_load(shell, target)
    done = shell("reverse", "--pid", target.pid)
    assert done.status == 0
    assert "the load of fix was asked to reverse. It ended: reversed: PLP125" in done.out
    _, err = loading.communicate(timeout=30)
    assert (loading.returncode, "PLP125" in err) == (1, True)
    assert target.ask("price(2)") == 180
    again = shell("reverse", "--pid", target.pid)
    assert (again.status, "PLP127" in again.err) == (1, True)
    target.ask("leave.set()")


def test_a_forced_load_says_so_wherever_one_looks(shell: Shell, target: Target) -> None:
    loading = held_load(shell, target, "--no-gate")
    assert shell("signal", "--pid", target.pid).status == 0
    assert shell("force", "--pid", target.pid, "--json").json["asked"] == "force"
    out, _ = loading.communicate(timeout=30)
    assert loading.returncode == 0
    assert "tainted" in out
    assert "forced" in shell("list", "--pid", target.pid).out
    assert "tainted: forced, load of fix" in shell("status", "--pid", target.pid).out
    refused = shell("unload", "fix", "--pid", target.pid)
    assert (refused.status, "PLP122" in refused.err) == (1, True)
    target.ask("leave.set()")


def test_a_cumulative_patch_takes_the_place_of_the_others(shell: Shell, target: Target) -> None:
    shell.build()
    assert shell("load", "fix.plp", "--pid", target.pid).status == 0
    (shell.new / "service.py").write_text(SERVICE.replace("quantity * 90", "quantity * 110"))
    built = shell("build", "--from", "old", "--to", "new", "-o", "all.plp")
    assert built.status == 0
    assert shell("load", "all.plp", "--pid", target.pid).status == 1  # it is not built against what runs
    done = shell("load", "all.plp", "--pid", target.pid, "--replace")
    assert (done.status, "In the place of fix" in done.out) == (0, True)
    assert target.ask("price(2)") == 220
    assert shell("unload", "all", "--pid", target.pid).status == 0
    assert target.ask("price(2)") == 180


def test_the_mode_is_chosen(shell: Shell, target: Target) -> None:
    shell.build()
    done = shell("load", "fix.plp", "--pid", target.pid, "--mode", "stop-machine")
    assert done.status == 0
    assert "The machine stood for" in done.out
    assert shell("unload", "fix", "--pid", target.pid, "--mode", "per-task").status == 0
    wrong = shell("load", "fix.plp", "--pid", target.pid, "--mode", "per-task", "--suspended", "allow")
    assert (wrong.status, "not for mode per-task" in wrong.err) == (1, True)


def test_a_patch_goes_in_and_out_group_by_group(shell: Shell, target: Target) -> None:
    shell.build()
    done = shell("load", "fix.plp", "--pid", target.pid, "--incremental")
    assert (done.status, target.ask("price(2)")) == (0, 200), done.err
    assert "switched after" in done.out
    applied = json.loads(shell("list", "--pid", target.pid, "--json").out)["patches"][0]
    assert (applied["partial"], [group["in_force"] for group in applied["groups"]]) == (False, [True])
    assert shell("unload", "fix", "--pid", target.pid, "--incremental").status == 0
    assert target.ask("price(2)") == 180
    wrong = shell("load", "fix.plp", "--pid", target.pid, "--incremental", "--replace")
    assert (wrong.status, "cannot be incremental" in wrong.err) == (1, True)


def test_a_partial_patch_is_marked_with_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    class Partial:
        pid = 1

        def patches(self) -> list[dict[str, Any]]:
            groups = [
                {"functions": ["m:f"], "attributes": [], "in_force": True},
                {"functions": ["m:g"], "attributes": [], "in_force": False},
            ]
            return [{"name": "fix", "functions": ["m:f"], "partial": True, "groups": groups}]

        def status(self) -> dict[str, Any]:
            return {"transition": None, "work": None, "last": None, "taints": [], "partial": ["fix"]}

    process.list_patches(Output(json=False), Partial())  # type: ignore[arg-type]
    process.status(Output(json=False), Partial())  # type: ignore[arg-type]
    shown = capsys.readouterr()
    text = " ".join((shown.out + shown.err).split())
    assert "partial" in text
    assert "m:g (NOT SWITCHED)" in text
    assert "fix is applied in part" in text


def test_a_terminal_sees_the_result(shell: Shell, target: Target) -> None:
    """The live display is cleared away; what it leaves is the report."""
    shell.build()
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        shell.command("load", "fix.plp", "--pid", target.pid),
        cwd=shell.folder,
        env={**shell.environment, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    screen = b""
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:
            break
        if not data:
            break
        screen += data
    os.close(leader)
    assert process.wait(30) == 0
    assert b"Loaded fix in" in screen


@pytest.mark.parametrize("command", ["load", "unload", "list", "status"])
def test_a_process_that_is_not_there_is_an_error_with_advice(
    shell: Shell, no_process: int, command: str
) -> None:
    shell.build()
    what = {"load": ["fix.plp"], "unload": ["fix"]}.get(command, [])
    done = shell(command, *what, "--pid", no_process)
    assert done.status == 1
    assert done.out == ""
    assert "PLP401" in done.err
    assert "what to do" in done.err
    done = shell(command, *what, "--pid", no_process, "--json")
    assert (done.status, done.err) == (1, "")
    assert done.json["error"]["code"] == "PLP401"


@pytest.mark.parametrize(
    "arguments",
    [
        ["load"],
        ["load", "fix.plp"],
        ["load", "fix.plp", "--pid", "x"],
        ["load", "fix.plp", "--pid", "0"],
        ["load", "fix.plp", "--pid", "99999999999999999999"],
        ["load", "fix.plp", "--pid", "1", "--socket", "x"],
        ["load", "fix.plp", "--pid", "1", "--timeout", "0"],
        ["load", "fix.plp", "--pid", "1", "--timeout", "nan"],
        ["load", "fix.plp", "--pid", "1", "--timeout", "soon"],
        ["load", "none.plp", "--pid", "1"],
        ["load", "old", "--pid", "1"],
        ["unload", "fix"],
        ["unload", "fix", "--socket", "none.sock"],
        ["unload", "fix", "--socket", "old"],
        ["status"],
        ["status", "--socket", "fix.plp"],
        ["info"],
        ["info", "none.plp"],
        ["info", "old/service.py"],
        ["demo", "no-such-demo"],
        ["run"],
        ["run", "-m"],
        ["nonsense"],
    ],
)
def test_a_mistake_is_told_without_a_traceback(shell: Shell, arguments: list[str]) -> None:
    done = shell(*arguments)
    assert done.status == 1
    assert done.err
    ours = (
        [arguments[0], "--json", *arguments[1:]]
        if arguments[0] in ("run", "demo")
        else [*arguments, "--json"]
    )
    done = shell(*ours)
    assert done.status == 1
    assert done.json["error"]["message"]


def test_a_name_with_markup_in_it_is_printed_as_it_is(shell: Shell, target: Target) -> None:
    done = shell("unload", "[red]x[/nonsense]", "--pid", target.pid)
    assert done.status == 1
    assert "[red]x[/nonsense]" in done.err


def test_list_goes_by_who_answers_and_not_by_the_name_of_the_socket(shell: Shell, target: Target) -> None:
    target.socket.rename(target.socket.with_name("1.sock"))
    (agent,) = shell("list", "--json").json["agents"]
    assert agent["pid"] == target.pid


# --- run, demo, help ----------------------------------------------------------------------------------------


def test_run_gives_its_program_the_arguments_and_takes_its_exit_status(shell: Shell) -> None:
    code = "import sys; print(sys.argv); sys.exit(9)"
    done = shell("run", "-c", code, "--json", "--help", "-m")
    assert (done.status, done.out) == (9, "['-c', '--json', '--help', '-m']\n")


def test_run_starts_an_agent_and_nothing_of_the_command_line(shell: Shell) -> None:
    code = "import os, sys; print(len(os.listdir('run')), 'click' in sys.modules, 'rich' in sys.modules)"
    assert shell("run", "-c", code).out == "1 False False\n"


def test_demo_alone_lists_the_demos(shell: Shell) -> None:
    done = shell("demo")
    assert done.status == 0
    assert "web_cve" in done.out
    assert narrow(done.out)
    demos = shell("demo", "--json").json["demos"]
    assert all(demo["description"] for demo in demos)


def test_a_demo_gets_its_arguments_and_its_exit_status_is_the_commands(shell: Shell, tmp_path: Path) -> None:
    """In an installed wheel, the demos are inside the package."""
    site = tmp_path / "site"
    site.mkdir()
    package = Path(patchfile.__file__).parent
    demo = site / "demo_apps" / "small"
    demo.mkdir(parents=True)
    (demo / "__main__.py").write_text('"""Shows little."""\nimport sys\nprint(sys.argv[1:])\nsys.exit(5)\n')
    import shutil

    shutil.copytree(package, site / "pylivepatch", ignore=shutil.ignore_patterns("__pycache__"))
    for place in ("checkout", "wheel"):
        if place == "wheel":
            (site / "pylivepatch" / "_demos").mkdir()
            demo.rename(site / "pylivepatch" / "_demos" / "small")
        done = subprocess.run(
            shell.command("demo", "small", "--json", "--fast", "x"),
            cwd=shell.folder,
            env={**shell.environment, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (5, "['--json', '--fast', 'x']\n"), done.stderr


@pytest.mark.parametrize(
    "command", [[], ["build"], ["info"], ["load"], ["unload"], ["list"], ["status"], ["verify"], ["run"], ["demo"]]
)
def test_every_command_explains_itself(shell: Shell, command: list[str]) -> None:
    done = shell(*command, "--help")
    assert done.status == 0
    assert "Usage: pylivepatch" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_no_command_shows_the_help_and_fails(shell: Shell) -> None:
    done = shell()
    assert done.status == 1
    assert "Usage: pylivepatch" in done.out + done.err


def test_output_that_nobody_reads_is_no_error_to_talk_about(shell: Shell) -> None:
    done = subprocess.run(
        f"{' '.join(shell.command('demo'))} | true",
        shell=True,
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_says_of_every_code_what_it_is_and_what_to_do(shell: Shell) -> None:
    done = shell("explain", "plp255")
    assert done.status == 0
    assert done.out.startswith("PLP255: instances that exist lack it (needs-author)\n")
    assert "docs/edits.md#plp255-instances-that-exist-lack-it" in done.out
    row = shell("explain", "PLP120", "--json").json
    assert (row["class"], row["title"]) == ("error", "TransitionTimeout")
    assert row["meaning"]


def test_explain_lists_every_code_that_is_printed_anywhere(shell: Shell) -> None:
    listed = {row["code"] for row in shell("explain", "--json").json["codes"]}
    package = Path(patchfile.__file__).parent
    printed = {
        code for path in package.rglob("*.py") for code in re.findall(r'"(PLP\d{3})"', path.read_text())
    }
    assert printed <= listed
    assert narrow(shell("explain").out)


def test_a_code_that_nobody_knows_is_a_mistake(shell: Shell) -> None:
    assert shell("explain", "PLP999").status == 1


def test_a_finding_that_needs_the_author_stops_the_build_with_2(shell: Shell) -> None:
    (shell.new / "service.py").write_text(SERVICE + "\nprint('ready')\n")
    done = shell("build", "--from", "old", "--to", "new", "-o", "fix.plp", "--json")
    assert (done.status, done.json["outcome"]) == (2, "refused")
    assert [one["class"] for one in done.json["refusals"]] == ["needs-author"]
    assert not (shell.folder / "fix.plp").exists()

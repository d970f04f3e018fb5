"""The pictures show what a terminal would, and the README's steps work as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.pictures import __main__ as pictures
from tests.pictures import newcomer, terminal, walk


def test_a_line_that_is_moved_over_and_cleared_is_not_on_the_screen() -> None:
    live = "first\r\n\x1b[?25lgone\r\nsecond\x1b[2K\x1b[1A\x1b[2K\x1b[?25h\x1b[1mend\x1b[0m\r\n\r\n"
    assert terminal.screen(live) == ["first", "\x1b[1mend\x1b[0m"]


def test_a_command_is_run_on_a_terminal_of_that_width(tmp_path: Path) -> None:
    program = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns)"
    written = terminal.run([sys.executable, "-c", program], 77, tmp_path, {})
    assert terminal.screen(written) == ["True 77"]


def test_a_picture_needs_no_network_and_cuts_nothing_off(tmp_path: Path) -> None:
    path = tmp_path / "some.svg"
    terminal.svg(path, "title", ["\x1b[32mgreen\x1b[0m", "x" * 40], 40)
    drawn = path.read_text()
    assert "green" in drawn
    assert "x" * 40 in drawn
    assert "url(#" in drawn
    assert all(target.startswith("#") for target in re.findall(r"(?:url\(|href=)[\"']?([^\"')]*)", drawn))
    with pytest.raises(ValueError, match="41 columns"):
        terminal.svg(path, "title", ["x" * 41], 40)


def test_a_step_that_fails_is_told_and_what_it_started_is_ended(tmp_path: Path) -> None:
    with walk.shell(tmp_path, {"PATH": "/usr/bin:/bin"}) as shell:
        assert walk.tell(shell, "sleep 60 & echo hello") == "hello\n"
        with pytest.raises(RuntimeError, match="no such thing"):
            walk.tell(shell, "ls 'no such thing'")
    assert shell.returncode is not None


@pytest.mark.slow
def test_the_picture_of_a_load_is_that_of_the_readmes_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PICTURES", tmp_path)
    pictures.load()
    shown = re.sub(r"<[^>]*>", "\n", (tmp_path / "load.svg").read_text()).replace("&#160;", " ")
    assert re.findall(r"till \d (\d+)", shown) == ["2750"] * 4 + ["2250"] * 4
    assert "Loaded discount in" in shown


@pytest.mark.network
def test_a_newcomer_comes_from_an_empty_folder_to_a_patched_service(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    found = newcomer.trial(folder, sys.executable)
    assert [step.title for step in found if step.title != "open the report"] == [step.title for step in walk.steps()]
    printed = {step.title: step.printed for step in found}
    assert re.findall(r"till \d (\d+)", printed["load it, and see"]) == ["2750"] * 4 + ["2250"] * 4
    assert "<title>load of discount" in (folder / "report.html").read_text()
    assert "Unloaded discount" in printed["take it out again, and end the service"]

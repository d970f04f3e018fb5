"""``pylivepatch verify`` on a service in another process."""

from __future__ import annotations

import pytest
from shell import Shell
from targets import SERVICE, Target


def test_a_service_is_verified_before_and_after(shell: Shell, target: Target) -> None:
    fix = shell.build()
    done = shell("verify", "--pid", target.pid)
    assert (done.status, done.out.splitlines()[-1]) == (0, "Equal: 1 module, compared with the sources on disk.")
    before = shell("verify", fix, "--pid", target.pid, "--json")
    assert (before.status, before.json["against"], before.json["outcome"]) == (0, "old", "equal")
    assert shell("load", fix, "--pid", target.pid).status == 0
    after = shell("verify", fix, "--pid", target.pid)
    assert (after.status, after.out.splitlines()[-1]) == (0, "Equal: 1 module, compared with the new version of fix.")
    disk = shell("verify", "--pid", target.pid, "--json")
    assert disk.status == 2
    assert disk.json["applied"] == ["fix"]
    assert [(one["symbol"], one["what"]) for one in disk.json["different"]] == [("price", "code"), ("hold", "code")]
    assert shell("unload", "fix", "--pid", target.pid).status == 0
    assert shell("verify", fix, "--pid", target.pid).status == 0


def test_a_monkey_patch_is_shown_with_where_it_stands(shell: Shell, target: Target) -> None:
    assert target.ask("globals().update(price=lambda quantity: 0)") is None
    done = shell("verify", "--pid", target.pid)
    assert done.status == 2
    assert "service:price" in done.out
    assert done.out.splitlines()[-1] == "Different: 2 in 1 module, compared with the sources on disk."


@pytest.mark.slow
def test_a_service_that_is_patched_when_its_files_are_gone_equals_the_new_version(shell: Shell, target: Target) -> None:
    fix = shell.build()
    (shell.old / "service.py").unlink()
    assert shell("load", fix, "--pid", target.pid).status == 0
    assert target.ask("price(1)") == 100
    assert shell("verify", fix, "--pid", target.pid).status == 0
    disk = shell("verify", "--pid", target.pid, "--json")
    assert disk.status == 3
    assert "FileNotFoundError" in disk.json["not_compared"]["service"]


@pytest.mark.slow
def test_a_program_that_does_its_work_as_it_is_imported_is_not_started_again(shell: Shell, target: Target) -> None:
    (shell.old / "service.py").write_text(SERVICE + "\nopen('started', 'w').close()\n")
    done = shell("verify", "--pid", target.pid, "--json")
    assert done.status == 3
    assert "would run as it is imported" in done.json["not_compared"]["service"]
    assert not (shell.old / "started").exists()


def test_verify_is_called_wrongly(shell: Shell, target: Target) -> None:
    assert shell("verify", "--new", "--pid", target.pid).status == 1
    assert shell("verify", "nowhere.plp", "--pid", target.pid, "--json").json["error"]["code"] == "PLP300"


@pytest.mark.slow
def test_a_program_that_is_also_imported_is_compared_twice(shell: Shell, target: Target) -> None:
    fix = shell.build()
    assert target.ask("__import__('service').__name__") == "service"
    before = shell("verify", fix, "--pid", target.pid, "--json")
    assert (before.status, before.json["compared"]) == (0, ["service", "service as __main__"])
    assert target.ask("globals().update(price=lambda quantity: 0)") is None
    after = shell("verify", fix, "--pid", target.pid, "--json")
    assert {one["module"] for one in after.json["different"]} == {"service as __main__"}

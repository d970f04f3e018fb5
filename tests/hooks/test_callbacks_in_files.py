"""Callbacks, states and mistakes of a hooks file, in the process that the patch is loaded into."""

from __future__ import annotations

import marshal
import sys
import threading
from collections.abc import Callable

import pytest
from hooks.conftest import Case

import pylivepatch
from pylivepatch.errors import CallbackRefused, CodeMismatch, HooksFailed
from pylivepatch.hooks.reading import contents
from pylivepatch.hooks.running import run

Make = Callable[[str, str, str], Case]

OLD = "log = []\nanswer = None\ndef f(): return 1\n"
NEW = OLD.replace("return 1", "return 2")
CALLBACKS = """
import NAME as target

def pre_patch(context):
    target.log.append(("pre_patch", target.f()))
    return target.answer

def post_patch(context):
    target.log.append(("post_patch", target.f()))

def pre_unpatch(context):
    target.log.append(("pre_unpatch", target.f()))

def post_unpatch(context):
    target.log.append(("post_unpatch", target.f()))
"""


def test_a_patch_file_brings_its_callbacks(case: Make) -> None:
    one = case(OLD, NEW, CALLBACKS)
    module = one.module
    one.load().unload()
    assert module.log == [("pre_patch", 1), ("post_patch", 2), ("pre_unpatch", 2), ("post_unpatch", 1)]


def test_pre_patch_refuses_with_nothing_touched(case: Make) -> None:
    one = case(OLD, NEW, CALLBACKS)
    one.module.answer = "not on a Friday"
    with pytest.raises(CallbackRefused, match="not on a Friday"):
        one.load()
    assert (one.module.f(), one.module.log, pylivepatch.patches()) == (1, [("pre_patch", 1)], ())


def test_a_failing_post_patch_names_its_line_and_taints(case: Make) -> None:
    one = case(OLD, NEW, "def post_patch(context):\n    1 / 0\n")
    one.module  # noqa: B018 - imported
    failures = []
    subscription = pylivepatch.subscribe(
        lambda event: failures.append(event) if event.kind == "callback" else None
    )
    try:
        applied = one.load()
    finally:
        subscription()
    assert applied.tainted
    assert one.module.f() == 2
    assert f'"<livepatch {one.name}>/hooks.py", line 2' in str(failures[0].data)


def test_the_file_is_executed_in_the_target_only_and_after_the_targets_were_verified(case: Make) -> None:
    one = case(OLD, NEW, "import NAME\nNAME.log.append('executed')\n")
    module = one.module
    module.f.__code__ = (lambda: 3).__code__
    path = one.build()
    with pytest.raises(CodeMismatch):
        pylivepatch.load(path)
    assert module.log == []


FAILURES = {
    "it raises": ("\n\nraise ValueError('no')\n", "ValueError: no", ":3"),
    "it exits": ("import sys\nsys.exit(3)\n", "SystemExit: 3", ":2"),
    "a coroutine": ("async def pre_patch(context): ...\n", "ordinary function", ""),
    "no states": ("STATES = 3\n", "STATES is no list", ""),
}


@pytest.mark.parametrize("title", FAILURES)
def test_a_file_that_fails_refuses_the_load_with_file_and_line(case: Make, title: str) -> None:
    text, message, line = FAILURES[title]
    one = case(OLD, NEW, text)
    module = one.module
    with pytest.raises(HooksFailed, match=message) as caught:
        one.load()
    assert caught.value.where == f"<livepatch {one.name}>/hooks.py{line}"
    assert (module.f(), pylivepatch.patches()) == (1, ())


def test_states_of_a_file_are_the_patchs(case: Make) -> None:
    text = """
        from pylivepatch.state import State
        import NAME as target

        STATES = [State("cache", 1)]

        def pre_patch(context):
            context.get_state("cache").data = 10

        def post_unpatch(context):
            target.log.append(context.get_state("cache").data)
    """
    one = case(OLD, NEW, text)
    module = one.module
    one.load().unload()
    assert module.log == [10]


def test_dataclasses_can_be_made_in_the_file(case: Make) -> None:
    text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Kept:\n    x: int\n"
    one = case(OLD, NEW, text)
    one.module  # noqa: B018 - imported
    one.load()
    assert one.module.f() == 2


def test_a_file_that_does_not_return_refuses_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(sys.modules[__name__], "go", go, raising=False)
    code = marshal.dumps(compile(f"import sys\nsys.modules[{__name__!r}].go.wait(60)\n", "hooks.py", "exec"))
    with pytest.raises(HooksFailed, match=r"has not returned after 0\.05 s"):
        run("fix", "hooks.py", code, limit=0.05)
    go.set()


REGISTERED = "log = []\nanswer = None\ndef f(): return 1\nlog.append(f)\n"
IN_CALLBACKS = """
from pylivepatch.hooks import safe
import NAME as target

safe("PLP280", "NAME", "post_patch does it")

def post_patch(context):
    target.log.append("again")

def pre_unpatch(context):
    target.log.remove("again")
"""


def test_a_patch_whose_work_is_all_done_by_callbacks(case: Make) -> None:
    one = case(REGISTERED, REGISTERED + "log.append('again')\n", IN_CALLBACKS)
    assert one.codes() == ["PLP280 applied-with-note"]
    module = one.module
    applied = one.load()
    assert module.log == [module.f, "again"]
    applied.unload()
    assert module.log == [module.f]


def test_a_patch_for_a_file_that_is_no_source_can_do_its_work_in_callbacks(case: Make) -> None:
    one = case(REGISTERED, REGISTERED, IN_CALLBACKS.replace('"PLP280", "NAME"', '"PLP283", "page.html"'))
    for side, text in ((one.old, "a"), (one.new, "b")):
        (side / "page.html").write_text(text)
    module = one.module
    one.load().unload()
    assert module.log == [module.f]


def test_a_callback_may_be_another_by_its_name(case: Make) -> None:
    text = CALLBACKS.partition("def pre_unpatch")[0] + "pre_unpatch = post_patch\n"
    one = case(OLD, NEW, text)
    module = one.module
    assert one.build()
    one.load().unload()
    assert module.log == [("pre_patch", 1), ("post_patch", 2), ("post_patch", 2)]
    assert contents(text, "hooks.py").callbacks == ("pre_patch", "post_patch", "pre_unpatch")


def test_nothing_but_statements_is_no_patch(case: Make) -> None:
    only = IN_CALLBACKS.partition("def")[0]
    assert case(REGISTERED, REGISTERED + "log.append(1)\n", only).examine().outcome == "unchanged"


def test_what_needs_the_author_shows_what_the_author_would_write(case: Make) -> None:
    one = case(REGISTERED, REGISTERED + "log.append(1)\n", "")
    (finding,) = one.examine().refusals
    assert f'`safe("PLP280", "{one.name}", "why")`' in finding.advice

"""Modules that Hypothesis makes up and edits: refused, or as a fresh import of the new version would be, and back.

Both forms are the same in each run. The long one takes others with ``EDITS_SEED=7``, and makes them small where it
fails; ``EDITS_EXAMPLES`` says how many.
"""

from __future__ import annotations

import gc
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, assume, given, note, seed, settings
from hypothesis import strategies as st

from pylivepatch.build import codes
from pylivepatch.errors import PrepareError
from pylivepatch.verification.compare import differing, named_as_in
from tests.edits.live import Pair, busy_with, differences, load_patch
from tests.edits.modules import Made, edited, made_up

BASE = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    print_blob=False,
)
STALE = {"PLP224", "PLP226"}
"""Told, and not followed: something at import may have been another thing in the new version."""


@st.composite
def versions(draw: Any) -> tuple[Made, Made]:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    old = made_up(pick)
    return old, edited(pick, old)


def ask(module: ModuleType, instances: dict[str, Any]) -> dict[str, str]:
    """What everything in the module gives when it is used."""
    found = {}
    for name, value in sorted(vars(module).items()):
        if re.fullmatch(r"K\d+|T|registry|nothing|oK", name):
            found[name] = show(lambda value=value: value)
            found[f"{name}('z')"] = show(lambda value=value: value("z") if callable(value) else None)
        elif re.fullmatch(r"f\d+|of", name):
            for arguments in ((), (1,), (1, 2)):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
                found[f"{name}{arguments}"] = show(lambda value=value, arguments=arguments: value(*arguments))
        elif re.fullmatch(r"C\d+", name):
            made = show_instance(name, value)
            found |= made
    for name, instance in instances.items():
        found |= members(f"kept {name}", instance)
    return found


def settle(module: ModuleType) -> None:
    """Let go of what holds a transition, as it should: a coroutine that a cache keeps is suspended, and a class that a
    function made lives, with methods that have no counterpart, until the garbage is collected.
    """
    for value in list(vars(module).values()):
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    gc.collect()


def show_instance(name: str, made: Any) -> dict[str, str]:
    try:
        instance = made()
    except Exception as error:
        return {name: type(error).__name__}
    return members(name, instance)


def members(name: str, instance: Any) -> dict[str, str]:
    uses = {
        "len": lambda: len(instance), "equal": lambda: instance == 1, "hash": lambda: hash(instance) == 7,
        "call": lambda: instance(), "doc": lambda: type(instance).__doc__,
    }
    for member in ("m0", "m1", "m2", "x0", "x1", "y0", "y1"):
        uses[member] = lambda member=member: _called(getattr(instance, member))
    return {f"{name}.{use}": show(act) for use, act in uses.items()}


def _called(value: Any) -> Any:
    return value() if callable(value) else value


def show(act: Any) -> str:
    try:
        value = act()
        if hasattr(value, "send"):
            value = list(value) if hasattr(value, "__next__") else _awaited(value)
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    except Exception as error:
        return type(error).__name__


def _awaited(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as over:
        return over.value
    raise AssertionError("it does not wait for anything")


def instances_of(module: ModuleType) -> dict[str, Any]:
    made = {}
    for name, value in vars(module).items():
        if re.fullmatch(r"C\d+", name):
            try:
                made[name] = value()
            except Exception:
                continue
    return made


def check(old: Made, new: Made, counts: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check(Pair(Path(folder), old.files(), new.files()), counts)


def _check(pair: Pair, counts: dict[str, int]) -> None:
    def version(side: str) -> str:
        return "".join(f"--- {side} {path.name}\n{path.read_text()}" for path in
                       sorted((getattr(pair, side) / pair.name).glob("[mo]*.py")))

    note(version("old") + version("new"))
    try:
        with pair.imported(pair.new, pair.fresh) as module:
            kept = instances_of(module)
            fresh, fresh_answers = pair.portrait(), ask(module, kept)
        with pair.imported(pair.old, pair.modules):
            pass
    except Exception:
        counts["not importable"] = counts.get("not importable", 0) + 1
        assume(False)
    result = pair.build()
    counts[result.outcome] = counts.get(result.outcome, 0) + 1
    found = [*result.changes, *result.refusals]
    note("\n".join(map(str, found)))
    assert all(one.code in codes.TABLE for one in found)
    with pair.imported(pair.old, pair.modules) as module:
        old, kept = pair.portrait(), instances_of(module)
        vars(module)["_made"] = kept  # where a load looks for living functions
        before = ask(module, kept)
        if result.patch is None:
            if not result.refusals and not found:
                assert (differences(old, fresh), before) == (set(), fresh_answers), "the builder sees none"
            return
        applied = None
        with busy_with(lambda: (ask(module, kept), settle(module))):
            try:
                applied = load_patch(result)
            except PrepareError as error:
                note(str(error))
                counts["load refused"] = counts.get("load refused", 0) + 1
        if applied is not None:
            try:
                live, answers = pair.portrait(), ask(module, kept)
            finally:
                settle(module)
                applied.unload(deep=True)
        again, after = pair.portrait(), ask(module, kept)
    assert differences(again, old) == set(), "the names after the unload"
    assert {one: (before[one], after[one]) for one in before if before[one] != after[one]} == {}, "after the unload"
    told = {one.code for one in found}
    if applied is None or told & STALE:
        return
    left = tuple(f"{one.module.removeprefix(pair.name + '.')}:{one.symbol}" for one in found
                 if not one.carried or one.code == codes.INSTANCE_DEFAULT)
    documents = {one.removesuffix(".__doc__") for one in left if one.endswith(".__doc__")}
    live = named_as_in(live, fresh)
    odd = {
        (f"{module}:{symbol}", aspect)
        for module in {*live, *fresh}
        for symbol, aspect in differing(live.get(module, {}), fresh.get(module, {}))
        if not f"{module}:{symbol}".startswith(left or ("?",))
        and not (aspect == "documentation" and f"{module}:{symbol}" in documents)
    }
    assert odd == set(), "the live names and those of a fresh import"
    gone = tuple(one.partition(":")[2].replace(".__doc__", ".doc") for one in left)
    read = set(re.findall(r"\.([xy]\d)\b(?! =)", version("new")))  # what instances lack and nobody reads is not carried
    assert {
        one: (answers.get(one), fresh_answers[one])
        for one in fresh_answers
        if answers.get(one) != fresh_answers[one] and not one.startswith(gone or ("?",)) and not one.startswith("kept ")
    } == {}, "the live answers and those of a fresh import"
    assert {
        one: (answers[one], fresh_answers.get(one))
        for one in answers
        if one.startswith("kept ") and "Error" in answers[one] and "Error" not in fresh_answers.get(one, "Error")
        and (one[-2] not in "xy" or one[-2:] in read)
        and not one.removeprefix("kept ").startswith(gone or ("?",))
    } == {}, "an object that was made before the load"


def run(chosen: settings, number: int | None) -> None:
    counts: dict[str, int] = {}

    @chosen
    @given(versions())
    def made(pair: tuple[Made, Made]) -> None:
        check(*pair, counts)

    try:
        (made if number is None else seed(number)(made))()
    finally:
        print(counts)
    assert counts.get("built", 0) * 10 > sum(counts.values()), "most of what was made up says nothing"


def test_a_few_edits_that_are_made_up() -> None:
    run(settings(BASE, derandomize=True, max_examples=30, phases=[Phase.generate]), None)  # it ends soon


@pytest.mark.slow
def test_many_edits_that_are_made_up() -> None:
    many = int(os.environ.get("EDITS_EXAMPLES", 150))
    if "EDITS_SEED" in os.environ:
        run(settings(BASE, max_examples=many), int(os.environ["EDITS_SEED"]))
    else:
        run(settings(BASE, derandomize=True, max_examples=many, phases=[Phase.generate]), None)

"""Instance state that the author gives: at the first access, or at the load for all."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
from hooks.conftest import Case

import pylivepatch
from pylivepatch.errors import BuildError, HooksFailed

Make = Callable[[str, str, str], Case]

OLD = """
class Cart:
    def __init__(self, *items):
        self.items = list(items)
    def add(self, item):
        self.items.append(item)
        return len(self.items)
"""
NEW = """
class Cart:
    def __init__(self, *items):
        self.items = list(items)
        self.seen = set(items)
    def add(self, item):
        self.items.append(item)
        self.seen.add(item)
        return len(self.seen)
"""
LAZY = """
from pylivepatch.hooks import transform

@transform("NAME:Cart.seen")
def seen(cart):
    return set(cart.items)
"""
EAGER = LAZY.replace('Cart.seen"', 'Cart.seen", eager=True')


def test_an_instance_from_before_gets_the_attribute_at_its_first_access(case: Make) -> None:
    one = case(OLD, NEW, LAZY)
    assert one.codes() == ["PLP210 applied", "PLP210 applied", "PLP255 applied-with-note"]
    old = one.module.Cart("a", "a", "b")
    applied = one.load()
    new = one.module.Cart("a")
    assert "seen" not in vars(old)
    assert (old.add("a"), new.add("b")) == (2, 2)
    assert vars(old)["seen"] == {"a", "b"}
    assert not hasattr(one.module.Cart, "seen")
    applied.unload()
    assert "seen" not in vars(one.module.Cart)
    assert old.add("a") == 5


def test_an_eager_transformer_reaches_all_that_are_alive(case: Make) -> None:
    one = case(OLD, NEW, EAGER)
    carts = [one.module.Cart(number) for number in range(100)]
    gc.collect()
    with pytest.raises(HooksFailed, match="search of the heap") as refused:
        one.load()
    assert "deep=True" in refused.value.advice
    one.load(deep=True)
    assert [vars(cart)["seen"] for cart in carts] == [{number} for number in range(100)]


def test_threads_that_meet_at_the_first_access_get_one_value(case: Make) -> None:
    one = case(OLD, NEW, LAZY)
    carts = [one.module.Cart() for _ in range(50)]
    one.load()
    barrier = threading.Barrier(4)
    got: list[list[int]] = []

    def look() -> None:
        barrier.wait(10)
        got.append([id(cart.seen) for cart in carts])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [got[0]] * 4


def test_an_attribute_error_in_a_transformer_is_no_missing_attribute(case: Make) -> None:
    one = case(OLD, NEW, LAZY.replace("cart.items", "cart.itmes"))
    cart = one.module.Cart()
    one.load()
    with pytest.raises(RuntimeError, match=r"the transformer of hooked_\d+:Cart.seen failed"):
        getattr(cart, "seen", None)


def test_an_eager_one_that_fails_taints(case: Make) -> None:
    one = case(OLD, NEW, EAGER.replace("set(cart.items)", "1 / 0"))
    cart = one.module.Cart()
    assert one.load(deep=True).tainted
    with pytest.raises(ZeroDivisionError):
        cart.seen  # noqa: B018


@pytest.mark.parametrize(
    ("old", "hooks", "message"),
    [
        (OLD.replace("class Cart:", "class Cart:\n    __slots__ = ('items', 'seen')"), LAZY, "__dict__"),
        (OLD, LAZY.replace("NAME:", "other:"), "changes nothing in the module other"),
        (OLD, LAZY.replace(":Cart", ":Card"), "no class Card"),
        (OLD, LAZY.replace("Cart.seen", "Cart.add"), "has this attribute"),
    ],
)
def test_what_cannot_be_transformed_is_refused_with_nothing_touched(
    case: Make, old: str, hooks: str, message: str
) -> None:
    new = old.replace("return len(self.items)", "return -1")
    one = case(old, new, hooks)
    cart = one.module.Cart()
    with pytest.raises(HooksFailed, match=message) as refused:
        one.load()
    assert refused.value.where == f"<livepatch {one.name}>/hooks.py:4"
    assert cart.add(1) == 1
    assert pylivepatch.patches() == ()


def test_a_transformer_for_what_the_patch_gives_the_class_is_a_mistake(case: Make) -> None:
    new = OLD.replace("list(items)", "list(items)\n        self.seen = 0").replace(
        "return len", "return self.seen or len"
    )
    with pytest.raises(BuildError, match="no instance lacks it"):
        case(OLD, new, LAZY).examine()


def test_instances_that_are_made_before_their_module_is_whole_are_transformed_too(case: Make) -> None:
    one = case(OLD + "\nFIRST = Cart('a')\n", NEW + "\nFIRST = Cart('a')\n", LAZY + SAFE)
    applied = one.load()
    assert applied.waiting == (one.name,)
    assert one.module.FIRST.add("b") == 2


SAFE = """
from pylivepatch.hooks import safe
safe("PLP265", "NAME:Cart.__init__", "FIRST is transformed")
"""


def test_a_cumulative_patch_goes_on_with_the_state_that_the_replaced_one_gave(case: Make) -> None:
    one = case(OLD, NEW, LAZY)
    early, late, never = (one.module.Cart("a") for _ in range(3))
    one.load()
    assert early.add("b") == 2
    two = case(OLD, NEW.replace("len(self.seen)", "-len(self.seen)"), LAZY)
    text = (two.new / f"{two.name}.py").read_text()
    (one.new / f"{one.name}.py").write_text(text)
    cumulative = one.load(replace=True, name="cumulative")
    assert (early.add("c"), late.add("b")) == (-3, -2)
    cumulative.unload()
    assert "seen" not in vars(one.module.Cart)
    assert (never.add("b"), hasattr(never, "seen")) == (2, False)


def test_a_verification_takes_the_transformer_for_what_the_patch_says(case: Make) -> None:
    one = case(OLD, NEW, LAZY)
    one.module.Cart("a")
    path = one.build()
    one.load()
    report = pylivepatch.verify(path)
    assert report.outcome == "equal", report
    assert [(found.symbol, found.what) for found in report.noted] == [("Cart.seen", "name")]

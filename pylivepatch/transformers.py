"""Instance state: attributes that instances made before the load get from the patch's author.

A transformer is bound to its class at the switch, with everything else, as a descriptor that instances find where they
have no attribute of their own (a non-data descriptor: what is in the instance hides it). The first access computes the
value and puts it into the instance. So nobody ever meets an instance without it, whenever it was made; no instance has
to be found; and the unload takes the descriptor away, while the values stay where they are, as those that the new
``__init__`` set do.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pylivepatch.activeness.pace import paced
from pylivepatch.callbacks import Callbacks, Context
from pylivepatch.errors import HooksFailed, PrepareError
from pylivepatch.hooks.running import Hooks, Transformer
from pylivepatch.locate import static_lookup
from pylivepatch.part import Part, bind_in_class, class_key, live_modules
from pylivepatch.transition.swap import MISSING

_EVERY = 500  # objects looked at between two offers of the GIL


class Lazy:
    """Gives instances the attribute at their first access. On the class itself there is no such attribute."""

    def __init__(self, transformer: Transformer, name: str) -> None:
        self.transformer = transformer
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self.name!r}")
        space = object.__getattribute__(instance, "__dict__")
        try:
            value = self.transformer.function(instance)
        except AttributeError as error:  # it would read as if the instance had no such attribute
            raise RuntimeError(f"the transformer of {self.transformer.target} failed: {error}") from error
        return space.setdefault(self.name, value)  # one C call: where two threads compute it, both get one value

    def __repr__(self) -> str:
        return f"<livepatch transformer of {self.transformer.target}>"


def check_deep(hooks: Hooks, *, deep: bool) -> None:
    """Raise :class:`HooksFailed` where a search of the heap is needed, and was not allowed."""
    eager = [one for one in hooks.transformers if one.eager]
    if eager and not deep:
        raise HooksFailed(
            f"the transformer of {eager[0].target} is eager: it needs a search of the heap for its instances",
            where=eager[0].place,
            advice="load with deep=True (--deep), which holds the process for tens of milliseconds for each million "
            "objects; or make it lazy",
        )


def prepare_transformers(hooks: Hooks, parts: Sequence[Part], *, waiting: Sequence[str] = ()) -> None:
    """Add the transformers to the ``parts`` of their modules. Those of modules in ``waiting`` have time.

    Raises :class:`HooksFailed` where a class is not there, or cannot take it.
    """
    for transformer in hooks.transformers:
        mine = [part for part in parts if part.name == transformer.module]
        if not mine and transformer.module not in waiting:
            raise HooksFailed(
                f"the patch changes nothing in the module {transformer.module}, whose instances are to be transformed",
                where=transformer.place,
                advice="name a class of a module that the patch changes, module:Class.attribute",
            )
        for part in mine:
            for module in part.modules:
                _prepare(transformer, part, static_lookup(module, transformer.owner))


def _prepare(transformer: Transformer, part: Part, cls: Any) -> None:
    why = _obstacle(transformer, part, cls)
    if why:
        raise HooksFailed(
            f"{transformer.target} cannot be transformed: {why}",
            where=transformer.place,
            advice="keep the state outside of the instances, with pylivepatch.shadow, or name another attribute",
        )
    try:
        name = class_key(cls, transformer.name)
        bind_in_class(part, cls, name, Lazy(transformer, name), transformer.target)
    except PrepareError as error:
        raise HooksFailed(error.message, where=transformer.place, advice=error.advice) from error


def _obstacle(transformer: Transformer, part: Part, cls: Any) -> str:
    if not isinstance(cls, type):
        return f"the module has no class {transformer.owner}"
    name = class_key(cls, transformer.name)
    if not cls.__dictoffset__:
        return f"instances of {transformer.owner} have no __dict__ to keep it in"
    if any(one.owner is cls and one.name == name for one in part.attributes):
        return "the patch itself gives the class this attribute"
    if part.below.value(cls, name, vars(cls).get(name, MISSING)) is not MISSING:
        return f"the class {transformer.owner} has this attribute, and instances find that"
    return ""


def with_search(hooks: Hooks) -> Callbacks:
    """The callbacks, with the search for the instances of eager transformers before ``post_patch``."""
    eager = [one for one in hooks.transformers if one.eager]
    if not eager:
        return hooks.callbacks
    given = hooks.callbacks.post_patch

    def post_patch(context: Context) -> None:
        _transform_all(eager)
        if given is not None:
            given(context)

    return replace(hooks.callbacks, post_patch=post_patch)


def _transform_all(transformers: Sequence[Transformer]) -> None:
    """Ask every live instance for its new attribute. Raises an :class:`ExceptionGroup` of what went wrong."""
    wanted = [
        (cls, class_key(cls, one.name))
        for one in transformers
        for module in live_modules(one.module)
        if isinstance(cls := static_lookup(module, one.owner), type)
    ]
    errors: list[Exception] = []
    for thing in paced(gc.get_objects(), _EVERY):
        for cls, name in wanted:
            if issubclass(type(thing), cls):
                try:
                    getattr(thing, name)
                except Exception as error:
                    errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} instances could not be transformed", errors[:10])

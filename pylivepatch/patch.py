"""What a patch is: pure data, nothing that acts.

``Patch`` → one ``ModulePatch`` a module → one change a function, class attribute or module attribute, as
``klp_patch`` → ``klp_object`` → ``klp_func`` in Linux livepatch. A patch comes from the builder, with the old and
new source of each module, or from hand-written pairs of functions (:meth:`Patch.replace`), or from both.

A function inside a source file is named by a :class:`CodeRef`: its ``co_qualname``, its ``co_firstlineno`` (the line
of the first decorator if it has any) and, where a line holds several of that name, its index among them. This names
the same function whichever Python compiles the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class CodeRef:
    """One function in a source file."""

    qualname: str
    line: int
    index: int = 0

    def __str__(self) -> str:
        return f"{self.qualname}:{self.line}" + (f"#{self.index}" if self.index else "")


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """The function ``old`` of the old source gets the code of the function ``new`` of the new source.

    ``old`` is an outermost function: at module level or in a class body. What is nested in it follows by itself.
    ``defaults``, ``kwdefaults`` and ``annotations`` are source text of expressions to be evaluated in the module's
    namespace (a tuple display, a dict display, a dict display), or ``None`` where they did not change. Empty
    ones are written ``"()"`` and ``"{}"``.
    """

    old: CodeRef
    new: CodeRef
    defaults: str | None = None
    kwdefaults: str | None = None
    annotations: str | None = None

    @property
    def target(self) -> str:
        return self.old.qualname


@dataclass(frozen=True, slots=True)
class NewFunction:
    """A function of the new source that the old one does not have, at module level or in an existing class.

    ``decorators`` are source text of expressions, outermost first, as written. ``defaults`` and ``kwdefaults`` are
    displays as in :class:`FunctionChange`, ``""`` for none. ``replaces`` names a function of the old source whose name,
    and whose place in other modules, the new one takes: its decorators, or its kind, are others. ``bound`` is false for
    one that a generic function keeps (``functools.singledispatch``), and whose name a later definition has.
    """

    new: CodeRef
    defaults: str = ""
    kwdefaults: str = ""
    annotations: str = ""
    decorators: tuple[str, ...] = ()
    replaces: CodeRef | None = None
    bound: bool = True

    @property
    def target(self) -> str:
        return self.new.qualname


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A module constant (``owner == ""``) or class attribute whose value changed or is new.

    ``old`` and ``new`` are source text of expressions free of side effects; ``old`` is ``None`` for a new name. The
    engine refuses the patch where the live value is not the old one: somebody changed it at run time.
    """

    owner: str
    name: str
    line: int
    old: str | None
    new: str

    @property
    def target(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, slots=True)
class NewImport:
    """A name that a new import statement of the module binds. ``statement`` binds exactly this one name.

    ``import a.b`` binds ``a``; ``from . import x as y`` binds ``y``.
    """

    name: str
    line: int
    statement: str

    @property
    def target(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class NewClass:
    """A class of the new source that the old one does not have, at module level or in the body of an existing class.

    Its statement is executed in the target while the patch is prepared; the name is bound at the switch. ``new`` names
    the code of the class's body, as for a function.
    """

    new: CodeRef

    @property
    def target(self) -> str:
        return self.new.qualname


@dataclass(frozen=True, slots=True)
class NewBases:
    """The class ``owner`` gets other bases. ``old`` and ``new`` are source text of tuple displays of names."""

    owner: str
    line: int
    old: str
    new: str

    @property
    def target(self) -> str:
        return f"{self.owner}.__bases__"


@dataclass(frozen=True, slots=True)
class NewFields:
    """The fields of a dataclass, attrs class or named tuple changed: what was made of them is made anew.

    ``new`` names the code of the class's body in the new source; ``before`` and ``after`` are the fields of both.
    """

    new: CodeRef
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def target(self) -> str:
        return f"{self.new.qualname}.<fields>"


@dataclass(frozen=True, slots=True)
class Removed:
    """A name that the module (``owner == ""``) or class loses. ``old`` is the code of the function that it names."""

    owner: str
    name: str
    line: int
    old: CodeRef | None = None

    @property
    def target(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The function ``old`` of the old source is an implementation of generic functions no more. ``dispatchers`` are
    source text of expressions that give these: what has the ``register`` of its decorators.
    """

    old: CodeRef
    line: int
    dispatchers: tuple[str, ...]

    @property
    def target(self) -> str:
        return self.old.qualname


@dataclass(frozen=True, slots=True)
class NewState:
    """The object that ``name`` (of the class ``owner``, or of the module) means, an instance of ``cls``, gets the
    attributes that the new constructor sets when it is called with ``arguments``: source text of a pair of a tuple and
    a dict. The old constructor, called so, must give what is live.
    """

    owner: str
    name: str
    line: int
    cls: str
    arguments: str

    @property
    def target(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What instances of the class ``owner`` remember in the dict ``name``, which ``init`` makes, is forgotten: from the
    switch on they have an empty one. ``fillers`` are the methods that use it; nobody may be inside them at the switch.
    All are functions of the old source.
    """

    owner: str
    name: str
    line: int
    init: CodeRef
    fillers: tuple[CodeRef, ...]

    @property
    def target(self) -> str:
        return f"{self.owner}.{self.name}"


Change = (
    FunctionChange | NewFunction | ValueChange | NewImport | NewClass | NewBases | NewFields | Removed | Unregistered
    | NewState | Forgotten
)


@dataclass(frozen=True, slots=True)
class ModulePatch:
    """What a patch does to one module.

    ``name`` is the import name, ``path`` the file's path relative to the source tree (``pkg/mod.py``), for people.
    """

    name: str
    path: str
    old_source: str
    new_source: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class NewModule:
    """A module that only the new version has: it can be imported from the switch on."""

    name: str
    path: str
    new_source: str

    @property
    def is_package(self) -> bool:
        return self.path.rpartition("/")[2] == "__init__.py"


@dataclass(frozen=True, slots=True)
class HooksFile:
    """The author's part: the text of a Python file, ``name`` without folders (see ``pylivepatch.hooks``)."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the builder said of one difference: ``verdict`` is its class, ``where`` ``module:symbol``, ``place``
    ``file:line``.
    """

    code: str
    verdict: str
    where: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """A hand-written pair: ``old`` is a live function (or something that wraps one), ``new`` what takes its place."""

    old: Callable[..., Any]
    new: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Patch:
    """A set of changes that take effect at one instant, or not at all.

    Immutable: :meth:`replace` returns a new patch. ``callbacks`` (``pylivepatch.callbacks.Callbacks``) and ``states``
    (``pylivepatch.state.State``) are for patches that are made in the process: a patch file carries ``hooks`` instead.
    ``told`` is what the builder said, for people. ``distributions`` are name, old and new version of those that it was
    built from, if it was.

    >>> patch = Patch("fix").replace(old_function, new_function)      # doctest: +SKIP
    """

    name: str
    description: str = ""
    modules: tuple[ModulePatch, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    requires_python: str = ""
    callbacks: Any = None
    states: tuple[Any, ...] = ()
    hooks: HooksFile | None = None
    told: tuple[Told, ...] = ()
    new_modules: tuple[NewModule, ...] = ()
    distributions: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "._-+" for c in self.name):
            raise ValueError(f"a patch's name is letters, digits and ._-+ only, not {self.name!r}")
        if self.hooks is not None and (self.callbacks is not None or self.states):
            raise ValueError("callbacks and states come from the hooks file, or are given by hand, not both")

    def replace(self, old: Callable[..., Any], new: Callable[..., Any]) -> Patch:
        """Return this patch with one more pair: every call of ``old`` is to run ``new``.

        ``old`` is a function, or a method, ``property``, ``staticmethod``, ``classmethod``, ``functools.partial`` or
        decorated function that keeps its original (``__wrapped__``); the function inside is what changes, so
        that aliases, bound methods and callbacks held anywhere follow.
        """
        return replace(self, replacements=(*self.replacements, Replacement(old, new)))

    def changes(self) -> Iterator[tuple[ModulePatch, Change]]:
        """Every change of every module, in order."""
        for module in self.modules:
            for change in module.changes:
                yield module, change

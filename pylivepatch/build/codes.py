"""The one table of findings: what kinds of difference the builder tells apart, and what becomes of each.

Each has a section in ``docs/edits.md``; the order here is the order there. A code is stable: it is never
reused. ``pylivepatch build``, ``info`` and ``explain`` show what stands here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["applied", "applied-with-note", "needs-author", "refused"]
"""What becomes of a difference: the patch carries it; it is told, and needs nothing; the patch's author must say or
give something first; no patch can follow it."""


@dataclass(frozen=True, slots=True)
class Code:
    """One row: ``verdict`` is the class of its findings, ``way_out`` is empty for those that are applied."""

    code: str
    verdict: Verdict
    title: str
    meaning: str
    way_out: str = ""

    @property
    def anchor(self) -> str:
        """The section's address below the repository's root."""
        words = re.sub(r"[^\w\- ]", "", f"{self.code}: {self.title}".lower())
        return f"docs/edits.md#{words.replace(' ', '-')}"


TABLE: dict[str, Code] = {}
"""Every code → its row, in order."""


def _code(code: str, verdict: Verdict, title: str, meaning: str, way_out: str = "") -> str:
    TABLE[code] = Code(code, verdict, title, meaning, way_out)
    return code


# Carried by the patch.
MEMO_FORGOTTEN = _code(
    "PLP207", "applied", "a memo is forgotten",
    "What instances remember of a class attribute that changed, and would make again, is made again.",
)
NAME_REMOVED = _code(
    "PLP208", "applied", "a name is taken away",
    "A function, value, class or import is gone, and its absence could be told: the name goes at the switch.",
)
FUNCTION_REPLACED = _code(
    "PLP209", "applied", "other decorators, or another kind",
    "A function that is decorated anew, or of another kind, takes the names of the old one, in all modules.",
)
FUNCTION_CHANGED = _code(
    "PLP210", "applied", "a function changed",
    "Body, parameters, defaults, annotations or docstring differ: it gets the new code.",
)
FUNCTION_NEW = _code(
    "PLP211", "applied", "a new function",
    "A function or method that the old version does not have is added.",
)
VALUE_CHANGED = _code(
    "PLP212", "applied", "a value changed",
    "A module constant or class attribute is set to its new value, where the live one is the old one; what was "
    "computed from it at import follows.",
)
VALUE_NEW = _code(
    "PLP213", "applied", "a new value",
    "A module constant or class attribute that the old version does not have is added.",
)
IMPORT_NEW = _code(
    "PLP214", "applied", "a new import",
    "A name that an import binds is new, or comes from elsewhere now.",
)
INSTANCE_DEFAULT = _code(
    "PLP215", "applied", "a default for instances that exist",
    "The new __init__ sets an attribute to a literal: the class gets it, for instances made before the load.",
)
CLASS_ADDED = _code(
    "PLP216", "applied", "a new class",
    "The class statement runs while the patch is prepared, and its name is bound at the switch.",
)
BASES_CHANGED = _code(
    "PLP217", "applied", "other bases",
    "The class gets its new bases at the switch; its objects and subclasses follow.",
)
FIELDS_CHANGED = _code(
    "PLP218", "applied", "other fields",
    "What dataclasses, attrs or NamedTuple made of a class's fields is made anew, and bound at the switch.",
)
MODULE_BROUGHT = _code(
    "PLP219", "applied", "a new module",
    "The patch carries the module; it can be imported from the switch on.",
)

# Seen, told, and not carried, because nothing in a running process depends on them.
TYPING_ONLY = _code(
    "PLP220", "applied-with-note", "only type checkers see it",
    "Only type checkers read what changed.",
)
DOCSTRING_LEFT = _code(
    "PLP221", "applied-with-note", "a module's or class's docstring",
    "The docstring of a module or class stays as it was.",
)
LEFT_IN_PLACE = _code(
    "PLP222", "applied-with-note", "left in place",
    "A name that is gone stays in the process: nothing refers to it any more.",
)
OUTSIDE = _code(
    "PLP223", "applied-with-note", "outside of what runs",
    "A file or a part of one that no running process uses.",
)
RAN_AT_IMPORT = _code(
    "PLP224", "applied-with-note", "it ran at import",
    "A changed function ran at import, and nothing kept what it returned: it is not called again.",
)
HUNK_MOVED = _code(
    "PLP225", "applied-with-note", "a hunk moved",
    "A hunk applied at another line than it names, the only place where its lines stand.",
)
MAY_BE_STALE = _code(
    "PLP226", "applied-with-note", "it may be stale",
    "What import-time code made with the old version may stay; the places are named.",
)

NEEDS_CHANGED = _code(
    "PLP227", "applied-with-note", "it asks for other releases",
    "The new release has other requirements than the old one: the process keeps the releases that it runs.",
)
UNUSED_STATEMENT = _code(
    "PLP228", "applied-with-note", "a statement that nothing needs",
    "The hooks file says of a difference that it is safe, and the builder found no such difference.",
)
HUNK_FUZZ = _code(
    "PLP229", "applied-with-note", "a hunk applied with fuzz",
    "Outer lines of a hunk's context differ from the source; the rest stands in one place only.",
)

# Functions that cannot be carried.
KIND_CHANGED = _code(
    "PLP230", "refused", "the kind changed",
    "A function became a generator, a coroutine function and so on, and no new object can take its place.",
    "Add a function of the new kind under another name, and call it from the callers.",
)
DECORATORS_CHANGED = _code(
    "PLP231", "refused", "decorators changed",
    "Decorators ran when the function was defined, and no new object can take the place of what they made.",
    "Keep the decorators, and do in the body what the new ones would do.",
)
UNSAFE_DEFAULT = _code(
    "PLP232", "needs-author", "an unsafe default",
    "Evaluating the new default is not known to be free of side effects.",
    "Use a literal, or `None`, and work it out in the body.",
)
UNSAFE_ANNOTATION = _code(
    "PLP233", "refused", "an annotation that cannot be evaluated",
    "The annotation uses a name that the module does not bind when it runs.",
    "Put the annotation in quotes, or leave it out.",
)
UNKNOWN_DECORATOR = _code(
    "PLP234", "needs-author", "an unknown decorator on a new function",
    "What the decorator of a new function does is not known.",
    "Write the function without it, or with one of those listed under PLP211.",
)
CONDITIONAL = _code(
    "PLP235", "refused", "under a condition",
    "Which of several alternatives is live is not known from the source.",
    "Define it unconditionally and test the condition in the body; change only the alternative that the "
    "process runs.",
)
FUNCTION_REMOVED = _code(
    "PLP236", "needs-author", "a removed function that could be missed",
    "The function is gone, and something may still look for it.",
    "Keep it, and give it the body that its callers should meet.",
)
SHADOWED = _code(
    "PLP237", "refused", "a shadowed function",
    "A later definition takes over the name, so the live function cannot be found by it.",
    "Give each function a name of its own.",
)
NAME_REUSED = _code(
    "PLP238", "refused", "a name was reused",
    "The name was one kind of thing and became another.",
    "Give the new definition another name.",
)
NEEDS_CLASS_CREATION = _code(
    "PLP239", "needs-author", "it acts when a class is created",
    "The new member acts when its class is created, and the class exists already.",
    "Do its work where the class is used. For `__eq__`, define `__hash__` too; for abstract methods, raise "
    "`NotImplementedError`.",
)
GENERIC_FUNCTION = _code(
    "PLP240", "refused", "type parameters",
    "A new function with type parameters, or changed ones.",
    "Use `typing.TypeVar`, or leave the type parameters as they were.",
)
PROPERTY_REBUILT = _code(
    "PLP241", "refused", "a property would be rebuilt",
    "A new setter, getter or deleter makes another property object.",
    "Add a plain method.",
)
AMBIGUOUS = _code(
    "PLP242", "refused", "it cannot be told apart",
    "The compiled module has no code for the definition, or several.",
    "Define it once, on a line of its own, in code that runs.",
)

# Classes.
CLASS_NEW = _code(
    "PLP250", "refused", "a new class that does more",
    "Executing the statement of the new class is not known to be free of side effects.",
    "Leave that out of the class statement, or put what the class does into functions.",
)
CLASS_REMOVED = _code(
    "PLP251", "needs-author", "a removed class",
    "The class is gone, and the new version still means something by its name.",
    "Keep it.",
)
CLASS_STATEMENT = _code(
    "PLP252", "refused", "the class statement changed",
    "Keywords, decorators, type parameters, or bases that cannot be exchanged: the live class was made with the old "
    "ones.",
    "Leave the class statement as it was, and change the methods.",
)
CLASS_SHAPE = _code(
    "PLP253", "refused", "fields, members, slots",
    "Fields, enum members and slots are fixed when the class is created.",
    "Keep what is new in a function, a module constant or a plain attribute.",
)
ATTRIBUTE_REMOVED = _code(
    "PLP254", "needs-author", "a removed class attribute",
    "The attribute is gone, and instances and subclasses would go on finding it.",
    "Keep it, and let the functions ignore it.",
)
INSTANCE_STATE = _code(
    "PLP255", "needs-author", "instances that exist lack it",
    "The new version reads an attribute that instances made before the load do not have.",
    'Give it in a hooks file, with a transformer (`@transform("pkg.mod:Class.seen")`); or let the methods that read '
    'it work without it (`getattr(self, "seen", ())`), or keep the state outside of the instances, with '
    "`pylivepatch.shadow`.",
)

# Values.
NOT_LITERAL = _code(
    "PLP260", "needs-author", "unknown effects",
    "Evaluating the new value is not known to be free of side effects.",
    "Add a name with a literal value and let the functions use it, or compute it in a function.",
)
COPIED_AT_IMPORT = _code(
    "PLP261", "needs-author", "used at import",
    "Code that ran at import used the old value for something that cannot be done again; what it made would stay.",
    "Give the new value a new name and let the functions use it, or change the places named.",
)
REBOUND = _code(
    "PLP262", "needs-author", "bound by other code",
    "Import-time code that is no plain assignment binds the name too, so its value is not known.",
    "Change the functions that use it.",
)
ASSIGNED_TWICE = _code(
    "PLP263", "refused", "assigned more than once",
    "Which of several assignments is live is not known.",
    "Assign it once.",
)
VALUE_REMOVED = _code(
    "PLP264", "needs-author", "a removed value that could be missed",
    "The value is gone, and the new version still looks for its name.",
    "Keep the name.",
)
MADE_AT_IMPORT = _code(
    "PLP265", "needs-author", "made at import by a changed function",
    "What the old function returned while modules were imported is kept somewhere.",
    "Change the place that uses the result, so that it calls a new function.",
)
COMPUTED_NAME = _code(
    "PLP266", "needs-author", "found by a computed name",
    "Nothing reads the changed class attribute by its name, and the class looks attributes up by texts that it "
    "puts together: what instances keep of the old value is not known.",
    "Look whether something keeps what it made of the old value; where it does, forget that in a callback.",
)

# Imports.
IMPORT_CHANGED = _code(
    "PLP270", "refused", "a name comes from elsewhere",
    "Something else than the module's functions has the object that the name meant.",
    "Import it under a new name, and use that.",
)
STAR_IMPORT = _code(
    "PLP271", "refused", "a star import",
    "Which names a star import binds is not known without running it.",
    "Import the names one by one.",
)
FUTURE_CHANGED = _code(
    "PLP272", "refused", "a `__future__` import",
    "A __future__ import changes what every function of the module compiles to.",
    "Leave these imports as they were.",
)
IMPORT_REMOVED = _code(
    "PLP273", "needs-author", "a removed import that could be missed",
    "The import is gone, and the name still means something.",
    "Keep the import.",
)
IMPORT_OF_NEW_NAME = _code(
    "PLP274", "refused", "an import that the patch cannot serve",
    "The new import names what the patch cannot bring in time.",
    "Import the module (`from . import utils`) and use `utils.here`, or import it in the function that needs "
    "it.",
)

# Modules and files.
MODULE_CODE = _code(
    "PLP280", "needs-author", "code at import",
    "Statements that ran at import and have an effect elsewhere; they are not run again.",
    "Do the work in a function that runs later.",
)
MODULE_NEW = _code(
    "PLP281", "refused", "a new module that does more",
    "What the new module computes when it is imported, or the classes that it makes, would not be those of a fresh "
    "process.",
    "Put what is needed of it into a module that exists already.",
)
MODULE_REMOVED = _code(
    "PLP282", "needs-author", "a removed module",
    "The module is gone, and the new version still mentions its name.",
    "Keep the module.",
)
OTHER_FILE = _code(
    "PLP283", "needs-author", "another file",
    "Data, templates, C extensions: a patch holds Python source.",
    "If the process reads the file anew each time, bring it onto the machine by itself and leave it out of "
    "the diff.",
)
NOT_IMPORTABLE = _code(
    "PLP284", "refused", "no import name",
    "The file's path is no name that Python can import.",
    "Give it one, or leave it out of the diff.",
)
ORDER_CHANGED = _code(
    "PLP285", "refused", "the order changed",
    "Another one of several definitions is the live one now, or import-time code changed places.",
    "Leave the order as it was, or give each definition a name of its own.",
)
PINNED = _code(
    "PLP286", "needs-author", "it is for another release of what it needs",
    "The new release names one release of another distribution, and the old one named another.",
    "Leave it to a restart, which brings both; or see that the new code runs with the release that the process has.",
)

ALL: dict[str, str] = {
    value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)
}
"""Every code → its name here."""

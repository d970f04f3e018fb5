"""The codes of findings: what kinds of difference the builder tells apart.

Each has a section in ``docs/edits.md``; the order here is the order there. A code is stable: it is never
reused.
"""

from __future__ import annotations

# Carried by the patch.
FUNCTION_CHANGED = "PLP210"
FUNCTION_NEW = "PLP211"
VALUE_CHANGED = "PLP212"
VALUE_NEW = "PLP213"
IMPORT_NEW = "PLP214"
INSTANCE_DEFAULT = "PLP215"

# Seen, told, and not carried, because nothing in a running process depends on them.
TYPING_ONLY = "PLP220"
DOCSTRING_LEFT = "PLP221"
LEFT_IN_PLACE = "PLP222"
OUTSIDE = "PLP223"
RAN_AT_IMPORT = "PLP224"
HUNK_MOVED = "PLP225"
MAY_BE_STALE = "PLP226"

# Functions that cannot be carried.
KIND_CHANGED = "PLP230"
DECORATORS_CHANGED = "PLP231"
UNSAFE_DEFAULT = "PLP232"
UNSAFE_ANNOTATION = "PLP233"
UNKNOWN_DECORATOR = "PLP234"
CONDITIONAL = "PLP235"
FUNCTION_REMOVED = "PLP236"
SHADOWED = "PLP237"
NAME_REUSED = "PLP238"
NEEDS_CLASS_CREATION = "PLP239"
GENERIC_FUNCTION = "PLP240"
PROPERTY_REBUILT = "PLP241"
AMBIGUOUS = "PLP242"

# Classes.
CLASS_NEW = "PLP250"
CLASS_REMOVED = "PLP251"
CLASS_STATEMENT = "PLP252"
CLASS_SHAPE = "PLP253"
ATTRIBUTE_REMOVED = "PLP254"
INSTANCE_STATE = "PLP255"

# Values.
NOT_LITERAL = "PLP260"
COPIED_AT_IMPORT = "PLP261"
REBOUND = "PLP262"
ASSIGNED_TWICE = "PLP263"
VALUE_REMOVED = "PLP264"
MADE_AT_IMPORT = "PLP265"

# Imports.
IMPORT_CHANGED = "PLP270"
STAR_IMPORT = "PLP271"
FUTURE_CHANGED = "PLP272"
IMPORT_REMOVED = "PLP273"
IMPORT_OF_NEW_NAME = "PLP274"

# Modules and files.
MODULE_CODE = "PLP280"
MODULE_NEW = "PLP281"
MODULE_REMOVED = "PLP282"
OTHER_FILE = "PLP283"
NOT_IMPORTABLE = "PLP284"
ORDER_CHANGED = "PLP285"

ALL: dict[str, str] = {
    value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)
}
"""Every code → its name here."""

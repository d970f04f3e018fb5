"""``from module import *`` of a module that gets new public names: who copied all its names has to get them, too."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.uses import Copy, Uses
from pylivepatch.patch import NewImport


def follow_stars(contexts: Mapping[str, Context]) -> None:
    """Carry or report the names that star imports, which ran already, would bind now."""
    given: dict[str, set[str]] = {}  # what the patch brings to a module by a star import
    waiting = list(contexts)
    for module in waiting:  # grows: a star import of a star import
        context = contexts[module]
        names = _newly_exported(context) | {name for name in given.get(module, ()) if exports(context.new, name)}
        for copy in context.world.new.copies.get(module, ()) if names else ():
            importer = contexts.get(copy.importer)
            if copy.name != "*" or importer is None or not _was_there(importer, copy):
                continue
            known = given.setdefault(copy.importer, set())
            carried = {name for name in sorted(names - known) if _bring(context, importer, copy, name)}
            if carried:
                known |= carried
                waiting.append(copy.importer)


def exports(uses: Uses, name: str) -> bool | None:
    """Whether ``import *`` hands out the name, where the module has it; ``None`` where ``__all__`` is not known."""
    values = [item.value for item in uses.items if item.name == "__all__" and item.kind == "value"]
    if not values and "__all__" not in uses.names.bound | uses.bound_by_code.keys():
        return not name.startswith("_")
    match values:
        case [ast.List(elts=parts) | ast.Tuple(elts=parts)] if "__all__" not in uses.bound_by_code:
            if all(isinstance(part, ast.Constant) for part in parts):
                return any(isinstance(part, ast.Constant) and part.value == name for part in parts)
    return None


def _newly_exported(context: Context) -> set[str]:
    """The names that the new version's module hands out and the old one's did not, or may not have."""
    if context.old is context.new:
        return set()
    old, new = context.old.names.bound, context.new.names.bound
    return {
        name
        for name in new
        if exports(context.new, name) is not False and (name not in old or exports(context.old, name) is False)
    }


def _was_there(importer: Context, copy: Copy) -> bool:
    return any((one.module, one.name) == (copy.module, "*") for one in importer.old.copies)


def _bring(context: Context, importer: Context, copy: Copy, name: str) -> bool:
    """Carry one name into a module that copied all names; reports where that cannot be done."""
    user, world = importer.new, context.world
    where = f"{user.source.path}:{copy.line}"
    line = next((item.line for item in context.new.items if item.name == name), 0)
    own = [item.line for item in user.items if item.name == name and not item.typing_only]
    others = [
        one.line
        for one in user.copies
        if one.name == "*" and one.module != copy.module and _gives(importer, one.module, name)
    ]
    hidden = max((*own, *others), default=0)
    same = user.names.imports.get(name, "") == context.new.names.imports.get(name)
    if hidden > copy.line or (own and same):
        return False  # bound by what comes after the star import, or to the same
    if (
        hidden
        or name in user.mentioned
        or any((copy.importer, name) in other.imported_anywhere for other in world.new.modules.values())
    ):
        context.report.refused(
            codes.STAR_IMPORT,
            name,
            f"the new name is used through `from {copy.module} import *` in {where}, which ran already",
            "import the name by itself where it is used",
            new_line=line,
        )
        return False
    there = name in context.old.names.bound or any(change.target == name for change in context.changes)
    if copy.conditional or not there or exports(context.new, name) is None:
        context.report.note(
            codes.MAY_BE_STALE,
            name,
            f"`from {copy.module} import *` in {where}, which ran already, may bind the new name in a fresh process",
            new_line=line,
        )
        return False
    importer.changes.append(NewImport(name, copy.line, f"from {copy.module} import {name}"))
    importer.report.applied(
        codes.IMPORT_NEW, name, f"new: `from {copy.module} import *` binds it, too", new_line=copy.line
    )
    return True


def _gives(importer: Context, module: str, name: str) -> bool:
    uses = importer.world.new.modules.get(module)
    return uses is not None and name in uses.names.bound and exports(uses, name) is not False

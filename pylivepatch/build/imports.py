"""The import statements of a module: new ones are carried, one bound name at a time."""

from __future__ import annotations

import ast

from pylivepatch.build import codes
from pylivepatch.build.context import Context
from pylivepatch.build.gone import take_away
from pylivepatch.build.names import import_target
from pylivepatch.build.nodes import walk
from pylivepatch.build.scope import FunctionNode, Item, import_text
from pylivepatch.build.uses import executed_nodes
from pylivepatch.patch import NewImport


def compare_imports(context: Context, old: list[Item], new: list[Item]) -> None:
    """Report and carry the changes of what the module imports."""
    before, after = _by_name(old), _by_name(new)
    for name, items in after.items():
        _compare_name(context, name, before.get(name, []), items)
    for name, items in before.items():
        if name not in after:
            _removed(context, items[0])


def compare_futures(context: Context, old: list[Item], new: list[Item]) -> None:
    """A ``from __future__`` import changes what the whole module compiles to."""
    before, after = (
        {item.alias.name: item for item in items if item.kind == "future" and item.alias}
        for items in (old, new)
    )
    for name in sorted(before.keys() ^ after.keys()):
        item = after.get(name) or before[name]
        symbol = f"from __future__ import {name}"
        if name not in ("annotations", "barry_as_FLUFL"):
            context.report.note(
                codes.LEFT_IN_PLACE,
                symbol,
                "a __future__ import that no longer does anything",
                new_line=item.line,
            )
            continue
        if not any(makes_code(uses.source.tree) for uses in (context.old, context.new)):
            _follow_future(context, item, is_new=name in after)
            continue
        context.report.refused(
            codes.FUTURE_CHANGED,
            symbol,
            "the __future__ import is "
            + ("new" if name in after else "gone")
            + ", which changes every function of "
            "the module",
            "leave the __future__ imports as they were",
            new_line=item.line if name in after else 0,
            old_line=item.line if name in before else 0,
        )


def makes_code(tree: ast.Module) -> bool:
    """Whether any code of the module goes on after its import, or may: it makes functions or classes, or compiles."""
    return any(
        isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef | ast.GeneratorExp)
        or (isinstance(node, ast.Name) and node.id in ("exec", "eval", "compile"))
        for node in ast.walk(tree)
    )


def _follow_future(context: Context, item: Item, *, is_new: bool) -> None:
    """In a module that makes no code, such an import is one as any other: it binds a name."""
    assert item.alias is not None
    text, name = import_text(item), item.alias.asname or item.alias.name
    if not is_new:
        context.report.note(codes.LEFT_IN_PLACE, name, f"`{text}` is gone; the name stays", old_line=item.line)
        return
    if name == "annotations" and any(isinstance(node, ast.AnnAssign) for node in walk(context.new.source.tree)):
        context.report.note(
            codes.TYPING_ONLY,
            "__annotations__",
            f"`{text}` makes texts of the module's annotations; those of a running process stay as they are",
            new_line=item.line,
        )
    context.changes.append(NewImport(name, item.line, text))
    context.report.applied(
        codes.IMPORT_NEW, name, f"new: {text}; the module makes no code that it could change", new_line=item.line
    )


def compare_stars(context: Context, old: list[Item], new: list[Item]) -> None:
    """``from module import *`` binds names that cannot be known without running it."""
    before, after = (
        {import_text(item): item for item in items if item.kind == "star" and not item.typing_only}
        for items in (old, new)
    )
    for text in sorted(before.keys() ^ after.keys()):
        item = after.get(text) or before[text]
        context.report.refused(
            codes.STAR_IMPORT,
            text,
            "the star import is "
            + ("new" if text in after else "gone")
            + "; which names it binds is not known",
            "import the names that are needed, each by its name",
            new_line=item.line if text in after else 0,
            old_line=item.line if text in before else 0,
        )


def _by_name(items: list[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        if item.kind == "import":
            found.setdefault(item.name, []).append(item)
    return found


def _targets(context: Context, items: list[Item], package: str) -> dict[str, Item]:
    found = {}
    for item in items:
        assert item.alias is not None
        # `import a.b` and `import a.c` both bind `a`, and are two imports all the same.
        whole = import_target(item, package) if import_text(item).startswith("from") else item.alias.name
        found[whole] = item
    return found


def _compare_name(context: Context, name: str, old: list[Item], new: list[Item]) -> None:
    report = context.report
    old_run = [item for item in old if not item.typing_only]
    new_run = [item for item in new if not item.typing_only]
    if not new_run:
        if old_run:
            report.note(
                codes.LEFT_IN_PLACE,
                name,
                "imported only for type checkers now; it stays imported",
                new_line=new[0].line,
            )
        elif not old:
            report.note(
                codes.TYPING_ONLY,
                name,
                "imported only for type checkers; nothing to do",
                new_line=new[0].line,
            )
        return
    before = _targets(context, old_run, context.old.source.package)
    after = _targets(context, new_run, context.new.source.package)
    added = [item for target, item in after.items() if target not in before]
    gone = [item for target, item in before.items() if target not in after]
    plain = all(import_text(item) == f"import {item.alias.name}" for item in (*added, *gone) if item.alias)
    if len(gone) == len(added) == len(old_run) == len(new_run) == 1 and _can_be_rebound(context, gone[0], added[0]):
        context.changes.append(NewImport(name, added[0].line, import_text(added[0])))
        report.applied(
            codes.IMPORT_NEW,
            name,
            f"imported from elsewhere: `{import_text(gone[0])}` became `{import_text(added[0])}`",
            old_line=gone[0].line,
            new_line=added[0].line,
        )
        return
    if (gone and added and not plain) or (added and before and not plain):
        report.refused(
            codes.IMPORT_CHANGED,
            name,
            f"the name is imported from elsewhere: `{import_text((gone or old_run)[0])}` became "
            f"`{import_text(added[0])}`",
            "import it under a new name, and use that in the functions",
            old_line=(gone or old_run)[0].line,
            new_line=added[0].line,
        )
        return
    for item in gone:
        report.note(
            codes.LEFT_IN_PLACE,
            name,
            f"`{import_text(item)}` is gone; the module stays imported",
            old_line=item.line,
        )
    for item in added:
        if item.main_only:
            report.note(
                codes.OUTSIDE, name, "imported only where the file is run as a script", new_line=item.line
            )
        elif item.guard:
            report.refused(
                codes.CONDITIONAL,
                name,
                f"the new import runs only under a condition ({item.guard[-1]})",
                "import it unconditionally, or in the function that needs it",
                new_line=item.line,
            )
        else:
            context.changes.append(NewImport(name, item.line, import_text(item)))
            report.applied(codes.IMPORT_NEW, name, f"new: {import_text(item)}", new_line=item.line)


def _can_be_rebound(context: Context, old: Item, new: Item) -> bool:
    """Whether only functions use the name, each time they run: then the commit may bind it anew."""
    world, name = context.world, new.name
    if old.guard or new.guard or old.main_only or new.main_only or name == "__getattr__":
        return False
    if name in context.old.rebound or name in context.new.rebound or world.readers(context.module, name):
        return False
    if any(item.name == name and item.kind != "import" for item in (*context.old.items, *context.new.items)):
        return False
    copied = {copy.name for copy in world.old.copies.get(context.module, ())}
    if copied & {name, "*"}:
        return False
    # What is read as `module.name` at import resolves to where the name comes from, not to this module.
    return not any(
        isinstance(node, ast.Attribute) and node.attr == name
        for uses in world.old.modules.values()
        if uses.has_attribute(name)
        for piece in uses.evaluated
        for node in executed_nodes(piece.node)
    )


def _removed(context: Context, item: Item) -> None:
    report, name = context.report, item.name
    if item.typing_only or item.main_only:
        report.note(codes.TYPING_ONLY, name, "a running process does not use this import", old_line=item.line)
        return
    place = context.world.still_refers(context.module, name)
    if place is None or name in {other.name for other in context.new.items if other.kind != "import"}:
        report.note(
            codes.LEFT_IN_PLACE,
            name,
            f"`{import_text(item)}` is gone; the name stays in the module",
            old_line=item.line,
        )
        return
    take_away(context, item, codes.IMPORT_REMOVED, f"the name still means something in the new version: {place}")

"""The author's word: which differences a hooks file says to be safe, or provides for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pylivepatch.build import codes
from pylivepatch.errors import BuildError, HooksError
from pylivepatch.hooks.reading import Contents, contents
from pylivepatch.patch import HooksFile


@dataclass(frozen=True)
class Word:
    """What the hooks file (``None``: there is none) says. ``used`` are its statements that a finding asked for."""

    file: HooksFile | None = None
    contents: Contents = field(default_factory=Contents)
    used: set[tuple[str, str]] = field(default_factory=set)

    def on(self, code: str, symbol: str) -> str:
        """Why the difference ``code`` at ``symbol`` (``module:qualname``) needs nothing more, or ``""``."""
        for statement in self.contents.statements:
            if (statement.code, statement.symbol) == (code, symbol):
                self.used.add((code, symbol))
                return f"The author: {statement.why}"
        for transform in self.contents.transforms:
            if code == codes.INSTANCE_STATE and transform.target == symbol:
                how = "all at the load" if transform.eager else "at the first access"
                return f"The transformer {transform.function} gives it to instances that exist, {how}"
        return ""

    def unused(self) -> Iterator[tuple[str, int]]:
        """Each statement that no finding asked for, and its line."""
        for one in self.contents.statements:
            if (one.code, one.symbol) not in self.used:
                yield f'safe("{one.code}", "{one.symbol}", …)', one.line


def how_to_say(code: str, symbol: str) -> str:
    """What a hooks file would say of a difference that needs its author."""
    statement = f'safe("{code}", "{symbol}", "why")'
    if code == codes.INSTANCE_STATE:
        name = symbol.rpartition(".")[2]
        return (
            f'Or give it in a hooks file (--hooks): `@transform("{symbol}") def {name}(instance): return …`; '
            f"or say there why it is safe: `{statement}`"
        )
    return f"Or say in a hooks file (--hooks) why it is safe: `{statement}`"


def read_word(path: Path | None) -> Word:
    """Read a hooks file; nothing of it is executed.

    Raises :class:`HooksError` where it cannot be read, or says what is not the author's to say.
    """
    if path is None:
        return Word()
    if not path.name.endswith(".py") or not path.stem.isidentifier():
        raise HooksError(
            "a hooks file is a Python module: its name is an identifier and .py",
            where=str(path),
            advice="such as hooks.py",
        )
    try:
        source = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise HooksError(
            f"the hooks file cannot be read: {getattr(problem, 'strerror', None) or problem}",
            where=str(path),
            advice="give a Python file in UTF-8",
        ) from problem
    found = contents(source, str(path))
    for statement in found.statements:
        row = codes.TABLE.get(statement.code)
        if row is None or row.verdict != "needs-author":
            raise HooksError(
                f"{statement.code} is not for the author to overrule: it is {row.verdict}"
                if row
                else f"there is no code {statement.code}",
                where=f"{path}:{statement.line}",
                advice=(row.way_out if row else "") or "`pylivepatch explain` lists the codes and their classes",
            )
    return Word(HooksFile(path.name, source), found)


def check_transforms(word: Word, bound: set[str]) -> None:
    """Raise :class:`BuildError` where a transformer is for an attribute that the patch itself gives the class.

    ``bound`` are the targets of its values, ``module:Class.attribute``.
    """
    for transform in word.contents.transforms:
        if transform.target in bound:
            raise BuildError(
                f"the patch itself gives the class {transform.target}: no instance lacks it",
                where=f"{word.file.name if word.file else ''}:{transform.line}",
                advice="leave the transformer out",
            )

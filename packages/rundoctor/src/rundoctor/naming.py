"""``--map``: what the user says that tags and columns stand for."""

from __future__ import annotations

from pathlib import Path

from .signals import BY_NAME

STEP, TIME = "step", "time"
AXES = {
    STEP: "for a column of a table: the environment steps",
    TIME: "for a column of a table: seconds, of the clock or since the start",
}
"""Names of ``--map`` that are no signals: the columns with a table's steps and times."""


class NamingError(ValueError):
    """A statement that cannot be used; the message says why and what can be used instead."""


def parse_names(items: list[str], file: Path | None = None) -> dict[str, str]:
    """Read ``TAG=NAME`` statements, those of the file first, so that the command line outweighs it.

    Args:
        items: statements; a tag may hold ``=``, a name holds none.
        file: one statement a line; empty lines and lines that begin with ``#`` are passed over.

    Returns:
        canonical name (or ``step``, ``time``) by tag.

    Raises:
        NamingError: a statement is not of that form, or its name is not known.
        OSError: the file cannot be read.
    """
    out: dict[str, str] = {}
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise NamingError(f"{file} is not a text file") from None
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                tag, name = _statement(line, f"{file}, line {number}: ")
                out[tag] = name
    out.update(_statement(item, "") for item in items)
    return out


def _statement(text: str, where: str) -> tuple[str, str]:
    tag, separator, name = (part.strip() for part in text.rpartition("="))
    tag = tag.strip("\"'")
    if not separator or not tag or not name:
        raise NamingError(f'{where}{text.strip()!r} is not of the form TAG=NAME, as in "Av. Q=q1_mean"')
    if name not in BY_NAME and name not in AXES:
        from difflib import get_close_matches

        near = get_close_matches(name, [*BY_NAME, *AXES], 3)
        hint = f"similar: {', '.join(near)}; " if near else ""
        raise NamingError(f"{where}no signal is named {name!r}; {hint}--names lists all names")
    return tag, name

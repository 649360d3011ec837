"""Texts: how they are opened, what separates their columns, and whether they hold a table at all."""

from __future__ import annotations

import csv
import io
import itertools
import re
import zlib
from pathlib import Path
from typing import TextIO

from .cells import ABSENT, DECIMAL_COMMA, number
from .placement import is_time
from .source import ReadError, open_binary, plain_name

_LONGEST_LINE = 1 << 20


def open_text(path: Path) -> TextIO:
    """Open a text, in UTF-8 or UTF-16; bytes that are no text are replaced.

    Raises:
        ReadError: it is no text.
    """
    with open_binary(path) as file:
        start = file.read(_LONGEST_LINE)
    encoding = "utf-8-sig"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
        try:
            text = start[: len(start) // 2 * 2].decode(encoding)
        except UnicodeDecodeError:
            raise ReadError("not a text file") from None
        if not text.isprintable() and any(ord(c) < 9 for c in text):
            raise ReadError("not a text file")
    elif b"\0" in start:
        raise ReadError("not a text file")
    elif len(start) == _LONGEST_LINE and b"\n" not in start:
        raise ReadError("not a table: its first line is longer than a megabyte")
    elif start and sum(b >= 0x80 for b in start[:4096]) > 0.3 * len(start[:4096]):
        raise ReadError("not a text file")
    return io.TextIOWrapper(open_binary(path), encoding=encoding, errors="replace", newline="")


def delimiter_of(line: str) -> str:
    best = max(",;\t|", key=line.count)
    if line.count(best):
        return best
    return " " if len(line.split()) > 1 else ","


def looks_like_table(path: Path) -> bool:
    """Whether a text begins with names of columns and rows of numbers below them."""
    try:
        with open_text(path) as file:
            lines = list(itertools.islice((x for x in file if x.strip() and not x.startswith("#")), 6))
    except (ReadError, OSError, EOFError, zlib.error):
        return False
    if len(lines) < 3:
        return False
    delimiter = delimiter_of(lines[0])
    if _NAMES_RETURNS.search(plain_name(path).lower()) and _only_numbers(lines, delimiter):
        return True
    rows = [x.split() if delimiter == " " else next(csv.reader([x], delimiter=delimiter)) for x in lines]
    header, *body = rows
    if len(header) < 2 or any(number(cell) is not None for cell in header):
        return False
    cells = [cell.strip() for row in body for cell in row]
    numbers = sum(
        number(c) is not None or c.lower() in ABSENT or DECIMAL_COMMA.fullmatch(c) is not None for c in cells
    )
    return all(len(row) == len(header) for row in body) and numbers >= 0.5 * len(cells)


def looks_like_mlflow(path: Path) -> bool:
    """Whether a file is one of MLflow's: rows of time, value and step without names, a file for each tag."""
    try:
        with open_text(path) as file:
            rows = [line.split() for line in itertools.islice(file, 6)]
    except (ReadError, OSError):
        return False
    numbers = [[number(cell) for cell in row] for row in rows]
    return len(rows) >= 3 and all(
        len(row) == 3 and None not in row and row[0] is not None and is_time(row[0]) for row in numbers
    )


_NAMES_RETURNS = re.compile(r"(^|[_\-.])(rewards?|returns?|scores?|ep_?r|ep_?rets?)([_\-.]|$)")


def _only_numbers(lines: list[str], delimiter: str) -> bool:
    rows = [x.split() if delimiter == " " else x.strip().split(delimiter) for x in lines]
    return len({len(row) for row in rows}) == 1 and all(number(c) is not None for row in rows for c in row)

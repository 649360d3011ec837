"""Series out of tables: CSV, TSV and texts in columns, wide or long, compressed or not.

A wide table has one column a series; a long one has a column of tags and a column of values. Rows are split
by the csv module and converted a block of a column at a time.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from ..signals.systems import clock, normalised, x_axis
from ..store import BUDGET, Point, Store
from .source import ReadError, Source, open_binary, plain_name

Floats = npt.NDArray[np.float64]

_TAGS = ("tag", "name", "metric", "series", "variable", "key")
_VALUES = ("value", "values", "scalar")
_GROUPS = (
    *("run", "run_id", "run_name", "seed", "experiment", "experiment_id", "exp", "exp_name", "trial"),
    *("trial_id", "trial_name", "algo", "algorithm", "method", "env", "env_name", "env_id", "environment"),
)
"""Columns that tell the runs of one table apart, where they hold more than one value."""
_MOST_GROUPS = 64
_BLOCK = 20_000
"""Rows that are converted at a time."""
_LARGEST_STEP = float(2**53)
"""Larger counts are not exact in a float64, and no run makes so many steps."""
_LONGEST_LINE = 1 << 20
_MOST_STARTS = 8
"""A table whose steps restart more often than this counts steps within episodes."""


def read_table(path: Path, budget: int = BUDGET, names: Mapping[str, str] | None = None) -> list[Source]:
    """Read one table.

    Understood: a wide table, a long one (tag, step, value), a single series as TensorBoard downloads it
    (``Wall time,Step,Value``), and Stable-Baselines3's ``monitor.csv`` (``r,l,t``). The delimiter is a comma,
    a semicolon, a tab, a bar or blanks; decimal commas are read. Empty cells are absent points, ``nan`` and
    ``inf`` are values. A row without a step stands at the step of the row before it.

    Args:
        budget: points held in memory per run.
        names: what the user says that columns are; ``step`` and ``time`` name the columns for the x-axis.

    Returns:
        one source for each run that the table holds.

    Raises:
        ReadError: not a table with at least one column of numbers.
        OSError: the file cannot be read.
    """
    try:
        with _open_text(path) as file:
            return _Table(path, file, budget, names or {}).read()
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"not a table: {error}") from None


def _open_text(path: Path) -> TextIO:
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


# --- cells ----------------------------------------------------------------------------------

_ABSENT = {"", "none", "null", "na", "n/a", "-", "--", "#n/a", "<na>"}
_TRUTH = {"true": 1.0, "false": 0.0}
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")


def number(cell: str) -> float | None:
    """The number in a cell; None where there is none."""
    try:
        return float(cell)
    except ValueError:
        pass
    text = cell.strip().lower()
    if text in _TRUTH:
        return _TRUTH[text]
    if text.endswith("%"):
        return number(text[:-1])
    found = re.fullmatch(r"[a-z_][a-z0-9_.]*\(\[*([^],)]+)\]*(?:,.*)?\)|\[([^],]+)\]", text)
    return number(found.group(1) or found.group(2)) if found is not None else None


@dataclass
class Column:
    """One column while it is being read."""

    name: str
    semicolons: bool
    """Whether the delimiter is no comma, so that a comma in a cell is a decimal one."""
    numbers: int = 0
    unreadable: int = 0
    sample: str = ""
    """The first cell that is no number."""

    def convert(self, cells: Sequence[str]) -> tuple[npt.NDArray[np.int64] | None, Floats]:
        """Rows that hold a number (None: all of them) and the numbers."""
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            pass
        else:
            self.numbers += len(cells)
            return None, values
        known = self._meanings(set(cells))
        rows = [i for i, cell in enumerate(cells) if cell in known]
        self.numbers += len(rows)
        values = np.fromiter((known[cells[i]] for i in rows), np.float64, len(rows))
        return np.asarray(rows, np.int64), values

    def _meanings(self, cells: set[str]) -> dict[str, float]:
        known: dict[str, float] = {}
        with_commas = []
        bad = []
        for cell in cells:
            value = number(cell)
            if value is not None:
                known[cell] = value
            elif _DECIMAL_COMMA.fullmatch(cell.strip()) or _THOUSANDS.fullmatch(cell.strip()):
                with_commas.append(cell)
            elif cell.strip().lower() not in _ABSENT:
                bad.append(cell)
        thousands = not self.semicolons and all(_THOUSANDS.fullmatch(c.strip()) for c in with_commas)
        for cell in with_commas:
            text = cell.strip()
            plain = text.replace(",", "") if thousands else text.replace(".", "").replace(",", ".")
            known[cell] = float(plain)
        if bad:
            self.unreadable += len(bad)
            self.sample = self.sample or min(bad)
        return known


# --- tables ---------------------------------------------------------------------------------


@dataclass
class _Part:
    """Rows of one run: its points, and the step at which the last row stands."""

    store: Store
    first: float = math.nan
    last: float = math.nan
    rows: int = 0
    gap: float = math.nan
    walls: bool = True


@dataclass
class _Axis:
    """Where rows stand: columns by index, and what the x-axis counts."""

    column: int | None
    kind: str
    wall: int | None
    elapsed: int | None
    taken: set[int] = field(default_factory=set)
    unordered: bool = False
    """Whether the rows are out of order, so that a step that falls back says nothing."""


class _Table:
    def __init__(self, path: Path, file: TextIO, budget: int, names: Mapping[str, str]) -> None:
        self.path, self.file, self.budget, self.names = path, file, budget, names
        self.notes: list[str] = []
        self.comments: list[str] = []
        self.delimiter = ","

    def read(self) -> list[Source]:
        lines = self._lines()
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            raise ReadError("no table in it, only comments and empty lines")
        self.delimiter = _delimiter(first)
        header = [h.strip() for h in next(self._rows([first]))]
        if all(number(h) is not None or not h for h in header):
            named = self._header_in_comments(len(header))
            if named is None:
                some = list(itertools.islice(lines, 200))
                named = self._numbered(list(self._rows([first, *some])))
                lines = itertools.chain(some, lines)
            header, lines = named, itertools.chain([first], lines)
        if len(header) == 1 and not header[0].isprintable():
            raise ReadError("not a table")
        header = _distinct(header)
        lower = [h.lower() for h in header]
        rows = self._rows(lines)
        if lower[:2] == ["r", "l"] and ("t" in lower or len(self.comments) or "monitor" in self.path.name):
            return [_monitor(self.path, header, rows, self.comments, self.budget)]
        tag = next((lower.index(n) for n in _TAGS if n in lower), None)
        value = next((lower.index(n) for n in _VALUES if n in lower), None)
        if tag is not None and value is not None:
            return self._long(header, rows, tag, value)
        return self._wide(header, rows)

    def _lines(self) -> Iterator[str]:
        """Lines without comments; the comments are kept."""
        for line in self.file:
            if line.startswith("#"):
                if len(self.comments) < 1000:
                    self.comments.append(line)
                continue
            yield line

    def _rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
        if self.delimiter == " ":
            return (line.split() for line in lines)
        # NUL bytes are what a machine that lost power leaves at the end of a file
        return csv.reader((x.replace("\0", "") if "\0" in x else x for x in lines), delimiter=self.delimiter)

    def _header_in_comments(self, columns: int) -> list[str] | None:
        """The names of columns as numpy.savetxt writes them: in the last comment."""
        if not self.comments:
            return None
        text = self.comments[-1].lstrip("# ").strip()
        header = [h.strip() for h in text.split(None if self.delimiter == " " else self.delimiter)]
        if len(header) != columns or any(number(h) is not None for h in header):
            return None
        return header

    def _numbered(self, rows: list[list[str]]) -> list[str]:
        """Names for the columns of a table that has none: one that counts upwards is taken for the steps."""
        width = len(rows[0])
        names = [f"column {i + 1}" for i in range(width)]
        columns = [[number(row[i]) for row in rows if len(row) == width] for i in range(width)]
        counting = {
            i: known[-1]
            for i, cells in enumerate(columns)
            if len(known := [x for x in cells if x is not None]) == len(cells) > 2
            and all(x == int(x) for x in known if math.isfinite(x))
            and all(a < b for a, b in itertools.pairwise(known))
        }
        text = "its columns have no names"
        if counting and width > 1:
            step = max(counting, key=lambda i: counting[i])
            names[step] = "step"
            text += f"; column {step + 1}, which counts upwards, is taken for the steps"
        others = [i for i in range(width) if names[i] != "step"]
        if len(others) == 1:
            names[others[0]] = tag_of_file(self.path)
        if not (width == 1 and names[0] != "column 1"):
            example = names[others[0]] if others else names[0]
            text += f'.  Say what the others are: --map "{example}=episode_return"'
        self.notes.append(f"{self.path.name}: {text}")
        return names

    def _blocks(self, rows: Iterator[list[str]], header: list[str]) -> Iterator[tuple[list[list[str]], bool]]:
        """Blocks of rows, and whether each begins after a repeated header, where another process began."""
        width = len(header)
        again = False
        unfinished = 0
        block: list[list[str]] = []
        for row in rows:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if (
                len(row) == width
                and row[0].strip() == header[0]
                and _distinct([c.strip() for c in row]) == header
            ):
                if block:
                    yield block, again
                block, again = [], True
                continue
            block.append(row)
            if len(block) == _BLOCK:
                yield block, again
                block, again = [], False
        if block and len(block[-1]) < width and width > 1 and not self._ends_with_newline():
            block.pop()
            unfinished += 1
        if block:
            yield block, again
        if unfinished:
            self.notes.append(
                f"{self.path.name}: the last line is unfinished and was left out; the writer was stopped, or "
                "goes on"
            )

    def _is(self, header: list[str], row: list[str]) -> bool:
        return _distinct([cell.strip() for cell in row]) == header

    def _ends_with_newline(self) -> bool:
        if self.path.name.lower().endswith(".gz"):
            return True
        with self.path.open("rb") as file:
            file.seek(-1, io.SEEK_END)
            return file.read(1) in (b"\n", b"\r", b"\0")

    # --- wide ---------------------------------------------------------------------------

    def _wide(self, header: list[str], rows: Iterator[list[str]]) -> list[Source]:
        axis = self._axis(header)
        grouping = [i for i, h in enumerate(header) if normalised(h) in _GROUPS and i != axis.column]
        series = [i for i in range(len(header)) if i not in axis.taken]
        single = len(series) == 1 and header[series[0]].lower() in _VALUES
        tags = {i: header[i] or f"column {i + 1}" for i in series}
        if single:
            tags[series[0]] = tag_of_file(self.path)
        columns = {i: Column(tags.get(i, header[i]), self.delimiter != ",") for i in range(len(header))}
        blocks = ((b, again) for b, again in self._blocks(rows, header))
        head = list(itertools.islice(blocks, max(1, 4_000_000 // (_BLOCK * max(1, len(header))))))
        axis = self._check_axis(header, axis, [row for b, _ in head for row in b], columns)
        series = [i for i in range(len(header)) if i not in axis.taken]
        tags = {i: tags.get(i, header[i] or f"column {i + 1}") for i in series}
        writer = _TableWriter(self.budget, axis, tags, columns, self.delimiter)
        varying = self._varying(header, grouping, head)
        for block, again in itertools.chain(head, blocks):
            for label, part in _by_group(block, varying):
                writer.write(label, part, again)
        if not any(c.numbers for i, c in columns.items() if i in tags):
            raise ReadError("no column holds numbers")
        self.notes += writer.notes(self.path.name)
        for c in (columns[i] for i in series):
            if c.unreadable and c.numbers:
                self.notes.append(
                    f"{self.path.name}: cells of {c.name!r} that are no numbers were left out "
                    f"(such as {c.sample[:40]!r})"
                )
        axis_columns = tuple(header[i] for i in sorted(axis.taken))
        sources = writer.sources(self.path, axis, axis_columns)
        for source in sources:
            source.notes += self.notes
        return _split_by_prefix(sources) if len(sources) == 1 else sources

    def _axis(self, header: list[str]) -> _Axis:
        stated = {tag: name for tag, name in self.names.items() if tag in header}
        step = next((header.index(t) for t, name in stated.items() if name == "step"), None)
        found = x_axis([("" if h in stated else h) for h in header])
        wall, elapsed = clock([("" if h in stated else h) for h in header])
        time = next((header.index(t) for t, name in stated.items() if name == "time"), None)
        if time is not None:
            wall, elapsed = time, None
        if step is not None:
            axis = _Axis(step, "step", wall, elapsed)
        elif found is not None:
            axis = _Axis(found.index, found.axis, wall, elapsed)
        else:
            axis = _Axis(None, "row", wall, elapsed)
        axis.taken = {i for i in (axis.column, axis.wall, axis.elapsed) if i is not None}
        return axis

    def _check_axis(
        self, header: list[str], axis: _Axis, rows: list[list[str]], columns: dict[int, Column]
    ) -> _Axis:
        """Whether the column for the x-axis counts upwards; otherwise the next that does is taken."""
        if axis.column is None or header[axis.column] in self.names:
            return axis
        seen = _steps_of(rows, axis.column, columns[axis.column])
        steps = seen[np.isfinite(seen)]
        back = np.flatnonzero(np.diff(steps) < 0)
        sound = len(steps) >= 0.02 * len(rows) and len(steps) > 0
        if len(steps) > 2 and steps.min() == steps.max():
            sound, back = True, np.arange(len(steps))  # one value on every row counts nothing
        if sound and len(back) <= max(_MOST_STARTS, 0.01 * len(steps)):
            return axis
        name = header[axis.column]
        if (
            sound
            and steps.min() < steps.max()
            and self._only_unordered(steps, back, header, axis, rows, columns)
        ):
            self.notes.append(
                f"{self.path.name}: the rows are not in the order of {name!r} and were sorted by it"
            )
            axis.unordered = True
            return axis
        what = "is no running count" if sound else "holds no usable numbers"
        hidden = [("" if i == axis.column else h) for i, h in enumerate(header)]
        found = x_axis(hidden)
        following = _Axis(
            found.index if found is not None else None,
            found.axis if found is not None else "row",
            axis.wall,
            axis.elapsed,
        )
        following.taken = {i for i in (following.column, axis.wall, axis.elapsed) if i is not None}
        by = f"{header[found.index]!r}" if found is not None else "the number of the row"
        self.notes.append(f"{self.path.name}: the column {name!r} {what}; rows are placed by {by} instead")
        return self._check_axis(header, following, rows, columns) if found is not None else following

    def _only_unordered(
        self,
        steps: Floats,
        back: npt.NDArray[np.int64],
        header: list[str],
        axis: _Axis,
        rows: list[list[str]],
        columns: dict[int, Column],
    ) -> bool:
        """Steps that jump back to anywhere are out of order; such that jump back to the start count anew.

        So does a column that is no count at all, beside one that counts episodes upwards.
        """
        span = steps.max() - steps.min()
        if float(np.mean(steps[back + 1] <= steps.min() + 0.1 * span)) > 0.8 and len(back) < len(steps) / 2:
            return False
        if (np.diff(steps) <= 0).all():
            return True
        other = x_axis([("" if i == axis.column else h) for i, h in enumerate(header)])
        if other is None:
            return True
        counted = _steps_of(rows, other.index, columns[other.index])
        counted = counted[np.isfinite(counted)]
        return not (len(counted) > 1 and (np.diff(counted) >= 0).all() and counted[-1] > counted[0])

    def _varying(
        self, header: list[str], grouping: list[int], head: list[tuple[list[list[str]], bool]]
    ) -> list[int]:
        """Those of the grouping columns that tell runs apart: a few values, each of many rows."""
        out = []
        for i in grouping:
            counts: dict[str, int] = {}
            for block, _ in head:
                for row in block:
                    cell = row[i] if i < len(row) else ""
                    counts[cell] = counts.get(cell, 0) + 1
            if 1 < len(counts) <= _MOST_GROUPS and min(counts.values()) > 1:
                out.append(i)
        if out:
            columns = ", ".join(repr(header[i]) for i in out)
            self.notes.append(f"{self.path.name}: holds several runs, told apart by {columns}")
        return out

    # --- long ---------------------------------------------------------------------------

    def _long(self, header: list[str], rows: Iterator[list[str]], tag: int, value: int) -> list[Source]:
        axis = self._axis(header)
        columns = {i: Column(h, self.delimiter != ",") for i, h in enumerate(header)}
        grouping = [i for i, h in enumerate(header) if normalised(h) in _GROUPS and i not in (tag, value)]
        blocks = self._blocks(rows, header)
        head = list(itertools.islice(blocks, 10))
        varying = self._varying(header, grouping, head)
        stores: dict[str, Store] = {}
        counts: dict[tuple[str, str], int] = {}
        points = 0
        for block, _ in itertools.chain(head, blocks):
            for label, part in _by_group(block, varying):
                store = stores.setdefault(label, Store(self.budget))
                by_tag: dict[str, list[list[str]]] = {}
                for row in part:
                    if len(row) > max(tag, value) and row[tag]:
                        by_tag.setdefault(row[tag], []).append(row)
                for name, mine in by_tag.items():
                    cells = [row[value] for row in mine]
                    index, values = columns[value].convert(cells)
                    chosen = mine if index is None else [mine[i] for i in index]
                    if not len(values):
                        continue
                    start = counts.get((label, name), 0)
                    counts[label, name] = start + len(values)
                    steps = (
                        _filled(_steps_of(chosen, axis.column, columns[axis.column]))
                        if axis.column is not None
                        else np.arange(start, start + len(values), dtype=np.float64)
                    )
                    store.append(name, steps.astype(np.int64), _walls_of(chosen, axis, columns), values)
                    points += len(values)
        if not points:
            raise ReadError("no row holds a tag and a number")
        taken = tuple(header[i] for i in sorted(axis.taken))
        return [
            Source(self.path, "csv", s, axis.kind, label, list(self.notes), axis_columns=taken)
            for label, s in stores.items()
            if s.series
        ]


def looks_like_table(path: Path) -> bool:
    """Whether a text begins with names of columns and rows of numbers below them."""
    try:
        with _open_text(path) as file:
            lines = list(itertools.islice((x for x in file if x.strip() and not x.startswith("#")), 6))
    except (ReadError, OSError, EOFError, zlib.error):
        return False
    if len(lines) < 3:
        return False
    delimiter = _delimiter(lines[0])
    if _NAMES_RETURNS.search(plain_name(path).lower()) and _only_numbers(lines, delimiter):
        return True
    rows = [x.split() if delimiter == " " else next(csv.reader([x], delimiter=delimiter)) for x in lines]
    header, *body = rows
    if len(header) < 2 or any(number(cell) is not None for cell in header):
        return False
    cells = [cell.strip() for row in body for cell in row]
    numbers = sum(
        number(c) is not None or c.lower() in _ABSENT or _DECIMAL_COMMA.fullmatch(c) is not None
        for c in cells
    )
    return all(len(row) == len(header) for row in body) and numbers >= 0.5 * len(cells)


_NAMES_RETURNS = re.compile(r"(^|[_\-.])(rewards?|returns?|scores?|ep_?r|ep_?rets?)([_\-.]|$)")


def _only_numbers(lines: list[str], delimiter: str) -> bool:
    rows = [x.split() if delimiter == " " else x.strip().split(delimiter) for x in lines]
    return len({len(row) for row in rows}) == 1 and all(number(c) is not None for row in rows for c in row)


def _distinct(header: list[str]) -> list[str]:
    """Names of columns, of which those that come again are numbered: ``loss``, ``loss (2)``."""
    seen: dict[str, int] = {}
    out = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 or not name else f"{name} ({seen[name]})")
    return out


def _delimiter(line: str) -> str:
    best = max(",;\t|", key=line.count)
    if line.count(best):
        return best
    return " " if len(line.split()) > 1 else ","


def _steps_of(rows: Sequence[list[str]], index: int, column: Column) -> Floats:
    """The steps in one column; NaN where a cell holds none that is plausible."""
    cells = [row[index] if index < len(row) else "" for row in rows]
    where, values = Column(column.name, column.semicolons).convert(cells)
    out = np.full(len(rows), np.nan)
    if where is None:
        out = values
    else:
        out[where] = values
    with np.errstate(invalid="ignore"):
        out[~(np.abs(out) <= _LARGEST_STEP)] = np.nan
    return out


def _filled(steps: Floats, before: float = math.nan) -> Floats:
    """Give rows without a step the step of the row before; the first ones that of the row after."""
    known = np.isfinite(steps)
    if known.all():
        return steps
    if not known.any():
        return np.full(len(steps), before if math.isfinite(before) else 0.0)
    at = np.maximum.accumulate(np.where(known, np.arange(len(steps)), -1))
    first = before if math.isfinite(before) else steps[known][0]
    return np.where(at >= 0, steps[np.maximum(at, 0)], first)


def _walls_of(rows: Sequence[list[str]], axis: _Axis, columns: Mapping[int, Column]) -> Floats:
    """Seconds since the epoch, else since the start; NaN where there is no time."""
    for index in (axis.wall, axis.elapsed):
        if index is None:
            continue
        cells = [row[index] if index < len(row) else "" for row in rows]
        where, values = Column(columns[index].name, columns[index].semicolons).convert(cells)
        if where is not None and not len(values):
            dates = {cell: _date(cell) for cell in set(cells)}
            values, where = np.array([dates[c] for c in cells]), None
        out = np.full(len(rows), np.nan)
        if where is None:
            out = values
        else:
            out[where] = values
        if np.isfinite(out).any():
            return out
    return np.full(len(rows), np.nan)


def _date(cell: str) -> float:
    try:
        return datetime.fromisoformat(cell.strip()).timestamp()
    except ValueError:
        return math.nan


def _by_group(block: list[list[str]], columns: list[int]) -> Iterator[tuple[str, list[list[str]]]]:
    """The rows of each run in a block; the label is made of the cells that tell them apart."""
    if not columns:
        yield "", block
        return
    parts: dict[str, list[list[str]]] = {}
    for row in block:
        label = "-".join(row[i].strip() if i < len(row) else "" for i in columns)
        parts.setdefault(label or "unnamed", []).append(row)
    yield from parts.items()


class _TableWriter:
    """Puts rows into stores: one for each run, and a new one where a run starts again."""

    def __init__(
        self,
        budget: int,
        axis: _Axis,
        tags: dict[int, str],
        columns: dict[int, Column],
        delimiter: str,
    ) -> None:
        self.budget, self.axis, self.tags, self.columns = budget, axis, tags, columns
        self.parts: dict[str, list[_Part]] = {}
        self.without_step = 0
        self.sorted = False

    def write(self, label: str, rows: list[list[str]], again: bool) -> None:
        parts = self.parts.setdefault(label, [_Part(Store(self.budget))])
        part = parts[-1]
        if self.axis.column is None:
            steps = np.arange(part.rows, part.rows + len(rows), dtype=np.float64)
        else:
            raw = _steps_of(rows, self.axis.column, self.columns[self.axis.column])
            self.without_step += int((~np.isfinite(raw)).sum())
            steps = _filled(raw, part.last)
        walls = _walls_of(rows, self.axis, self.columns)
        countable = self.axis.column is not None and not self.axis.unordered
        starts = self._starts(part, steps, again) if countable else []
        cells = list(itertools.zip_longest(*rows, fillvalue=""))
        edges = [0, *starts, len(rows)]
        converted = {i: self.columns[i].convert(cells[i]) for i in self.tags if i < len(cells)}
        for k, (a, b) in enumerate(itertools.pairwise(edges)):
            if k:
                part = _Part(Store(self.budget))
                parts.append(part)
            if a == b:
                continue
            for i, (where, values) in converted.items():
                if where is None:
                    part.store.append(self.tags[i], steps[a:b].astype(np.int64), walls[a:b], values[a:b])
                else:
                    mine = (where >= a) & (where < b)
                    at = where[mine]
                    part.store.append(self.tags[i], steps[at].astype(np.int64), walls[at], values[mine])
            if math.isnan(part.first):
                part.first = float(steps[a])
                distance = np.diff(steps[a:b])
                distance = distance[distance > 0]
                part.gap = float(np.median(distance)) if len(distance) else 0.0
            part.last = float(steps[b - 1])
            part.rows += b - a

    def _starts(self, part: _Part, steps: Floats, again: bool) -> list[int]:
        """Rows at which a run begins anew: the steps fall back to where they once began."""
        before = part.last if math.isfinite(part.last) else float(steps[0])
        first = part.first if math.isfinite(part.first) else float(steps[0])
        back = np.flatnonzero(np.diff(steps, prepend=before) < 0)
        if not len(back) and not (again and part.rows and steps[0] <= first):
            return []
        distance = np.diff(steps)
        distance = distance[distance > 0]
        gap = float(np.median(distance)) if len(distance) else part.gap
        top = np.maximum.accumulate(np.concatenate([[before], steps]))
        starts = [
            int(i)
            for i in back
            if steps[i] < first + max(gap, 1)
            # a single row that is out of place is followed by where the others were
            and (i + 1 == len(steps) or steps[i + 1] < top[i])
        ]
        if again and part.rows and steps[0] < first + max(gap, 1) and 0 not in starts:
            starts.insert(0, 0)
        return starts

    def notes(self, name: str) -> list[str]:
        out = []
        if self.without_step:
            out.append(
                f"{name}: {self.without_step:,} rows hold no step and are placed at that of the row before"
            )
        return out

    def sources(self, path: Path, axis: _Axis, axis_columns: tuple[str, ...]) -> list[Source]:
        out = []
        for label, parts in self.parts.items():
            full = [p for p in parts if p.store.series]
            for k, part in enumerate(full):
                name = label if len(full) == 1 else f"{label} start {k + 1}".strip()
                store = _sorted(part.store) if axis.unordered else part.store
                out.append(Source(path, "csv", store, axis.kind, name, axis_columns=axis_columns))
        return out


def _sorted(store: Store) -> Store:
    """The same points in the order of their steps."""
    out = Store(store.budget)
    for tag, builder in store.series.items():
        rows = builder.rows()
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        out.append(tag, rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2])
    return out


def _split_by_prefix(sources: list[Source]) -> list[Source]:
    """Weights & Biases exports several runs side by side, in columns named ``RUN - TAG``."""
    (source,) = sources
    tags = list(source.store.series)
    if not tags or not all(" - " in t for t in tags):
        return sources
    runs: dict[str, Store] = {}
    for tag, builder in source.store.series.items():
        run, name = tag.rsplit(" - ", 1)
        if name.endswith(("__MIN", "__MAX")):
            continue  # the extremes of a smoothed curve, not what was logged
        store = runs.setdefault(run, Store(source.store.budget))
        builder.tag = name
        store.series[name] = builder
        store.points += builder.count
        store.held += builder.held
    one = len(runs) == 1
    return [
        replace(source, store=store, label="" if one else run, notes=list(source.notes))
        for run, store in runs.items()
    ]


# --- names and kinds of files -------------------------------------------------------------------

_DOWNLOAD = re.compile(r"run-(?P<run>.*?)-tag-(?P<tag>.+?)(?: ?\(\d+\))?\.(?:csv|json)$", re.I)


def download_of(path: Path) -> tuple[str, str] | None:
    """(run, tag) in the name of a file that TensorBoard downloaded: ``run-NAME-tag-TAG.csv``."""
    found = _DOWNLOAD.fullmatch(plain_name(path))
    return (found["run"], _slashed(found["tag"])) if found is not None else None


def tag_of_file(path: Path) -> str:
    """The tag of a file that holds a single series."""
    download = download_of(path)
    if download is not None:
        return download[1]
    return plain_name(path).rsplit(".", 1)[0].replace("__", "/")


def _slashed(tag: str) -> str:
    """TensorBoard replaces a tag's slashes by underscores; put one back where that gives a known tag."""
    from ..aliases import resolve

    options = [tag, *(tag[:i] + "/" + tag[i + 1 :] for i, c in enumerate(tag) if c == "_")]
    for option in options:
        found, _ = resolve([option])
        if any(not m.guessed for matches in found.values() for m in matches):
            return option
    return tag


def _monitor(
    path: Path, header: list[str], rows: Iterator[list[str]], comments: list[str], budget: int
) -> Source:
    """Episodes with return, length and seconds since the start.

    The step of an episode is the sum of the lengths so far; it is worked out anew where several environments
    wrote files of their own (see :func:`merge_monitors`).
    """
    returns: list[float] = []
    lengths: list[float] = []
    walls: list[float] = []
    time = next((i for i, h in enumerate(header) if h.lower() == "t"), None)
    further: dict[int, list[float]] = {i: [] for i in range(2, len(header)) if header[i] and i != time}
    wanted = (0, 1) if time is None else (0, 1, time)
    left_out = 0
    seams: list[int] = []
    begun = _begin(comments)
    for row in rows:
        if [c.strip() for c in row] == header:
            begun = _begin(comments)  # another process went on writing the file
            seams.append(len(returns))
            continue
        numbers = [number(row[i]) if i < len(row) else None for i in wanted]
        known = [x for x in numbers if x is not None]
        if len(known) < len(wanted):
            left_out += bool(row)
            continue
        returns.append(known[0])
        lengths.append(known[1])
        walls.append(begun + known[2] if time is not None else math.nan)
        for i, values in further.items():
            value = number(row[i]) if i < len(row) else None
            values.append(math.nan if value is None else value)
    if not returns:
        raise ReadError("a monitor file without episodes")
    store = Store(budget)
    at = np.cumsum(lengths).astype(np.int64)
    clock_ = np.array(walls)
    store.append("episode/return", at, clock_, np.array(returns))
    store.append("episode/length", at, clock_, np.array(lengths))
    for i, values in further.items():
        column = np.array(values)
        if np.isfinite(column).any():
            name = "success" if header[i] in ("is_success", "success") else header[i]
            keep = np.isfinite(column)
            store.append(f"episode/{name}", at[keep], clock_[keep], column[keep])
    source = Source(path, "monitor", store, "step")
    ends = [Point(int(s), r, w) for s, w, r in zip(at, walls, returns, strict=True)]
    source.pauses = [(ends[i - 1], ends[i]) for i in seams if 0 < i < len(ends)]
    if left_out:
        source.notes.append(f"{path.name}: {left_out} rows that hold no episode were left out")
    return source


def _begin(comments: list[str]) -> float:
    """When the last process that wrote the file began: ``#{"t_start": 1700000000.0, ...}``."""
    for comment in reversed(comments):
        try:
            return float(json.loads(comment.lstrip("#"))["t_start"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


def merge_monitors(sources: Sequence[Source]) -> Source:
    """One run out of the files of environments that ran side by side.

    Episodes are put in the order of time. The step of each is the sum of the lengths of all before it, as
    Stable-Baselines3's ``load_results`` counts.
    """
    columns: dict[str, list[npt.NDArray[np.float64]]] = {}
    for source in sources:
        for tag, builder in source.store.series.items():
            columns.setdefault(tag, []).append(builder.rows())
    lengths = np.concatenate(columns["episode/length"])
    order = np.argsort(lengths[:, 1], kind="stable")
    total = np.cumsum(lengths[order, 2])
    store = Store(sources[0].store.budget)
    for tag, pieces in columns.items():
        rows = np.concatenate(pieces)
        rows = rows[np.argsort(rows[:, 1], kind="stable")]
        steps = total[np.clip(np.searchsorted(lengths[order, 1], rows[:, 1], side="right") - 1, 0, None)]
        store.append(tag, steps.astype(np.int64), rows[:, 1], rows[:, 2])
    merged = Source(sources[0].path, "monitor", store, "step")
    merged.notes = [n for s in sources for n in s.notes]
    merged.notes.append(f"{len(sources)} environments wrote monitor files side by side; they are one run")
    return merged


__all__ = ["Column", "download_of", "merge_monitors", "number", "read_table", "tag_of_file"]

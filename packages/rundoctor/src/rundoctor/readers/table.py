"""Series out of tables: CSV, TSV and texts in columns, wide or long, compressed or not.

A wide table has one column a series; a long one has a column of tags and a column of values. Rows are split
by the csv module and converted a block of a column at a time.

The parts: ``text`` opens a file and finds what separates its columns, ``cells`` makes numbers of cells,
``placement`` says where rows stand, ``several`` tells the runs of one table apart, ``rows`` puts rows into
stores, ``monitor`` reads monitor files.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TextIO

import numpy as np

from ..stats import Floats
from ..store import BUDGET, Store
from .cells import Column, number
from .filenames import tag_of_file
from .monitor import read_monitor
from .placement import Head, axis_of, checked_axis, checked_clock, filled, is_time, steps_of, walls_of
from .rows import TableWriter
from .several import columns_of_runs, grouping_columns, rows_by_run, run_of, runs_side_by_side
from .source import LEFT_OUT, ReadError, Source
from .text import delimiter_of, open_text

_TAGS = ("tag", "name", "metric", "series", "variable", "key")
_VALUES = ("value", "values", "scalar")
_BLOCK = 20_000
"""Rows that are converted at a time."""
LONGEST_CELL = 1 << 22
"""Characters of the longest cell that is read, some 200,000 numbers; the csv module by itself: 131,072."""
csv.field_size_limit(LONGEST_CELL)


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
        with open_text(path) as file:
            return _Table(path, file, budget, names or {}).read()
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"not a table: {error}") from None


class _Table:
    """One table while it is being read."""

    def __init__(self, path: Path, file: TextIO, budget: int, names: Mapping[str, str]) -> None:
        self.path, self.file, self.budget, self.names = path, file, budget, names
        self.notes: list[str] = []
        self.comments: list[str] = []
        self.delimiter = ","
        self.left_out: set[int] = set()
        """Columns that are no series: those that only number rows, or repeat the configuration in each."""

    def read(self) -> list[Source]:
        lines = self._lines()
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            raise ReadError("no table in it, only comments and empty lines")
        stated = re.fullmatch(r"sep=(.)", first.strip().strip('"'))
        if stated is not None:  # Excel's way to name the delimiter
            first = next((line for line in lines if line.strip()), "")
        self.delimiter = stated[1] if stated is not None else delimiter_of(first)
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
        rows = self._without_samples(header, self._rows(lines))
        if lower[:2] == ["r", "l"] and ("t" in lower or len(self.comments) or "monitor" in self.path.name):
            return [read_monitor(self.path, header, rows, self.comments, self.budget)]
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

    def _without_samples(self, header: list[str], rows: Iterator[list[str]]) -> Iterator[list[str]]:
        """The rows, where cells that repeat the configuration or hold raw samples are empty."""
        parts = [name.split("/") for name in header]
        unread = [i for i, p in enumerate(parts) if len(p) > 1 and p[0] in LEFT_OUT]
        self.left_out |= set(unread)
        for row in rows if unread else ():
            for i in unread:
                if i < len(row) and row[i].strip() != header[i]:
                    row[i] = ""
            yield row
        yield from rows

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
        times = {i for i, last in counting.items() if is_time(last)}
        for i in times if len(counting) > 1 else ():
            names[i] = "wall_time"
            del counting[i]
        if counting and width > 1:
            step = max(counting, key=lambda i: counting[i])
            names[step] = "step"
            # d3rlpy writes epoch, step and value
            self.left_out = {i for i in counting if i != step and i < step and width > 2}
            text += f"; column {step + 1}, which counts upwards, is taken for the steps"
        others = [i for i in range(width) if names[i].startswith("column") and i not in self.left_out]
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

    def _several(
        self, header: list[str], grouping: list[int], rows: list[list[str]], steps: Floats | None
    ) -> list[int]:
        found = columns_of_runs(header, grouping, rows, steps)
        if found:
            columns = ", ".join(repr(header[i]) for i in found)
            self.notes.append(f"{self.path.name}: holds several runs, told apart by {columns}")
        return found

    def _ends_with_newline(self) -> bool:
        if self.path.name.lower().endswith(".gz"):
            return True
        with self.path.open("rb") as file:
            file.seek(-1, io.SEEK_END)
            return file.read(1) in (b"\n", b"\r", b"\0")

    # --- wide ---------------------------------------------------------------------------

    def _wide(self, header: list[str], rows: Iterator[list[str]]) -> list[Source]:
        axis = axis_of(header, self.names)
        grouping = grouping_columns(header, (axis.column,))
        series = [i for i in range(len(header)) if i not in axis.taken | self.left_out]
        single = len(series) == 1 and header[series[0]].lower() in _VALUES
        tags = {i: header[i] or f"column {i + 1}" for i in series}
        if single:
            tags[series[0]] = tag_of_file(self.path)
        columns = {i: Column(tags.get(i, header[i]), self.delimiter != ",") for i in range(len(header))}
        blocks = ((b, again) for b, again in self._blocks(rows, header))
        head = list(itertools.islice(blocks, max(1, 4_000_000 // (_BLOCK * max(1, len(header))))))
        rows_of_head = [row for block, _ in head for row in block]
        seen = cache(lambda i: steps_of(rows_of_head, i, columns[i]))
        checked = Head(header, seen, self.names, self.path.name, self.notes)
        axis = checked_axis(checked, axis)
        stands = seen(axis.column) if axis.column is not None else None
        varying = self._several(header, grouping, rows_of_head, stands)
        runs = [run_of(row, varying) for row in rows_of_head] if varying else ()
        axis = checked_clock(checked, axis, runs)
        series = [i for i in range(len(header)) if i not in axis.taken | self.left_out]
        tags = {i: tags.get(i, header[i] or f"column {i + 1}") for i in series}
        writer = TableWriter(self.budget, axis, tags, columns, self.delimiter)
        for block, again in itertools.chain(head, blocks):
            for label, part in rows_by_run(block, varying):
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
        return runs_side_by_side(sources) if len(sources) == 1 else sources

    # --- long ---------------------------------------------------------------------------

    def _long(self, header: list[str], rows: Iterator[list[str]], tag: int, value: int) -> list[Source]:
        axis = axis_of(header, self.names)
        columns = {i: Column(h, self.delimiter != ",") for i, h in enumerate(header)}
        grouping = grouping_columns(header, (tag, value))
        blocks = self._blocks(rows, header)
        head = list(itertools.islice(blocks, 10))
        rows_of_head = [row for block, _ in head for row in block]
        varying = self._several(header, grouping, rows_of_head, None)
        stores: dict[str, Store] = {}
        counts: dict[tuple[str, str], int] = {}
        points = 0
        for block, _ in itertools.chain(head, blocks):
            for label, part in rows_by_run(block, varying):
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
                        filled(steps_of(chosen, axis.column, columns[axis.column]))
                        if axis.column is not None
                        else np.arange(start, start + len(values), dtype=np.float64)
                    )
                    store.append(name, steps.astype(np.int64), walls_of(chosen, axis, columns), values)
                    points += len(values)
        if not points:
            raise ReadError("no row holds a tag and a number")
        taken = tuple(header[i] for i in sorted(axis.taken))
        return [
            Source(self.path, "csv", s, axis.kind, label, list(self.notes), axis_columns=taken)
            for label, s in stores.items()
            if s.series
        ]


def _distinct(header: list[str]) -> list[str]:
    """Names of columns, of which those that come again are numbered: ``loss``, ``loss (2)``."""
    seen: dict[str, int] = {}
    out = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 or not name else f"{name} ({seen[name]})")
    return out

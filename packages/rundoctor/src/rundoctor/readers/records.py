"""Series out of JSON: one object a line (RLlib's ``result.json``, ``metrics.jsonl``), lists of objects,
objects of lists, and the lists of ``[wall time, step, value]`` that TensorBoard downloads.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..stats import Floats
from ..store import BUDGET, Store
from .filenames import tag_of_file
from .placement import Head, axis_of, checked_axis, checked_clock
from .rows import sorted_by_step
from .source import LEFT_OUT, ReadError, Source, open_binary

_LARGEST_STEP = float(2**53)
_BLOCK = 5_000
_LARGEST_DOCUMENT = 1 << 28
"""Bytes of a document that is no series of lines, and has to be held as a whole."""
_SACRED = {"steps", "values"}


def read_records(path: Path, budget: int = BUDGET, names: Mapping[str, str] | None = None) -> list[Source]:
    """Read one JSON file; nested objects become tags with slashes.

    Args:
        budget: points held in memory.
        names: what the user says that fields are; ``step`` and ``time`` name those for the x-axis.

    Raises:
        ReadError: it holds no numbers.
        OSError: the file cannot be read.
    """
    source = Source(path, "json", Store(budget))
    block: list[dict[str, float]] = []
    writer = _RecordWriter(source, names or {})
    bad = 0
    for record in _records(path):
        if record is None:
            bad += 1
            continue
        if isinstance(record, list):
            return [_download(path, record, budget)]
        block.append(record)
        if len(block) == _BLOCK:
            writer.write(block)
            block = []
    writer.write(block)
    if writer.unordered:
        source.store = sorted_by_step(source.store)
    if not source.store.series:
        raise ReadError("no JSON object in it holds numbers")
    if bad:
        source.notes.append(f"{path.name}: {bad} lines that are no JSON objects were left out")
    return [source]


def _records(path: Path) -> Iterator[dict[str, float] | list[object] | None]:
    """The objects of a file, flattened.  None stands for a line that is not an object; a list for a
    download of TensorBoard."""
    with open_binary(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(_LARGEST_DOCUMENT)
        while first and not first.strip():
            first = file.readline(_LARGEST_DOCUMENT)
        whole = _parsed(first)
        following = file.readline(_LARGEST_DOCUMENT)
        alone = isinstance(whole, list) and not following.strip()
        if whole is None or alone or _has_lists(whole) or _is_sacreds(whole):
            yield from _document(first + following + file.read(_LARGEST_DOCUMENT))
            return
        yield _flat(whole)
        while following:
            if following.strip():
                value = _parsed(following)
                yield _flat(value) if isinstance(value, dict) else None
            following = file.readline(_LARGEST_DOCUMENT)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _has_lists(value: object) -> bool:
    """Whether an object holds its series as lists: ``{"loss": [1, 2], "return": [3, 4]}``."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(v, list) and len(v) > 1 for v in value.values())
    )


def _is_sacreds(value: object) -> bool:
    """Whether it is Sacred's ``metrics.json``: ``{"loss": {"steps": [...], "values": [...]}}``."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(v, dict) and v.keys() >= _SACRED for v in value.values())
    )


def _sacreds(value: dict[str, dict[str, list[object]]]) -> Iterator[dict[str, float]]:
    """The points of Sacred's metrics, in the order of their steps."""
    rows: dict[object, dict[str, object]] = {}
    for tag, series in value.items():
        for step, figure in zip(series["steps"], series["values"], strict=False):
            rows.setdefault(step, {"step": step})[tag] = figure
    numbered = ((step, row) for step, row in rows.items() if isinstance(step, int | float))
    for _, row in sorted(numbered, key=lambda item: item[0]):
        yield _flat(row)


def looks_like_records(path: Path) -> bool:
    """Whether a JSON file holds series: objects with numbers, or lists of numbers."""
    if path.stat().st_size > _LARGEST_DOCUMENT:
        return False
    try:
        first = list(itertools.islice(_records(path), 3))
    except (ReadError, OSError, EOFError, zlib.error):
        return False
    return len(first) == 3 and all(first)


def _document(text: str) -> Iterator[dict[str, float] | list[object] | None]:
    value = _parsed(text)
    if value is None:
        lines = [_parsed(line) for line in text.splitlines() if line.strip()]
        if not any(isinstance(x, dict) for x in lines):
            raise ReadError("not a JSON file")
        yield from (_flat(x) if isinstance(x, dict) else None for x in lines)
    elif isinstance(value, list):
        if value and all(isinstance(x, list) and len(x) == 3 for x in value):
            yield value
        else:
            yield from (_flat(x) if isinstance(x, dict) else None for x in value)
    elif isinstance(value, dict) and _is_sacreds(value):
        yield from _sacreds(value)
    elif isinstance(value, dict) and _has_lists(value):
        length = max(len(v) for v in value.values())
        for i in range(length):
            yield _flat({k: v[i] for k, v in value.items() if i < len(v)})
    elif isinstance(value, dict):
        yield _flat(value)


def _flat(value: object, prefix: str = "", level: int = 0) -> dict[str, float]:
    """Numbers of an object and of those in it, by their path; lists are left out."""
    out: dict[str, float] = {}
    if not isinstance(value, dict) or level > 8:
        return out
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, bool | int | float):
            try:
                out[name] = float(item)
            except OverflowError:
                out[name] = math.inf
        elif isinstance(item, str):
            with contextlib.suppress(ValueError):
                out[name] = float(item)  # "NaN" and "Infinity", and loggers that write numbers as texts
        elif isinstance(item, dict) and not (level == 0 and key in LEFT_OUT):
            out |= _flat(item, f"{name}/", level + 1)
    return out


class _RecordWriter:
    """Puts objects into a store; what its x-axis is, is decided by the fields of the first."""

    def __init__(self, source: Source, names: Mapping[str, str]) -> None:
        self.source, self.names = source, names
        self.step: str | None = None
        self.walls: list[str] = []
        self.rows = 0
        self.last = 0.0
        self.decided = self.unordered = False

    def _decide(self, block: Sequence[Mapping[str, float]]) -> None:
        fields = list(dict.fromkeys(k for record in block for k in record))

        def values(index: int) -> Floats:
            return np.array([record.get(fields[index], math.nan) for record in block])

        head = Head(fields, values, self.names, self.source.path.name, self.source.notes)
        axis = checked_clock(head, checked_axis(head, axis_of(fields, self.names)))
        self.step = fields[axis.column] if axis.column is not None else None
        self.source.axis, self.unordered = axis.kind, axis.unordered
        self.walls = [fields[i] for i in (axis.wall, axis.elapsed) if i is not None]
        self.source.axis_columns = tuple(t for t in (self.step, *self.walls) if t)
        self.decided = True

    def write(self, block: Sequence[Mapping[str, float]]) -> None:
        if not block:
            return
        if not self.decided:
            self._decide(block)
        columns: dict[str, tuple[list[int], list[float], list[float]]] = {}
        for record in block:
            step = record.get(self.step, math.nan) if self.step is not None else float(self.rows)
            if not abs(step) <= _LARGEST_STEP:
                step = self.last  # an object without a step stands where the one before it stood
            self.last = step
            wall = next((record[w] for w in self.walls if w in record), math.nan)
            for tag, value in record.items():
                if tag != self.step and tag not in self.walls:
                    steps, walls, values = columns.setdefault(tag, ([], [], []))
                    steps.append(int(step))
                    walls.append(wall)
                    values.append(value)
            self.rows += 1
        for tag, (steps, walls, values) in columns.items():
            self.source.store.append(tag, np.array(steps, np.int64), np.array(walls), np.array(values))


def _download(path: Path, rows: Sequence[object], budget: int) -> Source:
    """``[[wall time, step, value], ...]`` of one tag."""
    try:
        table = np.array(rows, np.float64)
        steps = table[:, 1].astype(np.int64)
    except (ValueError, TypeError, IndexError):
        raise ReadError("a list of lists that are not [wall time, step, value]") from None
    store = Store(budget)
    store.append(tag_of_file(path), steps, table[:, 0], table[:, 2])
    return Source(path, "json", store, "step")

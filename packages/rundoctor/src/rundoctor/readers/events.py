"""Scalars of TensorBoard event files, without TensorFlow, torch or protobuf.

An event is the protobuf message ``tensorflow.Event`` (``tensorboard/compat/proto/event.proto``).
Nearly every record holds one scalar in one fixed shape, written by ``add_scalar``; those are
decoded a batch at a time. Everything else goes through a small decoder of the wire format.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..store import Store
from .source import ReadError, Source
from .tfrecord import Bytes, Damage, Ints, RecordBatch, read_records

_MAX_TAG = 512


@dataclass
class EventFile:
    """What reading one event file gave, apart from the points themselves."""

    path: Path
    damage: Damage = field(default_factory=Damage)
    points: int = 0
    other: dict[str, int] = field(default_factory=dict)
    """Values that are not scalars, counted by kind."""
    texts: dict[str, str] = field(default_factory=dict)
    """Text summaries (hyper-parameter tables), first of each tag."""
    undecodable: int = 0
    first_wall: float = float("nan")
    last_wall: float = float("nan")
    restarts: int = 0
    """SessionLog START marks: a writer that resumed on purpose."""

    @property
    def is_event_file(self) -> bool:
        return self.damage.records > 0


def read_event_file(path: Path, store: Store) -> EventFile:
    """Stream one event file into ``store``; memory stays bounded whatever the file's size.

    Raises:
        OSError: the file cannot be read.
    """
    result = EventFile(path)
    for batch in read_records(path, result.damage):
        _decode(batch, store, result)
    return result


def read_event_source(path: Path, budget: int) -> Source:
    """Read one event file on its own.

    Raises:
        ReadError: not a single sound record is in it.
        OSError: the file cannot be read.
    """
    store = Store(budget)
    try:
        result = read_event_file(path, store)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        if not store.series:
            raise ReadError(f"not a file that can be unpacked: {error}") from None
        notes = [f"{path.name}: could only be unpacked in part ({error})"]
        return Source(path, "events", store, notes=notes)
    if not result.is_event_file:
        raise ReadError("not a TensorBoard event file: no sound record in it")
    return Source(path, "events", store, notes=_damage_notes(path, result), texts=result.texts)


def _damage_notes(path: Path, result: EventFile) -> list[str]:
    damage, name = result.damage, path.name
    notes = []
    if damage.bad_payloads:
        notes.append(f"{name}: {damage.bad_payloads} records failed their checksum and were left out")
    if damage.gaps:
        notes.append(
            f"{name}: damaged in {damage.gaps} place{'s' if damage.gaps > 1 else ''}; "
            f"{damage.skipped_bytes:,} bytes were passed over"
        )
    if damage.cut_tail:
        what = (
            "zeros, as a machine that lost power leaves them" if damage.zero_tail else "an unfinished record"
        )
        notes.append(
            f"{name}: ends with {damage.cut_tail:,} bytes of {what}; the writer was stopped in "
            "mid-write, or goes on"
        )
    if result.undecodable:
        notes.append(f"{name}: {result.undecodable} records could not be decoded and were left out")
    return notes


def _decode(batch: RecordBatch, store: Store, result: EventFile) -> None:
    buffer, starts, lengths = batch.buffer, batch.starts, batch.lengths
    fast, steps, walls, values, tag_at, tag_size = _match_scalars(buffer, starts, lengths)
    ids, tags = _tag_ids(buffer, tag_at, tag_size)
    index = np.flatnonzero(fast)
    slow: dict[str, list[tuple[int, int, float, float]]] = {}
    for i in np.flatnonzero(~fast):
        payload = buffer[starts[i] : starts[i] + lengths[i]].tobytes()
        try:
            for point in _slow_scalars(payload, result):
                slow.setdefault(point[0], []).append((int(i), point[1], point[2], point[3]))
        except (ValueError, IndexError, struct.error, UnicodeDecodeError):
            result.undecodable += 1
    order = np.argsort(ids, kind="stable")
    bounds = np.searchsorted(ids[order], np.arange(len(tags) + 1))
    for k, tag in enumerate(tags):
        rows = order[bounds[k] : bounds[k + 1]]
        s, w, v = steps[rows], walls[rows], values[rows]
        extra = slow.pop(tag, None)
        if extra:  # both encodings in one file: keep the file's order
            at = np.concatenate([index[rows], np.array([e[0] for e in extra])])
            merged = np.argsort(at, kind="stable")
            s = np.concatenate([s, np.array([e[1] for e in extra], np.int64)])[merged]
            w = np.concatenate([w, np.array([e[2] for e in extra])])[merged]
            v = np.concatenate([v, np.array([e[3] for e in extra])])[merged]
        store.append(tag, s, w, v)
        result.points += len(s)
    for tag, rows_ in slow.items():
        store.append(
            tag,
            np.array([e[1] for e in rows_], np.int64),
            np.array([e[2] for e in rows_]),
            np.array([e[3] for e in rows_]),
        )
        result.points += len(rows_)
    if len(walls):
        _note_wall(result, float(walls[0]))
        _note_wall(result, float(walls[-1]))


def _note_wall(result: EventFile, wall: float) -> None:
    if not np.isfinite(result.first_wall):
        result.first_wall = wall
    result.last_wall = wall


def _match_scalars(
    buffer: Bytes, starts: Ints, lengths: Ints
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the records of the one common shape and take them apart, all at once.

    The shape: ``09 <f64 wall> [10 <varint step>] 2a <len> 0a <len> 0a <len> <tag> 15 <f32>``.

    Returns:
        mask over the records, then for those that match: step int64, wall float64, value
        float64, offset and size of the tag.
    """
    n = len(starts)
    fast = np.zeros(n, bool)
    idx = np.flatnonzero(lengths >= 20)
    idx = idx[buffer[starts[idx]] == 0x09]
    at = starts[idx] + 9
    end = starts[idx] + lengths[idx]
    step = np.zeros(len(idx), np.int64)
    ok = np.ones(len(idx), bool)
    has_step = buffer[at] == 0x10
    at = at + has_step
    active = np.flatnonzero(has_step)
    for shift in range(0, 70, 7):
        if not len(active):
            break
        inside = at[active] < end[active]
        ok[active[~inside]] = False
        active = active[inside]
        byte = buffer[at[active]].astype(np.int64)
        if shift < 63:
            step[active] |= (byte & 0x7F) << shift
        else:
            step[active] |= (byte & 1) << 63
        at[active] += 1
        active = active[byte >= 0x80]
    ok[active] = False

    def expect(byte: int) -> None:
        nonlocal ok
        inside = at < end
        ok &= inside
        ok &= buffer[np.where(inside, at, 0)] == byte
        at[ok] += 1

    def varint() -> np.ndarray:
        # one or two bytes: sizes of summaries that hold a single scalar
        nonlocal ok
        inside = at + 1 < end
        ok &= inside
        first = buffer[np.where(ok, at, 0)].astype(np.int64)
        second = buffer[np.where(ok, at + 1, 0)].astype(np.int64)
        two = first >= 0x80
        ok &= ~(two & (second >= 0x80))
        at[ok] += 1 + two[ok]
        return np.where(two, (first & 0x7F) | (second << 7), first)

    expect(0x2A)
    ok &= varint() == end - at
    expect(0x0A)
    ok &= varint() == end - at
    expect(0x0A)
    size = varint()
    ok &= (at + size + 5 == end) & (size > 0) & (size <= _MAX_TAG)
    ok &= buffer[np.where(ok, at + size, 0)] == 0x15
    keep = np.flatnonzero(ok)
    fast[idx[keep]] = True
    head = starts[idx[keep]]
    wall = buffer[head[:, None] + np.arange(1, 9)].reshape(-1).view("<f8").astype(np.float64)
    tail = end[keep] - 4
    value = buffer[tail[:, None] + np.arange(4)].reshape(-1).view("<f4").astype(np.float64)
    return fast, step[keep], wall, value, at[keep], size[keep]


_WEIGHTS = np.random.default_rng(20180226).integers(1, 2**63, _MAX_TAG, dtype=np.uint64) | np.uint64(1)


def _tag_ids(buffer: Bytes, at: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Number the tags: an id per record and the tag of each id."""
    ids = np.empty(len(at), np.int64)
    tags: list[str] = []
    numbers: dict[bytes, int] = {}
    for length in np.unique(size):
        rows = np.flatnonzero(size == length)
        letters = buffer[at[rows, None] + np.arange(length)]
        keys = letters.astype(np.uint64) @ _WEIGHTS[:length]
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        mine = np.empty(len(first), np.int64)
        for k, row in enumerate(first):
            name = letters[row].tobytes()
            if name not in numbers:
                numbers[name] = len(tags)
                tags.append(name.decode("utf-8", "replace"))
            mine[k] = numbers[name]
        ids[rows] = mine[inverse.reshape(-1)]
    return ids, tags


# --- the general decoder ------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, value) of a protobuf message; ValueError on damage."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, kind, value
        elif kind == 1:
            yield number, kind, data[at : at + 8]
            at += 8
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("field runs past the message")
            yield number, kind, data[at : at + size]
            at += size
        elif kind == 5:
            yield number, kind, data[at : at + 4]
            at += 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _slow_scalars(payload: bytes, result: EventFile) -> Iterator[tuple[str, int, float, float]]:
    wall, step = float("nan"), 0
    summary: list[bytes] = []
    for number, kind, value in _fields(payload):
        if number == 1 and kind == 1:
            (wall,) = struct.unpack("<d", value)
        elif number == 2 and kind == 0:
            step = _signed(value)
        elif number == 5 and kind == 2:
            summary.append(value)
        elif number == 7 and kind == 2:  # SessionLog
            if any(n == 1 and v == 1 for n, _, v in _fields(value)):
                result.restarts += 1
        elif number == 4 and kind == 2:
            result.other["graph"] = result.other.get("graph", 0) + 1
    if np.isfinite(wall):
        _note_wall(result, wall)
    for message in summary:
        for number, kind, value in _fields(message):
            if number == 1 and kind == 2:
                tag, scalar = _summary_value(value, result)
                if scalar is not None:
                    yield tag, step, wall, scalar


_KINDS = {4: "image", 5: "histogram", 6: "audio"}


def _summary_value(data: bytes, result: EventFile) -> tuple[str, float | None]:
    tag, scalar, plugin = "", None, ""
    tensor: bytes | None = None
    other = ""
    for number, kind, value in _fields(data):
        if number == 1 and kind == 2:
            tag = value.decode("utf-8", "replace")
        elif number == 2 and kind == 5:
            (scalar,) = struct.unpack("<f", value)
        elif number in _KINDS:
            other = _KINDS[number]
        elif number == 8 and kind == 2:
            tensor = value
        elif number == 9 and kind == 2:
            for n, k, v in _fields(value):
                if n == 1 and k == 2:
                    plugin = next(
                        (x.decode("utf-8", "replace") for m, j, x in _fields(v) if m == 1 and j == 2), ""
                    )
    if scalar is None and tensor is not None:
        if plugin == "text":
            text = _tensor_text(tensor)
            if text is not None:
                result.texts.setdefault(tag, text)
            other = "text"
        elif plugin in ("", "scalars"):
            scalar = _tensor_scalar(tensor)
            other = other or ("tensor" if scalar is None else "")
        else:
            other = plugin
    if scalar is None and other:
        result.other[other] = result.other.get(other, 0) + 1
    return tag, scalar


def _tensor_scalar(data: bytes) -> float | None:
    """Value of a TensorProto that holds exactly one number, else None."""
    dtype, content = 0, b""
    values: list[float] = []
    for number, kind, value in _fields(data):
        if number == 1 and kind == 0:
            dtype = value
        elif number == 2 and kind == 2:  # shape: one element or none
            for n, k, v in _fields(value):
                if n == 2 and k == 2 and any(m == 1 and x != 1 for m, _, x in _fields(v)):
                    return None
        elif number == 4 and kind == 2:
            content = value
        elif number == 5:
            values += [float(x) for x in (np.frombuffer(value, "<f4"))]
        elif number == 6:
            values += [float(x) for x in (np.frombuffer(value, "<f8"))]
        elif number in (7, 10):
            if kind == 0:
                values.append(float(_signed(value)))
            else:
                at = 0
                while at < len(value):
                    item, at = _varint(value, at)
                    values.append(float(_signed(item)))
    if content:
        code = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}.get(dtype)
        if code is not None and len(content) % np.dtype(code).itemsize == 0:
            values += [float(x) for x in np.frombuffer(content, code)]
    return values[0] if len(values) == 1 else None


def _tensor_text(data: bytes) -> str | None:
    strings = [value for number, kind, value in _fields(data) if number == 8 and kind == 2]
    return strings[0].decode("utf-8", "replace")[:100_000] if strings else None

"""TFRecord framing with checked CRCs, in bulk.

A record is ``u64 length | u32 masked crc32c(length) | payload | u32 masked crc32c(payload)``
(TensorFlow, ``lib/io/record_writer.h``).  The checksums of a whole batch are computed at
once: CRC is linear over GF(2), so the CRC of a message is the XOR of one table entry per
byte, chosen by the byte and its distance from the end, and a constant per length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from .source import open_binary

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

CHUNK = 1 << 23
"""Bytes read at a time; the reader never holds more than this plus one record."""
MAX_RECORD = 1 << 30
"""A record with a greater length counts as damaged, even if the length's checksum is right."""
CHECKED_PAYLOAD = 1 << 12
"""The checksums of payloads up to this size are verified.  Scalars are far smaller.  Longer payloads
are images and graphs, which a diagnosis does not read."""

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def _make_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_TABLE = _make_table()
_TABLE_LIST = [int(x) for x in _TABLE]


class _Tables:
    """Tables by distance from the end of the message, grown on demand."""

    def __init__(self) -> None:
        self.by_distance: list[Words] = [_TABLE]
        self.constants: list[int] = [0xFFFFFFFF]

    def reach(self, length: int) -> None:
        while len(self.by_distance) < length:
            last = self.by_distance[-1]
            self.by_distance.append(
                ((last >> np.uint32(8)) ^ _TABLE[last & np.uint32(0xFF)]).astype(np.uint32)
            )
        while len(self.constants) <= length:
            state = self.constants[-1]
            self.constants.append((state >> 8) ^ _TABLE_LIST[state & 0xFF])


_TABLES = _Tables()


def crc32c(data: bytes) -> int:
    """CRC-32C of a byte string, one byte at a time."""
    state = 0xFFFFFFFF
    for byte in data:
        state = (state >> 8) ^ _TABLE_LIST[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """TensorFlow's masking of a CRC that is stored next to the data it covers."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crcs(buffer: Bytes, starts: Ints, lengths: Ints) -> Words:
    """Masked CRC-32C of many slices of one buffer.

    Args:
        buffer: (n,) uint8.
        starts, lengths: (k,) int64; the slices.

    Returns:
        (k,) uint32.
    """
    if len(starts) == 0:
        return np.empty(0, np.uint32)
    longest = int(lengths.max())
    _TABLES.reach(longest)
    order = np.argsort(-lengths, kind="stable")
    ends = (starts + lengths)[order] - 1
    sizes = lengths[order]
    state = np.asarray(_TABLES.constants, np.uint32)[sizes]
    # sizes is in descending order: this is the number of slices longer than d
    counts = np.searchsorted(-sizes, -np.arange(longest), side="left")
    for distance in range(longest):
        k = int(counts[distance])
        state[:k] ^= _TABLES.by_distance[distance][buffer[ends[:k] - distance]]
    state ^= np.uint32(0xFFFFFFFF)
    masked = ((state >> np.uint32(15)) | (state << np.uint32(17))) + np.uint32(0xA282EAD8)
    out = np.empty_like(masked)
    out[order] = masked
    return out


def _words(buffer: Bytes, at: Ints) -> Words:
    words: Words = buffer[at[:, None] + np.arange(4)].reshape(-1).view("<u4")
    return words


@dataclass
class Damage:
    """The damage in a file, as counts."""

    bad_payloads: int = 0
    """Records whose payload failed its checksum; skipped."""
    skipped_bytes: int = 0
    """Bytes passed over while looking for the next sound record."""
    gaps: int = 0
    """How many times such a search was needed."""
    cut_tail: int = 0
    """Bytes of an unfinished record at the end of the file."""
    zero_tail: bool = False
    """The tail is zeros, as a machine that lost power leaves it."""
    records: int = 0
    size: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class RecordBatch:
    """Sound records: ``buffer[starts[i]:starts[i] + lengths[i]]`` is payload i."""

    buffer: Bytes
    starts: Ints
    lengths: Ints


def read_records(path: Path, damage: Damage) -> Iterator[RecordBatch]:
    """Yield the sound records of a file in order, in batches of bounded size.

    Damaged records are passed over and counted in ``damage``; after a damaged length the
    search for the next record header goes on byte by byte.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with open_binary(path) as file:
        yield from _read(file, damage)


def _read(file: BinaryIO, damage: Damage) -> Iterator[RecordBatch]:
    rest = b""
    searching = False
    eof = False
    need = 0
    while not eof:
        data = file.read(max(CHUNK, need))
        damage.size += len(data)
        eof = not data
        block = rest + data
        need = 0
        position = 0
        while True:
            if searching:
                found = _next_header(block, position)
                if found < 0:
                    keep = 0 if eof else 11
                    skipped = max(len(block) - keep - position, 0)
                    damage.skipped_bytes += skipped
                    position += skipped
                    break
                damage.skipped_bytes += found - position
                position = found
                searching = False
            batch, position, broken, need = _scan(block, position)
            if batch is not None:
                sound = _check_payloads(batch, damage)
                damage.records += len(sound.starts)
                if len(sound.starts):
                    yield sound
            if not broken:
                break
            damage.gaps += 1
            searching = True
            damage.skipped_bytes += 1
            position += 1
        rest = block[position:]
    if rest:
        damage.cut_tail = len(rest)
        damage.zero_tail = not any(rest)


def _scan(block: bytes, position: int) -> tuple[RecordBatch | None, int, bool, int]:
    """Follow the chain of lengths; stop at the block's end or at the first damaged length."""
    unpack = struct.Struct("<Q").unpack_from
    end = len(block)
    heads: list[int] = []
    sizes: list[int] = []
    broken = False
    need = 0
    while position + 12 <= end:
        (size,) = unpack(block, position)
        following = position + 16 + size
        if following > end:
            stored = struct.unpack_from("<I", block, position + 8)[0]
            if size > MAX_RECORD or mask(crc32c(block[position : position + 8])) != stored:
                broken = True
            else:
                need = following - end
            break
        heads.append(position)
        sizes.append(size)
        position = following
    if not heads:
        return None, position, broken, need
    buffer = np.frombuffer(block, np.uint8)
    at = np.asarray(heads, np.int64)
    lengths = np.asarray(sizes, np.int64)
    good = masked_crcs(buffer, at, np.full(len(at), 8)) == _words(buffer, at + 8)
    if not good.all():
        first = int(np.argmin(good))
        position, broken, need = heads[first], True, 0
        at, lengths = at[:first], lengths[:first]
    return RecordBatch(buffer, at + 12, lengths), position, broken, need


def _check_payloads(batch: RecordBatch, damage: Damage) -> RecordBatch:
    small = np.flatnonzero(batch.lengths <= CHECKED_PAYLOAD)
    starts, lengths = batch.starts[small], batch.lengths[small]
    stored = _words(batch.buffer, starts + lengths)
    bad = small[masked_crcs(batch.buffer, starts, lengths) != stored]
    if not len(bad):
        return batch
    damage.bad_payloads += len(bad)
    keep = np.ones(len(batch.starts), bool)
    keep[bad] = False
    return RecordBatch(batch.buffer, batch.starts[keep], batch.lengths[keep])


def _next_header(block: bytes, position: int) -> int:
    """Offset of the next plausible and checksummed record header, or -1."""
    buffer = np.frombuffer(block, np.uint8)
    last = len(block) - 12
    if last < position:
        return -1
    # lengths of real records fit in 32 bits, so bytes 4..7 are zero
    window = buffer[position:]
    zero = window == 0
    count = last - position + 1
    candidates = (
        np.flatnonzero(zero[4 : 4 + count] & zero[5 : 5 + count] & zero[6 : 6 + count] & zero[7 : 7 + count])
        + position
    )
    for group in np.array_split(candidates, max(1, len(candidates) // 65536)):
        good = masked_crcs(buffer, group, np.full(len(group), 8)) == _words(buffer, group + 8)
        if good.any():
            return int(group[int(np.argmax(good))])
    return -1

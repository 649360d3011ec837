"""Taking entries out of TensorBoard's event files that a resumed run has overridden.

TensorBoard itself hides what was logged beyond the step that a run goes on from, if it is told so.
Other readers do not know of that, so the entries are removed.

Format: records of length (uint64), its masked CRC-32C, an ``Event`` message, its masked CRC-32C.
Source: TensorFlow, ``tensorflow/core/lib/io/record_writer.h``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event


def drop_later(folder: Path, step: int) -> int:
    """Remove the entries beyond ``step`` from all event files, and torn ends of files; how many there were.

    Raises:
        OSError: a file cannot be read or replaced.
    """
    return sum(_drop_later(file, step) for file in sorted(folder.glob("*tfevents*")))


def _drop_later(path: Path, step: int) -> int:
    data = path.read_bytes()
    kept: list[bytes] = []
    dropped = 0
    for record, message in _records(data):
        event = Event()
        try:
            event.ParseFromString(message)
        except DecodeError:
            dropped += 1
            continue
        if event.step > step:
            dropped += 1
        else:
            kept.append(record)
    whole = b"".join(kept)
    if len(whole) == len(data):
        return 0
    temporary = path.with_name(f".{path.name.replace('tfevents', 'events')}.tmp")
    temporary.write_bytes(whole)
    os.replace(temporary, path)
    return max(1, dropped)


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(whole record, its message); what a killed process has left unfinished at the end is left out."""
    at = 0
    while at + 12 <= len(data):
        length: int = struct.unpack_from("<Q", data, at)[0]
        end = at + 12 + length + 4
        if end > len(data):
            return
        yield data[at:end], data[at + 12 : end - 4]
        at = end

"""What passes between the supervisor and its worker: small messages and one piece of shared memory.

Messages are msgpack maps over a socket pair.  Requests and answers strictly alternate.
Observations and video frames lie in anonymous shared memory.  It has no name in the file system,
so it is gone when the last of the two processes is.  A worker on another machine puts them into its answers.

requests   ``{"do": "open" | "reset" | "step" | "close", ...}``
answers    ``{"ok": True, ...}`` or ``{"ok": False, "kind": K, "text": ...}``, where K is
           ``unreachable``, ``setup``, ``taken``, ``usage`` or ``fault``
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from av_td3.config import EnvConfig
from av_td3.driving.chase_camera import VIDEO_SIZE

LONGEST = 4 << 20
"""Bytes of a message: the largest observation and a video frame take about one million."""


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Write one message."""
    connection.send_bytes(msgpack.packb(message))


def receive(connection: Connection) -> dict[str, Any]:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
        OSError: the message is longer than :data:`LONGEST`, or the connection broke.
        ValueError: it is not a map.
    """
    message = msgpack.unpackb(connection.recv_bytes(LONGEST))
    if not isinstance(message, dict):
        raise ValueError(f"expected a map, got {type(message).__name__}")
    return message


def packed(slot: Slot, video: bool) -> dict[str, bytes]:
    """An observation as part of an answer; the video frame only where there is one."""
    frames = {"video": slot.video.tobytes()} if video else {}
    return {"image": slot.image.tobytes(), "vector": slot.vector.tobytes(), **frames}


def unpack(answer: Mapping[str, Any], slot: Slot) -> None:
    """Write the observation of an answer into a slot.

    Raises:
        ValueError: it has another size, or there is none.
    """
    for name, array in slot._asdict().items():
        if name == "video" and name not in answer:
            continue
        data = answer.get(name)
        if not isinstance(data, bytes) or len(data) != array.nbytes:
            raise ValueError(f"the answer's {name} does not have {array.nbytes} bytes")
        array[...] = np.frombuffer(data, array.dtype).reshape(array.shape)


class Slot(NamedTuple):
    """One observation and the video frame that belongs to it; arrays in the shared memory."""

    image: NDArray[np.uint8]
    vector: NDArray[np.float32]
    video: NDArray[np.uint8]
    """(270, 480, 3) RGB."""


class ObservationMemory:
    """Shared memory with two slots.

    The supervisor creates it, the worker attaches to it by the inherited file descriptor.  The
    worker writes the two slots in turn and names the one it has written in its answer.  So the
    last observation stays whole when the worker dies while it writes the next.
    """

    SLOTS = 2

    def __init__(self, config: EnvConfig, fd: int | None = None) -> None:
        camera = config.camera
        image = (camera.frame_stack, camera.size, camera.size)
        layout: list[tuple[tuple[int, ...], type[np.generic]]] = [
            (image, np.uint8),
            ((config.vector_size,), np.float32),
            ((VIDEO_SIZE[1], VIDEO_SIZE[0], 3), np.uint8),
        ]
        sizes = [_aligned(math.prod(shape) * np.dtype(kind).itemsize) for shape, kind in layout]
        total = self.SLOTS * sum(sizes)
        if fd is None:
            fd = os.memfd_create("av_td3_observation")
            os.ftruncate(fd, total)
        self.fd = fd
        self._map = mmap.mmap(fd, total)
        self.slots: list[Slot] = []
        offset = 0
        for _ in range(self.SLOTS):
            arrays = []
            for (shape, kind), size in zip(layout, sizes, strict=True):
                arrays.append(np.frombuffer(self._map, kind, math.prod(shape), offset).reshape(shape))
                offset += size
            self.slots.append(Slot(*arrays))

    def close_fd(self) -> None:
        """Give the descriptor back; the arrays stay valid."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _aligned(size: int) -> int:
    """The next multiple of a cache line's 64 bytes."""
    return (size + 63) // 64 * 64

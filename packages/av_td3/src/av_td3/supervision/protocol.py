"""What passes between the supervisor and its worker: small messages and one piece of memory.

Messages are msgpack maps over a socket pair, requests and answers strictly in turn.
Observations and video frames lie in an anonymous shared memory that has no name to be left
behind: it is gone when the last of the two processes is.

requests   ``{"do": "open" | "reset" | "step" | "close", ...}``
answers    ``{"ok": True, ...}`` or ``{"ok": False, "kind": K, "text": ...}``, where K is
           ``unreachable``, ``setup``, ``usage`` or ``fault``
"""

from __future__ import annotations

import mmap
import os
from multiprocessing.connection import Connection
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from av_td3.config import EnvConfig

VIDEO_SHAPE = (270, 480, 3)
"""(height, width, RGB) of a video frame."""


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Write one message."""
    connection.send_bytes(msgpack.packb(message))


def receive(connection: Connection) -> dict[str, Any]:
    """Read one message; EOFError when the other side is gone, ValueError when it is not a map."""
    message = msgpack.unpackb(connection.recv_bytes())
    if not isinstance(message, dict):
        raise ValueError(f"expected a map, got {type(message).__name__}")
    return message


class ObservationMemory:
    """The shared memory: ``image``, ``vector``, ``video`` are arrays in it.

    One side creates it, the other attaches by the inherited file descriptor.  Requests and
    answers alternate, so neither side needs a lock: the worker writes before it answers, the
    supervisor copies before it asks again.
    """

    def __init__(self, config: EnvConfig, fd: int | None = None) -> None:
        camera = config.camera
        shape = (camera.frame_stack, camera.size, camera.size)
        image, vector, video = int(np.prod(shape)), 4 * config.vector_size, int(np.prod(VIDEO_SHAPE))
        vector_at = (image + 63) // 64 * 64
        video_at = (vector_at + vector + 63) // 64 * 64
        size = video_at + video
        if fd is None:
            fd = os.memfd_create("av_td3_observation")
            os.ftruncate(fd, size)
        self.fd = fd
        self._map = mmap.mmap(fd, size)
        self.image: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, image).reshape(shape)
        self.vector: NDArray[np.float32] = np.frombuffer(
            self._map, np.float32, config.vector_size, offset=vector_at
        )
        self.video: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, video, offset=video_at).reshape(
            VIDEO_SHAPE
        )

    def close_fd(self) -> None:
        """Give the descriptor back; the arrays stay valid."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

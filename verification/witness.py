"""A minicarla that writes down what really happens, and that can lie; for :mod:`verification.chaos`.

    python -m verification.witness --port PORT --log FOLDER [--map loop]

Every tick is written as a row of :data:`TICK` to ``FOLDER/ticks-LIFE.bin``, where LIFE is made of the
server's process id.  The top left corner of every camera picture holds frame and life as black and white
squares, so that a stored picture can be traced to its tick.  A file ``FOLDER/lie`` with one of :data:`LIES`
in it makes the server tell that lie once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.sensors import camera_rgb
from minicarla.server import CarlaServer
from minicarla.wire import sensor_data

TICK = np.dtype([("frame", "<i8"), ("steer", "<f8"), ("throttle", "<f8"), ("brake", "<f8"), ("speed", "<f8")])
BITS = 16
PICTURES = 20
"""Pictures that a lie about pictures lasts: a single one could fall into a reset, where none is read."""
LIES = ("wrong-size", "garbled-picture", "short-picture", "nan-pose", "frame-back")


def stamp(picture: NDArray[np.uint8], frame: int, life: int) -> None:
    """Write both numbers into a (height, width, 4) picture, one above the other."""
    for row, number in enumerate((frame, life)):
        for bit in range(BITS):
            picture[2 * row : 2 * row + 2, 2 * bit : 2 * bit + 2, :3] = 255 * (number >> bit & 1)


def read_stamps(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) frames and lives of (n, height, width) gray pictures."""
    weights = 1 << np.arange(BITS)
    frames, lives = ((pictures[:, row, : 2 * BITS : 2] > 127) @ weights for row in (0, 2))
    return frames, lives


class Witness:
    """Watches a server from inside."""

    def __init__(self, server: CarlaServer, folder: Path) -> None:
        self._world, self._folder, self._lie = server.world, folder, folder / "lie"
        self._life = os.getpid() & 0xFFFF
        self._ticks = (folder / f"ticks-{self._life}.bin").open("ab", buffering=0)
        self._frame = 0
        self._picture_lie, self._lies_left = "", 0
        self._advance = self._world.advance
        self._world.advance = self.advance  # type: ignore[method-assign]
        measure = camera_rgb.RgbCamera.measure

        def measured(camera: camera_rgb.RgbCamera, view: Any, pose: Any, parent_id: int) -> bytes:
            self._frame = view.frame
            return measure(camera, view, pose, parent_id)

        vars(camera_rgb)["sensor_data"] = SimpleNamespace(image=self.image)
        setattr(camera_rgb.RgbCamera, "measure", measured)  # noqa: B010 - mypy lets no method be assigned

    def advance(self) -> int:
        """Advance the world and write the tick down."""
        lie = self._told()
        if lie == "frame-back":
            self._world.frame -= 5
        elif lie == "nan-pose":
            self._world.bodies.position[:] = np.nan
        elif lie:
            self._picture_lie, self._lies_left = lie, PICTURES
        frame = self._advance()
        bodies = self._world.bodies
        row = np.zeros(1, TICK)
        row["frame"] = frame
        if len(bodies.throttle):  # the car is the only body
            row["steer"], row["throttle"], row["brake"] = bodies.steer[0], bodies.throttle[0], bodies.brake[0]
            row["speed"] = float(np.hypot(*bodies.velocity[0, :2]))
        self._ticks.write(row.tobytes())
        return frame

    def image(self, pixels: NDArray[np.uint8], fov: float) -> bytes:
        """The message of a picture, with its stamps or with a lie."""
        lie = self._picture_lie if self._lies_left > 0 else ""
        self._lies_left -= 1
        if lie == "wrong-size":
            return sensor_data.image(np.zeros((10, 12, 4), np.uint8), fov)
        stamped = pixels.copy()
        stamp(stamped, self._frame & 0xFFFF, self._life)
        message = sensor_data.image(stamped, fov)
        if lie == "garbled-picture":
            return os.urandom(len(message))
        return message[:10] if lie == "short-picture" else message

    def _told(self) -> str:
        try:
            lie = self._lie.read_text().strip()
            self._lie.unlink()
        except OSError:
            return ""
        return lie


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--map", default="loop")
    options = parser.parse_args()
    server = CarlaServer(options.port, map=options.map, synchronous=True)
    Witness(server, options.log)
    server.run()


if __name__ == "__main__":
    main()

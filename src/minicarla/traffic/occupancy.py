"""Who is where: a grid into which all bodies are painted each tick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minicarla.world.bodies import Bodies

Floats = NDArray[np.float64]

CELL = 0.5  # metres
WIDEN = 1.25
"""Metres painted beside a body: a path's point is struck when a car driving along it would be."""
_MOST = 4096  # cells a side; larger maps wrap around, which costs a look-up, not a mistake


class Occupancy:
    """Row of a body in each cell, -1 where there is none."""

    def __init__(self, bounds: tuple[float, float, float, float]) -> None:
        x0, y0, x1, y1 = bounds
        self._origin = np.array([x0 - 20.0, y0 - 20.0])
        self._shape = [min(_MOST, int((span + 40.0) / CELL) + 1) for span in (x1 - x0, y1 - y0)]
        self._cells = np.full(self._shape[0] * self._shape[1], -1, np.int32)
        self._painted: NDArray[np.int64] = np.zeros(0, np.int64)
        # Points of a unit box; closer than a cell on a car, further apart on a bus, whose
        # length makes up for it.
        u, v = np.meshgrid(np.linspace(-1.0, 1.0, 11), np.linspace(-1.0, 1.0, 10))
        self._u, self._v = u.ravel(), v.ravel()

    def cells(self, x: Floats, y: Floats) -> NDArray[np.int64]:
        """Index of the cell of each point."""
        i = ((x - self._origin[0]) * (1.0 / CELL)).astype(np.int64) % self._shape[0]
        j = ((y - self._origin[1]) * (1.0 / CELL)).astype(np.int64) % self._shape[1]
        return i * self._shape[1] + j

    def paint(self, bodies: Bodies, cos: Floats, sin: Floats) -> None:
        """Replace what was painted by where the bodies are now."""
        cells = self._cells
        cells[self._painted] = -1
        length, width = bodies.extent[:, 0], bodies.extent[:, 1] + WIDEN
        along_x, along_y = (length * cos)[:, None], (length * sin)[:, None]
        side_x, side_y = (-width * sin)[:, None], (width * cos)[:, None]
        x = bodies.position[:, :1] + along_x * self._u + side_x * self._v
        y = bodies.position[:, 1:2] + along_y * self._u + side_y * self._v
        painted = self.cells(x, y)
        cells[painted] = np.arange(len(bodies), dtype=np.int32)[:, None]
        self._painted = painted.ravel()

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows of the bodies in these cells, -1 for none."""
        return self._cells[cells]

"""Who is where: a grid into which all bodies are painted each tick."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.world.bodies import Bodies

Floats = NDArray[np.float64]

CELL = 0.7  # metres
WIDEN = 1.25
"""Metres painted beside a body: a path's point is struck when a car driving along it would be."""
SHORTEST = 0.75
"""Metres painted at least before and behind a body's middle: points of a path are a metre apart."""
_MOST = 4096  # cells a side; larger maps wrap around, which costs a look-up, not a mistake


# (half length, half width) up to which bodies are painted without leaving a cell out.
_CAR, _BUS = (2.7, 1.24), (5.2, 2.0)


class Occupancy:
    """Row of a body in each cell, -1 where there is none."""

    def __init__(self, bounds: tuple[float, float, float, float]) -> None:
        x0, y0, x1, y1 = bounds
        self._origin = np.array([x0 - 20.0, y0 - 20.0])
        self._shape = [min(_MOST, int((span + 40.0) / CELL) + 1) for span in (x1 - x0, y1 - y0)]
        self._cells = np.full(self._shape[0] * self._shape[1], -1, np.int32)
        self._painted: NDArray[np.int64] = np.zeros(0, np.int64)
        self._small, self._large = _unit_points(_CAR), _unit_points(_BUS)

    def cells(self, x: Floats, y: Floats) -> NDArray[np.int64]:
        """Index of the cell of each point."""
        i = ((x - self._origin[0]) * (1.0 / CELL)).astype(np.int64) % self._shape[0]
        j = ((y - self._origin[1]) * (1.0 / CELL)).astype(np.int64) % self._shape[1]
        return i * self._shape[1] + j

    def paint(self, bodies: Bodies, cos: Floats, sin: Floats) -> None:
        """Replace what was painted by where the bodies are now."""
        self._cells[self._painted] = -1
        length, width = bodies.extent[:, 0], bodies.extent[:, 1]
        small = (length <= _CAR[0]) & (width <= _CAR[1])
        if small.all():
            self._painted = self._fill(bodies, slice(None), cos, sin, *self._small)
            return
        self._painted = np.concatenate(
            [
                self._fill(bodies, np.flatnonzero(small), cos, sin, *self._small),
                self._fill(bodies, np.flatnonzero(~small), cos, sin, *self._large),
            ]
        )

    def _fill(
        self, bodies: Bodies, rows: Any, cos: Floats, sin: Floats, u: Floats, v: Floats
    ) -> NDArray[np.int64]:
        cos, sin = cos[rows], sin[rows]
        length = np.maximum(bodies.extent[rows, 0], SHORTEST)
        width = bodies.extent[rows, 1] + WIDEN
        x, y, _ = bodies.position[rows, :, None].transpose(1, 0, 2)
        painted = self.cells(
            x + (length * cos)[:, None] * u - (width * sin)[:, None] * v,
            y + (length * sin)[:, None] * u + (width * cos)[:, None] * v,
        )
        self._cells[painted] = np.arange(len(bodies), dtype=np.int32)[rows, None]
        return painted.ravel()

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows of the bodies in these cells, -1 for none."""
        return self._cells[cells]


def _unit_points(most: tuple[float, float]) -> tuple[Floats, Floats]:
    """Points of the box from -1 to 1, so close on bodies up to a size that no cell is left out."""
    step = CELL / 2.0**0.5  # at any heading
    u = np.linspace(-1.0, 1.0, int(2.0 * most[0] / step) + 2)
    v = np.linspace(-1.0, 1.0, int(2.0 * (most[1] + WIDEN) / step) + 2)
    u, v = np.meshgrid(u, v)
    return u.ravel(), v.ravel()

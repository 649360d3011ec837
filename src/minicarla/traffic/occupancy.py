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
LENGTHEN = 0.8
"""Metres painted before and behind it: else a path that is a metre from point to point could cut a corner."""
_MOST = 4096  # cells a side, a power of 2; larger maps wrap around, which costs a look-up, not a mistake

# (half length, half width) up to which bodies are painted without leaving a cell out.
_CAR, _BUS = (2.7, 1.24), (5.2, 2.0)


class Occupancy:
    """Row of a body in each cell, -1 where there is none."""

    def __init__(self, bounds: tuple[float, float, float, float]) -> None:
        x0, y0, x1, y1 = bounds
        self._origin = x0 - 20.0, y0 - 20.0
        spans = x1 - x0, y1 - y0
        across, self._down = (_power(min(_MOST, int((span + 40.0) / CELL) + 1)) for span in spans)
        self._wrap = across - 1, self._down - 1  # & these is modulo
        self._cells = np.full(across * self._down, -1, np.int32)
        self._painted: NDArray[np.int64] = np.zeros(0, np.int64)
        self._small, self._large = _unit_points(_CAR), _unit_points(_BUS)

    def cells(self, x: Floats, y: Floats) -> NDArray[np.int64]:
        """Index of the cell of each point."""
        return self._index((x - self._origin[0]) * (1.0 / CELL), (y - self._origin[1]) * (1.0 / CELL))

    def _index(self, i: Floats, j: Floats) -> NDArray[np.int64]:
        """Of points that are given in cells from the origin."""
        wrap_i, wrap_j = self._wrap
        return (i.astype(np.int64) & wrap_i) * self._down + (j.astype(np.int64) & wrap_j)

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
        cos, sin = cos[rows] * (1.0 / CELL), sin[rows] * (1.0 / CELL)
        length, width = bodies.extent[rows, 0] + LENGTHEN, bodies.extent[rows, 1] + WIDEN
        x = (bodies.position[rows, 0] - self._origin[0]) * (1.0 / CELL)
        y = (bodies.position[rows, 1] - self._origin[1]) * (1.0 / CELL)
        along_x, along_y = x[:, None] + (length * cos)[:, None] * u, y[:, None] + (length * sin)[:, None] * u
        beside_x, beside_y = (width * sin)[:, None] * v, (width * cos)[:, None] * v
        painted = self._index(
            along_x[:, :, None] - beside_x[:, None, :], along_y[:, :, None] + beside_y[:, None, :]
        )
        self._cells[painted] = np.arange(len(bodies), dtype=np.int32)[rows, None, None]
        return painted.ravel()

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows of the bodies in these cells, -1 for none."""
        return self._cells[cells]


def _unit_points(most: tuple[float, float]) -> tuple[Floats, Floats]:
    """From -1 to 1 along and across, so close on bodies up to a size that no cell is left out."""
    step = CELL / 2.0**0.5  # at any heading
    u = np.linspace(-1.0, 1.0, int(2.0 * (most[0] + LENGTHEN) / step) + 2)
    v = np.linspace(-1.0, 1.0, int(2.0 * (most[1] + WIDEN) / step) + 2)
    return u, v


def _power(count: int) -> int:
    """The power of 2 that is not less."""
    return 1 << (count - 1).bit_length()

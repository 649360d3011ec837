# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The inner loops of the server's drivers, compiled: who is where, and what is in a driver's way.

Bounds are not checked: all arrays come from ``table``, ``drivers`` and ``bodies``.
"""

import numpy as np

from libc.math cimport INFINITY, fabs, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free

from minicarla.plain cimport greater, room

CELL = 0.7
"""Metres of the grid in which bodies are looked up."""
WIDEN = 1.25
"""Metres painted beside a body: a point of a path is hit if a car that drives along the path would be."""
LENGTHEN = 0.8
"""Metres painted before and behind it: otherwise a path with points a metre apart could miss a corner."""

cdef Py_ssize_t MOST = 4096  # cells on a side, a power of 2; on larger maps the grid wraps around
cdef double PER_METRE = 1.0 / CELL, STEP = CELL / sqrt(2.0), BESIDE = WIDEN, BEFORE = LENGTHEN


cdef class Paths:
    """The paths of all drivers: arrays (drivers, points), all of the same shape.

    x, y: metres.  tx, ty: direction.  s: metres along the path.  cell: see :meth:`Occupancy.cells`.
    """

    cdef const double[:, ::1] x, y, tx, ty, s
    cdef const int64_t[:, ::1] cell

    def __init__(self, x, y, tx, ty, s, cell):
        self.x, self.y, self.tx, self.ty, self.s, self.cell = x, y, tx, ty, s, cell

    def advance(
        self,
        int64_t[::1] at not None,
        const int64_t[::1] count not None,
        const double[::1] x not None,
        const double[::1] y not None,
        Py_ssize_t window,
    ):
        """Move ``at`` (n,), where drivers are on their paths, to the nearest of the next ``window`` points.

        at: -1 for a driver without a path.  count: (n,) points of each path.  x, y: (n,) the drivers.
        Returns: (n,) metres from the path, 0 without one, and (n,) metres along it.
        """
        cdef Py_ssize_t k, point, best, first, last, n = at.shape[0]
        cdef double nearest, dx, dy
        cdef double[::1] away = np.zeros(n), along = np.zeros(n)
        for k in range(n):
            if at[k] < 0:
                continue
            first, last = max(at[k] - 1, 0), min(at[k] + window - 1, count[k] - 1)
            best, nearest = first, INFINITY
            for point in range(first, last + 1):
                dx, dy = x[k] - self.x[k, point], y[k] - self.y[k, point]
                if dx * dx + dy * dy < nearest:
                    best, nearest = point, dx * dx + dy * dy
            at[k], away[k] = best, sqrt(nearest)
            # Where exactly: between the points.
            dx, dy = x[k] - self.x[k, best], y[k] - self.y[k, best]
            along[k] = self.s[k, best] + dx * self.tx[k, best] + dy * self.ty[k, best]
        return np.asarray(away), np.asarray(along)


cdef class Occupancy:
    """Who is where: a grid with the row of a body in each cell, -1 where there is none.

    bounds: x0, y0, x1, y1 of the map, metres.
    """

    cdef double x0, y0
    cdef Py_ssize_t across, down  # cells, powers of 2
    cdef int32_t[::1] grid
    cdef int64_t* painted
    cdef Py_ssize_t paints, places

    def __init__(self, bounds):
        self.x0, self.y0 = bounds[0] - 20.0, bounds[1] - 20.0
        self.across = _power(min(MOST, int((bounds[2] - self.x0 + 20.0) * PER_METRE) + 1))
        self.down = _power(min(MOST, int((bounds[3] - self.y0 + 20.0) * PER_METRE) + 1))
        self.grid = np.full(self.across * self.down, -1, np.int32)

    def __dealloc__(self):
        free(self.painted)

    cdef inline Py_ssize_t _cell(self, double x, double y) noexcept:
        """The cell of a place that is given in cells from the corner."""
        return (<Py_ssize_t> x & (self.across - 1)) * self.down + (<Py_ssize_t> y & (self.down - 1))

    def cells(self, const double[:] x not None, const double[:] y not None):
        """(n,) cells of places (n,) in metres."""
        cdef Py_ssize_t k
        cdef int64_t[::1] out = np.empty(x.shape[0], np.int64)
        if x.shape[0] != y.shape[0]:
            raise ValueError("as many x as y are needed")
        for k in range(x.shape[0]):
            out[k] = self._cell((x[k] - self.x0) * PER_METRE, (y[k] - self.y0) * PER_METRE)
        return np.asarray(out)

    def at(self, cells):
        """Rows of the bodies in these cells, -1 for none."""
        return np.asarray(self.grid)[cells]

    def paint(
        self,
        const double[:, ::1] position not None,
        const double[:, ::1] extent not None,
        const double[::1] cos not None,
        const double[::1] sin not None,
    ):
        """Replace what was painted by where bodies are now; cos, sin: (n,) of their yaw."""
        cdef Py_ssize_t row, k
        for k in range(self.paints):
            self.grid[self.painted[k]] = -1
        self.paints = 0
        for row in range(position.shape[0]):
            self._paint(
                <int32_t> row,
                (position[row, 0] - self.x0) * PER_METRE,
                (position[row, 1] - self.y0) * PER_METRE,
                cos[row],
                sin[row],
                extent[row, 0] + BEFORE,
                extent[row, 1] + BESIDE,
            )

    cdef int _paint(
        self, int32_t row, double x, double y, double c, double s, double length, double width
    ) except -1:
        """Points so close on a rectangle that no cell is left out, at any heading."""
        cdef Py_ssize_t i, j, cell
        cdef Py_ssize_t along = <Py_ssize_t> (2.0 * length / STEP) + 2
        cdef Py_ssize_t beside = <Py_ssize_t> (2.0 * width / STEP) + 2
        cdef double u, v
        if self.paints + along * beside > self.places:
            i = 2 * self.places + along * beside
            self.painted = <int64_t*> room(self.painted, i, sizeof(int64_t))
            self.places = i
        for i in range(along):
            u = length * PER_METRE * (2.0 * i / (along - 1) - 1.0)
            for j in range(beside):
                v = width * PER_METRE * (2.0 * j / (beside - 1) - 1.0)
                cell = self._cell(x + u * c - v * s, y + u * s + v * c)
                self.grid[cell] = row
                self.painted[self.paints] = cell
                self.paints += 1
        return 0

    def look_ahead(
        self,
        Paths paths not None,
        bodies,
        const int64_t[::1] rows not None,
        const int64_t[::1] at not None,
        const int64_t[::1] count not None,
        const double[::1] along not None,
        const double[::1] cos not None,
        const double[::1] sin not None,
        Py_ssize_t sight,
        double beside,
    ):
        """The first body that each driver would hit within ``sight`` points of its path.

        rows: (n,) rows of the drivers' own bodies.  at, count: see :meth:`Paths.advance`.  along: (n,)
        metres along the path.  cos, sin: of the yaw of all bodies.  beside: metres between a driver and
        what it passes.

        Returns: (n,) metres from bumper to bumper, inf if there is nobody; (n,) speed of that body along
        the path, m/s; (n,) its row, -1 if there is nobody.
        """
        cdef Py_ssize_t k, point, n = rows.shape[0]
        cdef int32_t body, me
        cdef double dx, dy, tx, ty, c, s, reach, ahead
        cdef const double[:, ::1] position = bodies.position, extent = bodies.extent
        cdef const double[:, ::1] velocity = bodies.velocity
        cdef double[::1] gap = np.full(n, INFINITY), speed = np.zeros(n)
        cdef int64_t[::1] leader = np.full(n, -1)
        for k in range(n):
            me = <int32_t> rows[k]
            if at[k] < 0:
                continue
            for point in range(at[k], min(at[k] + sight, count[k])):
                body = self.grid[paths.cell[k, point]]
                if body < 0 or body == me:
                    continue
                tx, ty = paths.tx[k, point], paths.ty[k, point]
                dx, dy = position[body, 0] - paths.x[k, point], position[body, 1] - paths.y[k, point]
                # The body's box as seen along the path.
                c, s = fabs(cos[body] * tx + sin[body] * ty), fabs(sin[body] * tx - cos[body] * ty)
                reach = extent[body, 0] * c + extent[body, 1] * s
                ahead = paths.s[k, point] + dx * tx + dy * ty
                if (
                    ahead > along[k]
                    and fabs(dy * tx - dx * ty)
                    < extent[body, 0] * s + extent[body, 1] * c + extent[me, 1] + beside
                    and fabs(dx) + fabs(dy) < 30.0  # otherwise the grid wrapped around
                ):
                    gap[k] = ahead - reach - along[k] - extent[me, 0]
                    speed[k] = greater(velocity[body, 0] * tx + velocity[body, 1] * ty, 0.0)
                    leader[k] = body
                    break
        return np.asarray(gap), np.asarray(speed), np.asarray(leader)


cdef Py_ssize_t _power(Py_ssize_t count) noexcept:
    """The smallest power of 2 that is not less than ``count``."""
    cdef Py_ssize_t power = 1
    while power < count:
        power *= 2
    return power

"""The curves that OpenDRIVE is made of: cubic polynomials along s, and the pieces of reference lines.

Everything is in OpenDRIVE's frame: right-handed, metres, radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHORTEST = 1e-3
"""Metres.  What is shorter (a lane section, a piece of a line, a whole road) takes up no place on the map."""

WALK_STEP = 0.05
"""Metres between the points at which a polynomial is sampled, to know how long it is."""
_FEWEST, _MOST = 64, 200_000  # such points of one piece
_SPIRAL_BLOCK = 200_000
"""Panels of a spiral that are integrated at once; more take gigabytes when a long spiral winds many times."""


class Polynomials:
    """Piecewise cubic a + b ds + c ds^2 + d ds^3 with ds = s - start, zero before the first piece.

    OpenDRIVE gives elevation, lane offset and lane width along s in this way.
    """

    def __init__(self, pieces: list[tuple[float, float, float, float, float]]) -> None:
        table = np.array(sorted(pieces), dtype=np.float64).reshape(-1, 5)
        self.starts = table[:, 0]
        self.coefficients = table[:, 1:]

    def __len__(self) -> int:
        return len(self.starts)

    def is_zero(self) -> bool:
        """Whether every coefficient is zero, or there is no piece."""
        return not self.coefficients.any()

    def __call__(self, s: Array) -> Array:
        """Values at ``s`` (n,)."""
        if self.is_zero():
            return np.zeros_like(s)
        ds, (a, b, c, d) = self._pieces(s)
        return a + ds * (b + ds * (c + ds * d))

    def slope(self, s: Array) -> Array:
        """Derivatives at ``s`` (n,)."""
        if self.is_zero():
            return np.zeros_like(s)
        ds, (_, b, c, d) = self._pieces(s)
        return b + ds * (2.0 * c + ds * 3.0 * d)

    def _pieces(self, s: Array) -> tuple[Array, Array]:
        index = np.maximum(np.searchsorted(self.starts, s + 1e-9, side="right") - 1, 0)
        return s - self.starts[index], self.coefficients[index].T


@dataclass(frozen=True)
class Geometry:
    """One piece of a road's reference line, and the parameters of its shape."""

    s: float
    x: float
    y: float
    heading: float
    length: float
    shape: str  # "line", "arc", "spiral", "poly3", "paramPoly3"
    parameters: tuple[float, ...] = ()
    normalized: bool = False  # paramPoly3: parameter in [0, 1] instead of metres

    def at(self, distance: Array) -> tuple[Array, Array, Array]:
        """x, y and heading (radians) ``distance`` (n,) metres along this piece."""
        u, v, turn = self._local(np.clip(distance, 0.0, self.length))
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos, self.heading + turn

    def _local(self, d: Array) -> tuple[Array, Array, Array]:
        if self.shape == "line" or self.length < SHORTEST:
            return d, np.zeros_like(d), np.zeros_like(d)
        if self.shape == "arc":
            (curvature,) = self.parameters
            if abs(curvature) < 1e-12:
                return d, np.zeros_like(d), np.zeros_like(d)
            turn = d * curvature
            return np.sin(turn) / curvature, (1.0 - np.cos(turn)) / curvature, turn
        if self.shape == "spiral":
            return _spiral(d, self.parameters[0], self.parameters[1], self.length)
        return _parametric(d, self._cubics, self._walk)

    def clipped(self, length: float) -> Geometry:
        """The same curve, but only the first ``length`` metres of it."""
        share = length / self.length
        parameters = self.parameters
        if self.shape == "spiral":
            start, end = parameters
            parameters = (start, start + share * (end - start))
        elif self.normalized:
            parameters = tuple(k * share ** (i % 4) for i, k in enumerate(parameters))
        return replace(self, length=length, parameters=parameters)

    @property
    def samples(self) -> int:
        """At how many points the piece is sampled to know how long it is; 0 where its shape tells."""
        if self.shape not in ("poly3", "paramPoly3"):
            return 0
        return min(_MOST, max(_FEWEST, math.ceil(self.length / WALK_STEP)))

    @property
    def _cubics(self) -> tuple[float, ...]:
        """Coefficients of u and v by the parameter; in poly3, v = a + b u + c u^2 + e u^3, it is u."""
        return self.parameters if self.shape == "paramPoly3" else (0.0, 1.0, 0.0, 0.0, *self.parameters)

    @cached_property
    def _walk(self) -> tuple[Array, Array]:
        """Values of a polynomial's parameter, and the metres along the curve at which it has them.

        In the standard the parameter is s itself ("arcLength") or the share of it ("normalized").
        CARLA's client measures the length of the curve in both cases; this function agrees with it.
        """
        au, bu, cu, du, av, bv, cv, dv = self._cubics
        most = 1.0 if self.normalized else self.length
        for _ in range(12):  # a curve that is shorter than stated goes on beyond the range of its parameter
            p = np.linspace(0.0, most, self.samples + 1)
            u = au + p * (bu + p * (cu + p * du))
            v = av + p * (bv + p * (cv + p * dv))
            along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(u), np.diff(v)))])
            if along[-1] >= self.length:
                break
            most *= 1.25
        return p, along

    @cached_property
    def max_curvature(self) -> float:
        """Largest absolute curvature of the piece in 1/m (estimated for the polynomials)."""
        if self.shape == "line" or self.length < SHORTEST:
            return 0.0
        if self.shape in ("arc", "spiral"):
            return max(abs(k) for k in self.parameters)
        d = np.linspace(0.0, self.length, 33)
        turn = np.unwrap(self._local(d)[2])
        return float(np.abs(np.diff(turn)).max() / max(self.length / 32, 1e-6))


def _spiral(d: Array, start: float, end: float, length: float) -> tuple[Array, Array, Array]:
    """Euler spiral: integrate cos and sin of the exact heading by Gauss-Legendre quadrature.

    Curvature goes linearly from ``start`` to ``end``.  Panels are short enough
    (at most half a radian each) for the five-point rule to be exact to about 1e-12.
    """
    rate = (end - start) / length
    panels = max(1, math.ceil(max(abs(start), abs(end)) * length / 0.5))
    nodes, weights = np.polynomial.legendre.leggauss(5)
    u, v = np.empty_like(d), np.empty_like(d)
    block = max(1, _SPIRAL_BLOCK // panels)
    for first in range(0, len(d), block):
        rows = slice(first, first + block)
        edges = d[rows, None] * np.linspace(0.0, 1.0, panels + 1)[None, :]  # (n, panels + 1)
        half = np.diff(edges, axis=1)[:, :, None] / 2.0
        t = (edges[:, :-1, None] + edges[:, 1:, None]) / 2.0 + half * nodes  # (n, panels, 5)
        angle = t * (start + 0.5 * rate * t)
        u[rows] = (np.cos(angle) * weights * half).sum(axis=(1, 2))
        v[rows] = (np.sin(angle) * weights * half).sum(axis=(1, 2))
    return u, v, d * (start + 0.5 * rate * d)


def _parametric(d: Array, cubics: tuple[float, ...], walk: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Two cubics of one parameter, walked by arc length (which is what s means)."""
    au, bu, cu, du, av, bv, cv, dv = cubics
    parameter, along = walk
    p = np.interp(d, along, parameter)
    u = au + p * (bu + p * (cu + p * du))
    v = av + p * (bv + p * (cv + p * dv))
    turn = np.arctan2(bv + p * (2.0 * cv + p * 3.0 * dv), bu + p * (2.0 * cu + p * 3.0 * du))
    return u, v, turn

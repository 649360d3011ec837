"""Which lane is the nearest to a place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minicarla.maps.lanes import Lane
from minicarla.maps.stations import LONGEST_STEP

Array = NDArray[np.float64]

REACH = 8.0
"""Metres from a lane's centre line within which it is found."""
_CELL = 2.0  # metres


class LaneIndex:
    """A grid of cells, each with the segments of lane centres that can be the nearest to a point in it.

    A cell lists every segment that is nearest to some point in it: those not further from
    the cell's middle than the nearest one, give or take the cell's diagonal.
    """

    def __init__(self, lanes: list[Lane]) -> None:
        start = np.concatenate([lane.points[:-1, :2] for lane in lanes])
        end = np.concatenate([lane.points[1:, :2] for lane in lanes])
        lane = np.concatenate([np.full(len(lane.points) - 1, lane.id) for lane in lanes])
        s = np.concatenate([lane.s[:-1] for lane in lanes])
        # Where the pieces of a road do not meet, its points are far apart.  Those gaps are cut up, too.
        vector = end - start
        parts = np.maximum(1, np.ceil(np.hypot(vector[:, 0], vector[:, 1]) / LONGEST_STEP))
        counts = parts.astype(np.int64)
        whole = np.repeat(np.arange(len(start)), counts)
        share = (np.arange(len(whole)) - np.repeat(np.cumsum(counts) - counts, counts)) / parts[whole]
        vector = vector[whole] / parts[whole, None]
        start = start[whole] + share[:, None] * vector * parts[whole, None]
        length = np.hypot(vector[:, 0], vector[:, 1])
        direction = vector / np.maximum(length, 1e-9)[:, None]
        self.lane = lane[whole]
        self.s = s[whole] + share * length * parts[whole]

        # Every cell that comes within REACH of a segment, paired with it.
        middle = start + 0.5 * vector
        half = _CELL * math.sqrt(0.5)
        span = REACH + 0.5 * float(length.max()) + half
        self.origin = middle.min(0) - span
        self.columns = int((middle[:, 1].max() + span - self.origin[1]) / _CELL) + 2
        n = math.ceil(span / _CELL)
        around = np.stack(np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij"), -1)
        around = around.reshape(-1, 2)
        home = np.floor((middle - self.origin) / _CELL).astype(np.int64)
        keys, segments, distances = [], [], []
        for a in range(0, len(home), 4096):  # in parts, to use little memory
            cell = home[a : a + 4096, None] + around
            offset = self.origin + (cell + 0.5) * _CELL - start[a : a + 4096, None]
            d = direction[a : a + 4096, None]
            along = (offset * d).sum(2)
            past = along - np.clip(along, 0.0, length[a : a + 4096, None])
            across = offset[..., 1] * d[..., 0] - offset[..., 0] * d[..., 1]
            distance = np.hypot(past, across)
            near = distance <= REACH + half
            keys.append((cell[..., 0] * self.columns + cell[..., 1])[near])
            distances.append(distance[near])
            segments.append(np.nonzero(near)[0] + a)
        key, segment, distance = np.concatenate(keys), np.concatenate(segments), np.concatenate(distances)
        order = np.argsort(key, kind="stable")
        key, segment, distance = key[order], segment[order], distance[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        counts = np.diff(np.append(first, len(key)))
        best = np.repeat(np.minimum.reduceat(distance, first), counts)
        keep = distance <= best + 2.0 * half
        self.keys = key[first]
        counts = np.add.reduceat(keep.astype(np.int64), first)
        self.counts = np.append(counts, 0)  # the last one stands for all that is outside
        self.first = np.append(np.cumsum(counts) - counts, 0)
        # What a look-up needs of each candidate, each in one array.
        chosen = segment[keep]
        self.segment = chosen
        self.x, self.y = start[chosen].T.copy()
        self.dx, self.dy = direction[chosen].T.copy()
        self.length = length[chosen]

    def nearest(self, points: Array) -> tuple[NDArray[np.int64], Array, Array]:
        """Lane ids (-1: none within REACH), metres along and lateral offsets of (n, 2) points."""
        n = len(points)
        lane, s, side = np.full(n, -1), np.zeros(n), np.zeros(n)
        points = np.where(np.isfinite(points), points, 1e12)
        cell = np.floor((points - self.origin) / _CELL)
        inside = (cell[:, 0] >= 0) & (cell[:, 1] >= 0) & (cell[:, 1] < self.columns)
        key = np.where(inside, np.minimum(cell[:, 0], 1e12) * self.columns + cell[:, 1], -1).astype(np.int64)
        place = np.searchsorted(self.keys, key)
        place = np.where(self.keys[np.minimum(place, len(self.keys) - 1)] == key, place, len(self.keys))
        counts = self.counts[place]
        rows = np.flatnonzero(counts)
        if not len(rows):
            return lane, s, side
        counts = counts[rows]
        begin = np.cumsum(counts) - counts
        pick = np.arange(int(counts.sum())) + np.repeat(self.first[place[rows]] - begin, counts)
        ox = np.repeat(points[rows, 0], counts) - self.x[pick]
        oy = np.repeat(points[rows, 1], counts) - self.y[pick]
        dx, dy = self.dx[pick], self.dy[pick]
        along = ox * dx + oy * dy
        on = np.minimum(np.maximum(along, 0.0), self.length[pick])
        across = oy * dx - ox * dy  # y points right in CARLA's frame
        distance = (along - on) ** 2 + across * across
        least = np.minimum.reduceat(distance, begin)
        hits = np.flatnonzero(distance == np.repeat(least, counts))
        best = hits[np.searchsorted(hits, begin)]
        found = least <= REACH * REACH
        rows, best = rows[found], best[found]
        segment = self.segment[pick[best]]
        lane[rows] = self.lane[segment]
        s[rows] = self.s[segment] + on[best]
        side[rows] = across[best]
        return lane, s, side

"""What drivers know of the roads: lanes as points a metre apart, and which lanes of a junction conflict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import Lane, RoadMap

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPACING = 1.0  # metres
FAR = 30.0
"""Metres from all lanes at which there is no way back to them."""
CLEARANCE = 3.0
"""Metres: junction lanes whose centres come closer than this are not driven at the same time."""
SWEEP = 3.6
"""Metres: the parts of two such lanes that are closer than this are where two cars could touch."""
BESIDE = 2.5
"""Metres from a lane's centre within which a vehicle that heads the lane's way is taken to follow it."""
ALONG = 0.7
"""Cosine of the angle to a lane from which a vehicle counts as heading the lane's way."""
_CELL = 8.0  # metres


class Track:
    """One lane, sampled at about ``SPACING``; its end is the first point of what follows."""

    def __init__(self, lane: Lane) -> None:
        self.id: int = lane.id
        self.length = float(lane.s[-1])
        self.junction: int = lane.junction
        self.successors: tuple[int, ...] = tuple(lane.successors)
        self.predecessors: tuple[int, ...] = tuple(lane.predecessors)
        count = max(1, round(self.length / SPACING))
        s = np.arange(count) * (self.length / count)
        self.x = np.interp(s, lane.s, lane.points[:, 0])
        self.y = np.interp(s, lane.s, lane.points[:, 1])
        yaw = np.interp(s, lane.s, np.unwrap(np.radians(lane.headings)))
        self.s = s
        self.yaw = yaw
        self.tx, self.ty = np.cos(yaw), np.sin(yaw)
        self.limit = np.full(count, float(lane.speed_limit))


class Network:
    """All driving lanes of a map, and the conflicts between those of its junctions."""

    def __init__(self, roadmap: RoadMap) -> None:
        self.tracks: dict[int, Track] = {
            lane.id: Track(lane)
            for lane in roadmap.lanes
            if lane.kind == "driving" and len(lane.s) > 1 and lane.s[-1] > 0.05
        }
        for track in self.tracks.values():
            track.successors = tuple(i for i in track.successors if i in self.tracks)
        self.conflicts = self._conflicts()
        self.stretch, self.room = self._stretches()
        self._meetings: dict[tuple[int, int], tuple[float, float, float, float]] = {}
        self._cells: dict[tuple[int, int], tuple[Floats, Floats, Floats, Floats, Floats, Ints]] = {}
        tracks = list(self.tracks.values())
        names = ("x", "y", "tx", "ty", "s")
        self._points = [np.concatenate([getattr(t, name) for t in tracks] or [[]]) for name in names]
        self._of = np.repeat([t.id for t in tracks], [len(t.s) for t in tracks])

    def _conflicts(self) -> dict[int, frozenset[int]]:
        """For each junction lane the other lanes of the junction that cross it or join it.

        Lanes that begin at the same lane do not conflict: cars on them follow one another.
        """
        junctions: dict[int, list[Track]] = {}
        for track in self.tracks.values():
            if track.junction >= 0:
                junctions.setdefault(track.junction, []).append(track)
        found: dict[int, set[int]] = {t.id: set() for ts in junctions.values() for t in ts}
        for tracks in junctions.values():
            for n, a in enumerate(tracks):
                for b in tracks[n + 1 :]:
                    if set(a.predecessors) & set(b.predecessors):
                        continue
                    if b.id in a.successors or a.id in b.successors:
                        continue
                    gap = np.hypot(a.x[:, None] - b.x, a.y[:, None] - b.y)
                    if set(a.successors) & set(b.successors) or gap.min() < CLEARANCE:
                        found[a.id].add(b.id)
                        found[b.id].add(a.id)
        return {lane: frozenset(others) for lane, others in found.items()}

    def _stretches(self) -> tuple[dict[int, int], dict[int, float]]:
        """Stretches between junctions: (first lane of each lane's stretch, length of each stretch in metres).

        Consecutive lanes form one stretch while there is one way on and one way in.
        """
        tracks = self.tracks
        first: dict[int, int] = {}
        room: dict[int, float] = {}
        outside = [t for t in tracks.values() if t.junction < 0]

        def onward(track: Track) -> int | None:
            if len(track.successors) != 1:
                return None
            following = tracks[track.successors[0]]
            return following.id if following.junction < 0 and len(following.predecessors) == 1 else None

        follows = {onward(t) for t in outside}
        heads = [t for t in outside if t.id not in follows]
        for head in [*heads, *outside]:  # a ring has no head: any of its lanes will do
            lane: int | None = head.id
            while lane is not None and lane not in first:
                first[lane] = head.id
                room[head.id] = room.get(head.id, 0.0) + tracks[lane].length
                lane = onward(tracks[lane])
        return first, room

    def meeting(self, a: int, b: int) -> tuple[float, float, float, float]:
        """The part of each of two conflicting lanes that is too close to the other.

        Returns: metres along ``a`` where it begins and ends, and the same along ``b``.
        """
        found = self._meetings.get((a, b))
        if found is None:
            one, other = self.tracks[a], self.tracks[b]
            close = np.hypot(one.x[:, None] - other.x, one.y[:, None] - other.y) < SWEEP
            i, j = (np.flatnonzero(close.any(axis=axis)) for axis in (1, 0))
            joining = bool(set(one.successors) & set(other.successors))
            spans = []
            for track, k in ((one, i), (other, j)):
                start, end = (float(track.s[k[0]]), float(track.s[k[-1]])) if len(k) else (track.length,) * 2
                spans += [start, track.length if joining else end]
            found = self._meetings[a, b] = (spans[0], spans[1], spans[2], spans[3])
        return found

    def lanes_along(self, x: float, y: float, dx: float, dy: float) -> list[tuple[int, float]]:
        """(lane id, metres along it) of every lane that a vehicle here, heading (dx, dy), may follow."""
        cell = int(x // _CELL), int(y // _CELL)
        points = self._cells.get(cell)
        if points is None:
            px, py = self._points[:2]
            middle, reach = (np.array(cell) + 0.5) * _CELL, 0.5 * _CELL + BESIDE
            near = np.flatnonzero((np.abs(px - middle[0]) < reach) & (np.abs(py - middle[1]) < reach))
            px, py, tx, ty, s = (column[near] for column in self._points)
            points = self._cells[cell] = px, py, tx, ty, s, self._of[near]
        px, py, tx, ty, s, lane = points
        away = (px - x) ** 2 + (py - y) ** 2
        near = np.flatnonzero((away < BESIDE**2) & (tx * dx + ty * dy > ALONG))
        found: dict[int, tuple[float, float]] = {}
        for k in near.tolist():
            best = found.get(int(lane[k]))
            if best is None or away[k] < best[0]:
                along = float(s[k] + (x - px[k]) * tx[k] + (y - py[k]) * ty[k])
                found[int(lane[k])] = float(away[k]), along
        return [(i, along) for i, (_, along) in found.items()]

    def place(self, x: float, y: float, yaw: float) -> tuple[int, float] | None:
        """(lane id, metres along it) of the nearest driving lane that leads along ``yaw`` (degrees).

        None if all lanes are further than ``FAR`` away.
        """
        best: tuple[float, int, float] | None = None
        heading = np.radians(yaw)
        for track in self.tracks.values():
            if abs(track.x[0] - x) + abs(track.y[0] - y) > 2.0 * (track.length + FAR):
                continue
            away = np.hypot(track.x - x, track.y - y)
            k = int(away.argmin())
            # Facing the wrong way costs as much as four metres.
            cost = float(away[k]) + 2.0 * (1.0 - float(np.cos(heading - track.yaw[k])))
            if away[k] < FAR and (best is None or cost < best[0]):
                best = cost, track.id, float(track.s[k])
        return None if best is None else (best[1], best[2])

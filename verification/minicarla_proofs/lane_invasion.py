"""Lane-invasion events come in the tick in which the car crosses a marking.

CARLA's client makes these events alone: in every tick it looks whether one of the four corners of the
vehicle's box has crossed a marking of its map since the tick before.  So the events are
right if poses, box and map are right.  The wheels are inside the box, so they cross after the first
event and before the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla import maps
from minicarla.geometry import rotation_matrix
from minicarla.maps import Lane
from minicarla.physics.models import model_of
from verification.minicarla_proofs.agreement import mark_beside
from verification.minicarla_proofs.stage import ClientProcess, Finding, ServerProcess

CAR = "vehicle.tesla.model3"
TICKS = 60
ROOM = 50.0  # metres
UNSURE = 0.015
"""Metres from a marking within which the client may count a corner as off the road.

It measures from a place on the lane that can be 0.2 m along the lane from the nearest one.  Then it makes two
events of one crossing, one of them with the marking on the lane's other side.
"""


class Crossing(NamedTuple):
    """A corner crossed the marking between frame ``first`` and frame ``last``."""

    first: int
    last: int
    certain: bool
    """Whether the corner crossed the marking at all."""


class Line(NamedTuple):
    """The middle of a straight lane, and the side (-1 left, 1 right) to which the car leaves it."""

    point: NDArray[np.float64]
    heading: float
    side: int
    width: float


class Tally:
    """The counts of one map."""

    def __init__(self) -> None:
        self.events = 0
        self.crossings = 0
        self.missing = 0
        self.needless = 0
        self.doubled = 0
        self.mistaken = 0
        self.stray_wheels = 0
        self.leads: list[int] = []


def prove(short: bool) -> Iterator[Finding]:
    """Cars leave straight lanes to both sides, at several speeds and angles, straight on and steering."""
    for name in ("town",) if short else ("loop", "town", "grid"):
        tally = Tally()
        _drive(name, 4 if short else 24, tally)
        yield Finding(
            f"lane-invasion events come in the tick of the crossing on {name}",
            f"{tally.events} events in {tally.crossings} crossings of a corner: {tally.missing} missing or in"
            f" another tick, {tally.needless} without a crossing, {tally.mistaken} with another marking,"
            f" {tally.doubled} reported twice within {1e3 * UNSURE:.0f} mm of the line; the first wheel"
            f" crosses {np.median(tally.leads):.0f} ticks after the first corner (median),"
            f" {tally.stray_wheels} wheels outside the events",
            tally.events > 0
            and not (tally.missing or tally.needless or tally.mistaken or tally.stray_wheels),
        )


def _drive(name: str, runs: int, tally: Tally) -> None:
    roadmap = maps.load(name)
    lanes = [(lane, s) for lane in roadmap.driving if (s := _straight(lane)) is not None]
    ways = itertools.product((0.0, 0.05), (-1, 1), (5.0, 9.0, 14.0), (3.0, 9.0, 15.0))
    chosen = list(ways)[:: max(1, 36 // runs)]
    with ServerProcess(name) as server, ClientProcess("cross", server.port) as client:
        for run, (steer, side, speed, angle) in enumerate(chosen):
            lane, s = lanes[run * 7 % len(lanes)]
            (x, y, z), heading = lane.at(s)
            start = [float(x), float(y), float(z) + 0.05, heading + side * angle]
            client.tell([start, speed, side * steer, TICKS])
            line = Line(np.array([x, y, z]), float(np.radians(heading)), side, lane.width)
            _judge(client.hear(), line, tally, mark_beside(roadmap, lane, s, side > 0))


def _straight(lane: Lane) -> float | None:
    """Metres along a lane, outside junctions, from where it goes ``ROOM`` straight on; None if nowhere."""
    if lane.junction == -1:
        headings = np.unwrap(lane.headings, period=360.0)
        for s in np.arange(8.0, lane.length - ROOM, 8.0):
            ahead = np.interp(np.arange(s, s + ROOM, 1.0), lane.s, headings)
            if np.ptp(ahead) < 1e-6:
                return float(s)
    return None


def _judge(told: Any, line: Line, tally: Tally, mark: tuple[str, str, float] | None) -> None:
    """Compare one run's events with where the corners and wheels of the car were."""
    # The box that collides with others on the server; the client uses the one that it was told.
    body = model_of(CAR)
    (x, y, z), (u, v, w) = body.centre, body.extent
    corners = _aside(told, line, [(x + a * u, y + b * v, z - w) for a in (-1, 1) for b in (-1, 1)])
    frames = [row[0] for row in told["poses"]]
    # Until a corner comes to the next marking, the far one of the lane beside.
    end = int(np.argmax((corners > 1.5 * line.width - 0.1).any(axis=1))) or len(frames)
    frames, corners = frames[:end], corners[:end]
    crossings = _crossings(frames, corners, line.width / 2)
    events = [(frame, marks) for frame, marks in told["events"] if frame <= frames[-1]]
    at = [frame for frame, _ in events]
    tally.events += len(events)
    tally.crossings += sum(crossing.certain for crossing in crossings)
    wanted = list(mark[:2]) if mark else None
    for crossing in crossings:
        told_of = [marks for frame, marks in events if crossing.first <= frame <= crossing.last]
        tally.missing += crossing.certain and not told_of
        tally.doubled += len(told_of) > 1
        tally.mistaken += bool(told_of) and not any(wanted in marks for marks in told_of)
    tally.needless += sum(not any(c.first <= frame <= c.last for c in crossings) for frame in at)
    wheels = _crossings(frames, _aside(told, line, told["wheels"])[:end], line.width / 2)
    if at and wheels:
        tally.leads.append(wheels[0].first - at[0])
        tally.stray_wheels += sum(wheel.last < at[0] for wheel in wheels)
        if sum(crossing.certain for crossing in crossings) == 4:  # wholly over
            tally.stray_wheels += sum(wheel.first > at[-1] for wheel in wheels)


def _aside(told: Any, line: Line, points: Any) -> NDArray[np.float64]:
    """(ticks, points) metres from the lane's middle to that side of points in the vehicle's frame."""
    rows = []
    for _, x, y, z, pitch, yaw, roll in told["poses"]:
        places = np.array([x, y, z]) + np.array(points) @ rotation_matrix(pitch, yaw, roll).T
        places = places - line.point
        rows.append(line.side * (places[:, 1] * np.cos(line.heading) - places[:, 0] * np.sin(line.heading)))
    return np.array(rows)


def _crossings(frames: list[int], aside: NDArray[np.float64], edge: float) -> list[Crossing]:
    """The crossings of the points over the edge, in order of time; points that did not cross are left out."""
    found = []
    for column in aside.T:
        near, over = column > edge - UNSURE, column > edge + UNSURE
        if near.any() and not near[0]:
            last = int(np.argmax(over)) if over.any() else -1
            found.append(Crossing(frames[int(np.argmax(near))], frames[last], last >= 0))
    return sorted(found)

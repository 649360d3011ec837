"""Who is in the way: vehicles and walkers that stand, drive or will soon be on the path ahead.

Exact positions of the simulator, foreseen for ``FORESIGHT`` seconds at constant speed and turn.  The agent
never sees this.  The classical driver does, and it tells a car that waits from one that is stuck.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGHT = 40.0
"""Metres of path that are looked at."""
FORESIGHT = 3.0
"""Seconds for which the motion of others is foreseen."""
ONCOMING_FORESIGHT = 1.0
"""The same for those who come towards the car: they will turn with their lane."""
MOMENT = 0.25
"""Seconds between two moments that are foreseen."""
HALF_WIDTH = 1.0
"""Metres from the car's middle to its side."""
BESIDE = 0.35
"""Metres that are kept to others at the side."""
SLACK = 1.0
"""Seconds between the car's leaving a place and another's coming there, or the other way round."""
EAGER, LAZY = 2.0, 3.0
"""m/s^2 with which the car may at most pick up speed, and m/s that it makes at the least."""
FIRM = 5.0
"""m/s^2 up to which braking for somebody who will cross is worth it; nearer, going on is safer."""
COMFORT = 2.0
"""m/s^2 with which the most pressing of several hazards is found."""
MOVES = 0.5
"""m/s from which something moves."""


class Other(NamedTuple):
    """Columns of the array that describes others.  Map frame, SI units, radians."""

    x: int = 0
    y: int = 1
    vx: int = 2
    vy: int = 3
    yaw: int = 4
    yaw_rate: int = 5
    half_length: int = 6
    half_width: int = 7


OTHER = Other()


class Hazard(NamedTuple):
    """What the car has to keep its distance from."""

    distance: float = math.inf
    """Metres from the car's front, along the path; inf when nothing is in the way."""
    speed: float = 0.0
    """m/s of it along the path, not negative."""


def hazard(path: Floats, spacing: float, speed: float, front: float, target: float, others: Floats) -> Hazard:
    """The most pressing of those who are in the way.

    Args:
        path: (m, 2) points ahead of the car, the first ``spacing`` metres from its origin.
        speed: the car's, m/s.
        front: metres from its origin to its front.
        target: m/s that it wants to drive at the most.
        others: (n, 8), see :class:`Other`.
    """
    if not len(others) or len(path) < 2:
        return Hazard()
    origin = 2.0 * path[0] - path[1]
    steps = np.diff(np.concatenate([origin[None], path]), axis=0)
    tangent = steps / np.maximum(1e-6, np.hypot(*steps.T))[:, None]
    others = others[_relevant(others, origin, tangent[0], front)]
    if not len(others):
        return Hazard()
    along = spacing * np.arange(1.0, len(path) + 1.0)
    found = _present(path, along, tangent, front, others)
    found += _crossing(path, along, tangent, speed, front, target, others)
    return min(found, key=pressing, default=Hazard())


def pressing(one: Hazard, gap: float = 4.0) -> float:
    """m/s from which the car can still brake in comfort; the less, the more pressing is the hazard."""
    return math.sqrt(one.speed**2 + 2.0 * COMFORT * max(0.0, one.distance - gap))


def _relevant(others: Floats, origin: Floats, ahead: Floats, front: float) -> NDArray[np.bool_]:
    """Neither far away, nor behind the car on its own way: those behind keep the distance themselves."""
    offset = others[:, :2] - origin
    forward = offset @ ahead
    same_way = np.cos(others[:, OTHER.yaw] - math.atan2(ahead[1], ahead[0])) > 0.3
    behind = (forward < -1.0) & same_way
    return np.asarray((np.hypot(*offset.T) < SIGHT + 15.0) & (forward > -25.0) & ~behind)


def _circles(x: Floats, y: Floats, yaw: Floats, others: Floats) -> Floats:
    """(..., n, 3, 2) middles of three circles of half a width that fill the footprint of each."""
    reach = np.maximum(0.0, others[:, OTHER.half_length] - others[:, OTHER.half_width])
    shift = reach[:, None] * np.array([1.0, 0.0, -1.0])
    return np.stack(
        [x[..., None] + np.cos(yaw)[..., None] * shift, y[..., None] + np.sin(yaw)[..., None] * shift], -1
    )


def _in_way(path: Floats, circles: Floats, others: Floats) -> NDArray[np.bool_]:
    """(..., n, m): whether the car's side touches that of each of n others at each of m points."""
    gap2 = ((circles[..., None, :] - path) ** 2).sum(-1).min(-2)
    near = others[:, OTHER.half_width] + HALF_WIDTH + BESIDE
    return np.asarray(gap2 < (near**2)[:, None])


def _present(path: Floats, along: Floats, tangent: Floats, front: float, others: Floats) -> list[Hazard]:
    """Who is on the path now."""
    now = _circles(others[:, OTHER.x], others[:, OTHER.y], others[:, OTHER.yaw], others)
    in_way = _in_way(path, now, others)
    found = []
    for k in np.flatnonzero(in_way.any(1)).tolist():
        first = int(in_way[k].argmax())
        pace = float(tangent[first] @ others[k, OTHER.vx : OTHER.vy + 1])
        # The circles were met this much before their edges.
        distance = float(along[first]) + HALF_WIDTH + BESIDE - front
        found.append(Hazard(max(0.0, distance), max(0.0, pace)))
    return found


def _crossing(
    path: Floats, along: Floats, tangent: Floats, speed: float, front: float, target: float, others: Floats
) -> list[Hazard]:
    """Who will be on the path when the car gets there."""
    pace = np.hypot(others[:, OTHER.vx], others[:, OTHER.vy])
    others, pace = others[pace > MOVES], pace[pace > MOVES]
    if not len(others):
        return []
    times = np.arange(MOMENT, FORESIGHT + 1e-6, MOMENT)[:, None]
    yaw, rate = others[:, OTHER.yaw], others[:, OTHER.yaw_rate]
    half = 0.5 * rate * times  # a circle's chord points half the turn away
    chord = times * np.sinc(half / np.pi)
    vx, vy = others[:, OTHER.vx], others[:, OTHER.vy]
    x = others[:, OTHER.x] + chord * (vx * np.cos(half) - vy * np.sin(half))
    y = others[:, OTHER.y] + chord * (vx * np.sin(half) + vy * np.cos(half))
    in_way = _in_way(path, _circles(x, y, yaw + 2.0 * half, others), others)  # (t, n, m)
    arrives = _arrival(along - front, speed, target)
    leaves = (along + front) / max(speed, LAZY)
    meets = in_way & (times[..., None] > arrives - SLACK) & (times[..., None] < leaves + SLACK)
    found = []
    for k in np.flatnonzero(meets.any((0, 2))).tolist():
        first = int(meets[:, k].any(0).argmax())
        heading = float(tangent[first] @ (math.cos(yaw[k]), math.sin(yaw[k])))
        moment = int(meets[:, k, first].argmax())
        if heading < -0.5 and times[moment, 0] > ONCOMING_FORESIGHT:
            continue
        distance = float(along[first]) - front
        if distance <= 0.5 or speed**2 > 2.0 * FIRM * distance:
            continue  # the car is there, or cannot stop before it: going on clears the place soonest
        turned = yaw[k] + 2.0 * half[moment, k]
        along_path = float(tangent[first] @ (math.cos(turned), math.sin(turned)))
        found.append(Hazard(distance, max(0.0, along_path) * float(pace[k])))
    return found


def _arrival(distance: Floats, speed: float, target: float) -> Floats:
    """Seconds until the car has gone so far at the soonest."""
    target = max(target, speed, 0.1)
    picking_up = (target**2 - speed**2) / (2.0 * EAGER)
    distance = np.maximum(0.0, distance)
    short = (np.sqrt(speed**2 + 2.0 * EAGER * np.minimum(distance, picking_up)) - speed) / EAGER
    return np.asarray(short + np.maximum(0.0, distance - picking_up) / target)

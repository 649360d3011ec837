"""Where vehicles can be put on a map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minicarla.geometry import Pose, wrap_degrees
from minicarla.maps.lanes import Lane

SPACING = 12.0  # metres
BOX = 3.2, 1.2  # half length and width of the vehicle that must fit: an ambulance
MARGIN = 8.0  # metres kept from a lane's ends, where junctions are
HEIGHT = 0.5  # metres above the road
NARROWEST = 1.0  # metres of a lane, below which no vehicle starts there


def spawn_points(driving: Sequence[Lane], lanes_of_road: Mapping[int, Sequence[Lane]]) -> list[Pose]:
    """Poses on the centres of driving lanes outside junctions, :data:`HEIGHT` above the road.

    A lane that leads on has one about every :data:`SPACING` metres.  A dead end, or a lane that is
    too short for that, has one where it enters its road, as every lane has in the maps that
    CARLA generates from OpenDRIVE (``Map::GenerateWaypointsOnRoadEntries``).  Here the whole vehicle
    stands on the lane, while CARLA puts its middle on the lane's very first point.

    lanes_of_road: all lanes of a road, by its id.
    """
    poses, entries = [], []
    for lane in driving:
        if lane.junction != -1 or lane.width < NARROWEST:
            continue
        room = lane.length - 2 * MARGIN
        if lane.successors and room >= 0.0:
            count = 1 + int(room // SPACING)
            places = MARGIN + (np.arange(count) + 0.5) * room / count
            poses += [_pose(lane, float(s)) for s in places]
        elif _enters(lane, lanes_of_road[lane.road_id]):
            entries.append(_pose(lane, min(BOX[0], 0.5 * lane.length)))
    return _apart(poses + entries)


def _pose(lane: Lane, s: float) -> Pose:
    (x, y, z), yaw = lane.at(s)
    return Pose(float(x), float(y), float(z) + HEIGHT, 0.0, wrap_degrees(yaw), 0.0)


def _enters(lane: Lane, of_road: Sequence[Lane]) -> bool:
    """Whether a lane lies in the first section of its road, in the direction of travel."""
    sections = [other.section for other in of_road]
    return lane.section == (min(sections) if lane.forward else max(sections))


def _apart(poses: list[Pose]) -> list[Pose]:
    """The poses at which vehicles can stand at the same time.

    Where lanes run into each other, two poses may overlap; the later one is left out.
    """
    places = np.array([pose[:3] for pose in poses]).reshape(-1, 3)
    order = np.argsort(places[:, 0], kind="stable")
    close = 2.0 * math.hypot(*BOX)
    pairs = []
    for step in range(1, len(poses)):  # neighbours in x, then the next but one ...
        a, b = order[:-step], order[step:]
        away = np.abs(places[b] - places[a])
        if not (away[:, 0] < close).any():
            break
        near = (away < (close, close, 3.0)).all(1)
        pairs.append(np.stack([a[near], b[near]], 1))
    if not pairs:
        return poses
    a, b = np.sort(np.concatenate(pairs), axis=1).T
    yaw = np.radians([pose.yaw for pose in poses])
    along = np.stack([np.cos(yaw), np.sin(yaw)], 1)
    across = np.stack([-np.sin(yaw), np.cos(yaw)], 1)
    delta = places[b, :2] - places[a, :2]
    straight = np.abs((along[a] * along[b]).sum(1))
    aslant = np.abs((along[a] * across[b]).sum(1))
    clear = np.zeros(len(a), np.bool_)
    length, width = BOX
    for axis, own, turned in ((along, length, width), (across, width, length)):
        reach = own + own * straight + turned * aslant  # axes of both boxes (separating axes)
        clear |= (np.abs((delta * axis[a]).sum(1)) >= reach) | (np.abs((delta * axis[b]).sum(1)) >= reach)
    dropped: set[int] = set()
    for first, second in sorted(zip(a[~clear].tolist(), b[~clear].tolist(), strict=True)):
        if first not in dropped:
            dropped.add(second)
    return [pose for k, pose in enumerate(poses) if k not in dropped]

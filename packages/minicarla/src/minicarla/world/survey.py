"""Questions about the surroundings: rays, and the things that stand there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicarla.geometry import Transform
from minicarla.sensors.rays import cast
from minicarla.wire import structs
from minicarla.world.sane import LIMIT, finite
from minicarla.world.view import View


def project(
    view: View, start: Sequence[float], direction: Sequence[float], reach: float
) -> structs.LabelledPoint | None:
    """First thing that a ray meets within ``reach`` metres, if any."""
    length = math.hypot(*direction)
    if not finite(*start, *direction, reach) or length < 1e-9 or reach <= 0.0:
        return None
    unit = np.array(direction) / length
    hits = cast(view, Transform(*start), unit[None], min(reach, 2.0 * LIMIT), 0)
    distance = float(hits.distance[0])
    if not math.isfinite(distance):
        return None
    point = np.array(start) + distance * unit
    return structs.LabelledPoint(structs.Vector3D(*point.tolist()), int(hits.tag[0]))


def cast_ray(view: View, start: Sequence[float], end: Sequence[float]) -> list[structs.LabelledPoint]:
    """Everything that a ray goes through on its way, in order."""
    found: list[structs.LabelledPoint] = []
    way = np.subtract(end, start)
    length = float(np.linalg.norm(way))
    gone = 0.0
    while length - gone > 1e-3 and len(found) < 64:
        here = np.array(start) + way * (gone / length)
        hit = project(view, here.tolist(), way.tolist(), length - gone)
        if hit is None:
            break
        found.append(hit)
        gone = math.dist(start, hit.location) + 1e-3
    return found


def environment_objects(roadmap: Any, tag: int) -> list[structs.EnvironmentObject]:
    """The map's static boxes of a semantic tag (255: any)."""
    objects = []
    for index, box in enumerate(roadmap.statics):
        if tag not in (255, box.tag):
            continue
        pose = structs.Transform(
            structs.Vector3D(*map(float, box.centre)), structs.Rotation(0.0, float(box.yaw), 0.0)
        )
        bounds = structs.BoundingBox(pose.location, structs.Vector3D(*map(float, box.extent)), pose.rotation)
        objects.append(
            structs.EnvironmentObject(pose, bounds, index + 1, f"{box.kind}_{index}", int(box.tag))
        )
    return objects

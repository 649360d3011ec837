"""Questions about the surroundings: what a ray hits, and what there is on the map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minicarla.geometry import Pose, compose
from minicarla.sensors.rays import cast
from minicarla.wire import structs
from minicarla.world.map_objects import ANY, MapObjects
from minicarla.world.sane import LIMIT, finite
from minicarla.world.table import ActorTable
from minicarla.world.view import View


def project(
    view: View, start: Sequence[float], direction: Sequence[float], reach: float
) -> structs.LabelledPoint | None:
    """First thing that a ray meets within ``reach`` metres, if any."""
    length = math.hypot(*direction)
    if not finite(*start, *direction, reach) or length < 1e-9 or reach <= 0.0:
        return None
    unit = np.array(direction) / length
    hits = cast(view, Pose(*start), unit[None], min(reach, 2.0 * LIMIT), 0)
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


def level_boxes(objects: MapObjects, actors: ActorTable, tag: int = ANY) -> list[structs.BoundingBox]:
    """Boxes in the world frame of the map's objects and of all vehicles, walkers and props of a tag."""
    boxes = objects.boxes(tag)
    bodies = actors.bodies
    for actor_id in bodies:
        row, actor = bodies.row(actor_id), actors[actor_id]
        if tag not in (ANY, int(bodies.tag[row])):
            continue
        pose = actors.pose(actor)
        centre = structs.transform(compose(pose, Pose(*bodies.centre[row].tolist())))
        boxes.append(structs.BoundingBox(centre.location, actor.box.extent, centre.rotation, actor_id))
    return boxes

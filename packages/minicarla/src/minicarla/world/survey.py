"""Questions about the surroundings: what a ray hits, and what there is on the map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, compose
from minicarla.maps import RoadMap
from minicarla.sensors.rays import cast
from minicarla.sensors.tags import Tag
from minicarla.wire import structs
from minicarla.world.actors import TrafficLight, TrafficSign
from minicarla.world.sane import LIMIT, finite
from minicarla.world.table import ActorTable
from minicarla.world.view import View

ANY = 255
"""``carla.CityObjectLabel.Any``"""

_SURFACES = {"road": Tag.ROADS, "shoulder": Tag.ROADS, "sidewalk": Tag.SIDEWALKS}
"""Semantic tag of a map's surfaces; the others are terrain."""


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


def environment_objects(
    roadmap: RoadMap, actors: ActorTable, tag: int = ANY
) -> list[structs.EnvironmentObject]:
    """What belongs to the map and has a semantic tag (:data:`ANY` for all of them).

    These are its static boxes, the heads of its traffic lights, the plates of its signs, and the
    surfaces and markings of its roads, each with the box that encloses it.  Ids are the same in every call.
    """
    found: list[tuple[str, int, structs.BoundingBox]] = []
    for index, box in enumerate(roadmap.statics):
        found.append(
            (
                f"{box.kind}_{index}",
                int(box.tag),
                structs.BoundingBox(
                    structs.Vector3D(*map(float, box.centre)),
                    structs.Vector3D(*map(float, box.extent)),
                    structs.Rotation(0.0, float(box.yaw), 0.0),
                ),
            )
        )
    for number, light in enumerate(actors.of_kind(TrafficLight)):
        box_of_head = light.head_box()._replace(actor_id=0)
        found.append((f"traffic_light_{number}", Tag.TRAFFIC_LIGHT, box_of_head))
    for number, sign in enumerate(actors.of_kind(TrafficSign)):
        found.append((f"traffic_sign_{number}", Tag.TRAFFIC_SIGNS, sign.plate_box()._replace(actor_id=0)))
    for number, surface in enumerate(roadmap.surfaces()):
        kind = _SURFACES.get(surface.kind, Tag.TERRAIN)
        edges = np.concatenate([surface.left, surface.right])
        found.append((f"{surface.kind}_surface_{number}", kind, _enclosing(edges)))
    for number, marking in enumerate(roadmap.markings()):
        found.append((f"road_marking_{number}", Tag.ROAD_LINES, _enclosing(marking.points)))
    return [
        structs.EnvironmentObject(structs.Transform(box.location, box.rotation), box, number, name, int(kind))
        for number, (name, kind, box) in enumerate(found, 1)
        if tag in (ANY, kind)
    ]


def level_boxes(roadmap: RoadMap, actors: ActorTable, tag: int = ANY) -> list[structs.BoundingBox]:
    """Boxes in the world frame of the map's objects and of all vehicles, walkers and props of a tag."""
    boxes = [thing.bounding_box for thing in environment_objects(roadmap, actors, tag)]
    bodies = actors.bodies
    for actor_id in bodies:
        row, actor = bodies.row(actor_id), actors[actor_id]
        if tag not in (ANY, int(bodies.tag[row])):
            continue
        pose = actors.pose(actor)
        centre = structs.transform(compose(pose, Pose(*bodies.centre[row].tolist())))
        boxes.append(structs.BoundingBox(centre.location, actor.box.extent, centre.rotation, actor_id))
    return boxes


def _enclosing(points: NDArray[np.float64]) -> structs.BoundingBox:
    low, high = points.min(0), points.max(0)
    return structs.BoundingBox(
        structs.Vector3D(*(0.5 * (low + high)).tolist()), structs.Vector3D(*(0.5 * (high - low)).tolist())
    )
